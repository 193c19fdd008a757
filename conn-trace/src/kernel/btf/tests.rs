//! Questions with known answers, and broken data that must give an error.

mod build;

use proptest::prelude::{Strategy, any, prop, proptest};

use super::{Bitfield, Btf, BtfError, Kind, Member};
use crate::kernel::offsets::Offsets;
use build::Builder;

const REAL: &[u8] = include_bytes!("../../../tests/fixtures/btf/6.1.btf");

/// Asks everything that can be asked; the answers do not matter.
fn ask_everything(data: &[u8]) {
    if let Ok(btf) = Btf::parse(data) {
        let _ = Offsets::resolve(&btf);
        let _ = btf.member("s", "a.b");
        let _ = btf.bitfield("s", "a");
        let _ = btf.enum_value("sock_flags", "no such value");
        let _ = btf.function_parameter_count("tcp_sendmsg");
        let _ = btf.has_type("btf_trace_sock_send_length", Kind::Typedef);
        let _ = btf.name(u32::MAX);
    }
}

fn message<T: std::fmt::Debug>(answer: Result<T, BtfError>) -> String {
    answer.expect_err("the question has no answer").to_string()
}

#[test]
fn members_are_found_through_names_and_anonymous_structures() {
    let mut build = Builder::default();
    let int = build.int("int", 4);
    let pointer = build.pointer(int);
    let constant = build.add("", Kind::Const, int, &[]);
    let alias = build.add("alias_t", Kind::Typedef, constant, &[]);
    let row = build.array(alias, 3);
    let table = build.array(row, 5);
    let inner = build.composite(
        Kind::Struct,
        "inner",
        16,
        &[("x", int, 0), ("y", pointer, 64)],
    );
    let deep = build.composite(Kind::Struct, "", 64, &[("deep", table, 32)]);
    let either = build.composite(Kind::Union, "", 68, &[("", deep, 32), ("other", int, 0)]);
    build.composite(
        Kind::Struct,
        "outer",
        100,
        &[("first", int, 0), ("named", inner, 64), ("", either, 256)],
    );
    let data = build.finish();
    let btf = Btf::parse(&data).unwrap();
    let member = |path| btf.member("outer", path);
    let found = |offset_bytes, size_bytes| {
        Ok(Member {
            offset_bytes,
            size_bytes,
        })
    };

    assert_eq!(member("first"), found(0, 4));
    assert_eq!(member("named"), found(8, 16));
    assert_eq!(member("named.y"), found(16, 8));
    assert_eq!(member("other"), found(32, 4));
    assert_eq!(member("deep"), found(32 + 4 + 4, 3 * 5 * 4));

    assert_eq!(
        message(member("z")),
        "kernel BTF: struct outer has no member z"
    );
    assert_eq!(
        message(member("named.z.x")),
        "kernel BTF: struct outer has no member named.z"
    );
    assert_eq!(
        message(member("named.y.x")),
        "kernel BTF: member named.y of struct outer is not an embedded structure"
    );
    for path in ["", ".", "named.", ".first", "named..y"] {
        assert!(
            matches!(member(path), Err(BtfError::NoMember { .. })),
            "{path:?}"
        );
    }
    assert_eq!(
        message(btf.member("absent", "x")),
        "kernel BTF: there is no struct absent"
    );
    assert_eq!(
        message(btf.member("", "deep")),
        "kernel BTF: there is no struct "
    );
}

#[test]
fn the_first_structure_of_a_name_that_has_the_member_answers() {
    let mut build = Builder::default();
    let int = build.int("int", 4);
    build.composite(Kind::Struct, "twice", 4, &[("old", int, 0)]);
    build.composite(
        Kind::Struct,
        "twice",
        12,
        &[("new", int, 64), ("old", int, 32)],
    );
    let data = build.finish();
    let btf = Btf::parse(&data).unwrap();
    assert_eq!(btf.member("twice", "old").unwrap().offset_bytes, 0);
    assert_eq!(btf.member("twice", "new").unwrap().offset_bytes, 8);
}

#[test]
fn bitfields_of_both_encodings() {
    let mut build = Builder::default();
    let byte = build.int("u8", 1);
    let word = build.int("u32", 4);
    let three_bits = build.add("", Kind::Int, 4, &[2 << 16 | 3]);
    let beyond = build.add("", Kind::Int, 4, &[8 << 16 | 32]);
    build.bitfields(
        "new",
        8,
        &[("a", byte, 2, 3), ("b", word, 6, 4), ("c", byte, 24, 0)],
    );
    build.composite(
        Kind::Struct,
        "old",
        8,
        &[("a", three_bits, 8), ("b", word, 32), ("lie", beyond, 0)],
    );
    let data = build.finish();
    let btf = Btf::parse(&data).unwrap();
    let found = |offset_bytes, bit_shift, bit_size| {
        Ok(Bitfield {
            offset_bytes,
            bit_shift,
            bit_size,
        })
    };

    assert_eq!(btf.bitfield("new", "a"), found(0, 2, 3));
    assert_eq!(btf.bitfield("new", "c"), found(3, 0, 8), "a whole byte");
    assert_eq!(btf.bitfield("old", "a"), found(1, 2, 3));
    assert_eq!(
        message(btf.bitfield("new", "b")),
        "kernel BTF: bitfield b of struct new does not lie in one byte"
    );
    assert!(matches!(
        btf.bitfield("old", "b"),
        Err(BtfError::CrossesByte { .. })
    ));

    assert_eq!(
        message(btf.member("new", "a")),
        "kernel BTF: member a of struct new is a bitfield"
    );
    assert!(matches!(
        btf.member("old", "a"),
        Err(BtfError::IsBitfield { .. })
    ));
    assert!(matches!(
        btf.member("old", "lie"),
        Err(BtfError::IsBitfield { .. })
    ));
    assert_eq!(
        btf.member("new", "c"),
        Ok(Member {
            offset_bytes: 3,
            size_bytes: 1
        })
    );
}

