//! The components of the pinned Rust toolchain, through rustup.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{process, workspace::Workspace};

/// `rust-src` to build `core` for the BPF target, the others for `cargo xtask lint`.
const COMPONENTS: [&str; 3] = ["clippy", "rust-src", "rustfmt"];

pub(super) fn ensure(workspace: &Workspace) -> Result<()> {
    if process::find_program("rustup").is_none() {
        bail!(
            "rustup is not installed: https://rustup.rs shows how; it provides the pinned toolchain"
        );
    }
    let toolchain = workspace.toolchain()?;
    let installed = process::stdout_of(Command::new("rustup").args([
        "component",
        "list",
        "--installed",
        "--toolchain",
        &toolchain,
    ]))?;
    let missing = missing(&installed);
    if missing.is_empty() {
        process::note(&format!(
            "found Rust {toolchain} with {}",
            COMPONENTS.join(", ")
        ));
        return Ok(());
    }
    process::step(&format!(
        "installing {} for Rust {toolchain}",
        missing.join(", ")
    ));
    process::run(
        Command::new("rustup")
            .args(["component", "add", "--toolchain", &toolchain])
            .args(missing),
    )
}

/// Components that exist per host carry its triple behind their name.
fn missing(installed: &str) -> Vec<&'static str> {
    let is_installed = |component: &str| {
        installed.lines().any(|line| {
            line.strip_prefix(component)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    };
    COMPONENTS
        .into_iter()
        .filter(|component| !is_installed(component))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_recognised_with_and_without_a_triple() {
        let full = "cargo-x86_64-unknown-linux-gnu\nclippy-x86_64-unknown-linux-gnu\nrust-src\n\
                    rust-std-x86_64-unknown-linux-gnu\nrustfmt-x86_64-unknown-linux-gnu\n";
        assert!(missing(full).is_empty());
        let minimal = "cargo-x86_64-unknown-linux-gnu\nrust-std-x86_64-unknown-linux-gnu\n";
        assert_eq!(missing(minimal), COMPONENTS);
    }
}
