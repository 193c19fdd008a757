//! PostgreSQL (its documentation, "Message Formats": StartupMessage, SSLRequest, GSSENCRequest,
//! CancelRequest, AuthenticationOk and the like).

use super::{Finding, Identity, Protocol, Sender, Text, tls};

/// Length and code.
const HEADER: usize = 8;
/// `PqMsg` startup packets are no longer (MAX_STARTUP_PACKET_LENGTH in libpq/pqcomm.h).
const LONGEST: u32 = 10_000;
const VERSION_3_0: u32 = 3 << 16;
const VERSION_3_2: u32 = 3 << 16 | 2;
const CANCEL: u32 = 80_877_102;
const WANTS_TLS: u32 = 80_877_103;
const WANTS_GSS: u32 = 80_877_104;

pub(super) fn read(bytes: &[u8], sender: Sender) -> Finding {
    match sender {
        Sender::Client => client(bytes),
        Sender::Server => server(bytes),
        // The length before all else says too little.
        Sender::Unknown => Finding::Nothing,
    }
}

fn client(bytes: &[u8]) -> Finding {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        let may_be = bytes.iter().zip([0, 0]).all(|(byte, zero)| *byte == zero);
        return match may_be {
            true => Finding::TooFew,
            false => Finding::Nothing,
        };
    };
    let [length, code] = [0, 4]
        .map(|at| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
    let rest = &bytes[HEADER..];
    match (code, length) {
        (WANTS_TLS | WANTS_GSS, 8) => encrypted(rest),
        (CANCEL, 16..=LONGEST) => Finding::Whole(Identity::new(Protocol::Postgresql, None)),
        (VERSION_3_0 | VERSION_3_2, 9..=LONGEST) => {
            let version = if code == VERSION_3_0 { "3.0" } else { "3.2" };
            startup(version, rest, length as usize - HEADER)
        }
        _ => Finding::Nothing,
    }
}

/// The server may agree, and then what follows is encrypted, or not.
fn encrypted(rest: &[u8]) -> Finding {
    let identity = Identity::new(Protocol::Postgresql, None);
    if rest.is_empty() {
        return Finding::SoFar(identity);
    }
    let of_tls = |found: Identity| Identity {
        peer: found.peer,
        ..identity.clone()
    };
    match tls::read(rest, Sender::Client) {
        Finding::TooFew => Finding::SoFar(identity),
        Finding::SoFar(found) => Finding::SoFar(of_tls(found)),
        Finding::Whole(found) => Finding::Whole(of_tls(found)),
        Finding::Nothing => match client(rest) {
            Finding::TooFew => Finding::SoFar(identity),
            Finding::Nothing => Finding::Whole(identity),
            found => found,
        },
    }
}

/// Pairs of names and values, with a zero behind each.
fn startup(version: &str, rest: &[u8], len: usize) -> Finding {
    let mut identity = Identity::new(Protocol::Postgresql, Some(version));
    let is_whole = rest.len() >= len;
    let pairs = &rest[..rest.len().min(len)];
    // What stands behind the last zero is not whole.
    let end = pairs.iter().rposition(|byte| *byte == 0).unwrap_or(0);
    let mut texts = pairs[..end].split(|byte| *byte == 0);
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        let peer = &mut identity.peer;
        match name {
            b"user" => peer.user = Text::new(value),
            b"database" => peer.database = Text::new(value),
            b"application_name" => peer.application = Text::new(value),
            _ => {}
        }
    }
    match is_whole {
        true => Finding::Whole(identity),
        false => Finding::SoFar(identity),
    }
}

/// A server asks for a password, or says that it needs none: `R`, a length, one of few codes.
fn server(bytes: &[u8]) -> Finding {
    const AUTHENTICATION: u8 = b'R';
    const KNOWN: [u32; 6] = [0, 3, 5, 7, 9, 10];
    const LONGEST: u32 = 256;
    match bytes.first() {
        Some(&AUTHENTICATION) => {}
        _ => return Finding::Nothing,
    }
    let Some(header) = bytes[1..].first_chunk::<HEADER>() else {
        return Finding::TooFew;
    };
    let [length, code] = [0, 4]
        .map(|at| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
    match (8..=LONGEST).contains(&length) && KNOWN.contains(&code) {
        true => Finding::Whole(Identity::new(Protocol::Postgresql, None)),
        false => Finding::Nothing,
    }
}
