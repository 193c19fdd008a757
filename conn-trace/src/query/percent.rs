//! Percent-encoding as HTML forms use it: `%XX` is a byte, `+` is a space.

use std::borrow::Cow;

/// Decodes one name or value; `None` where an escape is broken or the bytes are not UTF-8.
pub(super) fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn escapes_and_spaces() {
        assert_eq!(decode("plain").as_deref(), Some("plain"));
        assert_eq!(decode("a+b%20c%2B").as_deref(), Some("a b c+"));
        assert_eq!(decode("%E2%82%ac").as_deref(), Some("€"));
        assert_eq!(decode("%00").as_deref(), Some("\0"));
    }

    #[test]
    fn broken_escapes_and_other_encodings() {
        for text in ["%", "%2", "a%zz", "%+1", "%ff", "%E2%82", "%c0%80", "%é0"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
