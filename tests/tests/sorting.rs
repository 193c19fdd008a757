//! Sorting, against what the processes and the kernel know of the connections.

use conn_trace_tests::{
    agent::Agent,
    connz::Row,
    moved::{Moved, ports, reversed},
    pair::Two,
    peer::Peer,
    protocol::Command,
    sockets,
    wait::eventually_equal,
};

#[test]
fn sorts_by_what_was_counted() {
    let agent = Agent::start();
    let moved = Moved::new();
    let query = moved.query();
    let sort = |sort: &str| ports(&agent.rows(&format!("{query}&{sort}")));
    let by_in_bytes = moved.sorted_by(|counts| counts.in_bytes);
    let by_out_bytes = moved.sorted_by(|counts| counts.out_bytes);
    let by_in_msgs = moved.sorted_by(|counts| counts.in_calls);
    let by_out_msgs = moved.sorted_by(|counts| counts.out_calls);
    for (key, ascending) in [
        ("inMsgBytes", &by_in_bytes),
        ("outMsgBytes", &by_out_bytes),
        ("inMsg", &by_in_msgs),
        ("outMsg", &by_out_msgs),
    ] {
        assert_eq!(sort(&format!("sort={key}")), *ascending, "{key}");
        assert_eq!(
            sort(&format!("sort={key}Desc")),
            reversed(ascending),
            "{key}Desc"
        );
        assert_eq!(
            sort(&format!("sort={key}&order=desc")),
            reversed(ascending),
            "{key} desc"
        );
        assert_eq!(
            sort(&format!("sort={key}Desc&order=asc")),
            *ascending,
            "{key}Desc asc"
        );
    }
    // NATS counts from the server: `to` is what went out. Most first.
    for (key, ascending) in [
        ("bytes_from", &by_in_bytes),
        ("bytes_to", &by_out_bytes),
        ("msgs_from", &by_in_msgs),
        ("msgs_to", &by_out_msgs),
    ] {
        assert_eq!(sort(&format!("sort={key}")), reversed(ascending), "{key}");
        assert_eq!(
            sort(&format!("sort={key}&order=asc")),
            *ascending,
            "{key} asc"
        );
        assert_eq!(
            sort(&format!("sort={key}&order=desc")),
            reversed(ascending),
            "{key} desc"
        );
    }
}

#[test]
fn sorts_by_age_and_breaks_ties_by_cid() {
    let agent = Agent::start();
    let moved = Moved::new();
    let query = moved.query();
    let rows = |sort: &str| agent.rows(&format!("{query}&{sort}"));
    let opened: Vec<_> = moved
        .pairs
        .iter()
        .map(|(pair, _)| pair.client.local.port())
        .collect();
    for key in ["cid", "id", "start", "uptimeDesc"] {
        assert_eq!(ports(&rows(&format!("sort={key}"))), opened, "{key}");
        assert_eq!(ports(&rows(&format!("sort={key}&order=asc"))).len(), 50);
    }
    for key in ["idDesc", "uptime"] {
        assert_eq!(
            ports(&rows(&format!("sort={key}"))),
            reversed(&opened),
            "{key}"
        );
    }
    // All equal by these: in order of cid, whatever the direction.
    for key in [
        "subs",
        "protoVersion",
        "pid",
        "comm",
        "ip",
        "port",
        "retrans",
        "pending",
    ] {
        for order in ["", "&order=asc", "&order=desc"] {
            assert_eq!(
                ports(&rows(&format!("sort={key}{order}"))),
                opened,
                "{key}{order}"
            );
        }
    }
}

