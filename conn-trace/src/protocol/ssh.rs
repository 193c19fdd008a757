//! SSH, by its first line (RFC 4253 §4.2): `SSH-protoversion-softwareversion SP comments CR LF`.

use super::{Finding, Identity, Protocol, Sender, Text, begins_with};

const BEGINNING: &[u8] = b"SSH-";
/// With CR and LF.
const LONGEST_LINE: usize = 255;

pub(super) fn read(bytes: &[u8], _: Sender) -> Finding {
    if let Err(unclear) = begins_with(bytes, BEGINNING) {
        return unclear.into();
    }
    let rest = &bytes[BEGINNING.len()..];
    let mut line = rest.iter().take(LONGEST_LINE - BEGINNING.len());
    let Some(end) = line.position(|byte| *byte == b'\n') else {
        return match bytes.len() < LONGEST_LINE {
            true => Finding::TooFew,
            false => Finding::Nothing,
        };
    };
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    let mut parts = line.splitn(2, |byte| *byte == b'-');
    let (Some(version), Some(software)) = (parts.next(), parts.next()) else {
        return Finding::Nothing;
    };
    let is_version = version
        .iter()
        .all(|byte| byte.is_ascii_digit() || *byte == b'.');
    if version.is_empty() || !is_version {
        return Finding::Nothing;
    }
    let mut identity = Identity::new(Protocol::Ssh, None);
    identity.version = Text::new(version);
    identity.peer.software = Text::new(software);
    Finding::Whole(identity)
}
