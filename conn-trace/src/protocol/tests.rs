//! What real programs have sent first, as captured on a socket; QuickFIX's logon is made after its log.

use proptest::prelude::*;

use super::{Finding, Identity, Protocol, Sender, Text, identify};

macro_rules! sample {
    ($name:literal) => {
        include_bytes!(concat!("../../../fuzz/corpus/protocol/", $name)).as_slice()
    };
}

/// A sample, who sent it, and what it says: protocol, version, and the rest as JSON.
type Case = (&'static [u8], Sender, Protocol, &'static str, &'static str);

const CASES: [Case; 24] = [
    (
        sample!("http1_curl"),
        Sender::Client,
        Protocol::Http,
        "1.1",
        r#"{"software":"curl/7.88.1"}"#,
    ),
    (
        sample!("http10_curl"),
        Sender::Client,
        Protocol::Http,
        "1.0",
        r#"{"software":"curl/7.88.1"}"#,
    ),
    (
        sample!("http2_curl"),
        Sender::Client,
        Protocol::Http,
        "2",
        r#"{"software":"curl/7.88.1"}"#,
    ),
    (
        sample!("grpc_python"),
        Sender::Client,
        Protocol::Grpc,
        "2",
        r#"{"software":"grpc-python/1.85.3 grpc-c/58.0.0 (linux; chttp2)"}"#,
    ),
    (
        sample!("tls13_curl"),
        Sender::Client,
        Protocol::Tls,
        "1.3",
        r#"{"server_name":"example.org","alpn":"h2,http/1.1"}"#,
    ),
    (
        sample!("tls13_openssl"),
        Sender::Client,
        Protocol::Tls,
        "1.3",
        "{}",
    ),
    (
        sample!("tls12_openssl"),
        Sender::Client,
        Protocol::Tls,
        "1.2",
        r#"{"server_name":"a.example","alpn":"h2,http/1.1"}"#,
    ),
    (
        sample!("server_tls13"),
        Sender::Server,
        Protocol::Tls,
        "1.3",
        "{}",
    ),
    (
        sample!("server_tls12"),
        Sender::Server,
        Protocol::Tls,
        "1.2",
        r#"{"alpn":"http/1.1"}"#,
    ),
    (
        sample!("ssh_openssh"),
        Sender::Client,
        Protocol::Ssh,
        "2.0",
        r#"{"software":"OpenSSH_9.2p1 Debian-2+deb12u10"}"#,
    ),
    (
        sample!("ssh_openssh"),
        Sender::Server,
        Protocol::Ssh,
        "2.0",
        r#"{"software":"OpenSSH_9.2p1 Debian-2+deb12u10"}"#,
    ),
    (
        sample!("fix_FIX44"),
        Sender::Client,
        Protocol::Fix,
        "FIX.4.4",
        r#"{"sender_comp_id":"DESK","target_comp_id":"VENUE"}"#,
    ),
    (
        sample!("fix_FIXT11"),
        Sender::Server,
        Protocol::Fix,
        "FIXT.1.1",
        r#"{"sender_comp_id":"DESK","target_comp_id":"VENUE"}"#,
    ),
    (
        sample!("nats_py"),
        Sender::Client,
        Protocol::Nats,
        "2.16.0",
        "{}",
    ),
    (
        sample!("server_nats"),
        Sender::Server,
        Protocol::Nats,
        "2.9.10",
        "{}",
    ),
    (
        sample!("mqtt31"),
        Sender::Client,
        Protocol::Mqtt,
        "3.1",
        r#"{"client_id":"sensor-7"}"#,
    ),
    (
        sample!("mqtt311"),
        Sender::Client,
        Protocol::Mqtt,
        "3.1.1",
        r#"{"client_id":"sensor-7"}"#,
    ),
    (
        sample!("mqtt5"),
        Sender::Client,
        Protocol::Mqtt,
        "5.0",
        r#"{"client_id":"sensor-7"}"#,
    ),
    (
        sample!("server_mqtt311"),
        Sender::Server,
        Protocol::Mqtt,
        "",
        "{}",
    ),
    (
        sample!("server_mqtt5"),
        Sender::Server,
        Protocol::Mqtt,
        "5.0",
        "{}",
    ),
    (
        sample!("redis_cli2"),
        Sender::Client,
        Protocol::Redis,
        "2",
        "{}",
    ),
    (
        sample!("redis_cli3"),
        Sender::Client,
        Protocol::Redis,
        "3",
        "{}",
    ),
    (
        sample!("psql"),
        Sender::Client,
        Protocol::Postgresql,
        "3.0",
        r#"{"user":"alice","database":"books","application":"psql"}"#,
    ),
    (
        sample!("psql_tls"),
        Sender::Client,
        Protocol::Postgresql,
        "3.0",
        r#"{"user":"alice","database":"books","application":"psql"}"#,
    ),
];

fn whole(bytes: &[u8], sender: Sender) -> Identity {
    match identify(bytes, sender) {
        Finding::Whole(identity) => identity,
        other => panic!("{other:?}"),
    }
}

fn text(text: Option<&Text>) -> &str {
    text.map_or("", Text::as_str)
}

#[test]
fn real_programs_are_told_apart() {
    for (bytes, sender, protocol, version, peer) in CASES {
        let found = whole(bytes, sender);
        let said = serde_json::to_string(&found.peer).expect("JSON");
        let all = (found.protocol, text(found.version.as_ref()), &*said);
        assert_eq!(all, (protocol, version, peer));
    }
}

#[test]
fn however_it_is_cut_it_is_nothing_else() {
    for (bytes, sender, protocol, ..) in CASES {
        let last = whole(bytes, sender);
        for len in 1..bytes.len() {
            match identify(&bytes[..len], sender) {
                Finding::TooFew => {}
                // HTTP/2 carries gRPC.
                Finding::SoFar(found) if found.protocol == Protocol::Http => {
                    assert!(matches!(protocol, Protocol::Http | Protocol::Grpc), "{len}");
                }
                Finding::SoFar(found) => assert_eq!(found.protocol, protocol, "{len}"),
                Finding::Whole(found) => assert_eq!(found, last, "{len} of {protocol:?}"),
                Finding::Nothing => panic!("{protocol:?} is nothing after {len} bytes"),
            }
        }
    }
}

#[test]
fn what_comes_behind_changes_nothing() {
    for (bytes, sender, ..) in CASES {
        for behind in [b"\x40\x02\x00\x01".as_slice(), b"\x16\x09\xff\xff\xff"] {
            let more = [bytes, behind].concat();
            assert_eq!(whole(&more, sender), whole(bytes, sender));
        }
    }
}

#[test]
fn a_nats_client_says_who_it_is_and_its_password_is_not_kept() {
    let client = whole(sample!("nats_py"), Sender::Client);
    let said = (text(client.name.as_ref()), text(client.lang.as_ref()));
    assert_eq!(said, ("orders-1", "python3"));
    assert!(!format!("{client:?}").contains("secret"));
    let server = whole(sample!("server_nats"), Sender::Server);
    assert!(text(server.name.as_ref()).starts_with('N'), "{server:?}");
    let mqtt = whole(sample!("mqtt5"), Sender::Client);
    assert!(!format!("{mqtt:?}").contains("secret"));
}

#[test]
fn what_psql_wants_to_encrypt_is_postgresql_still() {
    let found = whole(sample!("psql_tls_yes"), Sender::Client);
    assert_eq!(
        (found.protocol, found.version),
        (Protocol::Postgresql, None)
    );
}

#[test]
fn requests_over_http() {
    let request = |headers: &str| {
        let bytes = format!("POST /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let found = whole(bytes.as_bytes(), Sender::Client);
        (found.protocol, text(found.version.as_ref()).to_owned())
    };
    let of = |protocol, version: &str| (protocol, version.to_owned());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    assert_eq!(request(upgrade), of(Protocol::WebSocket, "13"));
    let unary = "Content-Type: application/json\r\nConnect-Protocol-Version: 1\r\n";
    assert_eq!(request(unary), of(Protocol::Connect, "1.1"));
    let stream = "Content-Type: application/connect+proto\r\n";
    assert_eq!(request(stream), of(Protocol::Connect, "1.1"));
    let many = "A: b\r\n".repeat(100);
    assert_eq!(request(&many), of(Protocol::Http, "1.1"));
}

#[test]
fn what_is_none_of_them_is_nothing() {
    for bytes in [
        b"hello\n".as_slice(),
        b"SSH-x-y\n",
        b"SSH-2.0\n",
        b"8=FIX.4\x01",
        b"8=FIXX.4.4\x019=5\x01",
        b"CONNECT {not json}\r\n",
        b"CONNECTED {}\r\n",
        b"*1\r\n:1\r\n",
        b"*0\r\n",
        b"*99999999999999999999\r\n",
        b"*1\r\n$99\r\n",
        b"\x10\xff\xff\xff\xff\x01",
        b"\x10\x14\x00\x04MQTT\x09\x02\x00<",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x04\x0b\x00\x00\x00",
        b"\x00\x00\x00\x08\x00\x04\x00\x00",
        b"GET /x SMTP/1.1\r\n",
        b"EHLO me\r\n",
        b"0PTTH x/ HTTP/1.1\r\n",
    ] {
        assert_eq!(
            identify(bytes, Sender::Client),
            Finding::Nothing,
            "{bytes:?}"
        );
    }
}

#[test]
fn a_long_version_or_text_is_cut_off_or_refused() {
    let line = format!("SSH-2.0-{}\r\n", "x".repeat(200));
    let found = whole(line.as_bytes(), Sender::Client);
    assert_eq!(text(found.peer.software.as_ref()).len(), 128);
    let endless = vec![b'x'; 300];
    let endless = [b"SSH-2.0-", &*endless].concat();
    assert_eq!(identify(&endless, Sender::Client), Finding::Nothing);
    let late = [&*endless, b"\r\n"].concat();
    assert_eq!(identify(&late, Sender::Client), Finding::Nothing);
    let strange = Text::new(b"a\x1b[2J\xff\n").expect("a text");
    assert_eq!(strange.as_str(), "a\u{fffd}[2J\u{fffd}\u{fffd}");
    assert_eq!(Text::new(b""), None);
}

#[test]
fn labels_are_few() {
    let with = |protocol, version: &str| Identity::new(protocol, Some(version)).version_label();
    assert_eq!(with(Protocol::Http, "1.1"), "1.1");
    assert_eq!(with(Protocol::Fix, "FIX.9.9"), "other");
    assert_eq!(with(Protocol::Nats, "1.2.3-mine"), "");
    assert_eq!(Identity::new(Protocol::Tls, None).version_label(), "");
}

proptest! {
    #[test]
    fn more_bytes_never_take_back_what_was_certain(
        at in 0..CASES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        len in any::<prop::sample::Index>(),
    ) {
        let mut bytes = CASES[at].0.to_vec();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        for sender in [Sender::Client, Sender::Server, Sender::Unknown] {
            let all = identify(&bytes, sender);
            let some = identify(&bytes[..len.index(bytes.len())], sender);
            match (&some, &all) {
                (Finding::Nothing, _) => prop_assert_eq!(&all, &Finding::Nothing),
                (Finding::Whole(_), _) => prop_assert_eq!(&all, &some),
                _ => {}
            }
        }
    }
}
