//! TCP Fast Open: data before the end of the handshake.

use conn_trace_tests::{
    agent::Agent,
    netns::Namespace,
    pair::{Two, matched},
    protocol::{Command, Counts, Reply},
    skip::skip,
};

use crate::compare::Differences;

const BYTES: u64 = 22;
/// Documentation/networking/ip-sysctl.rst, `tcp_fastopen`: client and server.
const WITH_COOKIE: u32 = 0x3;
/// The same, and neither asks for a cookie.
const WITHOUT_COOKIE: u32 = 0x3 | 0x4 | 0x200;

/// Opens a connection by this command, in which the SYN carries data or does not.
#[track_caller]
fn open(agent: &Agent, two: &mut Two, command: &Command, in_syn: bool) {
    let path = format!("{command:?}, data in the SYN: {in_syn}");
    let client = two.client.ends(command);
    let pair = matched(client, two.server.accept(1))[0];
    two.server.receive(&pair.server, BYTES, 100);
    let id = pair.client.id;
    let reply = two.client.ask(&Command::SentDataInSyn { id });
    assert!(
        matches!(reply, Reply::Count(count) if count == u64::from(in_syn)),
        "{path}: {reply:?}"
    );
    let row = agent.open(&pair.client);
    assert_eq!((&*row.direction, row.pid), ("out", Some(two.client.pid())));
    assert_eq!(agent.open(&pair.server).direction, "in");
    // Both directions go on as usual.
    two.forth(&pair, 1000, 300);
    two.back(&pair, 70, 70);
    let (client, server) = two.reports(&pair);
    let expected = Counts {
        in_bytes: 70,
        out_bytes: 1000 + BYTES,
        in_calls: 1,
        out_calls: 5,
    };
    assert_eq!(client, expected, "the client's own count");
    let mut differences = Differences::new(&path);
    differences.compare(agent, two, &pair, (client, server), &path);
    differences.assert_none();
}

fn in_namespace(test: &str, setting: u32, actions: impl FnOnce(&Agent, &mut Two)) {
    let Some(namespace) = Namespace::new(test) else {
        skip(test, "no network namespace can be made");
        return;
    };
    let command = format!("echo {setting} > /proc/sys/net/ipv4/tcp_fastopen");
    assert!(namespace.run("sh", &["-c", &command]));
    let agent = Agent::start();
    let (client, server) = (namespace.peer("client"), namespace.peer("server"));
    let mut two = Two::of(client, server, "127.0.0.1:0");
    two.server.done(&Command::AllowFastOpen);
    actions(&agent, &mut two);
}

fn by_sending(two: &Two) -> Command {
    let (address, bytes) = (two.address, BYTES);
    Command::ConnectWithData { address, bytes }
}

fn lazily(two: &Two) -> Command {
    let (address, bytes) = (two.address, BYTES);
    Command::ConnectLazily { address, bytes }
}

#[test]
fn connection_opened_by_sending_to_who_does_not_take_it() {
    let agent = Agent::start();
    let mut two = Two::start();
    let command = by_sending(&two);
    open(&agent, &mut two, &command, false);
}

#[test]
fn connection_opened_by_sending() {
    in_namespace("fast-send", WITH_COOKIE, |agent, two| {
        let command = by_sending(two);
        // The first one only fetches the cookie.
        open(agent, two, &command, false);
        open(agent, two, &command, true);
        open(agent, two, &command, true);
    });
}

#[test]
fn connection_opened_by_the_first_write() {
    in_namespace("fast-write", WITH_COOKIE, |agent, two| {
        let command = lazily(two);
        open(agent, two, &command, false);
        open(agent, two, &command, true);
        open(agent, two, &command, true);
    });
}

#[test]
fn connection_opened_with_data_and_without_cookie() {
    in_namespace("fast-bare", WITHOUT_COOKIE, |agent, two| {
        let command = by_sending(two);
        open(agent, two, &command, true);
        let command = lazily(two);
        open(agent, two, &command, true);
    });
}
