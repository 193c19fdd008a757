//! Walks from a structure's name to a member, with limits against broken data.

use super::raw::{RawMember, Type};
use super::{Btf, BtfError, Kind, no_type};

/// How deep types may nest: anonymous structures, arrays of arrays, chains of modifiers. The
/// kernel's own verifier of BTF stops at 32 as well.
const MAX_DEPTH: u32 = 32;
/// How many members one question may look at. A `task_struct` with everything in it has a few
/// hundred; the limit keeps structures that share anonymous members from exploding the search.
const MAX_MEMBERS: u32 = 1 << 18;

/// Where a walk ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The member's type, as declared.
    pub(super) type_id: u32,
    /// Distance from the start of the structure at which the walk began.
    pub(super) bit_offset: u64,
    /// The width, if it is a bitfield.
    pub(super) bitfield_bits: Option<u32>,
    /// Size of the structure at which the walk began.
    pub(super) structure_bytes: u32,
}

impl Place {
    /// Whether so many bits from its start lie inside the structure.
    pub(super) fn holds(&self, bits: u64) -> bool {
        self.bit_offset
            .checked_add(bits)
            .is_some_and(|end| end <= 8 * u64::from(self.structure_bytes))
    }
}

impl<'a> Btf<'a> {
    /// Finds `path` in the first struct called `structure` that has it.
    pub(super) fn place(&self, structure: &str, path: &str) -> Result<Place, BtfError> {
        let mut members_left = MAX_MEMBERS;
        let mut first_failure = None;
        for candidate in self.named(structure, Kind::Struct) {
            match self.place_in(&candidate?, structure, path, &mut members_left) {
                Err(error) if error.is_absent() => {
                    first_failure.get_or_insert(error);
                }
                outcome => return outcome,
            }
        }
        Err(first_failure.unwrap_or_else(|| no_type(Kind::Struct, structure)))
    }

    fn place_in(
        &self,
        start: &Type<'a>,
        structure: &str,
        path: &str,
        members_left: &mut u32,
    ) -> Result<Place, BtfError> {
        let mut inside = *start;
        let mut base_bits = 0;
        let mut rest = path;
        loop {
            let (part, further) = match rest.split_once('.') {
                Some((part, further)) => (part, Some(further)),
                None => (rest, None),
            };
            // For the errors: where the walk has come to.
            let walked = &path[..path.len() - further.map_or(0, |further| further.len() + 1)];
            let Some(place) =
                self.find_member(&inside, part, base_bits, MAX_DEPTH, members_left)?
            else {
                return Err(BtfError::NoMember {
                    structure: structure.to_owned(),
                    member: walked.to_owned(),
                });
            };
            let Some(further) = further else {
                return Ok(Place {
                    structure_bytes: start.size_or_type,
                    ..place
                });
            };
            let Some(entered) = self.composite(place.type_id)? else {
                return Err(BtfError::NotAStructure {
                    structure: structure.to_owned(),
                    member: walked.to_owned(),
                });
            };
            inside = entered;
            base_bits = place.bit_offset;
            rest = further;
        }
    }

    /// Looks for `name` among the members of `owner` and of its anonymous members.
    fn find_member(
        &self,
        owner: &Type<'a>,
        name: &str,
        base_bits: u64,
        depth_left: u32,
        members_left: &mut u32,
    ) -> Result<Option<Place>, BtfError> {
        let too_deep = BtfError::TooDeep { id: owner.id };
        if depth_left == 0 {
            return Err(too_deep);
        }
        for member in owner.members() {
            *members_left = members_left
                .checked_sub(1)
                .ok_or_else(|| too_deep.clone())?;
            let bit_offset = base_bits + u64::from(member.bit_offset);
            // An empty name would match the first anonymous member.
            if !name.is_empty() && self.name_is(member.name_offset, name) {
                return self.at(&member, bit_offset).map(Some);
            }
            if !self.name_is(member.name_offset, "") {
                continue;
            }
            if let Some(inner) = self.composite(member.type_id)? {
                let found =
                    self.find_member(&inner, name, bit_offset, depth_left - 1, members_left)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// The place of `member`, with the width of a bitfield from either of its two encodings.
    fn at(&self, member: &RawMember, bit_offset: u64) -> Result<Place, BtfError> {
        let plain = Place {
            type_id: member.type_id,
            bit_offset,
            bitfield_bits: None,
            structure_bytes: 0,
        };
        if member.bitfield_bits != 0 {
            return Ok(Place {
                bitfield_bits: Some(member.bitfield_bits),
                ..plain
            });
        }
        let Some(base) = self.skip_modifiers(member.type_id)? else {
            return Ok(plain);
        };
        if base.kind != Kind::Int {
            return Ok(plain);
        }
        // The old encoding: an integer that is narrower than its storage or shifted in it.
        let encoding = base.payload().next().unwrap_or(0);
        let (shift, bits) = ((encoding >> 16) & 0xff, encoding & 0xff);
        if shift == 0 && u64::from(bits) == 8 * u64::from(base.size_or_type) {
            return Ok(plain);
        }
        Ok(Place {
            bit_offset: bit_offset + u64::from(shift),
            bitfield_bits: Some(bits),
            ..plain
        })
    }

    /// The size of the type, with all its elements if it is an array.
    pub(super) fn size_bytes(&self, id: u32) -> Result<u64, BtfError> {
        let malformed = |what| BtfError::Malformed { id, what };
        let mut elements = 1_u64;
        let mut element = id;
        for _ in 0..MAX_DEPTH {
            let Some(base) = self.skip_modifiers(element)? else {
                return Err(malformed("it is void and has no size"));
            };
            let size = match base.kind {
                Kind::Int
                | Kind::Struct
                | Kind::Union
                | Kind::Enum
                | Kind::Enum64
                | Kind::Float => u64::from(base.size_or_type),
                Kind::Ptr => 8,
                Kind::Array => {
                    // Element type, index type, number of elements.
                    let mut words = base.payload();
                    element = words.next().unwrap_or(0);
                    let number = u64::from(words.nth(1).unwrap_or(0));
                    elements = elements
                        .checked_mul(number)
                        .ok_or_else(|| malformed("its size is too large"))?;
                    continue;
                }
                _ => return Err(malformed("its kind has no size")),
            };
            return elements
                .checked_mul(size)
                .ok_or_else(|| malformed("its size is too large"));
        }
        Err(BtfError::TooDeep { id })
    }

    /// The struct or union behind the names and properties of type `id`, if it is one.
    fn composite(&self, id: u32) -> Result<Option<Type<'a>>, BtfError> {
        Ok(self
            .skip_modifiers(id)?
            .filter(|base| base.kind.is_composite()))
    }

    /// The type behind typedefs, `const` and the like; `None` for `void`.
    fn skip_modifiers(&self, id: u32) -> Result<Option<Type<'a>>, BtfError> {
        let mut next = id;
        for _ in 0..MAX_DEPTH {
            if next == 0 {
                return Ok(None);
            }
            let found = self.type_by_id(next)?;
            if !found.kind.is_modifier() {
                return Ok(Some(found));
            }
            next = found.size_or_type;
        }
        Err(BtfError::TooDeep { id })
    }
}
