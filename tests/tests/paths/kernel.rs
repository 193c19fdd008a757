//! Connections whose bytes the kernel changes, and connections of the kernel itself.

use std::{net::Ipv4Addr, thread};

use conn_trace_tests::{
    agent::Agent,
    pair::Two,
    peer::Peer,
    protocol::{Command, End, Reply, Special, Way},
    skip::skip,
};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};

use crate::{compare::Differences, rules};

/// Plaintext of a full TLS record (RFC 8446, 5.1).
const RECORD_BYTES: u64 = 1 << 14;
/// Around each record of TLS 1.2 with AES-GCM: header, explicit nonce (RFC 5288), tag.
const AROUND_RECORD_BYTES: u64 = 5 + 8 + 16;

/// What went over the wire for a send of so much.
fn on_the_wire(bytes: u64) -> u64 {
    bytes + bytes.div_ceil(RECORD_BYTES) * AROUND_RECORD_BYTES
}

/// Bytes are TCP's own, that is encrypted records; messages are the program's calls.
#[test]
fn kernel_tls_shows_the_bytes_of_its_records() {
    const TEST: &str = "kernel_tls_shows_the_bytes_of_its_records";
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    // In the clear before: what a handshake would be.
    two.forth(&pair, 100, 100);
    let (client, server) = two.reports(&pair);
    let clear = client.plus(server);
    let special = Special::KernelTls;
    let id = pair.client.id;
    let command = Command::Special { id, special };
    let reply = two.client.ask(&command);
    if let Reply::Failed { errno, message } = reply {
        assert_eq!(Errno::from_raw(errno), Errno::ENOENT, "{message}");
        skip(TEST, "the kernel lacks TLS (tls) or AES-GCM (gcm): ENOENT");
        return;
    }
    let id = pair.server.id;
    two.server.moved(&Command::Special { id, special });
    let mut wire = 100;
    for bytes in [1, 1000, RECORD_BYTES, 40_000] {
        let receive = Command::Receive {
            id,
            bytes,
            chunk: 100_000,
        };
        two.server.tell(&receive);
        two.client
            .send_by(&pair.client, bytes, Way::Send { chunk: bytes });
        two.server.reply();
        wire += on_the_wire(bytes);
    }
    let (mut client, mut server) = two.reports(&pair);
    (client.out_bytes, server.in_bytes) = (wire, wire);
    if !rules::sees_calls_of_kernel_tls() {
        (client.out_calls, server.in_calls) = (clear.out_calls, clear.in_calls);
    }
    let expected = (client, server);
    let mut differences = Differences::new(TEST);
    differences.compare(&agent, &mut two, &pair, expected, "kernel TLS");
    differences.assert_none();
}

/// The kernel's NFS client connects by itself, and first makes an RPC call without arguments.
#[test]
fn connection_of_the_kernel_is_the_kernels() {
    const TEST: &str = "connection_of_the_kernel_is_the_kernels";
    /// RFC 5531: record mark, six words of call header, and two empty authenticators of two words.
    const CALL_BYTES: u64 = 4 * (1 + 6 + 4);
    // Without an address to connect to: EINVAL where there is NFS.
    let nowhere: Option<&str> = None;
    let outcome = mount(nowhere, "/", Some("nfs4"), MsFlags::empty(), nowhere);
    if outcome == Err(Errno::ENODEV) {
        skip(TEST, "the kernel has no client of its own (nfs4: ENODEV)");
        return;
    }
    let agent = Agent::start();
    let mut server = Peer::start("server");
    let address = server.listen("127.0.0.1:0");
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().to_owned();
    // Waits for an answer that never comes, until it gives up or this process ends.
    thread::spawn(move || {
        let ip = Ipv4Addr::LOCALHOST;
        let port = address.port();
        let options = format!(
            "vers=4.2,proto=tcp,addr={ip},clientaddr={ip},port={port},soft,timeo=10,retrans=1"
        );
        let source = format!("{ip}:/");
        mount(
            Some(&*source),
            &path,
            Some("nfs4"),
            MsFlags::empty(),
            Some(&*options),
        )
    });
    let end = server.accept(1)[0];
    server.receive(&end, CALL_BYTES, CALL_BYTES);
    let row = agent.open(&End {
        local: end.peer,
        peer: end.local,
        ..end
    });
    assert_eq!(
        (&*row.owner, &*row.direction),
        ("kernel", "out"),
        "{row:#?}"
    );
    assert_eq!(row.out_bytes, CALL_BYTES, "{row:#?}");
    assert_eq!(row.out_msgs, 1, "{row:#?}");
}
