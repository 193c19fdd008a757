//! The kernels that are tried, as data: another one is another line.

use std::path::Path;

use anyhow::{Result, ensure};

use super::source::Source;

/// A kernel, where it comes from and what is expected of it.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// By which the user names it.
    pub(crate) name: String,
    tried: Tried,
    pub(super) expected: Expected,
    pub(super) source: Source,
}

/// When a kernel is tried; each includes the one behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tried {
    /// By `cargo xtask test` too.
    Always,
    /// By `cargo xtask vm` for all.
    ByDefault,
    /// By its name.
    OnRequest,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// The end-to-end tests pass.
    Works,
    /// Agent and doctor end with an error that has these words in it.
    Refusal(&'static [&'static str]),
}

/// All that have a name. Debian's kernels for clouds are small and have all that the tests need.
#[rustfmt::skip]
fn all() -> Vec<Kernel> {
    use Expected::{Refusal, Works};
    use Source::{Debian, Packages};
    use Tried::{Always, ByDefault, OnRequest};
    let kernel = |name: &str, tried, expected, source| Kernel { name: name.to_owned(), tried, expected, source };
    vec![
        kernel("5.10", ByDefault, Refusal(&["bpf_get_current_task_btf", "since 5.11", "needs 5.15"]), Debian { suites: &["bullseye-security"], packages: &["linux-image-5.10.0-*-cloud-amd64"] }),
        kernel("6.1", Always, Works, Debian { suites: &["bookworm-security"], packages: &["linux-image-6.1.0-*-cloud-amd64"] }),
        kernel("6.12", Always, Works, Debian { suites: &["bookworm-security"], packages: &["linux-image-6.12.*+deb12-cloud-amd64"] }),
        kernel("7.2", Always, Works, Debian { suites: &["sid"], packages: &["linux-binary-7.2.*-cloud-amd64", "linux-modules-7.2.*-cloud-amd64"] }),
        kernel("ubuntu-24.04", OnRequest, Works, Packages(&[
            ("http://archive.ubuntu.com/ubuntu/pool/main/l/linux-signed/linux-image-6.8.0-31-generic_6.8.0-31.31_amd64.deb", "fd2ed023c84163e62c73d3b7b613a9b004bd31e335641c23d42bd249e489fbe6"),
            ("http://archive.ubuntu.com/ubuntu/pool/main/l/linux/linux-modules-6.8.0-31-generic_6.8.0-31.31_amd64.deb", "3f17f2c279257eb50e40da44390bdf8272c440ca078831c348773d1314b5c2fe"),
        ])),
    ]
}

/// Those of `cargo xtask test`.
pub(crate) fn in_test() -> Vec<Kernel> {
    tried(Tried::Always)
}

fn tried(when: Tried) -> Vec<Kernel> {
    let mut kernels = all();
    kernels.retain(|kernel| kernel.tried <= when);
    kernels
}

/// Those that the user names, by version or by the path of an image; without a name, the default.
pub(super) fn chosen(names: &[String]) -> Result<Vec<Kernel>> {
    if names.is_empty() {
        return Ok(tried(Tried::ByDefault));
    }
    let all = all();
    names
        .iter()
        .map(
            |name| match all.iter().find(|kernel| kernel.name == *name) {
                Some(kernel) => Ok(kernel.clone()),
                None => by_path(name),
            },
        )
        .collect()
}

fn by_path(path: &str) -> Result<Kernel> {
    let image = Path::new(path);
    ensure!(
        image.is_file(),
        "{path} is neither a kernel that xtask/src/vm/kernels.rs names nor an image"
    );
    Ok(Kernel {
        name: image
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        tried: Tried::OnRequest,
        expected: Expected::Works,
        source: Source::Image(image.into()),
    })
}
