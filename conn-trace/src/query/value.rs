//! Values of parameters, and the plain types among them.

use std::{borrow::Cow, num::IntErrorKind};

use super::{
    dialect::{self, Dialect},
    error::{QueryError, Quoted},
    percent,
};

/// The booleans of every dialect, in either case.
const BOOLEANS: [(&str, bool); 4] = [("0", false), ("1", true), ("false", false), ("true", true)];

/// The values that [`Value::boolean`] takes.
pub(super) fn booleans(dialect: &Dialect) -> Vec<&'static str> {
    let names = BOOLEANS.iter().chain(dialect.booleans);
    names.map(|(name, _)| *name).collect()
}

/// One parameter's decoded value, with the name that errors mention.
pub(super) struct Value<'a> {
    parameter: &'static str,
    text: Cow<'a, str>,
    dialect: &'a Dialect,
}

impl<'a> Value<'a> {
    /// Decodes `encoded`, the part after `=`.
    pub(super) fn decode(
        parameter: &'static str,
        encoded: &'a str,
        dialect: &'a Dialect,
    ) -> Result<Self, QueryError> {
        match percent::decode(encoded) {
            Some(text) => Ok(Self {
                parameter,
                text,
                dialect,
            }),
            None => Err(QueryError::Encoding {
                parameter,
                value: Quoted::new(encoded),
            }),
        }
    }

    /// The decoded text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The dialect that it is said in.
    pub(super) fn dialect(&self) -> &Dialect {
        self.dialect
    }

    /// The error that this value is not `expected`.
    pub(super) fn unexpected(&self, expected: &'static str) -> QueryError {
        QueryError::Unexpected {
            parameter: self.parameter,
            expected,
            value: Quoted::new(&self.text),
        }
    }

    /// The result of a parser that knows only whether it understood.
    pub(super) fn parsed<T>(
        &self,
        parsed: Option<T>,
        expected: &'static str,
    ) -> Result<T, QueryError> {
        parsed.ok_or_else(|| self.unexpected(expected))
    }

    /// Any text but the empty one.
    pub(super) fn name(&self, expected: &'static str) -> Result<&str, QueryError> {
        if self.text.is_empty() {
            return Err(self.unexpected(expected));
        }
        Ok(&self.text)
    }

    /// `0 1 true false`.
    pub(super) fn boolean(&self) -> Result<bool, QueryError> {
        self.parsed(self.as_boolean(), "0, 1, true or false")
    }

    /// `0 1 true false detail`: accepted for compatibility, and of no effect.
    pub(super) fn subs(&self) -> Result<(), QueryError> {
        let is_known = self.as_boolean().is_some() || self.text.eq_ignore_ascii_case("detail");
        self.parsed(is_known.then_some(()), "0, 1, true, false or detail")
    }

    /// An integer from 0 to the type's maximum.
    pub(super) fn unsigned<T: TryFrom<i128>>(&self) -> Result<T, QueryError> {
        let number = self.integer()?;
        if number < 0 {
            return Err(self.unexpected("an integer of at least 0"));
        }
        T::try_from(number).map_err(|_| self.out_of_range())
    }

    /// An integer between those of `i64`.
    pub(super) fn signed(&self) -> Result<i64, QueryError> {
        i64::try_from(self.integer()?).map_err(|_| self.out_of_range())
    }

    /// Wider than every integer parameter, so that "not a number" and "too large" stay apart.
    fn integer(&self) -> Result<i128, QueryError> {
        self.text
            .parse()
            .map_err(|error: std::num::ParseIntError| match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => self.out_of_range(),
                _ => self.unexpected("an integer"),
            })
    }

    fn as_boolean(&self) -> Option<bool> {
        [&BOOLEANS, self.dialect.booleans]
            .into_iter()
            .find_map(|names| dialect::named(names, &self.text))
    }

    fn out_of_range(&self) -> QueryError {
        QueryError::OutOfRange {
            parameter: self.parameter,
            value: Quoted::new(&self.text),
        }
    }
}
