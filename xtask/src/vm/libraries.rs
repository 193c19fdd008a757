//! The shared libraries that programs of the host need.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

/// Loaded by glibc itself when a thread is cancelled.
const LOADED_LATER: &str = "libgcc_s.so.1";

/// All that these programs need, the dynamic linker among them.
pub(super) fn of(programs: &BTreeSet<PathBuf>) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("ldd")
        .args(programs)
        .env("LC_ALL", "C")
        // A program that is linked statically is an error to it.
        .stderr(Stdio::null())
        .output()
        .context("cannot start ldd")?;
    let mut libraries: BTreeSet<_> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(library)
        .collect();
    let beside = libraries
        .iter()
        .find(|library| library.ends_with("libc.so.6"))
        .map(|libc| libc.with_file_name(LOADED_LATER));
    libraries.extend(beside.filter(|file| file.exists()));
    Ok(libraries)
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn library(line: &str) -> Option<PathBuf> {
    let (words, _address) = line.trim().split_once(" (0x")?;
    let path = words.rsplit(' ').next()?;
    path.starts_with('/').then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_linker_are_paths() {
        let libc = "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f80d04b4000)";
        assert_eq!(
            library(libc),
            Some("/lib/x86_64-linux-gnu/libc.so.6".into())
        );
        let linker = "\t/lib64/ld-linux-x86-64.so.2 (0x00007f80d0760000)";
        assert_eq!(library(linker), Some("/lib64/ld-linux-x86-64.so.2".into()));
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007f80d075e000)"), None);
        assert_eq!(library("/usr/bin/ip:"), None);
    }
}