#[test]
fn enumerations_functions_and_names() {
    let mut build = Builder::default();
    let int = build.int("int", 4);
    build.enumeration("plain", false, &[("ZERO", 0), ("LARGE", u32::MAX)]);
    build.enumeration("negative", true, &[("MINUS", u32::MAX)]);
    let wide = build.string("WIDE");
    build.add("wide", Kind::Enum64, 8, &[wide, 7, 1]);
    let none = build.prototype(&[]);
    let two = build.prototype(&[int, int]);
    let variable = build.prototype(&[int, 0]);
    for (name, prototype) in [
        ("none", none),
        ("two", two),
        ("printk", variable),
        ("bad", int),
    ] {
        build.add(name, Kind::Func, prototype, &[]);
    }
    build.add("btf_trace_x", Kind::Typedef, int, &[]);
    let data = build.finish();
    let btf = Btf::parse(&data).unwrap();

    assert_eq!(btf.enum_value("plain", "LARGE"), Ok(i64::from(u32::MAX)));
    assert_eq!(btf.enum_value("negative", "MINUS"), Ok(-1));
    assert_eq!(btf.enum_value("wide", "WIDE"), Ok(0x1_0000_0007));
    assert_eq!(
        message(btf.enum_value("plain", "WIDE")),
        "kernel BTF: enum plain has no value WIDE"
    );
    assert_eq!(
        message(btf.enum_value("absent", "X")),
        "kernel BTF: there is no enum absent"
    );

    assert_eq!(btf.function_parameter_count("none"), Ok(0));
    assert_eq!(btf.function_parameter_count("two"), Ok(2));
    assert_eq!(btf.function_parameter_count("printk"), Ok(1));
    assert!(matches!(
        btf.function_parameter_count("bad"),
        Err(BtfError::Malformed { .. })
    ));
    assert!(
        btf.function_parameter_count("absent")
            .unwrap_err()
            .is_absent()
    );

    assert!(btf.has_type("btf_trace_x", Kind::Typedef));
    assert!(!btf.has_type("btf_trace_x", Kind::Struct));
    assert!(
        !btf.has_type("btf_trace_", Kind::Typedef),
        "a part of a name is not the name"
    );
    assert!(!btf.has_type("", Kind::Int));
}

#[test]
fn cycles_and_explosions_end() {
    let mut build = Builder::default();
    let first = build.next_id();
    build.add("a_t", Kind::Typedef, first + 1, &[]);
    build.add("b_t", Kind::Typedef, first, &[]);
    let array = build.array(first + 2, 2);
    assert_eq!(array, first + 2, "the array is its own element");
    let nested = build.next_id();
    build.composite(Kind::Struct, "", 4, &[("", nested, 0)]);
    build.composite(
        Kind::Struct,
        "s",
        8,
        &[("alias", first, 0), ("array", array, 0), ("", nested, 0)],
    );
    // Each level holds the next one twice: 2^30 members for a search without a limit.
    let int = build.int("int", 4);
    let mut level = build.composite(Kind::Struct, "", 4, &[("leaf", int, 0)]);
    for _ in 0..29 {
        level = build.composite(Kind::Struct, "", 4, &[("", level, 0), ("", level, 0)]);
    }
    build.composite(Kind::Struct, "wide", 4, &[("", level, 0)]);
    let data = build.finish();
    let btf = Btf::parse(&data).unwrap();
    for (structure, path) in [
        ("s", "alias"),
        ("s", "alias.x"),
        ("s", "array"),
        ("s", "none"),
        ("wide", "none"),
    ] {
        let error = btf.member(structure, path).unwrap_err();
        assert!(
            matches!(error, BtfError::TooDeep { .. }),
            "{structure}.{path}: {error}"
        );
        assert!(!error.is_absent());
    }
    assert_eq!(btf.member("wide", "leaf").unwrap().offset_bytes, 0);
}

