//! Connections that are older than the agent: `iter/tcp`, once per network namespace.
//!
//! The iterator shows the namespace of whoever opens it, so a thread enters each one in turn.
//! A namespace that no process is in may be mounted somewhere, as `ip netns` does, or be held by an
//! open descriptor, as by a program that uses several namespaces at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    thread,
};

use aya::programs::Iter;
use nix::sched::{CloneFlags, setns};

use super::{error::LoadError, mountinfo, namespaces::inode};

/// A namespace that could not be listed, and why.
pub type Unlisted = String;

/// Runs the iterator in every network namespace that the agent can reach.
pub(super) fn list(program: &mut Iter) -> Result<Vec<Unlisted>, LoadError> {
    let own = fs::metadata("/proc/self/ns/net").map_or(0, |meta| meta.ino());
    run(program, None)?;
    let mut unlisted = Vec::new();
    for (number, paths) in namespaces() {
        if number == own {
            continue;
        }
        let mut reason = String::new();
        let listed = paths.iter().any(|path| match enter(program, path, number) {
            Ok(()) => true,
            Err(error) => {
                reason = format!("{}: {error}", path.display());
                false
            }
        });
        // A namespace that ended meanwhile has no connections.
        if !listed && paths.iter().any(|path| inode(path) == Some(number)) {
            unlisted.push(format!("{number} ({reason})"));
        }
    }
    Ok(unlisted)
}

/// Lists the namespace that `path` leads to, if that is still the one of `inode`.
fn enter(program: &mut Iter, path: &Path, inode: u64) -> Result<(), String> {
    let namespace = File::open(path).map_err(|error| error.to_string())?;
    let found = namespace
        .metadata()
        .map_err(|error| error.to_string())?
        .ino();
    if found != inode {
        return Err(format!("now leads to {found}"));
    }
    run(program, Some(&namespace)).map_err(|error| error.to_string())
}

/// Opens the iterator in a namespace and reads it to its end.
fn run(program: &mut Iter, namespace: Option<&File>) -> Result<(), LoadError> {
    let failed = |source| LoadError::Program {
        name: "existing_socket",
        source,
    };
    let link = program.attach().map_err(failed)?;
    let link = program.take_link(link).map_err(failed)?;
    let read = move || -> io::Result<()> {
        if let Some(namespace) = namespace {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
        }
        let mut output = link.into_file().map_err(io::Error::other)?;
        // The program writes nothing; reading drives it. After a million sockets the kernel takes
        // a rest (MAX_ITER_OBJECTS in kernel/bpf/bpf_iter.c) and goes on at the next read.
        let mut buffer = [0; 64];
        loop {
            match output.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Err(error)
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
                {
                    return Err(error);
                }
                _ => {}
            }
        }
    };
    // A thread of its own: entering a namespace is for good.
    thread::scope(|scope| scope.spawn(read).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        .map_err(LoadError::Existing)
}

/// Paths tried for each namespace: any of the threads in it may end meanwhile.
const CANDIDATES: usize = 4;

/// Network namespaces by inode, each with paths that lead to it. A thread may be in another
/// namespace than the rest of its process.
fn namespaces() -> BTreeMap<u64, Vec<PathBuf>> {
    let mut found: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    let threads = numbered(Path::new("/proc"))
        .flat_map(|process| numbered(&process.join("task")).collect::<Vec<_>>())
        .map(|thread| thread.join("ns/net"));
    for path in threads.chain(mounted()).chain(held()) {
        if let Some(number) = inode(&path) {
            let paths = found.entry(number).or_default();
            if paths.len() < CANDIDATES {
                paths.push(path);
            }
        }
    }
    found
}

/// The entries of a directory whose names begin with a digit.
fn numbered(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit())
        .map(|entry| entry.path())
}

/// Network namespaces that are mounted somewhere: here, or in another mount namespace, then through
/// the root directory of a process in it.
fn mounted() -> Vec<PathBuf> {
    let mut seen: BTreeSet<_> = inode(Path::new("/proc/self/ns/mnt")).into_iter().collect();
    let mut found = mounted_for(Path::new("/proc/self"), Path::new("/"));
    for process in numbered(Path::new("/proc")) {
        if inode(&process.join("ns/mnt")).is_some_and(|number| seen.insert(number)) {
            found.extend(mounted_for(&process, &process.join("root")));
        }
    }
    found
}

fn mounted_for(process: &Path, root: &Path) -> Vec<PathBuf> {
    mountinfo::read(&process.join("mountinfo"))
        .into_iter()
        .filter(mountinfo::Mount::is_network_namespace)
        .map(|mount| root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point)))
        .collect()
}

/// Network namespaces that a process has an open descriptor of. If one was opened where it was
/// mounted and is no longer, the descriptor seems to lead to the root directory.
fn held() -> impl Iterator<Item = PathBuf> {
    let device = fs::metadata("/proc/self/ns/net").map_or(0, |meta| meta.dev());
    numbered(Path::new("/proc"))
        .flat_map(|process| numbered(&process.join("fd")).collect::<Vec<_>>())
        .filter(move |file| {
            fs::read_link(file).is_ok_and(|target| {
                target.as_os_str().as_encoded_bytes().starts_with(b"net:[")
                    || (target == Path::new("/") && is_network_namespace(file, device))
            })
        })
}

/// Whether a file of the device that namespaces are on is a network namespace.
fn is_network_namespace(path: &Path, device: u64) -> bool {
    /// `NS_GET_NSTYPE`, include/uapi/linux/nsfs.h.
    const GET_TYPE: libc::Ioctl = 0xb703;
    if !fs::metadata(path).is_ok_and(|meta| meta.dev() == device) {
        return false;
    }
    let Ok(file) = File::open(path) else {
        return false;
    };
    // SAFETY: the request has no argument and changes nothing.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), GET_TYPE) };
    kind == libc::CLONE_NEWNET
}
