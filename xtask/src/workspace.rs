//! Where things are, and cargo prepared to work on them.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process;

/// The eBPF crate builds only for a BPF target, by conn-trace's build script.
pub(crate) const EBPF_PACKAGE: &str = "conn-trace-ebpf";

/// The checkout, and the target directory that cargo uses for it.
pub(crate) struct Workspace {
    /// The directory of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Absolute, and the user's choice where they made one.
    pub(crate) target: PathBuf,
}

impl Workspace {
    pub(crate) fn locate() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the xtask package has no parent directory")?
            .to_path_buf();
        // Cargo knows best: variables, configuration files and defaults all have a say.
        let metadata = process::stdout_of(
            Command::new(cargo_program())
                .args([
                    "metadata",
                    "--no-deps",
                    "--format-version=1",
                    "--manifest-path",
                ])
                .arg(root.join("Cargo.toml")),
        )?;
        let metadata: Value =
            serde_json::from_str(&metadata).context("cannot read `cargo metadata`")?;
        let target = metadata["target_directory"]
            .as_str()
            .context("`cargo metadata` names no target directory")?
            .into();
        Ok(Self { root, target })
    }

    /// Where `setup` installs build tools: removed by `cargo clean`, and the user's own stay as they are.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Cargo in the root directory, with the tools of `setup` first in `PATH`.
    pub(crate) fn cargo(&self, subcommand: &str) -> Result<Command> {
        let mut command = Command::new(cargo_program());
        command
            .arg(subcommand)
            .current_dir(&self.root)
            .env("PATH", self.path()?);
        // A relative directory was meant from where the user is, not from the root.
        if env::var_os("CARGO_TARGET_DIR").is_some() {
            command.env("CARGO_TARGET_DIR", &self.target);
        }
        Ok(command)
    }

    /// The toolchain that `rust-toolchain.toml` asks for.
    pub(crate) fn toolchain(&self) -> Result<String> {
        let file = self.root.join("rust-toolchain.toml");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        channel(&text)
            .map(str::to_owned)
            .with_context(|| format!("{} names no channel", file.display()))
    }

    fn path(&self) -> Result<OsString> {
        let old = env::var_os("PATH").unwrap_or_default();
        let dirs = [self.tools().join("bin")]
            .into_iter()
            .chain(env::split_paths(&old));
        env::join_paths(dirs).context("the target directory's name cannot be part of PATH")
    }
}

/// The cargo that started this program, so that a `+toolchain` holds for what it starts in turn.
fn cargo_program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn channel(toolchain_file: &str) -> Option<&str> {
    toolchain_file.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
        (key.trim() == "channel").then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_is_read_from_the_toolchain_file() {
        let text =
            "[toolchain]\n# channel = \"no\"\nchannel = \"1.95.0\"\ncomponents = [\"clippy\"]\n";
        assert_eq!(channel(text), Some("1.95.0"));
        assert_eq!(channel("[toolchain]\n"), None);
    }

    #[test]
    fn the_tools_come_first_in_path() {
        let workspace = Workspace {
            root: "/w".into(),
            target: "/w/target".into(),
        };
        let path = workspace.path().expect("a plain path");
        let first = env::split_paths(&path).next();
        assert_eq!(first, Some(PathBuf::from("/w/target/tools/bin")));
    }
}
