//! Any bytes, asked for everything that they say they have, by its own name.
#![no_main]

use conn_trace_fuzz::kernel::btf::{Btf, BtfError, Kind, Type};
use libfuzzer_sys::fuzz_target;

/// Types of one input that are looked at, and members of each: asking by name is slow.
const TYPES: u32 = 64;
const MEMBERS: usize = 16;

fuzz_target!(|data: &[u8]| {
    let Ok(btf) = Btf::parse(data) else { return };
    assert_eq!(btf.type_by_id(0).err(), Some(BtfError::NoSuchId { id: 0 }));
    for id in 1..=TYPES {
        let Ok(found) = btf.type_by_id(id) else { break };
        assert_eq!(found.id, id);
        let Some(name) = btf.name(found.name_offset).filter(|name| !name.is_empty()) else {
            continue;
        };
        assert!(btf.has_type(name, found.kind), "{:?} {name}", found.kind);
        match found.kind {
            Kind::Struct => members(&btf, &found, name),
            Kind::Enum | Kind::Enum64 => values(&btf, &found, name),
            Kind::Func => drop(btf.function_parameter_count(name)),
            _ => {}
        }
    }
});

fn members(btf: &Btf<'_>, structure: &Type<'_>, name: &str) {
    for member in structure.members().take(MEMBERS) {
        let Some(path) = btf.name(member.name_offset).filter(|path| !path.is_empty()) else {
            continue;
        };
        for path in [path.to_owned(), format!("{path}.{path}")] {
            if let Err(error) = btf.member(name, &path) {
                assert!(!error.to_string().is_empty());
            }
            if let Ok(place) = btf.bitfield(name, &path) {
                assert!((1..=8).contains(&place.bit_size), "{place:?}");
                assert!(place.bit_shift + place.bit_size <= 8, "{place:?}");
            }
        }
    }
}

fn values(btf: &Btf<'_>, enumeration: &Type<'_>, name: &str) {
    let words = if enumeration.kind == Kind::Enum64 {
        3
    } else {
        2
    };
    for value in enumeration.payload().step_by(words).take(MEMBERS) {
        let Some(value) = btf.name(value).filter(|value| !value.is_empty()) else {
            continue;
        };
        let found = btf.enum_value(name, value);
        assert!(found.is_ok(), "{name}.{value}: {found:?}");
    }
}
