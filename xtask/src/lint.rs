//! `cargo xtask lint`: formatting, then clippy once per side.

use std::env::consts::ARCH;

use anyhow::Result;

use crate::{
    process,
    setup::{self, Need},
    workspace::{EBPF_PACKAGE, Workspace},
};

pub(crate) fn main(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, Need::Build)?;

    process::step("formatting");
    process::run(workspace.cargo("fmt")?.args(["--all", "--check"]))?;
    process::run(
        workspace
            .cargo("fmt")?
            .args(["--check", "--manifest-path", "fuzz/Cargo.toml"]),
    )?;

    process::step("clippy, host crates");
    process::run(
        workspace
            .cargo("clippy")?
            .args(["--locked", "--workspace", "--exclude", EBPF_PACKAGE])
            .args(["--all-targets", "--", "-D", "warnings"]),
    )?;

    process::step("clippy, fuzz targets");
    process::run(
        workspace
            .cargo("clippy")?
            .args(["--locked", "--manifest-path", "fuzz/Cargo.toml"])
            .arg("--target-dir")
            .arg(workspace.target.join("fuzz-lint"))
            .args(["--", "-D", "warnings"])
            // Nothing is linked, so libFuzzer need not be built.
            .env("CUSTOM_LIBFUZZER_PATH", "./libfuzzer.a"),
    )?;

    process::step("clippy, eBPF crate");
    // The flags the agent's build script gives the same crate, so that the same code is looked at.
    let rustflags = [
        format!("--cfg=bpf_target_arch=\"{ARCH}\""),
        "-Ctarget-cpu=v3".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    process::run(
        workspace
            .cargo("clippy")?
            .args(["--locked", "--package", EBPF_PACKAGE, "--bins", "--release"])
            .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
            .arg("--target-dir")
            .arg(workspace.target.join("ebpf-lint"))
            .args(["--", "-D", "warnings"])
            // A stable toolchain accepts `-Z` only under this variable.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\u{1f}")),
    )?;

    process::step("lint is clean");
    process::note("next: `cargo xtask test`");
    Ok(())
}
