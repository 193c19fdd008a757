//! A message, as a reader of events is told of it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{query::Integer, registry::messages::Message};

const MESSAGE: &str = "message";
const LOST_MESSAGES: &str = "lost_messages";
const IN: &str = "in";
const OUT: &str = "out";

/// What a receive can be called with (`include/linux/socket.h`).
const FLAGS: [(u32, &str); 15] = [
    (0x1, "MSG_OOB"),
    (0x2, "MSG_PEEK"),
    (0x4, "MSG_DONTROUTE"),
    (0x20, "MSG_TRUNC"),
    (0x40, "MSG_DONTWAIT"),
    (0x80, "MSG_EOR"),
    (0x100, "MSG_WAITALL"),
    (0x1000, "MSG_RST"),
    (0x2000, "MSG_ERRQUEUE"),
    (0x4000, "MSG_NOSIGNAL"),
    (0x1_0000, "MSG_WAITFORONE"),
    (0x200_0000, "MSG_SOCK_DEVMEM"),
    (0x400_0000, "MSG_ZEROCOPY"),
    (0x4000_0000, "MSG_CMSG_CLOEXEC"),
    (0x8000_0000, "MSG_CMSG_COMPAT"),
];

/// A send or receive call that moved data. Told if asked for by `messages=1`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Message")]
pub(in crate::api) struct ToldMessage {
    /// Always `message`.
    #[schemars(extend("const" = MESSAGE))]
    event: &'static str,
    /// When the call had moved the data.
    time: Timestamp,
    /// Number of the connection.
    cid: Integer,
    /// `in` was received by this end, `out` was sent by it.
    #[schemars(extend("enum" = [IN, OUT]))]
    direction: &'static str,
    /// Bytes that the call moved.
    #[schemars(extend("minimum" = 1))]
    bytes: u32,
    /// Which of the connection's messages in this direction, from 1: what `in_msgs` or `out_msgs` of
    /// its row was after it.
    number: Integer,
    /// What the program called the receive with: names of the flags, and what has no name as one
    /// hexadecimal number. Those of a send are not known.
    flags: Vec<String>,
}

/// What stands for messages that are missing.
#[derive(Serialize, JsonSchema)]
pub(in crate::api) struct LostMessages {
    /// Always `lost_messages`.
    #[schemars(extend("const" = LOST_MESSAGES))]
    event: &'static str,
    /// How many, of any connections whose messages are asked for.
    lost: Integer,
}

impl ToldMessage {
    pub(super) fn name(&self) -> &'static str {
        self.event
    }
}

impl LostMessages {
    pub(super) fn new(lost: u64) -> Self {
        Self {
            event: LOST_MESSAGES,
            lost: Integer(lost),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.event
    }
}

impl From<Message> for ToldMessage {
    fn from(message: Message) -> Self {
        Self {
            event: MESSAGE,
            time: message.time,
            cid: Integer(message.cid),
            direction: if message.is_received { IN } else { OUT },
            bytes: message.bytes,
            number: Integer(message.number),
            flags: names(message.flags),
        }
    }
}

fn names(flags: u32) -> Vec<String> {
    let known = FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    let rest = FLAGS.iter().fold(flags, |rest, (bit, _)| rest & !bit);
    known
        .map(|(_, name)| (*name).to_owned())
        .chain((rest != 0).then(|| format!("{rest:#x}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{FLAGS, names};

    #[test]
    fn flags_have_names_and_others_are_one_number() {
        assert!(names(0).is_empty());
        assert_eq!(names(0x60), ["MSG_TRUNC", "MSG_DONTWAIT"]);
        assert_eq!(names(0x2010_0100), ["MSG_WAITALL", "0x20100000"]);
        assert!(FLAGS.iter().all(|(bit, _)| bit.is_power_of_two()));
    }
}
