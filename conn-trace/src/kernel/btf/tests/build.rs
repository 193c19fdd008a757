//! Makes BTF by hand.

use super::super::Kind;

/// BTF under construction. Every method gives the id of the type it adds.
pub(super) struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    written: u32,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
            written: 0,
        }
    }
}

impl Builder {
    pub(super) fn next_id(&self) -> u32 {
        self.written + 1
    }

    pub(super) fn string(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        offset
    }

    pub(super) fn add(&mut self, name: &str, kind: Kind, size_or_type: u32, words: &[u32]) -> u32 {
        self.add_number(name, kind as u8, size_or_type, words)
    }

    pub(super) fn add_number(
        &mut self,
        name: &str,
        kind: u8,
        size_or_type: u32,
        words: &[u32],
    ) -> u32 {
        let name = self.string(name);
        self.add_words(name, kind, false, size_or_type, words)
    }

    /// Adds a type with as many entries as `words` holds, and the words that do not fill an entry
    /// cut off.
    pub(super) fn add_words(
        &mut self,
        name: u32,
        kind: u8,
        kind_flag: bool,
        size_or_type: u32,
        words: &[u32],
    ) -> u32 {
        let per_entry = match kind {
            4 | 5 | 15 | 19 => 3,
            6 | 13 => 2,
            _ => 0,
        };
        let (entries, length) = match (kind, per_entry) {
            (1 | 14 | 17, _) => (0, 1),
            (3, _) => (0, 3),
            (_, 0) => (0, 0),
            _ => (words.len() / per_entry, words.len() / per_entry * per_entry),
        };
        let info = u32::from(kind_flag) << 31 | u32::from(kind) << 24 | entries as u32;
        let padded = words.iter().copied().chain([0; 3]).take(length);
        let all = [name, info, size_or_type].into_iter().chain(padded);
        self.types.extend(all.flat_map(u32::to_le_bytes));
        self.written += 1;
        self.written
    }

    pub(super) fn int(&mut self, name: &str, bytes: u32) -> u32 {
        self.add(name, Kind::Int, bytes, &[8 * bytes])
    }

    pub(super) fn pointer(&mut self, to: u32) -> u32 {
        self.add("", Kind::Ptr, to, &[])
    }

    pub(super) fn array(&mut self, of: u32, elements: u32) -> u32 {
        self.add("", Kind::Array, 0, &[of, 1, elements])
    }

    /// Members are name, type and bit offset.
    pub(super) fn composite(
        &mut self,
        kind: Kind,
        name: &str,
        bytes: u32,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        let words: Vec<u32> = members
            .iter()
            .flat_map(|(name, member, at)| [self.string(name), *member, *at])
            .collect();
        self.add(name, kind, bytes, &words)
    }

    /// A struct whose members are name, type, bit offset and width, 0 for a plain one.
    pub(super) fn bitfields(&mut self, name: &str, bytes: u32, members: &[(&str, u32, u32, u32)]) {
        let words: Vec<u32> = members
            .iter()
            .flat_map(|(name, member, at, width)| [self.string(name), *member, width << 24 | at])
            .collect();
        let name = self.string(name);
        self.add_words(name, Kind::Struct as u8, true, bytes, &words);
    }

    pub(super) fn enumeration(&mut self, name: &str, signed: bool, values: &[(&str, u32)]) {
        let words: Vec<u32> = values
            .iter()
            .flat_map(|(name, value)| [self.string(name), *value])
            .collect();
        let name = self.string(name);
        self.add_words(name, Kind::Enum as u8, signed, 4, &words);
    }

    /// Parameters without names.
    pub(super) fn prototype(&mut self, parameters: &[u32]) -> u32 {
        let words: Vec<u32> = parameters
            .iter()
            .flat_map(|parameter| [0, *parameter])
            .collect();
        self.add("", Kind::FuncProto, 1, &words)
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut data = vec![0x9f, 0xeb, 1, 0];
        data.extend(
            [24, 0, types, types, strings]
                .into_iter()
                .flat_map(u32::to_le_bytes),
        );
        data.extend(self.types);
        data.extend(self.strings);
        data
    }
}
