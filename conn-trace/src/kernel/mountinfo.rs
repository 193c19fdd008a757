//! The mounts that this process sees: `/proc/PID/mountinfo`, proc_pid_mountinfo(5).

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// What of the file system is mounted, as this process may see it.
    pub(super) root: OsString,
    /// Where.
    pub(super) point: PathBuf,
    /// Kind of file system.
    pub(super) kind: OsString,
}

/// The mounts in such a file; none if it cannot be read.
pub(super) fn read(path: &Path) -> Vec<Mount> {
    let table = fs::read(path).unwrap_or_default();
    table
        .split(|&byte| byte == b'\n')
        .filter_map(mount)
        .collect()
}

/// `36 25 0:4 ROOT POINT OPTIONS [FIELD…] - KIND SOURCE OPTIONS`. Names may have any bytes.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    fields.find(|field| *field == b"-")?;
    Some(Mount {
        root: unescaped(root),
        point: unescaped(point).into(),
        kind: unescaped(fields.next()?),
    })
}

/// Space, tab, newline and backslash stand as `\ooo`.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        rest = after;
        let octal = |digit: u8| (b'0'..=b'7').contains(&digit).then(|| digit - b'0');
        if *first == b'\\'
            && let [a, b, c, after @ ..] = after
            && let (Some(a @ 0..=3), Some(b), Some(c)) = (octal(*a), octal(*b), octal(*c))
        {
            bytes.push(a << 6 | b << 3 | c);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    OsString::from_vec(bytes)
}

impl Mount {
    /// Whether it is a network namespace (`net:[…]`), as `ip netns` mounts them.
    pub(super) fn is_network_namespace(&self) -> bool {
        self.root.as_bytes().starts_with(b"net:[")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_mount() {
        let line =
            b"36 25 0:4 net:[4026532205] /run/netns/blue rw shared:7 master:1 - nsfs nsfs rw";
        let found = mount(line).expect("a mount");
        assert!(found.is_network_namespace());
        assert_eq!(found.point, PathBuf::from("/run/netns/blue"));
        assert_eq!(found.kind, "nsfs");
        let root = mount(b"25 1 254:0 / / rw,relatime - ext4 /dev/root rw").expect("a mount");
        assert!(!root.is_network_namespace());
        assert_eq!(root.kind, "ext4");
        for broken in [
            &b""[..],
            b"36 25 0:4 / /run",
            b"36 25 0:4 / /run rw shared:7",
        ] {
            assert_eq!(mount(broken), None);
        }
    }

    #[test]
    fn escapes_in_names() {
        let line = br"36 25 0:4 / /run/a\040b\134\012c\xff\9 rw - nsfs nsfs rw";
        let found = mount(line).expect("a mount");
        assert_eq!(found.point, PathBuf::from("/run/a b\\\nc\\xff\\9"));
        assert_eq!(unescaped(b"\\04").as_bytes(), b"\\04");
        assert_eq!(unescaped(b"\xff\\377").as_bytes(), b"\xff\xff");
        // Not a byte.
        assert_eq!(unescaped(b"\\777").as_bytes(), b"\\777");
    }
}
