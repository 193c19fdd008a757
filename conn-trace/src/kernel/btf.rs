//! Where the running kernel keeps the members of its structures, read from its BTF.
//!
//! The kernel describes its own types in `/sys/kernel/btf/vmlinux`. This reader indexes them in
//! one pass and answers a handful of questions about names: the offset of a member, the place of a
//! bitfield, the value of an enumerator, the number of a function's parameters.
//!
//! The data is not trusted: lengths, indices and references are checked, and every walk over types
//! has a limit, so that broken data gives a [`BtfError`] and never a panic or an endless loop.

mod error;
mod raw;
mod walk;

pub use error::BtfError;
pub use raw::{Kind, RawMember, Type};

use raw::Sections;

/// Where a member lies in its structure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Member {
    /// Distance from the start of the structure.
    pub offset_bytes: u32,
    /// Size of the member: of all elements for an array, 8 for a pointer.
    pub size_bytes: u32,
}

/// Where a bitfield lies in its structure: `(byte at offset_bytes >> bit_shift)`, the lowest
/// `bit_size` bits of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bitfield {
    /// Distance of the byte that holds all bits from the start of the structure.
    pub offset_bytes: u32,
    /// Bits of that byte below the bitfield, 0 to 7.
    pub bit_shift: u32,
    /// Width of the bitfield, 1 to 8.
    pub bit_size: u32,
}

/// An index over BTF data.
#[derive(Debug)]
pub struct Btf<'a> {
    sections: Sections<'a>,
    /// Where each type starts in the type section; the type with id 1 is the first.
    starts: Vec<u32>,
    /// The ids of the structs: one type in fifteen, and most questions are about them.
    structs: Vec<u32>,
}

impl<'a> Btf<'a> {
    /// Indexes `data`, the content of a `.BTF` section or of `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    ///
    /// If the data is not little-endian BTF, is cut off, or has a kind that this reader does not
    /// know.
    pub fn parse(data: &'a [u8]) -> Result<Self, BtfError> {
        let sections = Sections::parse(data)?;
        // A kernel's types take 20 to 25 bytes each; one allocation is enough.
        let mut starts = Vec::with_capacity(sections.types.len() / 20);
        let mut structs = Vec::new();
        let mut start = 0;
        let mut id = 1;
        while start < sections.types.len() {
            let record = Type::read(sections.types, start, id)?;
            starts.push(u32::try_from(start).map_err(|_| BtfError::Truncated { what: "type" })?);
            if record.kind == Kind::Struct {
                structs.push(id);
            }
            start += record.record_bytes();
            id += 1;
        }
        Ok(Self {
            sections,
            starts,
            structs,
        })
    }

    /// The place of a member of the struct `structure`.
    ///
    /// Every dot of `path` enters an embedded struct or union; members of anonymous ones are found
    /// without naming the way. Kernels may have several structs of one name: the first one that
    /// has the member answers.
    ///
    /// # Errors
    ///
    /// [`BtfError::IsBitfield`] for a bitfield (ask [`Btf::bitfield`]), another one if the member
    /// does not exist or the data is broken.
    pub fn member(&self, structure: &str, path: &str) -> Result<Member, BtfError> {
        let place = self.place(structure, path)?;
        if place.bitfield_bits.is_some() {
            return Err(BtfError::IsBitfield {
                structure: structure.to_owned(),
                member: path.to_owned(),
            });
        }
        let malformed = |what| BtfError::Malformed {
            id: place.type_id,
            what,
        };
        if !place.bit_offset.is_multiple_of(8) {
            return Err(malformed("its member does not start at a byte"));
        }
        let size_bytes = self.size_bytes(place.type_id)?;
        if !place.holds(size_bytes.saturating_mul(8)) {
            return Err(outside(structure, path));
        }
        Ok(Member {
            offset_bytes: u32::try_from(place.bit_offset / 8)
                .map_err(|_| malformed("its offset is too large"))?,
            size_bytes: u32::try_from(size_bytes)
                .map_err(|_| malformed("its size is too large"))?,
        })
    }

    /// The place of a bitfield of the struct `structure`; `path` as for [`Btf::member`].
    ///
    /// A plain member of one byte counts as a bitfield of 8 bits, so that a kernel which spends a
    /// byte on a flag reads the same.
    ///
    /// # Errors
    ///
    /// [`BtfError::CrossesByte`] if no single byte holds all bits, another one if the member does
    /// not exist or the data is broken.
    pub fn bitfield(&self, structure: &str, path: &str) -> Result<Bitfield, BtfError> {
        let place = self.place(structure, path)?;
        let bits = match place.bitfield_bits {
            Some(bits) => u64::from(bits),
            None => self.size_bytes(place.type_id)?.saturating_mul(8),
        };
        let shift = place.bit_offset % 8;
        let crosses = || BtfError::CrossesByte {
            structure: structure.to_owned(),
            member: path.to_owned(),
        };
        // A field of no bits or of more than 8 fails here too.
        if !(1..=8 - shift).contains(&bits) {
            return Err(crosses());
        }
        if !place.holds(bits) {
            return Err(outside(structure, path));
        }
        let narrow = |number| u32::try_from(number).map_err(|_| crosses());
        Ok(Bitfield {
            offset_bytes: narrow(place.bit_offset / 8)?,
            bit_shift: narrow(shift)?,
            bit_size: narrow(bits)?,
        })
    }

