//! The BTF encoding: header, kinds, and the records behind each type.
//!
//! Written after [`include/uapi/linux/btf.h`][btf.h]. Everything that can lie is checked once, in
//! [`Sections::parse`] and [`Type::read`]; what a [`Type`] hands out lies inside the data.
//!
//! [btf.h]: https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/include/uapi/linux/btf.h

use std::fmt;

use super::BtfError;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
/// Bytes of the header up to the last field that this reader uses. Newer ones are longer.
const HEADER_BYTES: usize = 24;
/// Bytes of `struct btf_type`, the head of every type.
const TYPE_BYTES: usize = 12;

/// The kind of a type, with its number in the format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of the format: BTF_KIND_*")]
pub enum Kind {
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Int,
            2 => Self::Ptr,
            3 => Self::Array,
            4 => Self::Struct,
            5 => Self::Union,
            6 => Self::Enum,
            7 => Self::Fwd,
            8 => Self::Typedef,
            9 => Self::Volatile,
            10 => Self::Const,
            11 => Self::Restrict,
            12 => Self::Func,
            13 => Self::FuncProto,
            14 => Self::Var,
            15 => Self::Datasec,
            16 => Self::Float,
            17 => Self::DeclTag,
            18 => Self::TypeTag,
            19 => Self::Enum64,
            _ => return None,
        })
    }

    /// Bytes that follow the head of a type of this kind with `vlen` entries.
    fn payload_bytes(self, vlen: usize) -> usize {
        match self {
            Self::Int | Self::Var | Self::DeclTag => 4,
            Self::Array => 12,
            Self::Struct | Self::Union | Self::Datasec | Self::Enum64 => vlen * 12,
            Self::Enum | Self::FuncProto => vlen * 8,
            Self::Ptr
            | Self::Fwd
            | Self::Typedef
            | Self::Volatile
            | Self::Const
            | Self::Restrict
            | Self::Func
            | Self::Float
            | Self::TypeTag => 0,
        }
    }

    /// True for the kinds that give another type a name or a property and change no layout.
    pub(super) fn is_modifier(self) -> bool {
        matches!(
            self,
            Self::Typedef | Self::Volatile | Self::Const | Self::Restrict | Self::TypeTag
        )
    }

    /// True for the kinds that have members.
    #[must_use]
    pub fn is_composite(self) -> bool {
        matches!(self, Self::Struct | Self::Union)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int => "int",
            Self::Ptr => "pointer",
            Self::Array => "array",
            Self::Struct => "struct",
            Self::Union => "union",
            Self::Enum | Self::Enum64 => "enum",
            Self::Fwd => "forward declaration",
            Self::Typedef => "typedef",
            Self::Volatile => "volatile",
            Self::Const => "const",
            Self::Restrict => "restrict",
            Self::Func => "function",
            Self::FuncProto => "function prototype",
            Self::Var => "variable",
            Self::Datasec => "data section",
            Self::Float => "float",
            Self::DeclTag => "declaration tag",
            Self::TypeTag => "type tag",
        })
    }
}

/// The two parts of BTF data behind the header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sections<'a> {
    pub(super) types: &'a [u8],
    pub(super) strings: &'a [u8],
}

impl<'a> Sections<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, BtfError> {
        if data.is_empty() {
            return Err(BtfError::Empty);
        }
        let truncated = BtfError::Truncated { what: "header" };
        let header = data.get(..HEADER_BYTES).ok_or(truncated.clone())?;
        let magic = u16::from_le_bytes([header[0], header[1]]);
        if magic.swap_bytes() == MAGIC {
            return Err(BtfError::ForeignEndianness);
        }
        if magic != MAGIC {
            return Err(BtfError::NotBtf { magic });
        }
        if header[2] != VERSION {
            return Err(BtfError::UnsupportedVersion { version: header[2] });
        }
        let header_bytes = word(header, 4) as usize;
        if header_bytes < HEADER_BYTES {
            return Err(truncated);
        }
        let body = data.get(header_bytes..).ok_or(truncated)?;
        let section = |at: usize, what| {
            let start = word(header, at) as usize;
            let length = word(header, at + 4) as usize;
            body.get(start..)
                .and_then(|rest| rest.get(..length))
                .ok_or(BtfError::Truncated { what })
        };
        Ok(Self {
            types: section(8, "type section")?,
            strings: section(16, "string section")?,
        })
    }
}