#[test]
fn sorts_by_process_address_and_port() {
    let agent = Agent::start();
    let mut server = Peer::start("server");
    let port = server.listen("0.0.0.0:0").port();
    let mut clients = ["zeta", "alpha", "mid"].map(Peer::start);
    // Addresses that sort otherwise as texts than as numbers.
    for (client, last) in clients.iter_mut().zip([10, 9, 100]) {
        let address = format!("127.0.0.{last}:{port}")
            .parse()
            .expect("an address");
        client.connect(address, 2);
        server.accept(2);
    }
    let column = |sort: &str, value: fn(&Row) -> String| -> Vec<String> {
        agent
            .rows(&format!("port={port}&sort={sort}"))
            .iter()
            .map(value)
            .collect()
    };
    let comm = |row: &Row| row.comm.clone().unwrap_or_default();
    let ip = |row: &Row| row.ip.to_string();
    assert_eq!(
        column("comm", comm),
        ["alpha", "alpha", "mid", "mid", "zeta", "zeta"]
    );
    assert_eq!(
        column("comm&order=desc", comm),
        ["zeta", "zeta", "mid", "mid", "alpha", "alpha"]
    );
    let (nine, ten, hundred) = ("127.0.0.9", "127.0.0.10", "127.0.0.100");
    assert_eq!(column("ip", ip), [nine, nine, ten, ten, hundred, hundred]);
    assert_eq!(
        column("ip&order=desc", ip),
        [hundred, hundred, ten, ten, nine, nine]
    );
    let mut pids: Vec<_> = clients
        .iter()
        .flat_map(|client| [client.pid(); 2])
        .collect();
    pids.sort_unstable();
    let rows = agent.rows(&format!("port={port}&sort=pid"));
    assert_eq!(
        rows.iter().filter_map(|row| row.pid).collect::<Vec<_>>(),
        pids
    );
    let rows = agent.rows(&format!("local_port={port}&sort=port"));
    assert!(rows.is_sorted_by_key(|row| row.port), "{rows:#?}");
    assert_eq!(rows.len(), 6);
}

#[test]
fn sorts_by_what_is_pending_and_by_idleness() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pairs = two.open_many(6);
    let port = two.address.port();
    for (pair, bytes) in pairs[..4]
        .iter()
        .zip([9_000_000, 1 << 30, 7_000_000, 1 << 29])
    {
        two.client.moved(&Command::Fill {
            id: pair.client.id,
            bytes,
        });
    }
    let kernel = || {
        let mut sockets = sockets::connections();
        sockets.retain(|socket| socket.peer.port() == port);
        // Ties in order of opening, which is that of `cid`.
        let opened = |local: u16| {
            pairs
                .iter()
                .position(|pair| pair.client.local.port() == local)
        };
        sockets.sort_by_key(|socket| opened(socket.local.port()));
        sockets.sort_by_key(|socket| std::cmp::Reverse(socket.send_queue));
        sockets
            .iter()
            .map(|socket| socket.local.port())
            .collect::<Vec<_>>()
    };
    // On a slow machine the last acknowledgements are still on their way.
    eventually_equal("sorted by what the kernel has queued", &None, || {
        let before = kernel();
        let sorted = ports(&agent.rows(&format!("port={port}&sort=pending")));
        let is_same = sorted == before && before == kernel();
        (!is_same).then_some((sorted, before))
    });
    // Used one after the other, with a tick of the kernel's clock in between (4 ms at 250 Hz,
    // 10 ms at 100 Hz): the stamp of an activity is no finer, and its change cannot be seen.
    for place in [5, 4] {
        std::thread::sleep(std::time::Duration::from_millis(25));
        two.forth(&pairs[place], 1, 1);
    }
    let last = [4, 5].map(|place: usize| pairs[place].client.local.port());
    for key in ["last", "idleDesc"] {
        assert_eq!(
            ports(&agent.rows(&format!("port={port}&sort={key}")))[..2],
            last,
            "{key}"
        );
    }
    let rows = ports(&agent.rows(&format!("port={port}&sort=idle")));
    assert_eq!(rows[4..], reversed(&last));
}

#[test]
fn sorts_closed_connections_by_their_end() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pairs = two.open_many(8);
    // Numbers are given at first sight: here before the first one ends.
    let seen: Vec<_> = pairs
        .iter()
        .map(|pair| agent.open(&pair.client).cid)
        .collect();
    assert!(seen.is_sorted(), "{seen:?}");
    let order = [3, 0, 7, 5, 1, 6, 2, 4];
    for place in order {
        let pair = &pairs[place];
        if place % 2 == 0 {
            two.client.reset(&pair.client);
        } else {
            two.client.close(&[pair.client]);
            two.server.receive_to_end(&pair.server);
            two.server.close(&[pair.server]);
        }
        agent.closed(&pair.client);
    }
    let query = format!("state=closed&port={}", two.address.port());
    let ended = order.map(|place| pairs[place].client.local.port());
    assert_eq!(
        ports(&agent.rows(&format!("{query}&sort=stop"))),
        reversed(&ended)
    );
    assert_eq!(
        ports(&agent.rows(&format!("{query}&sort=stop&order=asc"))),
        ended
    );
    let places = |list: [usize; 8]| list.map(|place| pairs[place].client.local.port());
    // "Client Closed" before "Connection Aborted", each in order of cid.
    let by_reason = places([1, 3, 5, 7, 0, 2, 4, 6]);
    let rows = agent.rows(&format!("{query}&sort=reason"));
    assert_eq!(ports(&rows), by_reason, "{rows:#?}");
}
