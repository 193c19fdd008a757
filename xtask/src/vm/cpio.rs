//! Archives that the kernel unpacks as its first root file system: cpio, format `newc`
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
};

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Writes an archive; everything in it belongs to root.
pub(super) struct Archive<W> {
    output: W,
    inode: u32,
    directories: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(output: W) -> Self {
        Self {
            output,
            inode: 0,
            directories: BTreeSet::new(),
        }
    }

    /// A file at this absolute path, with the directories above it.
    pub(super) fn file(&mut self, path: &Path, permissions: u32, content: &[u8]) -> Result<()> {
        let name = self.named(path)?;
        self.entry(&name, FILE | permissions, (0, 0), content)
    }

    /// A device by its numbers, with the directories above it.
    pub(super) fn device(&mut self, path: &Path, major: u32, minor: u32) -> Result<()> {
        let name = self.named(path)?;
        self.entry(&name, CHARACTER_DEVICE, (major, minor), &[])
    }

    /// A directory, with those above it.
    pub(super) fn directory(&mut self, path: &Path) -> Result<()> {
        let name = self.named(path)?;
        if !name.is_empty() && self.directories.insert(name.clone()) {
            self.entry(&name, DIRECTORY, (0, 0), &[])?;
        }
        Ok(())
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.output.flush().context("cannot write the archive")?;
        Ok(self.output)
    }

    /// Makes the directories above `path`, and gives its name within the archive.
    fn named(&mut self, path: &Path) -> Result<String> {
        let name = path
            .strip_prefix("/")
            .with_context(|| format!("{} is not absolute", path.display()))?;
        let name = name.to_str().context("a name that is not UTF-8")?;
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        Ok(name.to_owned())
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        self.inode += 1;
        let size = u32::try_from(content.len()).context("a file of 4 GiB")?;
        let name_size = u32::try_from(name.len() + 1).context("a long name")?;
        let fields = [
            self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0,
        ];
        let mut header = "070701".to_owned();
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        header.push_str(name);
        header.push('\0');
        self.padded(header.as_bytes())
            .and_then(|()| self.padded(content))
            .context("cannot write the archive")
    }

    /// Header with name, and content, each fill whole words.
    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        let rest = bytes.len().next_multiple_of(4) - bytes.len();
        self.output.write_all(&[0; 3][..rest])
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn archive() -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive
            .file(Path::new("/a/b/one"), 0o755, b"12345")
            .expect("written");
        archive
            .file(Path::new("/a/two"), 0o644, b"")
            .expect("written");
        archive.directory(Path::new("/a/b")).expect("written");
        archive.finish().expect("written")
    }

    #[test]
    fn entries_are_headers_names_and_contents_in_whole_words() {
        let archive = archive();
        assert_eq!(archive.len() % 4, 0);
        let text = String::from_utf8_lossy(&archive);
        let names: Vec<_> = text
            .split("070701")
            .skip(1)
            .map(|entry| entry[104..].split('\0').next().unwrap_or_default())
            .collect();
        // Each directory once, before what is in it.
        assert_eq!(names, ["a", "a/b", "a/b/one", "a/two", "TRAILER!!!"]);
        let one = text.split("070701").nth(3).expect("an entry");
        let field = |number: usize| &one[8 * number..8 * (number + 1)];
        assert_eq!(
            (field(1), field(6), field(11)),
            ("000081ed", "00000005", "00000008")
        );
        // 110 bytes and the name with its NUL are 118: two bytes fill the word.
        assert_eq!(&one[104..], concat!("a/b/one\0", "\0\0", "12345", "\0\0\0"));
    }

    #[test]
    fn relative_paths_are_refused() {
        let mut archive = Archive::new(Vec::new());
        assert!(archive.file(Path::new("a"), 0o644, b"").is_err());
    }

    #[test]
    fn cpio_reads_it_where_it_is_installed() {
        let Ok(mut cpio) = Command::new("cpio")
            .args(["--list", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            return;
        };
        let mut input = cpio.stdin.take().expect("a pipe");
        input.write_all(&archive()).expect("written");
        drop(input);
        let output = cpio.wait_with_output().expect("cpio ends");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "a\na/b\na/b/one\na/two\n"
        );
    }
}