    /// The value of `name` in the enumeration `enumeration`.
    ///
    /// Kernels before 6.0 do not record whether an enumeration is signed: there a negative value
    /// comes out as its unsigned 32-bit pattern.
    ///
    /// # Errors
    ///
    /// If no enumeration of that name has the value, or the data is broken.
    pub fn enum_value(&self, enumeration: &str, name: &str) -> Result<i64, BtfError> {
        let mut known = false;
        for kind in [Kind::Enum, Kind::Enum64] {
            for found in self.named(enumeration, kind) {
                known = true;
                if let Some(value) = self.enumerator(&found?, name) {
                    return Ok(value);
                }
            }
        }
        Err(if known {
            BtfError::NoEnumerator {
                enumeration: enumeration.to_owned(),
                name: name.to_owned(),
            }
        } else {
            no_type(Kind::Enum, enumeration)
        })
    }

    /// How many parameters the function `name` has; a variable part (`...`) does not count.
    ///
    /// # Errors
    ///
    /// [`BtfError::NoType`] if the kernel has no such function, another one if the data is broken.
    pub fn function_parameter_count(&self, name: &str) -> Result<usize, BtfError> {
        let function = self
            .named(name, Kind::Func)
            .next()
            .ok_or_else(|| no_type(Kind::Func, name))??;
        let prototype = self.type_by_id(function.size_or_type)?;
        if prototype.kind != Kind::FuncProto {
            return Err(BtfError::Malformed {
                id: function.id,
                what: "the function has no prototype",
            });
        }
        // A parameter is its name and its type; the variable part is a last one of type void.
        let variable = prototype.payload().skip(1).step_by(2).last() == Some(0);
        Ok(prototype.entries as usize - usize::from(variable))
    }

    /// True if the kernel has a type of that name and kind.
    ///
    /// A tracepoint `x` can be attached as `tp_btf` if there is a typedef `btf_trace_x`.
    #[must_use]
    pub fn has_type(&self, name: &str, kind: Kind) -> bool {
        self.named(name, kind).next().is_some()
    }

    /// The type with that id.
    ///
    /// # Errors
    ///
    /// [`BtfError::NoSuchId`] for `void` (0) and ids beyond the last type.
    pub fn type_by_id(&self, id: u32) -> Result<Type<'a>, BtfError> {
        let start = (id as usize)
            .checked_sub(1)
            .and_then(|index| self.starts.get(index))
            .ok_or(BtfError::NoSuchId { id })?;
        Type::read(self.sections.types, *start as usize, id)
    }

    /// All types of that kind and name, in the order of their ids; none for an empty name.
    pub fn named<'n>(
        &'n self,
        name: &'n str,
        kind: Kind,
    ) -> impl Iterator<Item = Result<Type<'a>, BtfError>> + use<'a, 'n> {
        let structs = (kind == Kind::Struct).then_some(&self.structs);
        let others = structs.is_none().then_some(1..=self.starts.len() as u32);
        structs
            .into_iter()
            .flatten()
            .copied()
            .chain(others.into_iter().flatten())
            .filter(move |_| !name.is_empty())
            .map(|id| self.type_by_id(id))
            .filter(move |found| match found {
                Ok(found) => found.kind == kind && self.name_is(found.name_offset, name),
                Err(_) => true,
            })
    }

    /// The name that starts at `offset` of the string section; `None` if it lies outside or is not
    /// UTF-8.
    #[must_use]
    pub fn name(&self, offset: u32) -> Option<&'a str> {
        let rest = self.sections.strings.get(offset as usize..)?;
        let length = rest.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&rest[..length]).ok()
    }

    /// Compares without looking for the end of the name in the data.
    fn name_is(&self, offset: u32, name: &str) -> bool {
        self.sections
            .strings
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    fn enumerator(&self, enumeration: &Type<'a>, name: &str) -> Option<i64> {
        let mut words = enumeration.payload();
        while let (Some(name_offset), Some(low)) = (words.next(), words.next()) {
            let value = match (enumeration.kind, enumeration.kind_flag) {
                (Kind::Enum64, _) => i64::from(words.next()?.cast_signed()) << 32 | i64::from(low),
                (_, true) => i64::from(low.cast_signed()),
                (_, false) => i64::from(low),
            };
            if self.name_is(name_offset, name) {
                return Some(value);
            }
        }
        None
    }
}

fn outside(structure: &str, path: &str) -> BtfError {
    BtfError::Outside {
        structure: structure.to_owned(),
        member: path.to_owned(),
    }
}

fn no_type(kind: Kind, name: &str) -> BtfError {
    BtfError::NoType {
        kind,
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
