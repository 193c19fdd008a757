//! Packages of Debian's archive, of suites that this machine does not use itself.
//!
//! An apt with directories of its own asks the machine's own mirror. What it fetches is checked
//! as always: the index by Debian's signature, the package by the hash in the index.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{mirror::Mirror, tree};
use crate::process;

/// From the package debian-archive-keyring, which apt depends on.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Fetches the newest package of each pattern where it is not here yet, and gives the directory
/// that all of them are unpacked in. Without `update`, what was fetched once is the newest.
pub(super) fn obtain(
    directory: &Path,
    suites: &[&str],
    patterns: &[&str],
    update: bool,
) -> Result<PathBuf> {
    let apt = Apt::with_index(directory, suites, update)?;
    let mut files = Vec::new();
    for pattern in patterns {
        let wanted = apt.newest(pattern)?;
        let package = apt.where_is(&wanted)?;
        if !package.is_in(&apt.packages())? {
            process::note(&format!("fetching {wanted}"));
            apt.download(&wanted)?;
        }
        files.push(package.checked(&apt.packages())?);
    }
    tree::unpacked(directory, &files)
}

/// Like [`obtain`], for a program with all that it depends on, its C library included.
pub(super) fn obtain_program(
    directory: &Path,
    suite: &str,
    name: &str,
    update: bool,
) -> Result<PathBuf> {
    let apt = Apt::with_index(directory, &[suite], update)?;
    let all = apt.with_dependencies(name)?;
    for package in &all {
        if !package.is_in(&apt.packages())? {
            process::note(&format!("fetching {name} with {} packages", all.len()));
            apt.download_with_dependencies(name)?;
            break;
        }
    }
    let files = all
        .into_iter()
        .map(|package| package.checked(&apt.packages()))
        .collect::<Result<Vec<_>>>()?;
    tree::unpacked(directory, &files)
}

/// A package's file and what it is to contain.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    file: String,
    sha256: String,
}

impl Package {
    fn is_in(&self, directory: &Path) -> Result<bool> {
        let file = directory.join(&self.file);
        Ok(file.exists() && tree::sha256(&file)? == self.sha256)
    }

    /// Path and hash of the file that is there now.
    fn checked(self, directory: &Path) -> Result<(PathBuf, String)> {
        let file = directory.join(&self.file);
        ensure!(
            self.is_in(directory)?,
            "{} has not the hash that the index says",
            file.display()
        );
        Ok((file, self.sha256))
    }
}

