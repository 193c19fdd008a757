//! Why the programs do not run.

use std::io;

use aya::{
    BtfError as AyaBtfError, EbpfError,
    maps::MapError,
    programs::{ProgramError, links::LinkError},
};
use thiserror::Error;

use super::{btf::BtfError, clock::RateError, offsets::OffsetsError};

/// Where the kernel describes its own types.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The program that lists sockets.
pub(super) const ITERATOR: &str = "existing_socket";

/// Why the programs do not run.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The kernel has no BTF, or it cannot be read.
    #[error("{KERNEL_BTF}: {0} (the kernel needs CONFIG_DEBUG_INFO_BTF)")]
    NoBtf(#[source] io::Error),
    /// The kernel's BTF is broken.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The kernel's BTF is broken as the loading library sees it.
    #[error("kernel BTF: {0}")]
    LibraryBtf(#[from] AyaBtfError),
    /// A kernel structure is not as the programs need it.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// The object cannot be loaded.
    #[error("loading the eBPF object: {0}")]
    Ebpf(#[from] EbpfError),
    /// The object lacks a part: a defect of this build.
    #[error("the eBPF object has no {0}")]
    Object(&'static str),
    /// A program was refused or cannot be attached or run.
    #[error("program {name}: {source}")]
    Program {
        /// The program.
        name: &'static str,
        /// What the kernel said.
        source: ProgramError,
    },
    /// No variant of the message hooks can be had, and why.
    #[error("no way to see messages: {0}")]
    NoVariant(String),
    /// The iterator's link was refused.
    #[error("program {ITERATOR}: {0}")]
    Link(#[from] LinkError),
    /// A map cannot be shared with the kernel, or a program tells nothing about itself.
    #[error("{name}: {source}")]
    Map {
        /// The map or program.
        name: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A ring cannot be opened.
    #[error("a ring of the programs cannot be opened: {0}")]
    Ring(#[from] MapError),
    /// The list of existing connections cannot be read.
    #[error("listing existing connections: {0}")]
    Existing(#[source] io::Error),
    /// The tick rate is unknown.
    #[error(transparent)]
    Rate(#[from] RateError),
}
