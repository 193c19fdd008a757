//! Whose connections they are.

use std::{collections::HashSet, net::SocketAddr, process::Command as Process};

use conn_trace_tests::{
    agent::{Agent, free_address},
    connz::Row,
    everybody::copy_for_everybody,
    pair::{Pair, Two, matched},
    peer::{self, Peer},
    protocol::{Command, End, Reply},
    skip::installed,
    wait::{eventually, eventually_equal},
};

/// What a row says about its owner.
fn owner(row: &Row) -> (&str, Option<u32>, Option<&str>) {
    (&row.owner, row.pid, row.comm.as_deref())
}

/// What it has to say about a process that was seen to use the socket.
fn exact(peer: &Peer) -> (&str, Option<u32>, Option<&str>) {
    ("exact", Some(peer.pid()), Some(&peer.name))
}

/// Hands the accepted end of a connection from one process to another.
fn hand_over(giver: &mut Peer, end: &End, taker: &mut Peer) -> End {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    taker.tell(&Command::TakeOver { path: path.clone() });
    eventually("the other process listens", || path.exists().then_some(()));
    let id = end.id;
    eventually("the connection is handed over", || {
        let path = path.clone();
        matches!(giver.ask(&Command::HandOver { id, path }), Reply::Done).then_some(())
    });
    match taker.reply() {
        Reply::Ends(ends) => ends[0],
        other => panic!("{other:?}"),
    }
}

#[test]
fn owner_of_an_accepted_connection_that_is_silent_is_found() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    // Nobody has used the accepted end yet, so the kernel's programs cannot know.
    assert_eq!(agent.open(&pair.client).owner, "exact");
    let row = eventually("the owner is found", || {
        let row = agent.open(&pair.server);
        (row.owner != "unknown").then_some(row)
    });
    assert_eq!((&*row.owner, row.pid), ("scan", Some(two.server.pid())));
    assert_eq!(row.comm.as_deref(), Some("server"));
    // It is certain once the owner moves something.
    two.back(&pair, 1, 1);
    let row = agent.open(&pair.server);
    assert_eq!((&*row.owner, row.pid), ("exact", Some(two.server.pid())));
}

#[test]
fn owner_is_known_after_its_process_is_gone() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    two.forth(&pair, 10, 10);
    let (client, server) = (two.client.pid(), two.server.pid());
    assert!(two.client.exit().success());
    assert!(two.server.exit().success());
    for (end, pid, name) in [
        (&pair.client, client, "client"),
        (&pair.server, server, "server"),
    ] {
        let row = agent.closed(end);
        assert_eq!((row.pid, row.comm.as_deref()), (Some(pid), Some(name)));
        assert_eq!(row.owner, "exact");
    }
}

#[test]
fn user_is_that_of_the_socket() {
    let Some([setpriv]) = installed("user_is_that_of_the_socket", ["setpriv"]) else {
        return;
    };
    let (_directory, program) = copy_for_everybody(&peer::program());
    let as_user = |uid: &str| {
        let mut command = Process::new(&setpriv);
        command
            .args(["--reuid", uid, "--clear-groups", "--"])
            .arg(&program);
        command
    };
    let agent = Agent::start();
    // 65534 is the one user besides root that has the same name everywhere; 54321 has none.
    let client = Peer::start_by(as_user("65534"), "nobodys");
    let server = Peer::start_by(as_user("54321"), "somebodys");
    let mut two = Two::of(client, server, "127.0.0.1:0");
    let pair = two.open();
    two.forth(&pair, 5, 5);
    assert_eq!(agent.open(&pair.client).uid, "nobody");
    assert_eq!(agent.open(&pair.server).uid, "54321");
    let port = two.address.port();
    for (uid, count) in [("nobody", 1), ("65534", 1), ("root", 0)] {
        assert_eq!(
            agent.connz(&format!("port={port}&uid={uid}")).total,
            count,
            "{uid}"
        );
    }
}

#[test]
fn owner_of_a_connection_that_a_child_serves_is_the_child() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    two.server
        .done(&Command::HoldInChild { id: pair.server.id });
    let served = two.open();
    let moved = two.server.moved(&Command::SendFromChild {
        id: served.server.id,
        bytes: 10,
    });
    two.client.receive(&served.client, 10, 10);
    assert_eq!(moved.out_bytes, 10);
    let row = agent.open(&served.server);
    assert_eq!((&*row.owner, row.comm.as_deref()), ("exact", Some("head")));
    assert_ne!(row.pid, Some(two.server.pid()));
    // The parent's use of it later changes nothing: the first counts.
    let child = row.pid;
    two.back(&served, 5, 5);
    let row = agent.open(&served.server);
    assert_eq!((row.pid, row.comm.as_deref()), (child, Some("head")));
    assert_eq!(row.out_bytes, 15);

    // Held by two, used by none: nobody knows. Then by one of them.
    let silent = agent.open(&pair.server);
    assert_eq!(owner(&silent), ("unknown", None, None));
    two.back(&pair, 5, 5);
    assert_eq!(owner(&agent.open(&pair.server)), exact(&two.server));
}

