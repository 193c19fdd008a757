//! Files of the system, hidden behind others for what a test starts.

use std::{fs::File, io::Write, panic, path::Path, thread};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use tempfile::NamedTempFile;

const NONE: Option<&str> = None;

/// Runs `start` in a thread that sees `content` in place of the file `path`, or no file at all and
/// an empty directory around it. What the thread starts sees the same.
///
/// # Errors
/// If this machine allows no mount namespace.
///
/// # Panics
/// If `start` does, or a file cannot be written.
pub fn instead<T: Send>(
    path: &Path,
    content: Option<&[u8]>,
    start: impl FnOnce() -> T + Send,
) -> Result<T, Errno> {
    let file = content.map(|content| {
        let mut file = NamedTempFile::new().expect("a temporary file");
        file.write_all(content).expect("a written file");
        file
    });
    let hide = || {
        // Of this thread alone: the others stay where they are.
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
        match &file {
            Some(file) => mount(Some(file.path()), path, NONE, MsFlags::MS_BIND, NONE),
            None => {
                let directory = path.parent().unwrap_or(path);
                mount(NONE, directory, Some("tmpfs"), MsFlags::empty(), NONE)
            }
        }
    };
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            hide()?;
            assert_eq!(File::open(path).is_ok(), content.is_some(), "the mount");
            Ok(start())
        });
        thread
            .join()
            .unwrap_or_else(|cause| panic::resume_unwind(cause))
    })
}
