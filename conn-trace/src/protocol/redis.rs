//! RESP, as clients of Redis speak it (redis.io, "Redis serialization protocol"): a command is an array
//! of strings, `*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n`.

use super::{Finding, Identity, Protocol, Sender, Unclear};

/// Of a name; `REPLICAOF` and the like are shorter.
const LONGEST_NAME: usize = 32;
/// Digits of a length, with CR and LF.
const LONGEST_LENGTH: usize = 12;

pub(super) fn read(bytes: &[u8], sender: Sender) -> Finding {
    if !sender.may_be(Sender::Client) {
        return Finding::Nothing;
    }
    match command(bytes) {
        Ok(version) => Finding::Whole(Identity::new(Protocol::Redis, version)),
        Err(unclear) => unclear.into(),
    }
}

/// The version of the protocol that the first command speaks, or asks for.
fn command(bytes: &[u8]) -> Result<Option<&'static str>, Unclear> {
    let (count, rest) = length(bytes, b'*')?;
    if count == 0 {
        return Err(Unclear::Other);
    }
    let (name, rest) = string(rest)?;
    if name.is_empty() || !name.iter().all(u8::is_ascii_alphabetic) {
        return Err(Unclear::Other);
    }
    if count == 1 || !name.eq_ignore_ascii_case(b"HELLO") {
        return Ok(Some("2"));
    }
    let (wanted, _) = string(rest)?;
    Ok(match wanted {
        b"2" => Some("2"),
        b"3" => Some("3"),
        _ => None,
    })
}

/// A string with its length before, and what stands behind.
fn string(bytes: &[u8]) -> Result<(&[u8], &[u8]), Unclear> {
    let (len, rest) = length(bytes, b'$')?;
    if len > LONGEST_NAME {
        return Err(Unclear::Other);
    }
    let (string, rest) = rest.split_at_checked(len).ok_or(Unclear::TooFew)?;
    super::begins_with(rest, b"\r\n")?;
    Ok((string, &rest[2..]))
}

/// The number behind that byte and before the end of the line.
fn length(bytes: &[u8], kind: u8) -> Result<(usize, &[u8]), Unclear> {
    let Some((first, rest)) = bytes.split_first() else {
        return Err(Unclear::TooFew);
    };
    if *first != kind {
        return Err(Unclear::Other);
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == rest.len() && digits < LONGEST_LENGTH {
        return Err(Unclear::TooFew);
    }
    let (number, rest) = rest.split_at(digits);
    super::begins_with(rest, b"\r\n")?;
    let number = std::str::from_utf8(number)
        .ok()
        .and_then(|number| number.parse().ok());
    Ok((number.ok_or(Unclear::Other)?, &rest[2..]))
}
