//! Paging and filtering, against what the processes know of their connections.

use std::collections::BTreeSet;

use conn_trace_tests::{
    agent::Agent,
    connz::Row,
    moved::{Moved, ports},
    pair::Two,
};

#[test]
fn pages_are_the_whole_list_in_parts() {
    let agent = Agent::start();
    let moved = Moved::new();
    let query = moved.query();
    // The connections were opened one after the other.
    let expected: Vec<_> = moved
        .pairs
        .iter()
        .map(|(pair, _)| pair.client.local.port())
        .collect();
    assert_eq!(ports(&agent.rows(&query)), expected);
    for limit in [1_usize, 7, 20, 49, 50, 51, 1000] {
        for sort in ["cid", "bytes_to", "inMsgDesc", "subs"] {
            let whole = ports(&agent.rows(&format!("{query}&sort={sort}")));
            let mut walked = Vec::new();
            loop {
                let offset = walked.len();
                let page = agent.connz(&format!(
                    "{query}&sort={sort}&offset={offset}&limit={limit}"
                ));
                assert_eq!((page.offset, page.limit), (offset as u64, limit as u64));
                assert_eq!((page.total, page.num_connections), (50, 50));
                assert_eq!(page.connections.len(), limit.min(50 - offset));
                if page.connections.is_empty() {
                    break;
                }
                walked.extend(ports(&page.connections));
            }
            assert_eq!(walked, whole, "limit {limit} sort {sort}");
        }
    }
    // A page without a limit, and one with none that makes sense, has 20 rows.
    for limit in ["", "&limit=0", "&limit=-1", "&limit=-9223372036854775808"] {
        let page = agent.connz(&format!("{query}{limit}"));
        assert_eq!((page.limit, page.connections.len()), (20, 20), "{limit}");
        assert_eq!(ports(&page.connections), expected[..20]);
    }
    // Behind the end, as far as the numbers go.
    for offset in ["50", "51", "1000000", "9223372036854775807"] {
        for limit in ["1", "9223372036854775807"] {
            let page = agent.connz(&format!("{query}&offset={offset}&limit={limit}"));
            assert_eq!((page.total, page.connections.len()), (50, 0));
            assert_eq!(page.offset.to_string(), offset);
            assert_eq!(page.limit.to_string(), limit);
        }
    }
    let page = agent.connz(&format!("{query}&offset=49&limit=9223372036854775807"));
    assert_eq!(ports(&page.connections), expected[49..]);
}

#[test]
fn filters_find_exactly_what_they_name() {
    let agent = Agent::start();
    let mut two = Two::start_on("0.0.0.0:0");
    let port = two.address.port();
    for last in [1, 2, 3] {
        let address = format!("127.0.0.{last}:{port}")
            .parse()
            .expect("an address");
        two.open_to(address, last);
    }
    let ends = |query: &str| {
        let rows = agent.rows(query);
        let ours = rows
            .iter()
            .filter(|row| row.port == port || row.local_port == port);
        let ends: BTreeSet<_> = ours.map(Row::tuple).collect();
        ends.len()
    };
    let (client, server) = (two.client.pid(), two.server.pid());
    for (query, count) in [
        (format!("port={port}"), 6),
        (format!("local_port={port}"), 6),
        (format!("port={}-{}", port - 1, port), 6),
        (format!("port=1,{port}"), 6),
        (format!("port=1-{}&direction=out", port - 1), 0),
        (format!("port={port}&local_port={port}"), 0),
        (format!("ip=127.0.0.2&port={port}"), 2),
        (format!("local_ip=127.0.0.3&local_port={port}"), 3),
        (format!("ip=127.0.0.0/8&port={port}"), 6),
        (format!("ip=127.0.0.2/31&port={port}"), 5),
        (format!("ip=::1&port={port}"), 0),
        (format!("ip=::ffff:127.0.0.2&port={port}"), 2),
        (format!("pid={client}"), 6),
        (format!("pid={server}"), 0),
        (format!("pid={client}&direction=in"), 0),
        (format!("direction=in&local_port={port}"), 6),
        (format!("direction=out&port={port}"), 6),
        (format!("direction=unknown&port={port}"), 0),
        (format!("comm=client&port={port}"), 6),
        (format!("comm=clien&port={port}"), 0),
        (format!("comm=cli*&port={port}"), 6),
        (format!("comm=*&port={port}"), 6),
        (format!("uid=root&port={port}"), 6),
        (format!("uid=0&port={port}"), 6),
        (format!("uid=nobody&port={port}"), 0),
        (format!("state=established&port={port}"), 6),
        (format!("state=ESTAB&port={port}"), 6),
        (format!("state=close_wait&port={port}"), 0),
        (format!("state=closed&port={port}"), 0),
        (format!("state=any&port={port}"), 6),
        (format!("service=none&port={port}"), 0),
        (format!("netns=1&port={port}"), 0),
        (format!("unknown=1&port={port}"), 6),
    ] {
        assert_eq!(ends(&query), count, "{query}");
    }
    let row = agent.rows(&format!("port={port}")).remove(3);
    let by_cid = agent.rows(&format!("cid={}", row.cid));
    assert_eq!(
        by_cid.iter().map(Row::tuple).collect::<Vec<_>>(),
        [row.tuple()]
    );
    assert_eq!(ends(&format!("netns={}&port={port}", row.netns)), 6);
    assert_eq!(
        ends(&format!("port={port}&cid={}&ip=127.0.0.1", row.cid)),
        0
    );
}

#[test]
fn own_connections_are_shown_on_request() {
    let agent = Agent::start();
    let port = agent.address.port();
    let ours = agent.rows(&format!("local_port={port}"));
    assert_eq!(ours, [], "the agent's end");
    let ours = agent.rows(&format!("local_port={port}&self=1"));
    assert_eq!(ours.len(), 1, "{ours:#?}");
    assert_eq!(ours[0].pid, Some(agent.pid()));
    // The other end of the same connection belongs to this test.
    let ours = agent.rows(&format!("port={port}"));
    assert_eq!(
        ours.iter().map(|row| row.pid).collect::<Vec<_>>(),
        [Some(std::process::id())]
    );
}