#[test]
fn references_to_nothing_are_errors() {
    let mut build = Builder::default();
    let void = build.add("void_t", Kind::Typedef, 0, &[]);
    let huge = build.array(void, u32::MAX);
    let huge = build.array(huge, u32::MAX);
    let huge = build.array(huge, u32::MAX);
    let int = build.int("int", 4);
    build.composite(
        Kind::Struct,
        "s",
        8,
        &[
            ("absent", 999, 0),
            ("void", void, 0),
            ("huge", huge, 0),
            ("odd", int, 1),
        ],
    );
    let data = build.finish();
    let btf = Btf::parse(&data).unwrap();
    assert_eq!(
        btf.member("s", "absent"),
        Err(BtfError::NoSuchId { id: 999 })
    );
    for path in ["void", "huge", "odd"] {
        assert!(
            matches!(btf.member("s", path), Err(BtfError::Malformed { .. })),
            "{path}"
        );
    }
}

#[test]
fn members_outside_of_their_structure_are_no_members() {
    let mut build = Builder::default();
    let int = build.int("int", 4);
    let inner = build.composite(Kind::Struct, "inner", 4, &[("x", int, 0), ("y", int, 32)]);
    build.composite(
        Kind::Struct,
        "s",
        8,
        &[("last", int, 32), ("beyond", int, 64), ("in", inner, 32)],
    );
    build.bitfields("bits", 1, &[("last", int, 6, 2), ("beyond", int, 8, 2)]);
    let data = build.finish();
    let btf = Btf::parse(&data).unwrap();
    assert_eq!(btf.member("s", "last").unwrap().offset_bytes, 4);
    assert_eq!(btf.member("s", "in.x").unwrap().offset_bytes, 4);
    for path in ["beyond", "in.y"] {
        let error = btf.member("s", path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("kernel BTF: member {path} of struct s lies outside of it")
        );
        assert!(!error.is_absent());
    }
    assert_eq!(btf.bitfield("bits", "last").unwrap().bit_shift, 6);
    assert!(matches!(
        btf.bitfield("bits", "beyond"),
        Err(BtfError::Outside { .. })
    ));
}

#[test]
fn foreign_and_unknown_data_is_named() {
    let data = Builder::default().finish();
    let with = |at: usize, value: u8| {
        let mut changed = data.clone();
        changed[at] = value;
        message(Btf::parse(&changed))
    };
    assert_eq!(
        with(0, 0x7f),
        "kernel BTF: bad magic number 0xeb7f, this is not BTF"
    );
    assert_eq!(with(2, 9), "kernel BTF: unsupported version 9");
    assert_eq!(
        with(4, 23),
        "kernel BTF: the header does not fit into the data"
    );
    assert_eq!(
        with(15, 1),
        "kernel BTF: the type section does not fit into the data"
    );
    assert_eq!(
        with(23, 1),
        "kernel BTF: the string section does not fit into the data"
    );
    let mut swapped = data.clone();
    swapped.swap(0, 1);
    assert_eq!(
        Btf::parse(&swapped).unwrap_err(),
        BtfError::ForeignEndianness
    );

    for number in [0, 20, 127] {
        let mut build = Builder::default();
        build.int("int", 4);
        build.add_number("", number, 0, &[]);
        let answer = message(Btf::parse(&build.finish()));
        assert_eq!(
            answer,
            format!("kernel BTF: type 2 is of unknown kind {number}")
        );
    }
}

#[test]
fn every_truncation_is_an_error() {
    assert_eq!(Btf::parse(b"").unwrap_err(), BtfError::Empty);
    for length in 1..REAL.len() {
        assert!(
            matches!(Btf::parse(&REAL[..length]), Err(BtfError::Truncated { .. })),
            "{length}"
        );
    }
}

#[test]
fn every_shortened_section_is_survived() {
    // Here the header agrees with the data, so that the cut is met where types and names are read.
    for length_at in [12, 20] {
        let length = super::raw::word(REAL, length_at);
        for shorter in (0..length).step_by(53) {
            let mut data = REAL.to_vec();
            data[length_at..length_at + 4].copy_from_slice(&shorter.to_le_bytes());
            ask_everything(&data);
        }
    }
}

proptest! {
    #[test]
    fn flipped_bytes_are_survived(
        flips in prop::collection::vec((0..REAL.len(), 1..=u8::MAX), 1..40),
    ) {
        let mut data = REAL.to_vec();
        for (at, bits) in flips {
            data[at] ^= bits;
        }
        ask_everything(&data);
    }

    #[test]
    fn invented_types_are_survived(
        types in prop::collection::vec(
            // Small numbers: kinds that exist, ids and names that may be right.
            (0..20_u8, 0..8_u32, 0..40_u32, prop::collection::vec(0..40_u32, 0..12))
                .prop_map(|(kind, name, refers, words)| (kind, name * 2, refers, words)),
            0..40,
        ),
        flag in any::<bool>(),
    ) {
        let mut build = Builder::default();
        // "s" lies at 1, "a" at 3, "b" at 5; the others are anonymous.
        for name in ["s", "a", "b"] {
            build.string(name);
        }
        for (kind, name, refers, words) in types {
            build.add_words(name.saturating_sub(1), kind, flag, refers, &words);
        }
        ask_everything(&build.finish());
    }
}
