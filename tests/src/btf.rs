//! The kernel's BTF, changed in place: no id and no size changes, so that the kernel's own ids stay
//! right in it.
//!
//! Written after `include/uapi/linux/btf.h`, apart from the agent's reader.

use std::{fs, io};

/// `BTF_KIND_STRUCT`
pub const STRUCT: u8 = 4;
const UNION: u8 = 5;
const ENUM: u8 = 6;
/// `BTF_KIND_TYPEDEF`
pub const TYPEDEF: u8 = 8;
const FUNC: u8 = 12;
const FUNC_PROTO: u8 = 13;
const ENUM64: u8 = 19;

/// Bytes of `struct btf_type` and of `struct btf_member`.
const HEAD: usize = 12;
const MEMBER: usize = 12;

/// BTF data.
#[derive(Clone, Debug)]
pub struct Btf {
    /// The data.
    pub bytes: Vec<u8>,
    /// Where each type starts in it, from the type with id 1.
    types: Vec<usize>,
    strings: usize,
}

/// Where a member is described.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Position of its record in the data.
    record: usize,
    /// Its offset from the start of the outermost structure.
    bits: u32,
    type_id: u32,
}

impl Btf {
    /// The running kernel's.
    ///
    /// # Errors
    /// If there is none.
    pub fn of_kernel() -> io::Result<Self> {
        fs::read("/sys/kernel/btf/vmlinux").map(Self::new)
    }

