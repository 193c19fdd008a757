//! bpf-linker, which makes one BPF object of Rust's bitcode, in a place of the workspace's own.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{process, workspace::Workspace};

/// The release that the eBPF object is tested with.
const VERSION: &str = "0.13.0";

/// The feature selects the LLVM major of the pinned toolchain, whose bitcode the linker has to read.
const ARGS: [&str; 7] = [
    "bpf-linker",
    "--version",
    VERSION,
    "--locked",
    "--no-default-features",
    "--features",
    "llvm-22",
];

/// Where Debian's llvm-22-dev lives; the linker's build script looks for `lib` in it.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Whether the pinned linker is there and starts: it is of no use once its libLLVM is gone.
pub(super) fn is_installed(workspace: &Workspace) -> bool {
    let found = Command::new(binary(workspace))
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| version(&String::from_utf8_lossy(&output.stdout)) == Some(VERSION));
    if found {
        process::note(&format!("found bpf-linker {VERSION}"));
    }
    found
}

pub(super) fn install(workspace: &Workspace) -> Result<()> {
    process::step(&format!(
        "installing bpf-linker {VERSION}, once; this takes about a minute"
    ));
    process::run(
        workspace
            .cargo("install")?
            .args(ARGS)
            // Cargo's own record may list a linker that doesn't start any more.
            .arg("--force")
            .arg("--root")
            .arg(workspace.tools())
            .env("LLVM_PREFIX", LLVM_PREFIX),
    )
    .context("bpf-linker could not be built")
}

/// What to type where LLVM is in a place that we don't know.
pub(super) fn install_by_hand(workspace: &Workspace) -> String {
    let tools = workspace.tools();
    format!(
        "LLVM_PREFIX=... cargo install {} --root {}",
        ARGS.join(" "),
        tools.display()
    )
}

fn binary(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("bin/bpf-linker")
}

/// The version in the answer to `bpf-linker --version`.
fn version(answer: &str) -> Option<&str> {
    let mut words = answer.split_whitespace();
    (words.next() == Some("bpf-linker")).then(|| words.next())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_second_word() {
        assert_eq!(version("bpf-linker 0.13.0\n"), Some("0.13.0"));
        assert_eq!(version("bpf-linker 0.13.0 (abc 2026)\n"), Some("0.13.0"));
        assert_eq!(version("ld 2.40\n"), None);
        assert_eq!(version(""), None);
    }
}
