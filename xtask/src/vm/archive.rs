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
    ensure!(
        ARCH == "x86_64",
        "these kernels are for x86_64, and this machine is {ARCH}"
    );
    ensure!(
        process::find_program("apt-get").is_some(),
        "this system has no apt-get to fetch kernels with"
    );
    let apt = Apt {
        directory: directory.join("apt"),
    };
    if update || !apt.has_index(suites) {
        apt.update(suites)?;
    }
    let packages = directory.join("packages");
    fs::create_dir_all(&packages).context("cannot make a directory")?;
    let mut files = Vec::new();
    for pattern in patterns {
        let package = apt.newest(pattern)?;
        let file = packages.join(&package.file);
        if !file.exists() || tree::sha256(&file)? != package.sha256 {
            apt.download(&package, &packages)?;
            ensure!(
                tree::sha256(&file)? == package.sha256,
                "{} has not the hash that the index says",
                file.display()
            );
        }
        files.push((file, package.sha256));
    }
    tree::unpacked(directory, &files)
}

#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
    file: String,
    sha256: String,
}

/// apt with its state below this directory; the rest of the machine's settings hold.
struct Apt {
    directory: PathBuf,
}

impl Apt {
    fn command(&self, program: &str, task: &str) -> Command {
        let mut command = Command::new(program);
        command.arg(task);
        let directory = self.directory.display();
        for (option, value) in [
            ("Dir::State", format!("{directory}/state")),
            ("Dir::State::status", "/dev/null".to_owned()),
            ("Dir::Cache", format!("{directory}/cache")),
            ("Dir::Etc::SourceList", format!("{directory}/sources.list")),
            ("Dir::Etc::SourceParts", "-".to_owned()),
            // The user `_apt` may not come into the checkout.
            ("APT::Sandbox::User", String::new()),
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
        for directory in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.directory.join(directory))
                .context("cannot make a directory")?;
        }
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

    fn newest(&self, pattern: &str) -> Result<Package> {
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
        let wanted = format!("{name}={version}");
        let uri = process::stdout_of(
            self.command("apt-get", "download")
                .args(["--print-uris", &wanted]),
        )?;
        let (file, sha256) = uri_line(&uri)
            .with_context(|| format!("apt-get does not say where {wanted} is: {uri}"))?;
        Ok(Package {
            name: name.to_owned(),
            version: version.to_owned(),
            file: file.to_owned(),
            sha256: sha256.to_owned(),
        })
    }

    fn download(&self, package: &Package, into: &Path) -> Result<()> {
        process::note(&format!("fetching {} {}", package.name, package.version));
        let mut download = self.command("apt-get", "download");
        download
            .arg("-q")
            .arg(format!("{}={}", package.name, package.version))
            .current_dir(into)
            .stdout(Stdio::null());
        process::run(&mut download).with_context(|| format!("cannot fetch {}", package.name))
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
fn uri_line(line: &str) -> Option<(&str, &str)> {
    let mut words = line.trim().rsplit(' ');
    let hash = words.next()?.strip_prefix("SHA256:")?;
    let _size = words.next()?;
    (hash.len() == 64).then_some((words.next()?, hash))
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
        assert_eq!(uri_line(&line), Some(("a_1%3a2_amd64.deb", hash.as_str())));
        assert_eq!(uri_line("'http://x/a.deb' a.deb 12 MD5Sum:00"), None);
        assert_eq!(uri_line(""), None);
    }
}
