//! Interrupts while a program runs. On loopback a segment is received in the call that sent it; with
//! receive packet steering another CPU receives it, in an interrupt of whatever runs there.

use std::{num::NonZero, thread};

use conn_trace_tests::{
    agent::Agent,
    connz::Row,
    netns::Namespace,
    pair::Two,
    protocol::{Command, Counts},
    skip::skip,
    slowness::fewer,
    wait::eventually_equal,
};

const TEST: &str = "changes_of_state_that_interrupt_each_other_are_all_seen";
const FORTH: usize = 3;
const BACK: usize = 5;

#[test]
fn changes_of_state_that_interrupt_each_other_are_all_seen() {
    let Some(namespace) = Namespace::new("steered") else {
        skip(TEST, "no network namespace can be made");
        return;
    };
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    let mask = u32::MAX >> (32 - cpus.min(32));
    let steer = format!("echo {mask:x} > /sys/class/net/lo/queues/rx-0/rps_cpus");
    if !namespace.run("sh", &["-c", &steer]) {
        skip(TEST, "the kernel has no receive packet steering");
        return;
    }
    let count = fewer(20_000, 2000);
    let agent = Agent::start();
    let mut two = Two::of(
        namespace.peer("client"),
        namespace.peer("server"),
        "127.0.0.1:0",
    );
    let port = two.address.port();
    two.server.tell(&Command::ServeShort {
        count,
        read: FORTH,
        write: BACK,
    });
    let client = two.client.counts(&Command::ConnectShort {
        addresses: vec![two.address],
        count,
        write: FORTH,
        read: BACK,
    });
    let server = two.server.counted();
    assert_eq!(client.out_bytes, u64::from(count) * FORTH as u64);

    // Other programs of the host have ports of the same number.
    let here = format!("netns={}", namespace.inode());
    for end in ["port", "local_port"] {
        eventually_equal("rows that are left", &Vec::<String>::new(), || {
            let query = format!("{here}&{end}={port}&limit=5");
            let left = agent.connz(&query).connections;
            left.iter().map(|row| format!("{row:?}")).collect()
        });
    }
    let losses = agent.varz().conn_trace.losses;
    assert_eq!(losses.missed_runs, 0, "{losses:?}");
    for (end, counted) in [("port", client), ("local_port", server)] {
        let rows = agent.rows(&format!("state=closed&{here}&{end}={port}"));
        assert_eq!(rows.len(), count as usize, "{end}");
        let sum = rows.iter().map(Row::counts).reduce(Counts::plus);
        assert_eq!(sum, Some(counted), "{end}");
    }
    agent.stop();
}
