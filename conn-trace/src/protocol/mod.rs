//! What a connection speaks, from the first bytes that one of its ends has read.
//!
//! Bytes come from anybody: each reader takes at most [`LIMIT`](conn_trace_common::lifecycle::FIRST_BYTES_LIMIT)
//! of them, keeps short texts only, and says that it does not know rather than guess. None of them
//! keeps a password, a token or a body.

mod fix;
mod http;
mod http2;
mod mqtt;
mod nats;
mod postgresql;
mod redis;
mod ssh;
mod tls;

use schemars::JsonSchema;
use serde::Serialize;

/// Who has sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The end that has connected.
    Client,
    /// The end that has accepted.
    Server,
    /// One of them.
    Unknown,
}

impl Sender {
    fn may_be(self, other: Self) -> bool {
        self == other || self == Self::Unknown
    }
}

/// A protocol that is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.0, HTTP/1.1 and HTTP/2, as far as it is none of the next three.
    Http,
    /// A WebSocket, by its HTTP/1.1 handshake (RFC 6455).
    WebSocket,
    /// gRPC over HTTP/2.
    Grpc,
    /// Connect, over any HTTP.
    Connect,
    /// TLS.
    Tls,
    /// FIX in the form of tags and values.
    Fix,
    /// The protocol of NATS's clients.
    Nats,
    /// MQTT.
    Mqtt,
    /// RESP, the protocol of Redis and Valkey.
    Redis,
    /// PostgreSQL's frontend/backend protocol.
    Postgresql,
    /// SSH.
    Ssh,
}

impl Protocol {
    /// Every protocol.
    pub const ALL: [Self; 11] = [
        Self::Http,
        Self::WebSocket,
        Self::Grpc,
        Self::Connect,
        Self::Tls,
        Self::Fix,
        Self::Nats,
        Self::Mqtt,
        Self::Redis,
        Self::Postgresql,
        Self::Ssh,
    ];

    /// The word in `protocol`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::WebSocket => "websocket",
            Self::Grpc => "grpc",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Fix => "fix",
            Self::Nats => "nats",
            Self::Mqtt => "mqtt",
            Self::Redis => "redis",
            Self::Postgresql => "postgresql",
            Self::Ssh => "ssh",
        }
    }

    /// The versions that have a label of their own in metrics. NATS's is that of the client program.
    fn labelled_versions(self) -> &'static [&'static str] {
        match self {
            Self::Http => &["1.0", "1.1", "2"],
            Self::WebSocket => &["13"],
            Self::Grpc => &["2"],
            Self::Connect => &["1.1", "2"],
            Self::Tls => &["3.0", "1.0", "1.1", "1.2", "1.3"],
            Self::Fix => &[
                "FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIX.5.0", "FIXT.1.1",
            ],
            Self::Nats => &[],
            Self::Mqtt => &["3.1", "3.1.1", "5.0"],
            Self::Redis => &["2", "3"],
            Self::Postgresql => &["3.0", "3.2"],
            Self::Ssh => &["1.99", "2.0"],
        }
    }
}

/// What a peer has said of itself and of what it wants. What it has not is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Peer {
    /// Program, as it says: `User-Agent`, `Server`, or the comment of SSH's first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software: Option<Text>,
    /// Name of the server that a TLS client wants (SNI).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Text>,
    /// Protocols that a TLS client offers (ALPN), with commas between; of a server, the one it chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<Text>,
    /// FIX: `SenderCompID` (49) of its first message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_comp_id: Option<Text>,
    /// FIX: `TargetCompID` (56) of its first message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_comp_id: Option<Text>,
    /// MQTT: the client identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Text>,
    /// PostgreSQL: the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Text>,
    /// PostgreSQL: the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Text>,
    /// PostgreSQL: `application_name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<Text>,
}

impl Peer {
    /// Whether it has said nothing of these.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A text of a peer's: at most 128 bytes of UTF-8, without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Text(#[schemars(length(min = 1, max = 128))] Box<str>);

const LONGEST_TEXT: usize = 128;

impl Text {
    /// Of any bytes; `None` of none. What is no text becomes U+FFFD, and the rest is cut off.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let mut clean = String::new();
        for c in text.chars() {
            let c = if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            };
            if clean.len() + c.len_utf8() > LONGEST_TEXT {
                break;
            }
            clean.push(c);
        }
        (!clean.is_empty()).then(|| Self(clean.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is known of what a connection speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The protocol.
    pub protocol: Protocol,
    /// Its version; with NATS that of the peer's program. `None` where the peer has not said.
    pub version: Option<Text>,
    /// What a peer that speaks NATS calls itself.
    pub name: Option<Text>,
    /// The language of a NATS client.
    pub lang: Option<Text>,
    /// What else the peer has said.
    pub peer: Peer,
}

impl Identity {
    fn new(protocol: Protocol, version: Option<&str>) -> Self {
        Self {
            protocol,
            version: version.and_then(|version| Text::new(version.as_bytes())),
            name: None,
            lang: None,
            peer: Peer::default(),
        }
    }

    /// The version as a label: one of few, whatever peers say.
    #[must_use]
    pub fn version_label(&self) -> &'static str {
        let Some(version) = &self.version else {
            return "";
        };
        let known = self.protocol.labelled_versions();
        let found = known.iter().find(|known| **known == version.as_str());
        found
            .copied()
            .unwrap_or(if known.is_empty() { "" } else { "other" })
    }
}

/// What bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// They are none of this, and no more of them will change it.
    Nothing,
    /// There are too few to say.
    TooFew,
    /// This; more bytes may say more.
    SoFar(Identity),
    /// This, and all that is to be known.
    Whole(Identity),
}

/// Says what the first bytes of a connection are.
#[must_use]
pub fn identify(bytes: &[u8], sender: Sender) -> Finding {
    let readers = [
        tls::read,
        http2::read,
        ssh::read,
        fix::read,
        nats::read,
        mqtt::read,
        redis::read,
        postgresql::read,
        http::read,
    ];
    let mut all = Finding::Nothing;
    for read in readers {
        match read(bytes, sender) {
            Finding::Nothing => {}
            Finding::TooFew => all = Finding::TooFew,
            found => return found,
        }
    }
    all
}

/// Why bytes say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unclear {
    /// They are something else.
    Other,
    /// There are too few.
    TooFew,
}

impl From<Unclear> for Finding {
    fn from(unclear: Unclear) -> Self {
        match unclear {
            Unclear::Other => Self::Nothing,
            Unclear::TooFew => Self::TooFew,
        }
    }
}

/// Whether the bytes begin so; `TooFew` as long as they may.
fn begins_with(bytes: &[u8], beginning: &[u8]) -> Result<(), Unclear> {
    let common = bytes.len().min(beginning.len());
    match bytes[..common] == beginning[..common] {
        false => Err(Unclear::Other),
        true if common < beginning.len() => Err(Unclear::TooFew),
        true => Ok(()),
    }
}

#[cfg(test)]
mod tests;
