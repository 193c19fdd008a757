//! Programs for other users than the one who built them, whose directories may be closed to others.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A copy of a program that every user can run, and the directory that it is deleted with.
///
/// # Panics
/// If it cannot be copied.
#[must_use]
pub fn copy_for_everybody(program: &Path) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory.path(), everybody.clone()).expect("permissions");
    let copy = directory.path().join(program.file_name().expect("a name"));
    fs::copy(program, &copy).expect("a copy");
    fs::set_permissions(&copy, everybody).expect("permissions");
    (directory, copy)
}
