//! Which mirror of Debian's archive this machine uses.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

/// Base addresses of the archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    main: String,
    security: String,
}

impl Mirror {
    /// As apt's sources say, whatever their format.
    pub(super) fn of_this_machine() -> Result<Self> {
        let uris = process::stdout_of(Command::new("apt-get").args(["--print-uris", "update"]))?;
        Self::from_uris(&uris)
            .context("apt's sources name no mirror of Debian's archive to fetch kernels from")
    }

    /// The base address for a suite.
    pub(super) fn of(&self, suite: &str) -> &str {
        if suite.ends_with("-security") {
            &self.security
        } else {
            &self.main
        }
    }

    /// Reads lines like `'http://deb.debian.org/debian/dists/bookworm/InRelease' …`.
    fn from_uris(text: &str) -> Option<Self> {
        let suites: Vec<_> = text
            .lines()
            .filter_map(|line| {
                let uri = line.strip_prefix('\'')?.split_once("/InRelease'")?.0;
                uri.rsplit_once("/dists/")
            })
            .collect();
        let base_of = |wanted: &dyn Fn(&str, &str) -> bool| {
            suites
                .iter()
                .find(|(base, suite)| wanted(base, suite))
                .map(|(base, _)| (*base).to_owned())
        };
        // Other publishers name their suites after Debian's releases too, but have no updates.
        let main = base_of(&|base, suite| base.ends_with("/debian") && suite.ends_with("-updates"))
            .or_else(|| base_of(&|base, _| base.ends_with("/debian")))?;
        let security = base_of(&|base, suite| {
            base.ends_with("/debian-security") && suite.ends_with("-security")
        })
        .unwrap_or_else(|| format!("{main}-security"));
        Some(Self { main, security })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(uris: &[&str]) -> Option<(String, String)> {
        let text: String = uris
            .iter()
            .map(|uri| format!("'{uri}' some_file 0 \n"))
            .collect();
        Mirror::from_uris(&text).map(|mirror| (mirror.main, mirror.security))
    }

    #[test]
    fn the_mirror_is_the_one_with_updates() {
        let found = mirror(&[
            "https://download.docker.com/linux/debian/dists/bookworm/InRelease",
            "http://mirror.example/debian/dists/bookworm/InRelease",
            "http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz",
            "http://mirror.example/debian/dists/bookworm-updates/InRelease",
            "http://sec.example/debian-security/dists/bookworm-security/InRelease",
        ]);
        let expected = (
            "http://mirror.example/debian",
            "http://sec.example/debian-security",
        );
        assert_eq!(found, Some((expected.0.to_owned(), expected.1.to_owned())));
    }

    #[test]
    fn security_is_beside_the_archive_where_nothing_says_otherwise() {
        let found = mirror(&["http://mirror.example/debian/dists/sid/InRelease"]);
        let security = found.map(|(_, security)| security);
        assert_eq!(
            security.as_deref(),
            Some("http://mirror.example/debian-security")
        );
    }

    #[test]
    fn another_distribution_has_none() {
        let ubuntu = "http://archive.ubuntu.com/ubuntu/dists/noble/InRelease";
        assert_eq!(mirror(&[ubuntu]), None);
    }
}
