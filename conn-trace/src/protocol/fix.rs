//! FIX in tags and values (FIX session layer 1.1 §4.2): `8=FIX.4.4`, length, type, then the rest, each
//! with SOH behind it.

use super::{Finding, Identity, Protocol, Sender, Text, begins_with};

const BEGIN_STRING: &[u8] = b"8=FIX";
const SOH: u8 = 1;
const SENDER_COMP_ID: &[u8] = b"49";
const TARGET_COMP_ID: &[u8] = b"56";
/// The last field.
const CHECK_SUM: &[u8] = b"10";
const LONGEST_VERSION: usize = 16;

pub(super) fn read(bytes: &[u8], _: Sender) -> Finding {
    if let Err(unclear) = begins_with(bytes, BEGIN_STRING) {
        return unclear.into();
    }
    let mut fields = bytes.split_inclusive(|byte| *byte == SOH);
    let version = match fields.next().and_then(whole) {
        Some((_, version)) if is_version(version) => version,
        None if bytes.len() < LONGEST_VERSION => return Finding::TooFew,
        _ => return Finding::Nothing,
    };
    let mut identity = Identity::new(Protocol::Fix, None);
    identity.version = Text::new(version);
    let peer = &mut identity.peer;
    for field in fields {
        let Some((tag, value)) = whole(field) else {
            return Finding::SoFar(identity);
        };
        match tag {
            SENDER_COMP_ID => peer.sender_comp_id = Text::new(value),
            TARGET_COMP_ID => peer.target_comp_id = Text::new(value),
            CHECK_SUM => return Finding::Whole(identity),
            _ => {}
        }
        if peer.sender_comp_id.is_some() && peer.target_comp_id.is_some() {
            return Finding::Whole(identity);
        }
    }
    Finding::SoFar(identity)
}

/// Tag and value of a field that is there to its end.
fn whole(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let field = field.strip_suffix(&[SOH])?;
    let equals = field.iter().position(|byte| *byte == b'=')?;
    Some((&field[..equals], &field[equals + 1..]))
}

/// `FIX.4.4`, `FIXT.1.1`.
fn is_version(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"FIX").unwrap_or_default();
    let text = text.strip_prefix(b"T").unwrap_or(text);
    matches!(text, [b'.', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}
