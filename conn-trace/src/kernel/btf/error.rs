//! Why a question to the kernel's BTF has no answer.

use thiserror::Error;

use super::Kind;

/// An error of [`Btf`](super::Btf): either the data is not sound, or the kernel does not have what
/// was asked for ([`BtfError::is_absent`]).
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum BtfError {
    /// There is no data at all.
    #[error("kernel BTF: it is empty; the kernel needs CONFIG_DEBUG_INFO_BTF")]
    Empty,
    /// The data does not start with the BTF magic number.
    #[error("kernel BTF: bad magic number {magic:#06x}, this is not BTF")]
    NotBtf {
        /// The two bytes found instead, read as little-endian.
        magic: u16,
    },
    /// The data is BTF of a big-endian machine.
    #[error("kernel BTF: the data is big-endian, only little-endian kernels are supported")]
    ForeignEndianness,
    /// The header has a version that this reader does not know.
    #[error("kernel BTF: unsupported version {version}")]
    UnsupportedVersion {
        /// The version in the header.
        version: u8,
    },
    /// A part of the data lies outside the bytes that hold it.
    #[error("kernel BTF: the {what} does not fit into the data")]
    Truncated {
        /// The part that does not fit.
        what: &'static str,
    },
    /// A kind newer than this reader. Its length is unknown, so nothing after it can be read.
    #[error("kernel BTF: type {id} is of unknown kind {kind}")]
    UnknownKind {
        /// The type's id.
        id: u32,
        /// The kind's number in the format.
        kind: u8,
    },
    /// A reference names a type that does not exist.
    #[error("kernel BTF: there is no type with id {id}")]
    NoSuchId {
        /// The id in the reference.
        id: u32,
    },
    /// References between types form a cycle, or nest deeper than any compiler makes them.
    #[error("kernel BTF: the types under type {id} are cyclic or nested too deeply")]
    TooDeep {
        /// The type at which the search gave up.
        id: u32,
    },
    /// A type stands where its kind makes no sense, or its numbers contradict each other.
    #[error("kernel BTF: type {id} is malformed: {what}")]
    Malformed {
        /// The type's id.
        id: u32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The kernel has no type of that kind and name.
    #[error("kernel BTF: there is no {kind} {name}")]
    NoType {
        /// The kind asked for.
        kind: Kind,
        /// The name asked for.
        name: String,
    },
    /// The structure exists and does not have the member.
    #[error("kernel BTF: struct {structure} has no member {member}")]
    NoMember {
        /// The structure asked for.
        structure: String,
        /// The path up to and including the part that is missing.
        member: String,
    },
    /// The path goes on after a member that has no members of its own.
    #[error("kernel BTF: member {member} of struct {structure} is not an embedded structure")]
    NotAStructure {
        /// The structure asked for.
        structure: String,
        /// The path up to and including the member that cannot be entered.
        member: String,
    },
    /// The member is a bitfield, which has no byte offset of its own.
    #[error("kernel BTF: member {member} of struct {structure} is a bitfield")]
    IsBitfield {
        /// The structure asked for.
        structure: String,
        /// The path asked for.
        member: String,
    },
    /// The member does not lie in one byte.
    #[error("kernel BTF: bitfield {member} of struct {structure} does not lie in one byte")]
    CrossesByte {
        /// The structure asked for.
        structure: String,
        /// The path asked for.
        member: String,
    },
    /// The structure is too small for its own member.
    #[error("kernel BTF: member {member} of struct {structure} lies outside of it")]
    Outside {
        /// The structure asked for.
        structure: String,
        /// The path asked for.
        member: String,
    },
    /// The enumeration exists and does not have the name.
    #[error("kernel BTF: enum {enumeration} has no value {name}")]
    NoEnumerator {
        /// The enumeration asked for.
        enumeration: String,
        /// The name asked for.
        name: String,
    },
}

impl BtfError {
    /// True if the data is sound and this kernel just does not have the thing in the form asked
    /// for; false if the data cannot be trusted.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(
            self,
            Self::NoType { .. }
                | Self::NoMember { .. }
                | Self::NotAStructure { .. }
                | Self::IsBitfield { .. }
                | Self::CrossesByte { .. }
                | Self::NoEnumerator { .. }
        )
    }
}
