//! Where QEMU comes from.
//!
//! It is unpacked below `target`, as the kernels are, and not installed: the packages of one
//! release of a distribution do not go together with parts of QEMU from another, which a machine
//! may have for reasons of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::archive;
use crate::{process, workspace::Workspace};

const PROGRAM: &str = "qemu-system-x86_64";
/// Of Debian's archive.
const SUITE: &str = "trixie";
const PACKAGE: &str = "qemu-system-x86";
/// Where the libraries are in a package.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Where the firmware is in the packages.
const FIRMWARE: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// QEMU for x86_64.
#[derive(Debug)]
pub(super) enum Emulator {
    /// The machine's own.
    Installed(PathBuf),
    /// Its packages, unpacked in this directory.
    Unpacked(PathBuf),
}

impl Emulator {
    /// Fetches it if it is neither installed nor here yet.
    pub(super) fn obtain(workspace: &Workspace, update: bool) -> Result<Self> {
        if let Some(program) = process::find_program(PROGRAM) {
            return Ok(Self::Installed(program));
        }
        let directory = workspace.target.join("vm/qemu");
        archive::obtain_program(&directory, SUITE, PACKAGE, update)
            .map(Self::Unpacked)
            .with_context(|| format!("no {PROGRAM} here"))
    }

    /// The words of its command line that come before its options.
    pub(super) fn add_to(&self, command: &mut Command) {
        match self {
            Self::Installed(program) => {
                command.arg(program);
            }
            Self::Unpacked(tree) => add_unpacked(tree, command),
        }
    }
}

/// With the C library of its own release.
fn add_unpacked(tree: &Path, command: &mut Command) {
    let libraries = tree.join(LIBRARIES);
    command
        .arg(libraries.join("ld-linux-x86-64.so.2"))
        .arg("--library-path")
        .arg(&libraries)
        .arg(tree.join("usr/bin").join(PROGRAM));
    for firmware in FIRMWARE {
        command.arg("-L").arg(tree.join(firmware));
    }
}
