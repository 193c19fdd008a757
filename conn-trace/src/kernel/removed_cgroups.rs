//! Names of cgroups that are gone: by watching their removal with fanotify(7).
//!
//! A cgroup may live shorter than the agent takes to look at a connection in it. The event of its
//! removal has its id, its name and the id of its parent; that of its making has no id, because there
//! is no inode yet. Watching needs CAP_SYS_ADMIN and a kernel that gives cgroup2 a file system id;
//! older ones answer ENODEV.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    os::{fd::AsFd, unix::ffi::OsStringExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::AT_FDCWD,
    sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags},
    unistd::read,
};

/// Removals remembered; of the ones before, as many again.
const REMEMBERED: usize = 16_384;
/// The kernel takes a cgroup out of reach some µs before it tells of it, unless the remover is
/// preempted in between. It is asked so often, with a millisecond between.
const TELLING: u32 = 50;
/// If it told nothing (its queue had overflowed), it is not waited for again for so long.
const PATIENCE_AFTER: Duration = Duration::from_secs(10);
/// Takes some hundred events.
const BUFFER: usize = 1 << 16;

/// Parent and name of a removed cgroup.
type Removal = (u64, OsString);

/// The cgroups that were removed lately.
#[derive(Debug)]
pub(super) struct RemovedCgroups {
    events: Fanotify,
    lately: HashMap<u64, Removal>,
    before: HashMap<u64, Removal>,
    disappointed: Option<Instant>,
}

impl RemovedCgroups {
    /// Watches the whole hierarchy from now on.
    pub(super) fn watch(mount: &Path) -> Result<Self, Errno> {
        let names = libc::FAN_REPORT_DFID_NAME_TARGET;
        let events = Fanotify::init(
            InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK | InitFlags::from_bits_retain(names),
            EventFFlags::O_RDONLY,
        )?;
        events.mark(
            MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM,
            MaskFlags::FAN_DELETE | MaskFlags::FAN_ONDIR,
            AT_FDCWD,
            Some(mount),
        )?;
        Ok(Self {
            events,
            lately: HashMap::new(),
            before: HashMap::new(),
            disappointed: None,
        })
    }

    /// Takes all events that there are.
    pub(super) fn take(&mut self) {
        let mut buffer = vec![0; BUFFER];
        while let Ok(length @ 1..) = read(self.events.as_fd(), &mut buffer) {
            for (id, removal) in removals(&buffer[..length]) {
                if self.lately.len() >= REMEMBERED {
                    self.before = std::mem::take(&mut self.lately);
                }
                self.lately.insert(id, removal);
            }
        }
    }

    /// Parent and name of a cgroup that is out of reach already; waits until that is told.
    pub(super) fn find(&mut self, id: u64) -> Option<(u64, &OsStr)> {
        self.take();
        let may_wait = self
            .disappointed
            .is_none_or(|at| at.elapsed() >= PATIENCE_AFTER);
        let mut asked = 0;
        while may_wait && !self.knows(id) {
            if asked == TELLING {
                self.disappointed = Some(Instant::now());
                break;
            }
            thread::sleep(Duration::from_millis(1));
            self.take();
            asked += 1;
        }
        let (parent, name) = self.lately.get(&id).or_else(|| self.before.get(&id))?;
        Some((*parent, name))
    }

    fn knows(&self, id: u64) -> bool {
        self.lately.contains_key(&id) || self.before.contains_key(&id)
    }
}

/// The removals in what was read, each with the id of what was removed.
fn removals(mut events: &[u8]) -> Vec<(u64, Removal)> {
    /// `struct fanotify_event_metadata`
    const METADATA: usize = 24;
    let mut found = Vec::new();
    while let Some(length) = number::<4>(events, 0).map(u32::from_ne_bytes) {
        let Some((event, rest)) = events.split_at_checked(length as usize) else {
            break;
        };
        let records = event.get(METADATA..);
        if let Some(removal) = records.and_then(removal) {
            found.push(removal);
        }
        // An event of no length would be read for ever.
        if length == 0 {
            break;
        }
        events = rest;
    }
    found
}

/// One event: a record with the parent's handle and the name, and one with the cgroup's own handle.
/// (`struct fanotify_event_info_fid`: type, length, file system id, `struct file_handle`.)
fn removal(mut records: &[u8]) -> Option<(u64, Removal)> {
    const HANDLE: usize = 12;
    const ID: usize = HANDLE + 8;
    const NAME: usize = ID + 8;
    let (mut parent, mut child) = (None, None);
    while let [kind, _, ..] = *records {
        let length = number::<2>(records, 2).map(u16::from_ne_bytes)?;
        let (record, rest) = records.split_at_checked(length.max(1).into())?;
        let handle_bytes = number::<4>(record, HANDLE).map(u32::from_ne_bytes);
        let id = number::<8>(record, ID).map(u64::from_ne_bytes);
        if handle_bytes == Some(8)
            && let Some(id) = id
        {
            match kind {
                libc::FAN_EVENT_INFO_TYPE_DFID_NAME => {
                    let name = record[NAME..].split(|&byte| byte == 0).next()?;
                    parent = Some((id, OsString::from_vec(name.to_vec())));
                }
                libc::FAN_EVENT_INFO_TYPE_FID => child = Some(id),
                _ => {}
            }
        }
        records = rest;
    }
    Some((child?, parent?))
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    /// As Linux 6.18 told of `rmdir tt` in the root.
    const EVENT: &[u8] = b"T\0\0\0\x03\0\x18\0\0\x02\0@\0\0\0\0\xff\xff\xff\xff\x80\x17\0\0\
        \x02\0 \0\x03c\xb8\xe7\x89\xb7\x11\x06\x08\0\0\0\xfe\0\0\0\x01\0\0\0\0\0\0\0tt\0\0\
        \x01\0\x1c\0\x03c\xb8\xe7\x89\xb7\x11\x06\x08\0\0\0\xfe\0\0\0\xb2\x02\0\0\0\0\0\0";

    #[test]
    fn an_event_has_both_ids_and_the_name() {
        let expected = (690, (1, OsString::from("tt")));
        assert_eq!(removals(EVENT), std::slice::from_ref(&expected));
        let twice = [EVENT, EVENT].concat();
        assert_eq!(removals(&twice), [expected.clone(), expected]);
    }

    #[test]
    fn what_is_cut_off_gives_nothing() {
        for length in 0..EVENT.len() {
            assert_eq!(removals(&EVENT[..length]), []);
            let mut short = EVENT[..length].to_vec();
            if let Some(first) = short.first_mut() {
                *first = u8::try_from(length).expect("a short event");
            }
            assert!(removals(&short).len() <= 1);
        }
        assert_eq!(removals(&[0; 64]), []);
    }

    #[test]
    fn names_may_have_any_bytes() {
        let mut event = EVENT.to_vec();
        let at = event
            .windows(2)
            .position(|two| two == b"tt")
            .expect("the name");
        event[at] = 0xff;
        assert_eq!(removals(&event)[0].1.1.as_bytes(), b"\xfft");
    }
}
