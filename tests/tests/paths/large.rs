//! Much data, and many threads.

use conn_trace_tests::{
    agent::Agent,
    pair::Two,
    protocol::{Command, Counts, ReceiveWay, Reply, Way},
};

use crate::{compare::Differences, rules};

const MIB: u64 = 1 << 20;

/// Both directions at the same time; each sequence number comes round.
fn both_directions(path: &str, bytes: u64, ways: [(Way, ReceiveWay); 2]) {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let [(way, receive_way), (back_way, back_receive_way)] = ways;
    two.server.tell(&Command::Exchange {
        id: pair.server.id,
        send: bytes,
        way: back_way,
        receive: bytes,
        receive_way,
    });
    let client = two.client.moved(&Command::Exchange {
        id: pair.client.id,
        send: bytes,
        way,
        receive: bytes,
        receive_way: back_receive_way,
    });
    let Reply::Moved(server) = two.server.reply() else {
        panic!("{path}: the server failed");
    };
    for counts in [client, server] {
        assert_eq!((counts.in_bytes, counts.out_bytes), (bytes, bytes));
    }
    let expected = [(client, way), (server, back_way)].map(|(counts, way)| Counts {
        out_calls: rules::sent(way, bytes, counts.out_calls),
        ..counts
    });
    let mut differences = Differences::new(path);
    differences.compare(&agent, &mut two, &pair, expected.into(), path);
    differences.assert_none();
}

#[test]
fn more_bytes_than_32_bits_hold_both_ways() {
    both_directions(
        "4 GiB both ways",
        (1 << 32) + 12_345,
        [
            (Way::Sendfile, ReceiveWay::Truncate),
            (Way::Send { chunk: MIB }, ReceiveWay::Truncate),
        ],
    );
}

#[test]
fn sixteen_senders_and_four_readers_both_ways() {
    let threads = (Way::Threads { count: 16 }, ReceiveWay::Threads { count: 4 });
    both_directions("16 senders, 4 readers", 50 * MIB, [threads, threads]);
}
