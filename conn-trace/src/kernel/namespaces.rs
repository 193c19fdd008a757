//! Whether the agent lives in the host's own namespaces: their inode numbers are fixed
//! (`enum init_ns_ino`, include/uapi/linux/nsfs.h; long before, include/linux/proc_ns.h).

use std::{fs, os::unix::fs::MetadataExt, path::Path};

const INITIAL_CGROUP: u64 = 0xEFFF_FFFB;
const INITIAL_PID: u64 = 0xEFFF_FFFC;

/// Whether paths in `/proc/PID/cgroup` begin at the root of the hierarchy.
#[must_use]
pub fn is_cgroup_namespace_initial() -> bool {
    inode(Path::new("/proc/self/ns/cgroup")) == Some(INITIAL_CGROUP)
}

/// Whether `/proc` names processes by the numbers that the kernel programs see.
#[must_use]
pub fn is_pid_namespace_initial() -> bool {
    // The agent may be in it and see the /proc of another.
    let own = fs::read_link("/proc/self").ok();
    inode(Path::new("/proc/self/ns/pid")) == Some(INITIAL_PID)
        && own.is_some_and(|link| link.as_os_str() == &*std::process::id().to_string())
}

/// The inode that names a namespace, behind a link to it.
pub(super) fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|meta| meta.ino())
}
