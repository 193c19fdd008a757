//! A connection lives as long as the last descriptor of it, whoever has that.

use std::{
    io::{IoSlice, IoSliceMut, Write},
    os::fd::{AsRawFd, OwnedFd},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
};

use conn_trace_tests::{
    agent::Agent,
    held::{Gone, Held},
    pair::Two,
    protocol::{self, Counts},
    wait::eventually_equal,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use socket2::Socket;

/// The client's end, and the one that this test does nothing with but read.
fn opened(agent: &Agent) -> (Held, Held) {
    let (mut client, mut server) = Held::pair();
    client.send(100);
    server.receive(100);
    client.open(agent);
    (client, server)
}

/// The last descriptor was closed just now.
#[track_caller]
fn assert_closed_now(agent: &Agent, client: Gone, mut server: Held) {
    assert_eq!(server.receive_to_end(), 0);
    server.close().closed(agent, "peer_fin");
    client.closed(agent, "local_fin");
}

#[test]
fn duplicate_of_a_descriptor_is_the_same_connection() {
    let agent = Agent::start();
    let (mut client, mut server) = opened(&agent);
    let cid = client.open(&agent).cid;
    let other = client.socket.try_clone().expect("a descriptor");
    client.socket = other;
    // The first one is closed by now.
    client.send(11);
    server.receive(11);
    let row = client.wait_for_state(&agent, "ESTABLISHED");
    assert_eq!((row.cid, agent.rows_of(&client.end, "any").len()), (cid, 1));
    assert_closed_now(&agent, client.close(), server);
}

/// A process that has inherited the socket as its standard output, and copies its input there.
fn inherited(client: &Held) -> Child {
    let socket: OwnedFd = client.socket.try_clone().expect("a descriptor").into();
    Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::from(socket))
        .spawn()
        .expect("cat")
}

#[test]
fn child_that_inherited_a_connection_keeps_it_open() {
    let agent = Agent::start();
    let (client, mut server) = opened(&agent);
    let mut child = inherited(&client);
    let mut client = client.close();
    let row = agent.open(&client.end);
    assert_eq!(row.state, "ESTABLISHED");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(&[b'i'; 23]).expect("the child reads");
    server.receive(23);
    client.counts = client.counts.plus(Counts {
        out_bytes: 23,
        out_calls: 1,
        ..Counts::default()
    });
    eventually_equal("the child's message", &client.counts, || {
        agent.open(&client.end).counts()
    });
    assert_eq!(agent.rows_of(&client.end, "any").len(), 1);
    drop(input);
    child.wait().expect("its end");
    assert_closed_now(&agent, client, server);
}

#[test]
fn last_holder_that_is_killed_ends_the_connection() {
    let agent = Agent::start();
    let (client, mut server) = opened(&agent);
    let mut child = inherited(&client);
    let client = client.close();
    assert_eq!(agent.open(&client.end).state, "ESTABLISHED");
    child.kill().expect("a signal");
    child.wait().expect("its end");
    assert_eq!(server.receive_to_end(), 0);
    server.close().closed(&agent, "peer_fin");
    let row = client.closed(&agent, "killed");
    assert_eq!(row.reason.as_deref(), Some("Client Shutdown"));
}

#[test]
fn child_that_is_killed_ends_nothing_that_its_parent_has() {
    let agent = Agent::start();
    let (client, server) = opened(&agent);
    let mut child = inherited(&client);
    child.kill().expect("a signal");
    child.wait().expect("its end");
    client.wait_for_state(&agent, "ESTABLISHED");
    assert_closed_now(&agent, client.close(), server);
}

/// Puts the descriptor into the queue of a Unix socket.
fn pass(to: &UnixStream, socket: &Socket) {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [std::os::fd::AsFd::as_fd(socket)];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(
        to,
        &[IoSlice::new(b"!")],
        &mut ancillary,
        SendFlags::empty(),
    )
    .expect("sent");
}