#[test]
fn owner_of_a_connection_that_several_have_is_not_guessed() {
    let mut two = Two::start();
    let pair = two.open();
    two.server
        .done(&Command::HoldInChild { id: pair.server.id });
    let agent = Agent::start();
    let control = two.open();
    // The scan that names the owner of another silent connection leaves this one alone.
    let row = eventually("the owner of the other is found", || {
        let row = agent.open(&control.server);
        (row.owner != "unknown").then_some(row)
    });
    assert_eq!(
        owner(&row),
        ("scan", Some(two.server.pid()), Some("server"))
    );
    assert_eq!(owner(&agent.open(&pair.server)), ("unknown", None, None));
    // Older than the agent, so that the end that connected was found the same way.
    assert_eq!(
        owner(&agent.open(&pair.client)),
        ("scan", Some(two.client.pid()), Some("client"))
    );
}

#[test]
fn owner_of_a_connection_that_was_handed_over_is_who_used_it_first() {
    let agent = Agent::start();
    let mut two = Two::start();
    let mut worker = Peer::start("worker");
    let accepted = two.open();
    let taken = hand_over(&mut two.server, &accepted.server, &mut worker);
    two.client.send(&accepted.client, 7, 7);
    worker.receive(&taken, 7, 7);
    assert_eq!(owner(&agent.open(&accepted.server)), exact(&worker));

    // Whoever connected remains the owner, whoever uses it.
    let connected = two.open();
    let taken = hand_over(&mut two.client, &connected.client, &mut worker);
    worker.send(&taken, 7, 7);
    assert_eq!(owner(&agent.open(&connected.client)), exact(&two.client));
    let row = agent.open(&connected.client);
    assert_eq!((row.out_bytes, row.out_msgs), (7, 1));
}

#[test]
fn workers_that_share_a_port_have_their_own_connections() {
    const WORKERS: usize = 4;
    const CONNECTIONS: u32 = 64;
    let agent = Agent::start();
    let mut client = Peer::start("client");
    let mut address = free_address();
    let mut workers: Vec<Peer> = (0..WORKERS)
        .map(|number| Peer::start(&format!("worker{number}")))
        .collect();
    for worker in &mut workers {
        match worker.ask(&Command::ListenShared { address }) {
            Reply::Address(shared) => address = shared,
            other => panic!("{other:?}"),
        }
    }
    let clients = client.connect(address, CONNECTIONS);
    // The kernel has put each connection into the queue of one of them.
    let mut accepted: Vec<Vec<End>> = vec![Vec::new(); WORKERS];
    eventually_equal("all are accepted", &clients.len(), || {
        for (worker, ends) in workers.iter_mut().zip(&mut accepted) {
            ends.extend(worker.ends(&Command::AcceptQueued));
        }
        accepted.iter().map(Vec::len).sum()
    });
    let busy = accepted.iter().filter(|ends| !ends.is_empty()).count();
    assert!(busy > 1, "{accepted:?}");
    for (worker, servers) in workers.iter_mut().zip(accepted) {
        let of_worker = format!("local_port={}&pid={}", address.port(), worker.pid());
        let count = servers.len() as u64;
        for pair in matched_of(&clients, servers) {
            client.send(&pair.client, 3, 3);
            worker.receive(&pair.server, 3, 3);
            assert_eq!(owner(&agent.open(&pair.server)), exact(worker));
            assert_eq!(owner(&agent.open(&pair.client)), exact(&client));
        }
        assert_eq!(agent.connz(&of_worker).total, count);
    }
}

/// Those pairs whose accepted ends are these.
fn matched_of(clients: &[End], servers: Vec<End>) -> Vec<Pair> {
    let peers: HashSet<SocketAddr> = servers.iter().map(|end| end.peer).collect();
    let clients = clients.iter().copied();
    matched(
        clients.filter(|end| peers.contains(&end.local)).collect(),
        servers,
    )
}

#[test]
fn threads_have_the_name_of_their_process() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let moved = two.server.moved(&Command::SendFromThread {
        id: pair.server.id,
        bytes: 12,
        name: "some-thread".into(),
    });
    assert_eq!(moved.out_bytes, 12);
    two.client.receive(&pair.client, 12, 12);
    assert_eq!(owner(&agent.open(&pair.server)), exact(&two.server));
    assert_eq!(agent.connz("comm=some-thread&state=all").total, 0);
}
