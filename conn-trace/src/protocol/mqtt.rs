//! MQTT 3.1, 3.1.1 and 5.0 (docs.oasis-open.org, §3.1 CONNECT and §3.2 CONNACK of each).

use super::{Finding, Identity, Protocol, Sender, Text, Unclear};

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
/// Protocol names with their lengths before, and levels.
const NAMES: [&[u8]; 2] = [b"\0\x04MQTT", b"\0\x06MQIsdp"];
/// A broker that connects to another sets this bit (mosquitto.conf(5), `try_private`).
const BRIDGE: u8 = 0x80;
/// Level, flags and the time of two bytes between keep-alives.
const BEHIND_NAME: usize = 4;

pub(super) fn read(bytes: &[u8], sender: Sender) -> Finding {
    match bytes.first() {
        Some(&CONNECT) if sender.may_be(Sender::Client) => connect(bytes),
        Some(&CONNACK) if sender == Sender::Server => connack(bytes),
        _ => Finding::Nothing,
    }
}

fn connect(bytes: &[u8]) -> Finding {
    let packet = match variable_integer(&bytes[1..]) {
        Ok((_, packet)) => packet,
        Err(unclear) => return unclear.into(),
    };
    let mut finding = Finding::Nothing;
    for name in NAMES {
        match super::begins_with(packet, name) {
            Ok(()) => return described(&packet[name.len()..]),
            Err(Unclear::TooFew) => finding = Finding::TooFew,
            Err(_) => {}
        }
    }
    finding
}

/// What stands behind the protocol's name.
fn described(packet: &[u8]) -> Finding {
    let Some((fixed, mut rest)) = packet.split_at_checked(BEHIND_NAME) else {
        return Finding::TooFew;
    };
    let version = match fixed[0] & !BRIDGE {
        3 => "3.1",
        4 => "3.1.1",
        5 => "5.0",
        _ => return Finding::Nothing,
    };
    // The lowest bit of the flags is reserved.
    if fixed[1] & 1 != 0 {
        return Finding::Nothing;
    }
    let mut identity = Identity::new(Protocol::Mqtt, Some(version));
    if version == "5.0" {
        let Ok((len, properties)) = variable_integer(rest) else {
            return Finding::SoFar(identity);
        };
        let Some(behind) = properties.get(len..) else {
            return Finding::SoFar(identity);
        };
        rest = behind;
    }
    let Some((len, rest)) = rest.split_first_chunk::<2>() else {
        return Finding::SoFar(identity);
    };
    let Some(client_id) = rest.get(..usize::from(u16::from_be_bytes(*len))) else {
        return Finding::SoFar(identity);
    };
    identity.peer.client_id = Text::new(client_id);
    Finding::Whole(identity)
}

/// Flags and a code; 5.0 has properties behind.
fn connack(bytes: &[u8]) -> Finding {
    /// The code of a refusal is at most this in 3.1.1.
    const MOST: u8 = 5;
    match bytes {
        [_] | [_, 2] | [_, 2, 0 | 1] => Finding::TooFew,
        [_, 2, 0 | 1, code, ..] if *code <= MOST => {
            Finding::Whole(Identity::new(Protocol::Mqtt, None))
        }
        // Properties of fewer than 128 bytes, which fill the rest.
        [_, 3..=127] | [_, 3..=127, 0 | 1] | [_, 3..=127, 0 | 1, _] => Finding::TooFew,
        [_, len @ 3..=127, 0 | 1, _, properties, ..] if *properties == len - 3 => {
            Finding::Whole(Identity::new(Protocol::Mqtt, Some("5.0")))
        }
        _ => Finding::Nothing,
    }
}

/// Of seven bits a byte, lowest first (MQTT 5.0 §1.5.5); and what stands behind.
fn variable_integer(bytes: &[u8]) -> Result<(usize, &[u8]), Unclear> {
    let mut value = 0;
    for (place, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[place + 1..]));
        }
    }
    match bytes.len() < 4 {
        true => Err(Unclear::TooFew),
        false => Err(Unclear::Other),
    }
}
