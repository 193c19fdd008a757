//! Where a kernel comes from, and what is in it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{archive, download, tree};
use crate::workspace::Workspace;

/// Where a kernel comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Packages of Debian's archive.
    Debian {
        suites: &'static [&'static str],
        /// Patterns of names; of each the newest package is taken.
        packages: &'static [&'static str],
    },
    /// Packages (deb or rpm) of any distribution: address and SHA-256 of each.
    Packages(&'static [(&'static str, &'static str)]),
    /// The user's own image.
    Image(PathBuf),
}

/// A kernel on disk.
#[derive(Debug)]
pub(super) struct Files {
    /// What the machine boots.
    pub(super) image: PathBuf,
    /// The directory with the module files below it, if there is one.
    pub(super) modules: Option<PathBuf>,
}

impl Source {
    /// Fetches it if it is not here yet.
    pub(super) fn obtain(&self, workspace: &Workspace, name: &str, update: bool) -> Result<Files> {
        let directory = workspace.target.join("vm/kernels").join(name);
        match self {
            Self::Debian { suites, packages } => {
                let tree = archive::obtain(&directory, suites, packages, update)?;
                tree::files(&tree)
            }
            Self::Packages(packages) => tree::files(&download::obtain(&directory, packages)?),
            Self::Image(image) => Ok(Files {
                modules: modules_beside(image),
                image: image
                    .canonicalize()
                    .with_context(|| format!("no kernel image {}", image.display()))?,
            }),
        }
    }
}

/// `modules` beside the image, or for `vmlinuz-VERSION` the directory where VERSION is installed.
fn modules_beside(image: &Path) -> Option<PathBuf> {
    let directory = image.parent()?;
    let version = image.file_name()?.to_str()?.strip_prefix("vmlinuz-");
    let installed = version.map(|version| directory.join("../lib/modules").join(version));
    [Some(directory.join("modules")), installed]
        .into_iter()
        .flatten()
        .find(|candidate| candidate.is_dir())
}