/// apt with its state below this directory; the rest of the machine's settings hold.
struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// With the newest index of these suites, or without `update` with the one that is here.
    fn with_index(directory: &Path, suites: &[&str], update: bool) -> Result<Self> {
        ensure!(
            ARCH == "x86_64",
            "these packages are for x86_64, and this machine is {ARCH}"
        );
        ensure!(
            process::find_program("apt-get").is_some(),
            "this system has no apt-get to fetch packages of Debian's with"
        );
        let apt = Self {
            directory: directory.join("apt"),
        };
        for directory in ["state/lists/partial", "cache", "packages/partial"] {
            fs::create_dir_all(apt.directory.join(directory)).context("cannot make a directory")?;
        }
        if update || !apt.has_index(suites) {
            apt.update(suites)?;
        }
        Ok(apt)
    }

    /// Where the packages are fetched to.
    fn packages(&self) -> PathBuf {
        self.directory.join("packages")
    }

    fn command(&self, program: &str, task: &str) -> Command {
        let mut command = Command::new(program);
        command.arg(task);
        let directory = self.directory.display();
        for (option, value) in [
            ("Dir::State", format!("{directory}/state")),
            ("Dir::State::status", "/dev/null".to_owned()),
            ("Dir::Cache", format!("{directory}/cache")),
            ("Dir::Cache::archives", format!("{directory}/packages")),
            ("Dir::Etc::SourceList", format!("{directory}/sources.list")),
            ("Dir::Etc::SourceParts", "-".to_owned()),
            // The user `_apt` may not come into the checkout.
            ("APT::Sandbox::User", String::new()),
            // What `--print-uris` says.
            ("Acquire::ForceHash", "SHA256".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
            (
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                "false".to_owned(),
            ),
            ("Acquire::Retries", "2".to_owned()),
        ] {
            command.arg("-o").arg(format!("{option}={value}"));
        }
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    fn stamp(&self) -> PathBuf {
        self.directory.join("suites")
    }

    /// Whether the index of these suites was fetched, to its end.
    fn has_index(&self, suites: &[&str]) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|stamp| stamp == suites.join(" "))
    }

    fn update(&self, suites: &[&str]) -> Result<()> {
        let mirror = Mirror::of_this_machine()?;
        let sources: String = suites
            .iter()
            .map(|suite| {
                format!(
                    "deb [signed-by={KEYRING}] {} {suite} main\n",
                    mirror.of(suite)
                )
            })
            .collect();
        fs::write(self.directory.join("sources.list"), sources).context("cannot write")?;
        let mut update = self.command("apt-get", "update");
        // Otherwise a mirror that does not answer is a warning, and the index stays the old one.
        update.args(["-q", "--error-on=any"]).stdout(Stdio::null());
        process::run(&mut update).context("cannot fetch the package index")?;
        fs::write(self.stamp(), suites.join(" ")).context("cannot write")
    }

    /// The newest package with such a name, as `name=version`.
    fn newest(&self, pattern: &str) -> Result<String> {
        let (prefix, _) = pattern.split_once('*').unwrap_or((pattern, ""));
        let names = process::stdout_of(self.command("apt-cache", "pkgnames").arg(prefix))?;
        let names: Vec<_> = names
            .lines()
            .filter(|name| matches(pattern, name))
            .collect();
        if names.is_empty() {
            bail!("Debian's archive has no package {pattern} any more");
        }
        let known = process::stdout_of(self.command("apt-cache", "show").args(names))?;
        let mut newest: Option<(&str, &str)> = None;
        for (name, version) in stanzas(&known) {
            if newest.is_none_or(|(_, other)| is_newer(version, other)) {
                newest = Some((name, version));
            }
        }
        let (name, version) = newest.with_context(|| format!("no version of {pattern}"))?;
        Ok(format!("{name}={version}"))
    }

    fn where_is(&self, wanted: &str) -> Result<Package> {
        let mut download = self.command("apt-get", "download");
        let said = process::stdout_of(download.args(["--print-uris", wanted]))?;
        uri_line(&said).with_context(|| format!("apt-get does not say where {wanted} is: {said}"))
    }

    fn download(&self, wanted: &str) -> Result<()> {
        let mut download = self.command("apt-get", "download");
        download
            .args(["-q", wanted])
            .current_dir(self.packages())
            .stdout(Stdio::null());
        process::run(&mut download).with_context(|| format!("cannot fetch {wanted}"))
    }

    /// Nothing counts as installed for this apt, so that these are all.
    fn install(&self, name: &str) -> Command {
        let mut install = self.command("apt-get", "install");
        install.args(["-q", "-y", "--no-install-recommends", name]);
        install
    }

    fn with_dependencies(&self, name: &str) -> Result<Vec<Package>> {
        // It names only what is not fetched yet: have it look where nothing is.
        let nothing = format!(
            "Dir::Cache::archives={}",
            self.directory.join("cache").display()
        );
        let mut install = self.install(name);
        let said = process::stdout_of(install.args(["-o", &nothing, "--print-uris"]))?;
        let all: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with('\''))
            .map(|line| uri_line(line).with_context(|| format!("apt-get says: {line}")))
            .collect::<Result<_>>()?;
        ensure!(!all.is_empty(), "apt-get does not say where {name} is");
        Ok(all)
    }

    fn download_with_dependencies(&self, name: &str) -> Result<()> {
        let mut install = self.install(name);
        install.arg("--download-only").stdout(Stdio::null());
        process::run(&mut install).with_context(|| format!("cannot fetch {name}"))
    }
}

/// Package and version of each stanza.
fn stanzas(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("\n\n").filter_map(|stanza| {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
        Some((field("Package: ")?, field("Version: ")?))
    })
}

fn is_newer(version: &str, other: &str) -> bool {
    Command::new("dpkg")
        .args(["--compare-versions", version, "gt", other])
        .status()
        .is_ok_and(|status| status.success())
}

/// `'URI' FILE SIZE SHA256:HASH`
fn uri_line(line: &str) -> Option<Package> {
    let mut words = line.trim().rsplit(' ');
    let sha256 = words.next()?.strip_prefix("SHA256:")?.to_owned();
    let _size = words.next()?;
    let file = words.next()?.to_owned();
    (sha256.len() == 64).then_some(Package { file, sha256 })
}

/// Whether `name` is `pattern`, in which each `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let pattern = "linux-image-6.12.*+deb12-cloud-amd64";
        assert!(matches(pattern, "linux-image-6.12.117+deb12-cloud-amd64"));
        assert!(!matches(
            pattern,
            "linux-image-6.12.117+deb12-cloud-amd64-dbg"
        ));
        assert!(!matches(pattern, "linux-image-6.13.1+deb12-cloud-amd64"));
        assert!(matches("a*b*c", "axbyc") && !matches("a*b*c", "axyc"));
        assert!(matches("a", "a") && !matches("a", "ab"));
    }

    #[test]
    fn versions_are_those_of_each_stanza() {
        let text =
            "Package: a\nVersion: 1-1\nDescription: x\n Version: 3\n\nPackage: b\nVersion: 2\n";
        let stanzas: Vec<_> = stanzas(text).collect();
        assert_eq!(stanzas, [("a", "1-1"), ("b", "2")]);
    }

    #[test]
    fn the_last_words_of_a_uri_line_are_file_size_and_hash() {
        let hash = "0".repeat(64);
        let line = format!(
            "'http://deb.debian.org/debian/pool/a_1%3a2.deb' a_1%3a2_amd64.deb 12 SHA256:{hash}\n"
        );
        let package = Package {
            file: "a_1%3a2_amd64.deb".to_owned(),
            sha256: hash,
        };
        assert_eq!(uri_line(&line), Some(package));
        assert_eq!(uri_line("'http://x/a.deb' a.deb 12 MD5Sum:00"), None);
        assert_eq!(uri_line(""), None);
    }
}
