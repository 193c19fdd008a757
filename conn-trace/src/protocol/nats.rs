//! NATS (docs.nats.io, "Client Protocol"): a server begins with `INFO {…}`, a client with
//! `CONNECT {…}`.

use serde::{Deserialize, de::IgnoredAny};

use super::{Finding, Identity, Protocol, Sender, Text, Unclear, begins_with};

/// Of `CONNECT`. Nothing else of it is read: it has passwords and tokens, too.
#[derive(Deserialize)]
struct Connect {
    name: Option<Said>,
    lang: Option<Said>,
    version: Option<Said>,
}

/// Of `INFO`.
#[derive(Deserialize)]
struct Info {
    server_name: Option<Said>,
    version: Option<Said>,
}

/// A text, or something else that is left alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Text(String),
    Else(IgnoredAny),
}

impl Said {
    fn text(said: Option<Self>) -> Option<Text> {
        match said? {
            Self::Text(text) => Text::new(text.as_bytes()),
            Self::Else(_) => None,
        }
    }
}

pub(super) fn read(bytes: &[u8], sender: Sender) -> Finding {
    let mut finding = Finding::Nothing;
    for (from, word) in [(Sender::Client, "CONNECT"), (Sender::Server, "INFO")] {
        if !sender.may_be(from) {
            continue;
        }
        match operation(bytes, word) {
            Ok(said) => return said_by(from, said),
            Err(Unclear::TooFew) => finding = Finding::TooFew,
            Err(_) => {}
        }
    }
    finding
}

/// The object behind that word, as far as it is there, and whether it is whole. Case does not matter.
fn operation<'a>(bytes: &'a [u8], word: &str) -> Result<(&'a [u8], bool), Unclear> {
    let common = bytes.len().min(word.len());
    begins_with(&bytes[..common].to_ascii_uppercase(), word.as_bytes())?;
    let rest = &bytes[word.len()..];
    let said = rest.trim_ascii_start();
    match said.first() {
        None => Err(Unclear::TooFew),
        Some(b'{') if said.len() < rest.len() => {
            let end = said.windows(2).position(|two| two == b"\r\n");
            Ok((&said[..end.unwrap_or(said.len())], end.is_some()))
        }
        Some(_) => Err(Unclear::Other),
    }
}

fn said_by(sender: Sender, (said, is_whole): (&[u8], bool)) -> Finding {
    let mut identity = Identity::new(Protocol::Nats, None);
    if !is_whole {
        return Finding::SoFar(identity);
    }
    let said = match sender {
        Sender::Server => serde_json::from_slice(said).map(|info: Info| Connect {
            name: info.server_name,
            lang: None,
            version: info.version,
        }),
        _ => serde_json::from_slice(said),
    };
    let Ok(said) = said else {
        return Finding::Nothing;
    };
    identity.name = Said::text(said.name);
    identity.lang = Said::text(said.lang);
    identity.version = Said::text(said.version);
    Finding::Whole(identity)
}