    /// Indexes sound data.
    ///
    /// # Panics
    /// If it is not sound.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        let mut btf = Self {
            bytes,
            types: Vec::new(),
            strings: 0,
        };
        assert_eq!(btf.word(0) & 0xff_ffff, 0x01_eb9f, "BTF, version 1");
        let header = btf.word(4) as usize;
        let mut at = header + btf.word(8) as usize;
        let end = at + btf.word(12) as usize;
        btf.strings = header + btf.word(16) as usize;
        while at < end {
            btf.types.push(at);
            at += HEAD + btf.payload(at);
        }
        btf
    }

    /// Whether there is such a type.
    #[must_use]
    pub fn has_type(&self, kind: u8, name: &str) -> bool {
        !self.named(kind, name).is_empty()
    }

    /// Takes the name off a type, by giving it another one: its own without the first letter.
    ///
    /// # Panics
    /// If there is no such type.
    pub fn rename_type(&mut self, kind: u8, name: &str) {
        let found = self.named(kind, name);
        assert!(!found.is_empty(), "no type {name}");
        for at in found {
            self.set(at, self.word(at) + 1);
        }
    }

    /// Takes the name off a member in the same way.
    ///
    /// # Panics
    /// If there is no such member.
    pub fn rename_member(&mut self, structure: &str, path: &str) {
        for (_, place) in self.members(structure, path) {
            self.set(place.record, self.word(place.record) + 1);
        }
    }

    /// Moves a member by its own size: up where the structure goes on, else down.
    ///
    /// # Panics
    /// If there is no such member.
    pub fn shift_member(&mut self, structure: &str, path: &str, size_bytes: u32) {
        let bits = 8 * size_bytes;
        for (whole, place) in self.members(structure, path) {
            let field = place.record + 8;
            let fits = place.bits / 8 + 2 * size_bytes <= self.word(whole + 8);
            let moved = if fits {
                self.word(field) + bits
            } else {
                self.word(field) - bits
            };
            self.set(field, moved);
        }
    }

    /// Gives a value of an enumeration another number.
    ///
    /// # Panics
    /// If there is no such value.
    pub fn renumber(&mut self, enumeration: &str, name: &str, number: u32) {
        let mut found = Vec::new();
        for (kind, size) in [(ENUM, 8), (ENUM64, 12)] {
            for at in self.named(kind, enumeration) {
                found.extend((0..self.entries(at)).map(|entry| at + HEAD + entry * size));
            }
        }
        found.retain(|&entry| self.name(self.word(entry)) == name.as_bytes());
        assert!(!found.is_empty(), "no {enumeration}.{name}");
        for entry in found {
            self.set(entry + 4, number);
        }
    }

    /// Gives a function the prototype of another one, with so many parameters.
    ///
    /// # Panics
    /// If there is no such function, or none with so many parameters.
    pub fn reparameterize(&mut self, function: &str, parameters: usize) {
        let prototype = (1..)
            .zip(&self.types)
            .find(|(_, at)| self.kind(**at) == FUNC_PROTO && self.entries(**at) == parameters)
            .map(|(id, _)| id)
            .expect("a prototype");
        let found = self.named(FUNC, function);
        assert!(!found.is_empty(), "no function {function}");
        for at in found {
            self.set(at + 8, prototype);
        }
    }

    /// All structures of that name that have the member: position of the structure, the member.
    fn members(&self, structure: &str, path: &str) -> Vec<(usize, Place)> {
        let found: Vec<_> = self
            .named(STRUCT, structure)
            .into_iter()
            .filter_map(|at| Some((at, self.find(at, path, 0)?)))
            .collect();
        assert!(!found.is_empty(), "no {structure}.{path}");
        found
    }

    /// Every dot of the path enters a structure; anonymous ones are entered without a name.
    fn find(&self, at: usize, path: &str, base: u32) -> Option<Place> {
        let (name, rest) = match path.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let has_bitfields = self.word(at + 4) >> 31 == 1;
        (0..self.entries(at)).find_map(|entry| {
            let record = at + HEAD + entry * MEMBER;
            let offset = self.word(record + 8);
            let place = Place {
                record,
                bits: base
                    + if has_bitfields {
                        offset & 0xff_ffff
                    } else {
                        offset
                    },
                type_id: self.word(record + 4),
            };
            let inner = || {
                let index = place.type_id.checked_sub(1)?;
                let at = self.types[index as usize];
                matches!(self.kind(at), STRUCT | UNION).then_some(at)
            };
            match (self.name(self.word(record)), rest) {
                (b"", _) => self.find(inner()?, path, place.bits),
                (found, None) if found == name.as_bytes() => Some(place),
                (found, Some(rest)) if found == name.as_bytes() => {
                    self.find(inner()?, rest, place.bits)
                }
                _ => None,
            }
        })
    }

    fn named(&self, kind: u8, name: &str) -> Vec<usize> {
        self.types
            .iter()
            .copied()
            .filter(|&at| self.kind(at) == kind && self.name(self.word(at)) == name.as_bytes())
            .collect()
    }

    fn name(&self, offset: u32) -> &[u8] {
        let rest = &self.bytes[self.strings + offset as usize..];
        let end = rest.iter().position(|&byte| byte == 0);
        &rest[..end.unwrap_or(rest.len())]
    }

    fn kind(&self, at: usize) -> u8 {
        self.bytes[at + 7] & 0x1f
    }

    fn entries(&self, at: usize) -> usize {
        self.word(at + 4) as usize & 0xffff
    }

    /// Bytes between the head of a type and the next type.
    fn payload(&self, at: usize) -> usize {
        let entries = self.entries(at);
        match self.kind(at) {
            // INT, VAR, DECL_TAG
            1 | 14 | 17 => 4,
            // ARRAY
            3 => 12,
            // DATASEC
            STRUCT | UNION | 15 | ENUM64 => entries * 12,
            ENUM | FUNC_PROTO => entries * 8,
            _ => 0,
        }
    }

    fn word(&self, at: usize) -> u32 {
        let bytes = self.bytes[at..at + 4].try_into();
        u32::from_le_bytes(bytes.expect("four bytes"))
    }

    fn set(&mut self, at: usize, word: u32) {
        self.bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[u8] = b"\0outer\0plain\0inner\0deep\0flags\0DONE\0call\0int\0";

    fn name(wanted: &str) -> u32 {
        let at = NAMES
            .windows(wanted.len() + 1)
            .position(|bytes| bytes == [wanted.as_bytes(), b"\0"].concat());
        u32::try_from(at.expect("a name")).expect("a small number")
    }

    /// `struct outer { int plain; struct { struct { int a; int deep; } inner; }; }`, an enumeration,
    /// and a function of one parameter beside a prototype of two.
    fn sample() -> Btf {
        let word = |kind: u32, entries: u32| kind << 24 | entries;
        let words = [
            [name("int"), word(1, 0), 4, 32].as_slice(),
            &[0, word(4, 2), 8, 0, 1, 0, name("deep"), 1, 32],
            &[0, word(4, 1), 8, name("inner"), 2, 0],
            &[name("outer"), word(4, 2), 12, name("plain"), 1, 0, 0, 3, 32],
            &[name("flags"), word(6, 1), 4, name("DONE"), 1],
            &[0, word(13, 1), 1, 0, 1],
            &[0, word(13, 2), 1, 0, 1, 0, 1],
            &[name("call"), word(12, 1), 6],
        ]
        .concat();
        let types = u32::try_from(words.len() * 4).expect("a small number");
        let strings = u32::try_from(NAMES.len()).expect("a small number");
        let header = [0x01_eb9f, 24, 0, types, types, strings];
        let bytes = header
            .iter()
            .chain(&words)
            .flat_map(|word| word.to_le_bytes());
        Btf::new(bytes.chain(NAMES.iter().copied()).collect())
    }

    fn offset(btf: &Btf, path: &str) -> Option<u32> {
        let outer = btf.named(STRUCT, "outer")[0];
        btf.find(outer, path, 0).map(|place| place.bits / 8)
    }

    #[test]
    fn members_are_found_through_named_and_anonymous_structures() {
        let btf = sample();
        assert_eq!(offset(&btf, "plain"), Some(0));
        assert_eq!(offset(&btf, "inner.deep"), Some(8));
        assert_eq!(offset(&btf, "deep"), None);
    }

    #[test]
    fn a_member_moves_up_or_at_the_end_down() {
        let mut btf = sample();
        btf.shift_member("outer", "plain", 4);
        btf.shift_member("outer", "inner.deep", 4);
        assert_eq!(offset(&btf, "plain"), Some(4));
        assert_eq!(offset(&btf, "inner.deep"), Some(4));
    }

    #[test]
    fn names_go_without_moving_anything() {
        let mut btf = sample();
        btf.rename_member("outer", "plain");
        assert_eq!(offset(&btf, "plain"), None);
        assert_eq!(offset(&btf, "lain"), Some(0));
        btf.rename_type(STRUCT, "outer");
        assert!(btf.named(STRUCT, "outer").is_empty());
        assert_eq!(btf.named(STRUCT, "uter").len(), 1);
        assert_eq!(btf.bytes.len(), sample().bytes.len());
    }

    #[test]
    fn numbers_and_prototypes_change() {
        let mut btf = sample();
        btf.renumber("flags", "DONE", 9);
        let flags = btf.named(ENUM, "flags")[0];
        assert_eq!(btf.word(flags + HEAD + 4), 9);
        btf.reparameterize("call", 2);
        let call = btf.named(FUNC, "call")[0];
        assert_eq!(btf.word(call + 8), 7);
    }
}
