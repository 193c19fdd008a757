//! Cgroups (version 2) of a test's own.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::wait::eventually;

/// A cgroup below the root. It and those in it are removed when dropped.
#[derive(Debug)]
pub struct Cgroup {
    mount: PathBuf,
    name: String,
}

impl Cgroup {
    /// Makes one; `None` if the machine does not let us, or no mount shows the whole hierarchy.
    #[must_use]
    pub fn new() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let mount = mount()?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("conn-trace-{}-{number}", process::id());
        fs::create_dir(mount.join(&name)).ok()?;
        Some(Self { mount, name })
    }

    /// Where the hierarchy is mounted.
    #[must_use]
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.mount.join(&self.name)
    }

    /// The directory of a cgroup in it, made with all above it.
    ///
    /// # Panics
    /// If the kernel refuses.
    #[must_use]
    pub fn make(&self, path: impl AsRef<OsStr>) -> PathBuf {
        let directory = self.directory().join(path.as_ref());
        fs::create_dir_all(&directory).expect("a cgroup");
        directory
    }

    /// The path by which the kernel names a cgroup in it.
    #[must_use]
    pub fn path(&self, inner: &str) -> String {
        format!("/{}/{inner}", self.name)
            .trim_end_matches('/')
            .to_owned()
    }
}

/// Removes a cgroup whose last process is about to end.
///
/// # Panics
/// If there are still processes in it.
pub fn remove(directory: &Path) {
    eventually("the cgroup is removed", || fs::remove_dir(directory).ok());
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove_all(&self.directory());
    }
}

/// Files in a cgroup cannot be removed, and need not be.
fn remove_all(directory: &Path) {
    for child in fs::read_dir(directory).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_all(&child.path());
        }
    }
    remove(directory);
}

/// Where version 2 is mounted, with its root (inode 1).
fn mount() -> Option<PathBuf> {
    let mounts = fs::read("/proc/self/mounts").ok()?;
    mounts
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|&byte| byte == b' ').skip(1);
            let point = fields.next()?;
            (fields.next()? == b"cgroup2").then(|| PathBuf::from(OsStr::from_bytes(point)))
        })
        .find(|point| fs::metadata(point).is_ok_and(|meta| meta.ino() == 1))
}
