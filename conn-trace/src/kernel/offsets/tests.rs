//! Golden offsets of real kernels, and what is said when a kernel does not fit.

use std::collections::BTreeMap;

use conn_trace_common::fields::MISSING;

use super::{CHRONO_TYPE, FIELDS, Need, Offsets, OffsetsError};
use crate::kernel::btf::{Btf, Kind};

/// BTF of a real kernel, and the values that other tools computed for it.
struct Kernel {
    version: &'static str,
    btf: &'static [u8],
    golden: &'static str,
}

macro_rules! kernels {
    ($($version:literal),*) => {
        &[$(Kernel {
            version: $version,
            btf: include_bytes!(concat!("../../../tests/fixtures/btf/", $version, ".btf")),
            golden: include_str!(concat!("../../../tests/fixtures/btf/", $version, ".txt")),
        }),*]
    };
}

const KERNELS: &[Kernel] = kernels!("6.1", "6.12", "6.18", "7.2");

fn parse_golden(text: &str) -> BTreeMap<&str, u32> {
    text.lines()
        .map(|line| {
            let (global, value) = line.split_once(' ').expect("a name and a value");
            (
                global,
                if value == "MISSING" {
                    MISSING
                } else {
                    value.parse().expect("a number")
                },
            )
        })
        .collect()
}

/// The 6.1 fixture with every string `from` replaced by `to` of the same length.
fn renamed(names: &[(&str, &str)]) -> Vec<u8> {
    let mut data = KERNELS[0].btf.to_vec();
    for (from, to) in names {
        assert_eq!(from.len(), to.len());
        let whole = format!("\0{from}\0").into_bytes();
        let at = data
            .windows(whole.len())
            .position(|bytes| bytes == whole)
            .expect("the name");
        data[at + 1..=at + to.len()].copy_from_slice(to.as_bytes());
    }
    data
}

fn resolve(data: &[u8]) -> Result<Offsets, OffsetsError> {
    Offsets::resolve(&Btf::parse(data).expect("sound BTF"))
}

#[test]
fn real_kernels_have_the_golden_offsets() {
    for kernel in KERNELS {
        let offsets = resolve(kernel.btf).expect(kernel.version);
        let found: BTreeMap<&str, u32> = offsets.iter().collect();
        assert_eq!(found, parse_golden(kernel.golden), "{}", kernel.version);
        assert_eq!(
            offsets.iter().count(),
            FIELDS.len() + 4,
            "a global appears twice"
        );
        assert!(offsets.missing().is_empty(), "{}", kernel.version);
    }
}

#[test]
fn real_kernels_tell_their_variants_apart() {
    let facts = |kernel: &Kernel| {
        let btf = Btf::parse(kernel.btf).expect(kernel.version);
        (
            btf.has_type("btf_trace_sock_send_length", Kind::Typedef),
            btf.function_parameter_count("tcp_recvmsg")
                .expect(kernel.version),
            btf.function_parameter_count("tcp_sendpage").is_ok(),
        )
    };
    assert_eq!(
        KERNELS.iter().map(facts).collect::<Vec<_>>(),
        [
            (false, 5, true),
            (true, 5, false),
            (true, 4, false),
            (true, 4, false)
        ]
    );
}

#[test]
fn every_missing_required_field_is_named() {
    let error = resolve(&renamed(&[
        ("write_seq", "wrote_seq"),
        ("SOCK_DONE", "SOCK_GONE"),
    ]))
    .expect_err("required fields are missing");
    let globals: Vec<_> = error
        .problems
        .iter()
        .map(super::FieldError::global)
        .collect();
    assert_eq!(globals, ["TCP_WRITE_SEQ", "SOCK_DONE_BIT"]);
    assert_eq!(
        error.to_string(),
        "this kernel's structures do not fit the programs: \
         TCP_WRITE_SEQ: kernel BTF: struct tcp_sock has no member write_seq; \
         SOCK_DONE_BIT: kernel BTF: enum sock_flags has no value SOCK_DONE"
    );
}

#[test]
fn a_missing_optional_field_is_listed() {
    let offsets = resolve(&renamed(&[
        ("mdev_us", "mdev_ns"),
        ("chrono_type", "chrono_kind"),
    ]))
    .expect("only optional fields are missing");
    assert_eq!(offsets.get("TCP_MDEV_US"), Some(MISSING));
    for global in CHRONO_TYPE {
        assert_eq!(offsets.get(global), Some(MISSING));
    }
    assert_eq!(offsets.get("no such global"), None);
    let missing: Vec<_> = offsets
        .missing()
        .iter()
        .map(super::FieldError::global)
        .collect();
    assert_eq!(missing, ["TCP_MDEV_US", CHRONO_TYPE[0]]);
}

#[test]
fn another_size_is_named() {
    // The members trade names: 4 bytes for 24.
    let swapped = renamed(&[
        ("srtt_us", "_______"),
        ("rtt_min", "srtt_us"),
        ("_______", "rtt_min"),
    ]);
    assert_eq!(
        resolve(&swapped)
            .expect_err("a required field has another size")
            .to_string(),
        "this kernel's structures do not fit the programs: \
         TCP_SRTT_US: member srtt_us of struct tcp_sock has 24 bytes, expected 4"
    );

    let optional = resolve(&renamed(&[("lost", "____"), ("rack", "lost")])).expect("optional");
    assert_eq!(optional.get("TCP_LOST"), Some(MISSING));
    assert_eq!(
        optional.missing()[0].to_string(),
        "TCP_LOST: member lost of struct tcp_sock has 24 bytes, expected 4"
    );
}

#[test]
fn a_field_is_listed_once() {
    for (index, field) in FIELDS.iter().enumerate() {
        assert!(
            !FIELDS[..index]
                .iter()
                .any(|other| other.global == field.global),
            "{field:?}"
        );
    }
    assert!(FIELDS.iter().any(|field| field.need == Need::Optional));
}