/// One type, as it lies in the data.
#[derive(Clone, Copy, Debug)]
pub struct Type<'a> {
    /// Its id: 1 for the first one, 0 is `void` and has no record.
    pub id: u32,
    /// Its kind.
    pub kind: Kind,
    /// For composites: their members' offsets carry bitfield sizes. For enumerations: signed.
    pub kind_flag: bool,
    /// Entries (members, values, parameters) in the payload.
    pub entries: u32,
    /// Where its name lies in the string section.
    pub name_offset: u32,
    /// Its size in bytes, or the id of the type it refers to, depending on the kind.
    pub size_or_type: u32,
    payload: &'a [u8],
}

impl<'a> Type<'a> {
    /// Reads the type that starts at `offset` of the type section.
    pub(super) fn read(types: &'a [u8], offset: usize, id: u32) -> Result<Self, BtfError> {
        let truncated = || BtfError::Truncated { what: "last type" };
        let record = types.get(offset..).ok_or_else(truncated)?;
        let head = record.get(..TYPE_BYTES).ok_or_else(truncated)?;
        let info = word(head, 4);
        // The kernel widened both parts into bits that were zero before, in its commit
        // f7a6b9eaff3e: 16 to 24 bits for the entries, 5 to 7 for the kind.
        let entries = info & 0x00ff_ffff;
        let number = (info >> 24) as u8 & 0x7f;
        let kind = Kind::from_number(number).ok_or(BtfError::UnknownKind { id, kind: number })?;
        let payload = record[TYPE_BYTES..]
            .get(..kind.payload_bytes(entries as usize))
            .ok_or_else(truncated)?;
        Ok(Self {
            id,
            kind,
            kind_flag: info >> 31 == 1,
            entries,
            name_offset: word(head, 0),
            size_or_type: word(head, 8),
            payload,
        })
    }

    /// Bytes that the type takes in the type section.
    pub(super) fn record_bytes(&self) -> usize {
        TYPE_BYTES + self.payload.len()
    }

    /// What follows the type's head: 32-bit words whose meaning depends on the kind.
    pub fn payload(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.payload.chunks_exact(4).map(|bytes| word(bytes, 0))
    }

    /// The members of a struct or union; nothing for other kinds.
    pub fn members(&self) -> impl Iterator<Item = RawMember> + use<'a> {
        let payload = if self.kind.is_composite() {
            self.payload
        } else {
            &[]
        };
        let kind_flag = self.kind_flag;
        payload.chunks_exact(12).map(move |bytes| {
            let offset = word(bytes, 8);
            RawMember {
                name_offset: word(bytes, 0),
                type_id: word(bytes, 4),
                bit_offset: if kind_flag {
                    offset & 0x00ff_ffff
                } else {
                    offset
                },
                bitfield_bits: if kind_flag { offset >> 24 } else { 0 },
            }
        })
    }
}

/// One member of a struct or union.
#[derive(Clone, Copy, Debug)]
pub struct RawMember {
    /// Where its name lies in the string section.
    pub name_offset: u32,
    /// Its type.
    pub type_id: u32,
    /// Its distance from the start of the struct or union.
    pub bit_offset: u32,
    /// Its width if the struct says that it is a bitfield, else 0. Old structs do not say it:
    /// there the type itself is an integer of that width.
    pub bitfield_bits: u32,
}

/// The little-endian word at `at`; the caller has checked that it lies in `bytes`.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
