//! From the ids of cgroups (version 2) to their paths.
//!
//! A cgroup's id is that of its kernfs node: 64 bits, and the upper half counts how often the lower
//! one went round, so an id never comes again before the next boot (`__kernfs_new_node`,
//! fs/kernfs/dir.c, since 5.5). Cgroups of version 2 cannot be renamed or moved
//! (`cgroup_kf_syscall_ops` has no `rename`). So an id stands for one path.
//!
//! The kernel opens a node by its id (`kernfs_fh_to_dentry`, fs/kernfs/mount.c). That needs
//! CAP_DAC_READ_SEARCH; without it all directories are looked through.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File},
    io,
    mem::{offset_of, size_of},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    mountinfo,
    namespaces::{inode, is_cgroup_namespace_initial},
    removed_cgroups::RemovedCgroups,
};

/// The id of the hierarchy's root: the first that `kernfs_create_root` gives.
const ROOT_ID: u64 = 1;
/// `FILEID_KERNFS`, include/linux/exportfs.h.
const FILEID_KERNFS: i32 = 0xfe;
/// A walk over thousands of cgroups takes milliseconds; not more of them than this.
const WALK_INTERVAL: Duration = Duration::from_millis(500);
/// Cgroups that a walk remembers.
const WALKED: usize = 16_384;
/// Longer paths of removed cgroups are not put together: a hierarchy is not that deep
/// (`cgroup.max.depth` may say so, the path of a directory is at most 4096 bytes).
const DEPTH: usize = 2048;

/// The cgroup hierarchy of version 2.
#[derive(Debug)]
pub struct Cgroups {
    mount: PathBuf,
    root: File,
    removed: Option<RemovedCgroups>,
    may_open: bool,
    walked: HashMap<u64, PathBuf>,
    walked_at: Option<Instant>,
}

/// Why no paths can be had.
#[derive(Debug, thiserror::Error)]
#[error("no cgroup v2 mount shows the whole hierarchy; mount the host's /sys/fs/cgroup")]
pub struct NoHierarchy;

impl Cgroups {
    /// Finds where the whole hierarchy is mounted. In a cgroup namespace or a container it may only
    /// be a part of it: the paths in there would be others.
    ///
    /// # Errors
    /// If it is nowhere.
    pub fn find() -> Result<Self, NoHierarchy> {
        let (mount, root) = mountinfo::read(Path::new("/proc/self/mountinfo"))
            .into_iter()
            .filter(|mount| mount.kind == "cgroup2")
            .find_map(|mount| {
                let root = File::open(&mount.point).ok()?;
                (root.metadata().ok()?.ino() == ROOT_ID).then_some((mount.point, root))
            })
            .ok_or(NoHierarchy)?;
        let removed = RemovedCgroups::watch(&mount)
            .inspect_err(|error| tracing::debug!(%error, "removed cgroups are not watched"))
            .ok();
        Ok(Self {
            mount,
            root,
            removed,
            may_open: true,
            walked: HashMap::new(),
            walked_at: None,
        })
    }

    /// Where the hierarchy is mounted.
    #[must_use]
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// Whether the names of removed cgroups are known.
    #[must_use]
    pub fn sees_removals(&self) -> bool {
        self.removed.is_some()
    }

    /// Takes note of the cgroups that were removed since the last call.
    pub fn note_removed(&mut self) {
        if let Some(removed) = &mut self.removed {
            removed.take();
        }
    }

    /// The path of a cgroup below the root of the hierarchy, beginning with a slash; `None` if it
    /// was removed and nobody saw that.
    pub fn path(&mut self, id: u64) -> Option<PathBuf> {
        self.existing(id).or_else(|| self.removed(id))
    }

    /// Whether what [`path`](Self::path) does not find now is never found.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.may_open
    }

    /// The cgroup of a process, as its id.
    #[must_use]
    pub fn of_process(&self, pid: u32) -> Option<u64> {
        // In another namespace the path begins at another root.
        if !is_cgroup_namespace_initial() {
            return None;
        }
        let memberships = fs::read(format!("/proc/{pid}/cgroup")).ok()?;
        let path = memberships
            .split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(b"0::/"))?;
        inode(&self.mount.join(OsStr::from_bytes(path)))
    }

    fn existing(&mut self, id: u64) -> Option<PathBuf> {
        if self.may_open {
            match self.open(id) {
                Ok(directory) => return self.path_of(&directory, id),
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => self.may_open = false,
                // ESTALE: removed.
                Err(_) => return None,
            }
        }
        self.walk_for(id)
    }

    fn open(&self, id: u64) -> io::Result<OwnedFd> {
        /// `struct file_handle` of a kernfs node.
        #[repr(C)]
        struct Handle {
            bytes: u32,
            kind: i32,
            id: u64,
        }
        const _: () = assert!(offset_of!(Handle, id) == size_of::<libc::file_handle>());
        let mut handle = Handle {
            bytes: 8,
            kind: FILEID_KERNFS,
            id,
        };
        // SAFETY: the handle is laid out as the kernel reads it, and is as long as it says.
        let descriptor = unsafe {
            libc::open_by_handle_at(
                self.root.as_raw_fd(),
                (&raw mut handle).cast(),
                libc::O_PATH | libc::O_CLOEXEC,
            )
        };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor to us.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
    }

    /// Where an open cgroup lies. The kernel appends a word to the path of one that is removed
    /// meanwhile, so it is looked up again.
    fn path_of(&self, directory: &OwnedFd, id: u64) -> Option<PathBuf> {
        let full = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()?;
        let path = full.strip_prefix(&self.mount).ok()?;
        let found = fs::symlink_metadata(&full).ok()?;
        (found.ino() == id).then(|| Path::new("/").join(path))
    }

    fn removed(&mut self, id: u64) -> Option<PathBuf> {
        let mut names = Vec::new();
        let mut next = id;
        // The cgroups above it may be removed at this moment.
        let mut path = loop {
            let (parent, name) = self.removed.as_mut()?.find(next)?;
            names.push(name.to_owned());
            next = parent;
            if let Some(path) = self.existing(next) {
                break path;
            }
            if names.len() > DEPTH {
                return None;
            }
        };
        path.extend(names.iter().rev());
        Some(path)
    }

    fn walk_for(&mut self, id: u64) -> Option<PathBuf> {
        let is_due = self
            .walked_at
            .is_none_or(|walked| walked.elapsed() >= WALK_INTERVAL);
        if !self.walked.contains_key(&id) && is_due {
            if self.walked.len() >= WALKED {
                self.walked.clear();
            }
            walk(&self.mount, &self.mount, &mut self.walked);
            self.walked_at = Some(Instant::now());
        }
        self.walked.get(&id).cloned()
    }
}

/// A cgroup's id is the inode number of its directory.
fn walk(mount: &Path, directory: &Path, into: &mut HashMap<u64, PathBuf>) {
    let Ok(meta) = fs::metadata(directory) else {
        return;
    };
    let path = directory.strip_prefix(mount).unwrap_or(directory);
    into.insert(meta.ino(), Path::new("/").join(path));
    for child in fs::read_dir(directory).into_iter().flatten().flatten() {
        if into.len() < WALKED && child.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(mount, &child.path(), into);
        }
    }
}
