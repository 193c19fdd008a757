//! Packages, unpacked: image and modules have other places in each distribution.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::source::Files;
use crate::process;

/// The directory below `directory` that these packages, each with its hash, are unpacked in.
pub(super) fn unpacked(directory: &Path, packages: &[(PathBuf, String)]) -> Result<PathBuf> {
    let hashes: Vec<_> = packages.iter().map(|(_, sha256)| sha256.as_str()).collect();
    let list = directory.join("packages.sha256");
    fs::write(&list, hashes.join("\n")).context("cannot write")?;
    let tree = directory.join(format!("tree-{}", &sha256(&list)?[..16]));
    if tree.exists() {
        return Ok(tree);
    }
    // What has its final name is whole.
    let unfinished = directory.join("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).context("cannot remove a directory")?;
    }
    fs::create_dir_all(&unfinished).context("cannot make a directory")?;
    for (package, _) in packages {
        let mut unpack = if package.extension().is_some_and(|kind| kind == "deb") {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(package).arg(&unfinished);
            unpack
        } else {
            // From libarchive-tools; it reads rpm packages.
            let mut unpack = Command::new("bsdtar");
            unpack.arg("-xf").arg(package).arg("-C").arg(&unfinished);
            unpack
        };
        process::run(&mut unpack)?;
    }
    fs::rename(&unfinished, &tree).context("cannot rename a directory")?;
    Ok(tree)
}

/// As the program `sha256sum` says it.
pub(super) fn sha256(file: &Path) -> Result<String> {
    let line = process::stdout_of(Command::new("sha256sum").arg(file))?;
    // A backslash before the sum says that the name is escaped.
    let sum = line.trim_start_matches('\\').split(' ').next();
    sum.map(str::to_owned).context("sha256sum says nothing")
}

/// The image and the modules of the kernel that is unpacked here.
pub(super) fn files(tree: &Path) -> Result<Files> {
    let mut image = None;
    let mut modules = None;
    walk(tree, &mut |path, is_directory| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !is_directory && name.starts_with("vmlinuz") {
            image = Some(path.to_path_buf());
        } else if is_directory
            && name == "kernel"
            && path.components().any(|part| part.as_os_str() == "modules")
        {
            modules.get_or_insert_with(|| path.to_path_buf());
        }
    })?;
    Ok(Files {
        image: image.with_context(|| format!("no vmlinuz in {}", tree.display()))?,
        modules,
    })
}

/// Calls `visit` with everything below a directory, directories before what is in them.
pub(super) fn walk(directory: &Path, visit: &mut impl FnMut(&Path, bool)) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", directory.display()))?;
        let path: PathBuf = entry.path();
        // Not through links: a tree may link to the sources that it was built from.
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        visit(&path, is_directory);
        if is_directory {
            walk(&path, visit)?;
        }
    }
    Ok(())
}
