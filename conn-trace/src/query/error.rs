//! What can be wrong with a query string.

use std::fmt::{self, Display, Formatter};

use thiserror::Error;

/// A query string that was not understood. The text names the parameter and is safe to show:
/// one line, no control characters, bounded length.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum QueryError {
    /// The value is not one of those that the parameter takes.
    #[error("{parameter}: expected {expected}, got {value}")]
    Unexpected {
        /// Name of the parameter.
        parameter: &'static str,
        /// What it takes, with its article.
        expected: &'static str,
        /// What it was given.
        value: Quoted,
    },
    /// A number of the right form that is too large or too small.
    #[error("{parameter}: out of range, got {value}")]
    OutOfRange {
        /// Name of the parameter.
        parameter: &'static str,
        /// What it was given.
        value: Quoted,
    },
    /// The same parameter twice: which of the two is meant cannot be known.
    #[error("{parameter}: given more than once")]
    Repeated {
        /// Name of the parameter.
        parameter: &'static str,
    },
    /// A value whose percent-encoding is broken or does not give UTF-8.
    #[error("{parameter}: expected percent-encoded UTF-8, got {value}")]
    Encoding {
        /// Name of the parameter.
        parameter: &'static str,
        /// What it was given, still encoded.
        value: Quoted,
    },
    /// A walk goes by number, from where the cursor says.
    #[error("cursor: cannot be combined with {other}: a walk goes by cid, from where it was")]
    CursorWith {
        /// The other parameter.
        other: &'static str,
    },
    /// A sort by how connections ended, over connections that have not.
    #[error("sort: by {key} only valid on closed connections (state=closed, any or all)")]
    SortOfClosed {
        /// The sort key.
        key: &'static str,
    },
}

/// Parameters whose bad values NATS answers with the words of Go's strconv: name, NATS's word for
/// the type, function of Go.
const READ_BY_GO: [(&str, &str, &str); 5] = [
    ("limit", "int", "Atoi"),
    ("offset", "int", "Atoi"),
    ("cid", "uint64", "ParseUint"),
    ("auth", "boolean", "ParseBool"),
    ("subs", "boolean", "ParseBool"),
];

/// The text that nats-server has for the error; where it has none, the agent's own.
pub(super) fn in_words_of_nats(error: &QueryError) -> String {
    let (parameter, value, fault) = match error {
        QueryError::Unexpected {
            parameter, value, ..
        } => (*parameter, value, "invalid syntax"),
        QueryError::OutOfRange { parameter, value } => (*parameter, value, "value out of range"),
        QueryError::SortOfClosed { key } => {
            return format!("sort by {key} only valid on closed connections");
        }
        QueryError::Repeated { .. }
        | QueryError::Encoding { .. }
        | QueryError::CursorWith { .. } => return error.to_string(),
    };
    let read_by_go = READ_BY_GO.iter().find(|(name, ..)| *name == parameter);
    match (parameter, read_by_go) {
        ("sort", _) => format!("invalid sorting option: {}", value.bare()),
        ("state", _) => format!("Error decoding state for {}", value.bare()),
        (_, Some((_, kind, function))) => format!(
            "Error decoding {kind} for '{parameter}': strconv.{function}: parsing {value}: {fault}"
        ),
        (_, None) => error.to_string(),
    }
}

/// A value as error texts show it: in quotes, control characters escaped, cut when long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    text: String,
    is_cut: bool,
}

impl Quoted {
    /// Enough to recognise any sensible value, and too little to fill a log.
    const MAX_CHARS: usize = 64;

    /// Takes the beginning of `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let end = text.char_indices().nth(Self::MAX_CHARS).map(|(at, _)| at);
        Self {
            text: text[..end.unwrap_or(text.len())].to_owned(),
            is_cut: end.is_some(),
        }
    }

    /// The same without the quotes.
    fn bare(&self) -> impl Display {
        let Self { text, is_cut } = self;
        format!("{}{}", text.escape_debug(), if *is_cut { "…" } else { "" })
    }
}

impl Display for Quoted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { text, is_cut } = self;
        write!(f, "{text:?}{}", if *is_cut { "…" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::Quoted;

    #[test]
    fn long_values_are_cut_at_a_character() {
        let text = "ä".repeat(65);
        assert_eq!(
            Quoted::new(&text).to_string(),
            format!("\"{}\"…", "ä".repeat(64))
        );
        let text = "ä".repeat(64);
        assert_eq!(Quoted::new(&text).to_string(), format!("\"{text}\""));
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            Quoted::new("a\r\n\u{1b}[31m\"").to_string(),
            r#""a\r\n\u{1b}[31m\"""#
        );
    }
}
