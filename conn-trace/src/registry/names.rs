//! Names of users.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// Only this file is asked: a name service may block for seconds.
const USERS: &str = "/etc/passwd";
/// A hundred thousand users fit in; what comes after is not read.
const MOST_BYTES: u64 = 16 << 20;
/// How often the file is looked at for users who are not known.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The users that the host names.
#[derive(Debug)]
pub(super) struct Names {
    file: PathBuf,
    users: HashMap<u32, Arc<str>>,
    /// Which file was read: device, inode, size, time of its last change.
    version: Option<[i64; 5]>,
    looked: Option<Instant>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self::of(Path::new(USERS))
    }

    fn of(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            users: HashMap::new(),
            version: None,
            looked: None,
        }
    }

    /// The user's name, else the number.
    pub(super) fn user(&mut self, uid: u32) -> Arc<str> {
        let is_due = || {
            self.looked
                .is_none_or(|looked| looked.elapsed() >= LOOK_INTERVAL)
        };
        if !self.users.contains_key(&uid) && is_due() {
            self.looked = Some(Instant::now());
            // Without the file, users have numbers.
            let _ = self.read_if_changed();
        }
        self.users
            .get(&uid)
            .map_or_else(|| uid.to_string().into(), Arc::clone)
    }

    fn read_if_changed(&mut self) -> io::Result<()> {
        let meta = fs::metadata(&self.file)?;
        let version = [
            meta.dev().cast_signed(),
            meta.ino().cast_signed(),
            meta.size().cast_signed(),
            meta.mtime(),
            meta.mtime_nsec(),
        ];
        if self.version == Some(version) {
            return Ok(());
        }
        let mut text = Vec::new();
        File::open(&self.file)?
            .take(MOST_BYTES)
            .read_to_end(&mut text)?;
        self.users = users(&String::from_utf8_lossy(&text));
        self.version = Some(version);
        Ok(())
    }
}

/// passwd(5): `name:password:uid:…`. Of several names the first counts, as for getpwuid(3).
fn users(text: &str) -> HashMap<u32, Arc<str>> {
    let mut users = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        if let Some(Ok(uid)) = fields.nth(1).map(str::parse)
            && !name.is_empty()
        {
            users.entry(uid).or_insert_with(|| name.into());
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_number() {
        let users = users(
            "root:x:0:0:root:/root:/bin/sh\nbroken\nx:y\n:x:7:7::/:\nweb:x:33:33::/:/bin/false\n\
             toor:x:0:0::/root:/bin/sh\nnobody:x:4294967296:1::/:\n",
        );
        assert_eq!(users.len(), 2);
        assert_eq!((&*users[&33], &*users[&0]), ("web", "root"));
    }

    #[test]
    fn users_without_a_name_have_their_number() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), b"web:x:33:33::/:\n\xff:x:34:34::/:\n").expect("a file");
        let mut names = Names::of(file.path());
        assert_eq!(&*names.user(33), "web");
        assert_eq!(&*names.user(34), "\u{fffd}");
        assert_eq!(&*names.user(u32::MAX), "4294967295");
        assert_eq!(&*Names::of(Path::new("/nonexistent")).user(0), "0");
    }

    #[test]
    fn users_that_are_added_get_their_name() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut names = Names::of(file.path());
        assert_eq!(&*names.user(33), "33");
        fs::write(file.path(), "web:x:33:33::/:\n").expect("a file");
        // Not yet time to look again.
        assert_eq!(&*names.user(33), "33");
        names.looked = None;
        assert_eq!(&*names.user(33), "web");
    }
}
