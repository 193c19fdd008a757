//! Packages by their addresses, for distributions that this machine's apt knows nothing of.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::tree;
use crate::process;

/// Fetches each package that is not here yet, and gives the directory that all are unpacked in.
pub(super) fn obtain(directory: &Path, packages: &[(&str, &str)]) -> Result<PathBuf> {
    fs::create_dir_all(directory).context("cannot make a directory")?;
    let mut files = Vec::new();
    for (address, sha256) in packages {
        let name = address.rsplit('/').next().unwrap_or(address);
        let file = directory.join(name);
        if !file.exists() || tree::sha256(&file)? != *sha256 {
            fetch(address, &file)?;
            ensure!(
                tree::sha256(&file)? == *sha256,
                "{address} has not the hash in xtask/src/vm/kernels.rs"
            );
        }
        files.push((file, (*sha256).to_owned()));
    }
    tree::unpacked(directory, &files)
}

fn fetch(address: &str, file: &Path) -> Result<()> {
    process::note(&format!("fetching {address}"));
    let mut curl = Command::new("curl");
    curl.args([
        "--fail",
        "--silent",
        "--show-error",
        "--location",
        "--output",
    ]);
    process::run(curl.arg(file).arg(address)).with_context(|| format!("cannot fetch {address}"))
}
