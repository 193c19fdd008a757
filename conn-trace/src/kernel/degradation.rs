//! What the agent does not know on this kernel, though it runs.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::offsets::FieldError;

/// One limit. `/varz`, `doctor` and the log show each by its [`code`](Self::code) and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Degradation {
    /// A figure of the `tcp` object, or a part of an address, is left out.
    FieldMissing(FieldError),
    /// What `sendfile` and `splice` send counts as bytes and not as messages; with the reason.
    SendfileUncounted(String),
    /// Messages and bytes of MPTCP connections are not counted; with the reason.
    MptcpUncounted(String),
    /// The connections that a network namespace had at the start show with their next message;
    /// which one, with the reason.
    NamespaceUnlisted(String),
}

impl Degradation {
    /// Every [`code`](Self::code).
    pub const CODES: [&str; 4] = [
        "field_missing",
        "sendfile_uncounted",
        "mptcp_uncounted",
        "namespace_unlisted",
    ];

    /// A word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::FieldMissing(_) => "field_missing",
            Self::SendfileUncounted(_) => "sendfile_uncounted",
            Self::MptcpUncounted(_) => "mptcp_uncounted",
            Self::NamespaceUnlisted(_) => "namespace_unlisted",
        }
    }
}

impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FieldMissing(field) => write!(f, "{field}; its figure is left out"),
            Self::SendfileUncounted(reason) => {
                write!(f, "sendfile and splice count no messages: {reason}")
            }
            Self::MptcpUncounted(reason) => {
                write!(f, "MPTCP connections count no messages and bytes: {reason}")
            }
            Self::NamespaceUnlisted(reason) => {
                write!(
                    f,
                    "existing connections of a network namespace are not listed: {reason}"
                )
            }
        }
    }
}

impl JsonSchema for Degradation {
    fn schema_name() -> Cow<'static, str> {
        "Degradation".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What the agent does not know on this kernel.",
            "type": "object",
            "properties": {
                "code": {"type": "string", "description": "A word for programs."},
                "detail": {"type": "string", "description": "The same for people, with the reason."},
            },
            "required": ["code", "detail"],
        })
    }
}

impl Serialize for Degradation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut both = serializer.serialize_struct("Degradation", 2)?;
        both.serialize_field("code", self.code())?;
        both.serialize_field("detail", &self.to_string())?;
        both.end()
    }
}
