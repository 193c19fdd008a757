//! TLS, by the first message of its handshake (RFC 8446 §4.1, RFC 5246 §7.4.1).

use tls_parser::{
    TlsExtension, TlsMessage, TlsMessageHandshake, TlsVersion, parse_tls_client_hello_extensions,
    parse_tls_message_handshake, parse_tls_server_hello_extensions,
};

use super::{Finding, Identity, Peer, Protocol, Sender, Text};

/// `ContentType.handshake`.
const HANDSHAKE: u8 = 22;
/// `HandshakeType.client_hello` and `server_hello`.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
/// RFC 8446 §5.1.
const LONGEST_RECORD: usize = 1 << 14;

pub(super) fn read(bytes: &[u8], sender: Sender) -> Finding {
    let Some(message) = handshake(bytes) else {
        return Finding::Nothing;
    };
    let Some(&kind) = message.first() else {
        return Finding::TooFew;
    };
    let is_expected = match kind {
        CLIENT_HELLO => sender.may_be(Sender::Client),
        SERVER_HELLO => sender.may_be(Sender::Server),
        _ => false,
    };
    if !is_expected {
        return Finding::Nothing;
    }
    let unknown = Identity::new(Protocol::Tls, None);
    let Some(len) = message_len(&message) else {
        return Finding::TooFew;
    };
    let Some(message) = message.get(..len) else {
        return Finding::SoFar(unknown);
    };
    let parsed = parse_tls_message_handshake(message);
    let Ok((_, TlsMessage::Handshake(hello))) = parsed else {
        return Finding::Nothing;
    };
    let (legacy, extensions) = match &hello {
        TlsMessageHandshake::ClientHello(hello) => {
            let all = hello.ext.map(parse_tls_client_hello_extensions);
            (hello.version, all)
        }
        TlsMessageHandshake::ServerHello(hello) => {
            let all = hello.ext.map(parse_tls_server_hello_extensions);
            (hello.version, all)
        }
        _ => return Finding::Nothing,
    };
    // What stands behind what cannot be read may say another version.
    let extensions = match extensions {
        None => Vec::new(),
        Some(Ok((_, extensions))) => extensions,
        Some(Err(_)) => return Finding::Whole(unknown),
    };
    Finding::Whole(Identity {
        peer: peer(&extensions),
        ..Identity::new(Protocol::Tls, name(version(legacy, &extensions)))
    })
}

/// What the records up to here carry of the handshake; `None` if they are no such records.
fn handshake(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        match bytes {
            [] => return Some(message),
            [kind, rest @ ..] if *kind == HANDSHAKE => match rest {
                [] => return Some(message),
                [3, rest @ ..] => match rest {
                    [minor, ..] if *minor > 4 => return None,
                    _ => {}
                },
                _ => return None,
            },
            _ => return None,
        }
        let Some(header) = bytes.first_chunk::<RECORD_HEADER>() else {
            return Some(message);
        };
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if len == 0 || len > LONGEST_RECORD {
            return None;
        }
        let end = bytes.len().min(RECORD_HEADER + len);
        message.extend_from_slice(&bytes[RECORD_HEADER..end]);
        bytes = &bytes[end..];
        // Behind a whole message anything may come.
        if message_len(&message).is_some_and(|len| message.len() >= len) {
            return Some(message);
        }
    }
}

/// How long the message that begins so is with its header.
fn message_len(message: &[u8]) -> Option<usize> {
    let [_, high, middle, low] = *message.first_chunk::<MESSAGE_HEADER>()?;
    Some(MESSAGE_HEADER + u32::from_be_bytes([0, high, middle, low]) as usize)
}

/// The highest version that a client offers, or the one that a server has chosen.
fn version(legacy: TlsVersion, extensions: &[TlsExtension<'_>]) -> TlsVersion {
    let offered = extensions.iter().find_map(|extension| match extension {
        TlsExtension::SupportedVersions(versions) => versions
            .iter()
            .copied()
            .filter(|one| name(*one).is_some())
            .max_by_key(|one| one.0),
        _ => None,
    });
    offered.unwrap_or(legacy)
}

fn name(version: TlsVersion) -> Option<&'static str> {
    match version.0 {
        0x0300 => Some("3.0"),
        0x0301 => Some("1.0"),
        0x0302 => Some("1.1"),
        0x0303 => Some("1.2"),
        0x0304 => Some("1.3"),
        _ => None,
    }
}

fn peer(extensions: &[TlsExtension<'_>]) -> Peer {
    let mut peer = Peer::default();
    for extension in extensions {
        match extension {
            TlsExtension::SNI(names) => {
                peer.server_name = names.first().and_then(|(_, name)| Text::new(name));
            }
            TlsExtension::ALPN(protocols) => peer.alpn = Text::new(&protocols.join(&b',')),
            _ => {}
        }
    }
    peer
}
