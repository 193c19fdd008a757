//! In which form rows are written.

/// A form that `/connz` answers in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One object with all rows, as clients of connz expect it.
    Json,
    /// One object a line for each row: <https://github.com/ndjson/ndjson-spec>.
    Ndjson,
    /// One record for each row below a line of names: RFC 4180.
    Csv,
}

impl Format {
    /// All of them, the usual one first.
    pub const ALL: [Self; 3] = [Self::Json, Self::Ndjson, Self::Csv];

    /// All of them with their media types.
    pub const MEDIA_TYPES: [(Self, &str); 3] = [
        (Self::Json, Self::Json.media_type()),
        (Self::Ndjson, Self::Ndjson.media_type()),
        (Self::Csv, Self::Csv.media_type()),
    ];

    /// The name that `format` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }

    /// From the name that `format` takes, in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| text.eq_ignore_ascii_case(format.name()))
    }

    /// The media type, as `Accept` names it.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
        }
    }

    /// The media type of an answer, with its parameters.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::Ndjson => self.media_type(),
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }
}
