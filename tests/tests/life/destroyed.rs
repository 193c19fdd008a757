//! Connections that an administrator ends: `ss --kill`, which is SOCK_DESTROY of sock_diag(7).

use std::path::PathBuf;

use conn_trace_tests::{
    agent::Agent,
    held::{Gone, Held, connecting, new_socket},
    link::Link,
    protocol::Counts,
    skip::{installed, skip},
    wait::eventually_equal,
};

use crate::NO_NAMESPACE;

/// A link, and a connection across that a kill ends; `None` with the reason said.
struct Killer {
    ss: PathBuf,
    link: Link,
}

impl Killer {
    fn new(test: &str) -> Option<Self> {
        let [ss] = installed(test, ["ss"])?;
        let Some(link) = Link::new("kill") else {
            skip(test, NO_NAMESPACE);
            return None;
        };
        let killer = Self { ss, link };
        let (client, _server) = killer.link.pair();
        killer.kill(&client.end.local.to_string());
        // Without CONFIG_INET_DIAG_DESTROY nothing happens and no error is reported.
        if client.socket.take_error().expect("an option").is_none() {
            skip(test, "the kernel does not end sockets on request");
            return None;
        }
        Some(killer)
    }

    /// Ends the near host's sockets with this address.
    fn kill(&self, local: &str) {
        let near = &self.link.near.namespace;
        // It lists what it ends.
        let ss = self.ss.display();
        let command = format!("{ss} --tcp --kill state all src {local} > /dev/null");
        assert!(near.run("sh", &["-c", &command]));
    }
}

#[test]
fn connection_ended_by_an_administrator_is_aborted_once() {
    let Some(killer) = Killer::new("connection_ended_by_an_administrator_is_aborted_once") else {
        return;
    };
    let agent = Agent::start();
    let (mut client, mut server) = killer.link.pair();
    client.send(100);
    server.receive(70);
    server.send(40);
    client.receive(10);
    killer.kill(&client.end.local.to_string());
    eventually_equal("open rows", &0, || agent.rows_of(&client.end, "open").len());
    let error = client.receive_once(1);
    let row = client.close().closed(&agent, "aborted");
    assert_eq!(row.reason.as_deref(), Some("Kicked"), "{error:?}");
    // What had arrived before the reset can be read.
    server.receive(30);
    server.close().closed(&agent, "peer_reset");
}

#[test]
fn connect_ended_by_an_administrator_is_aborted_once() {
    let Some(killer) = Killer::new("connect_ended_by_an_administrator_is_aborted_once") else {
        return;
    };
    let agent = Agent::start();
    killer.link.cut();
    let address = (killer.link.far.address, 7010).into();
    let socket = killer.link.near.namespace.inside(|| new_socket(address));
    let gone = Gone {
        end: connecting(&socket, address),
        counts: Counts::default(),
    };
    assert_eq!(agent.open(&gone.end).state, "SYN_SENT");
    killer.kill(&gone.end.local.to_string());
    gone.closed(&agent, "aborted");
    drop(socket);
    gone.closed(&agent, "aborted");
}

#[test]
fn orphan_ended_by_an_administrator_is_aborted_once() {
    let Some(killer) = Killer::new("orphan_ended_by_an_administrator_is_aborted_once") else {
        return;
    };
    let agent = Agent::start();
    let (mut client, server): (Held, Held) = killer.link.pair();
    client.fill();
    let client = client.close();
    assert_eq!(agent.open(&client.end).state, "FIN_WAIT1");
    killer.kill(&client.end.local.to_string());
    let row = client.closed(&agent, "aborted");
    assert!(row.pending_bytes > 0);
    eventually_equal("open rows", &0, || agent.rows_of(&server.end, "open").len());
    server.close().closed(&agent, "peer_reset");
}
