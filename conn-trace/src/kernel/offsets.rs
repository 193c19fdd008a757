//! The offsets that the kernel programs need, resolved against the running kernel.
//!
//! The list itself is [`conn_trace_common::kernel_fields`]; the loader passes each resolved value
//! to the object as the read-only global of its name.

use conn_trace_common::fields::MISSING;
use thiserror::Error;

use super::btf::{Btf, BtfError};

/// The global that holds the number of the bit `SOCK_DONE` in a socket's flags.
pub const SOCK_DONE_BIT: &str = "SOCK_DONE_BIT";
/// The globals that hold where `tcp_sock.chrono_type` lies: byte, shift in it, width.
pub const CHRONO_TYPE: [&str; 3] = [
    "TCP_CHRONO_TYPE_OFFSET",
    "TCP_CHRONO_TYPE_SHIFT",
    "TCP_CHRONO_TYPE_BITS",
];

/// What happens if a kernel does not have a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// The agent cannot work: resolving fails.
    Required,
    /// The programs work without it: its global is [`MISSING`].
    Optional,
}

/// One member of a kernel structure that the programs read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field {
    /// The global in the object that takes the offset.
    pub global: &'static str,
    /// The structure.
    pub structure: &'static str,
    /// The path of the member in it, as [`Btf::member`] takes it.
    pub member: &'static str,
    /// The size that the programs read.
    pub size_bytes: u32,
    /// Whether they can do without it.
    pub need: Need,
}

macro_rules! need {
    (required) => {
        Need::Required
    };
    (optional) => {
        Need::Optional
    };
}

macro_rules! list_fields {
    ($($global:ident: $structure:literal, $member:literal, $size_bytes:literal, $need:ident;)*) => {
        &[$(Field {
            global: stringify!($global),
            structure: $structure,
            member: $member,
            size_bytes: $size_bytes,
            need: need!($need),
        }),*]
    };
}

/// Every member that the programs read as whole bytes.
pub const FIELDS: &[Field] = conn_trace_common::kernel_fields!(list_fields);

/// Why one global has no value.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum FieldError {
    /// The kernel does not have it, or its BTF is broken.
    #[error("{global}: {source}")]
    Lookup {
        /// The global in the object.
        global: &'static str,
        /// What the BTF says.
        source: BtfError,
    },
    /// The kernel has the member with another size; reading it would give a wrong number.
    #[error(
        "{global}: member {member} of struct {structure} has {found} bytes, expected {expected}"
    )]
    Size {
        /// The global in the object.
        global: &'static str,
        /// The structure.
        structure: &'static str,
        /// The path of the member in it.
        member: &'static str,
        /// The size that the programs read.
        expected: u32,
        /// The size in the running kernel.
        found: u32,
    },
}

impl FieldError {
    /// The global in the object that has no value.
    #[must_use]
    pub fn global(&self) -> &'static str {
        match self {
            Self::Lookup { global, .. } | Self::Size { global, .. } => global,
        }
    }

    /// True if the programs can run without the field, should they not require it.
    fn is_absence(&self) -> bool {
        match self {
            Self::Lookup { source, .. } => source.is_absent(),
            Self::Size { .. } => true,
        }
    }
}

/// The kernel does not have what the programs require: every such field, not only the first.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("this kernel's structures do not fit the programs: {}", join(.problems))]
pub struct OffsetsError {
    /// The fields, in the order of [`FIELDS`].
    pub problems: Vec<FieldError>,
}

fn join(problems: &[FieldError]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The values of all offset globals on one kernel.
#[derive(Clone, Debug)]
pub struct Offsets {
    values: Vec<(&'static str, u32)>,
    missing: Vec<FieldError>,
}

impl Offsets {
    /// Looks up [`FIELDS`], [`SOCK_DONE_BIT`] and [`CHRONO_TYPE`].
    ///
    /// # Errors
    ///
    /// If a required field is missing or has another size, or if the BTF is broken.
    pub fn resolve(btf: &Btf<'_>) -> Result<Self, OffsetsError> {
        let mut resolved = Self {
            values: Vec::new(),
            missing: Vec::new(),
        };
        let mut problems = Vec::new();
        for field in FIELDS {
            let value = offset(btf, field).map(|value| [value]);
            resolved.take([field.global], value, field.need, &mut problems);
        }
        let bit = sock_done(btf).map(|value| [value]);
        resolved.take([SOCK_DONE_BIT], bit, Need::Required, &mut problems);
        let chrono = btf
            .bitfield("tcp_sock", "chrono_type")
            .map(|place| [place.offset_bytes, place.bit_shift, place.bit_size])
            .map_err(|source| FieldError::Lookup {
                global: CHRONO_TYPE[0],
                source,
            });
        resolved.take(CHRONO_TYPE, chrono, Need::Optional, &mut problems);
        if problems.is_empty() {
            Ok(resolved)
        } else {
            Err(OffsetsError { problems })
        }
    }

    /// Every global of the object with its value, in the order of [`FIELDS`].
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        self.values.iter().copied()
    }

    /// The value of one global; `None` if there is no global of that name.
    #[must_use]
    pub fn get(&self, global: &str) -> Option<u32> {
        self.iter()
            .find(|(name, _)| *name == global)
            .map(|(_, value)| value)
    }

    /// The optional fields that this kernel does not have, with the reason.
    #[must_use]
    pub fn missing(&self) -> &[FieldError] {
        &self.missing
    }

    fn take<const N: usize>(
        &mut self,
        globals: [&'static str; N],
        outcome: Result<[u32; N], FieldError>,
        need: Need,
        problems: &mut Vec<FieldError>,
    ) {
        let values = outcome.unwrap_or_else(|problem| {
            if need == Need::Optional && problem.is_absence() {
                self.missing.push(problem);
            } else {
                problems.push(problem);
            }
            [MISSING; N]
        });
        self.values.extend(globals.into_iter().zip(values));
    }
}

fn offset(btf: &Btf<'_>, field: &Field) -> Result<u32, FieldError> {
    let Field {
        global,
        structure,
        member,
        size_bytes,
        ..
    } = *field;
    let found = btf
        .member(structure, member)
        .map_err(|source| FieldError::Lookup { global, source })?;
    if found.size_bytes != size_bytes {
        return Err(FieldError::Size {
            global,
            structure,
            member,
            expected: size_bytes,
            found: found.size_bytes,
        });
    }
    Ok(found.offset_bytes)
}

fn sock_done(btf: &Btf<'_>) -> Result<u32, FieldError> {
    const ENUMERATION: &str = "sock_flags";
    let lookup = |source| FieldError::Lookup {
        global: SOCK_DONE_BIT,
        source,
    };
    let value = btf.enum_value(ENUMERATION, "SOCK_DONE").map_err(lookup)?;
    // The programs shift a 64-bit word of flags by it.
    u32::try_from(value)
        .ok()
        .filter(|bit| *bit < 64)
        .ok_or_else(|| {
            lookup(BtfError::NoEnumerator {
                enumeration: ENUMERATION.to_owned(),
                name: "SOCK_DONE below 64".to_owned(),
            })
        })
}

#[cfg(test)]
mod tests;