/// Takes it out again.
fn take(from: &UnixStream) -> Socket {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(from, &mut parts, &mut ancillary, flags).expect("received");
    let passed = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Socket::from(passed.expect("a descriptor"))
}

#[test]
fn connection_lives_on_while_its_only_descriptor_is_passed() {
    let agent = Agent::start();
    let (client, mut server) = opened(&agent);
    let cid = client.open(&agent).cid;
    let (giver, taker) = UnixStream::pair().expect("sockets");
    pass(&giver, &client.socket);
    let given = client.close();
    // Nobody has it now.
    server.send(50);
    let row = agent.open(&given.end);
    assert_eq!((row.cid, &*row.state), (cid, "ESTABLISHED"));
    assert_eq!(row.recv_queue_bytes, 50);
    let mut client = Held::of(take(&taker));
    client.counts = given.counts;
    client.receive(50);
    client.send(60);
    server.receive(60);
    assert_eq!(client.open(&agent).cid, cid);
    assert_eq!(agent.rows_of(&client.end, "any").len(), 1);
    assert_closed_now(&agent, client.close(), server);
}

#[test]
fn connection_that_nobody_takes_ends_with_the_unix_socket() {
    let agent = Agent::start();
    let (client, server) = opened(&agent);
    let (giver, taker) = UnixStream::pair().expect("sockets");
    pass(&giver, &client.socket);
    let client = client.close();
    drop(giver);
    assert_eq!(agent.open(&client.end).state, "ESTABLISHED");
    drop(taker);
    assert_closed_now(&agent, client, server);
}

#[test]
fn number_of_a_descriptor_used_again_is_another_connection() {
    let agent = Agent::start();
    let (client, server) = opened(&agent);
    let first = client.open(&agent);
    let number = client.socket.as_raw_fd();
    assert_closed_now(&agent, client.close(), server);
    let (next, server) = opened(&agent);
    assert_eq!(
        next.socket.as_raw_fd(),
        number,
        "the kernel gives the lowest"
    );
    let second = next.open(&agent);
    assert!(second.cid > first.cid && second.start > first.start);
    assert_closed_now(&agent, next.close(), server);
}

#[test]
fn every_deadly_signal_is_told_from_a_close() {
    let agent = Agent::start();
    for signal in [Signal::SIGTERM, Signal::SIGALRM, Signal::SIGUSR1] {
        let mut two = Two::start();
        let pair = two.open();
        two.forth(&pair, 100, 100);
        let client = Gone {
            end: pair.client,
            counts: two.client.report(&pair.client),
        };
        let pid = Pid::from_raw(i32::try_from(two.client.pid()).expect("a process id"));
        kill(pid, signal).expect("the peer runs");
        two.server.receive_to_end(&pair.server);
        let row = client.closed(&agent, "killed");
        assert_eq!(row.pid, Some(two.client.pid()));
    }
}

#[test]
fn process_killed_while_it_sends_leaves_what_it_sent() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    let filled = two.client.moved(&protocol::Command::Fill {
        id: pair.client.id,
        bytes: 1 << 30,
    });
    // It waits for room when the signal comes.
    two.client
        .tell(&protocol::Command::SendUntilError { id: pair.client.id });
    two.client.wait_until_blocked();
    let written = agent.open(&pair.client).out_bytes;
    assert!(written >= filled.out_bytes);
    two.client.kill();
    let orphan = agent.open(&pair.client);
    assert_eq!((&*orphan.state, orphan.out_bytes), ("FIN_WAIT1", written));
    let read = two.server.receive_to_end(&pair.server);
    assert_eq!(read.in_bytes, written);
    two.server.close(&[pair.server]);
    let row = agent.closed(&pair.client);
    assert_eq!(row.close_cause.as_deref(), Some("killed"), "{row:#?}");
    assert_eq!((row.out_bytes, row.pending_bytes), (written, 0));
    assert_eq!(agent.closed(&pair.server).in_bytes, written);
}
