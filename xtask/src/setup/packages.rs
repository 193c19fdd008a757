//! The Debian packages, each with what needs it.

use super::Need;

/// The LLVM that bpf-linker links with. Not every release of a distribution has it.
pub(super) const LLVM: &str = "llvm-22-dev";

/// Python's virtual environments. It has no program to look for.
const VENV: &str = "python3-venv";

pub(super) struct Package {
    pub(super) name: &'static str,
    need: Need,
    /// The program we want it for: where that is, wherever it came from, the package is not asked for.
    pub(super) program: Option<&'static str>,
    /// The service that installing it would set up.
    pub(super) service: Option<&'static str>,
    /// The test that is skipped without it: where it cannot be had, all else goes on.
    pub(super) skipped: Option<&'static str>,
}

const PACKAGES: [Package; 28] = [
    Package::library(LLVM, Need::Build),
    Package::library("libzstd-dev", Need::Build),
    Package::library("zlib1g-dev", Need::Build),
    Package::program("binutils", "strip", Need::Test),
    Package::program("bpftool", "bpftool", Need::Test),
    Package::program("curl", "curl", Need::Test),
    // libFuzzer is written in C++.
    Package::program("g++", "c++", Need::Test),
    Package::program("iperf3", "iperf3", Need::Test),
    Package::program("iproute2", "ss", Need::Test),
    Package::program("jq", "jq", Need::Test),
    Package::library("libquickfix-dev", Need::Test).for_one("fix"),
    Package::server("mosquitto", "mosquitto", Need::Test),
    Package::program("mosquitto-clients", "mosquitto_pub", Need::Test),
    Package::server("nats-server", "nats-server", Need::Test),
    Package::server("nginx-light", "nginx", Need::Test),
    Package::program("openssh-client", "ssh", Need::Test),
    Package::server("openssh-server", "sshd", Need::Test).with_service("ssh"),
    Package::program("openssl", "openssl", Need::Test),
    // Its programs are on no path.
    Package::library("postgresql", Need::Test).with_service("postgresql"),
    Package::server("prometheus", "prometheus", Need::Test),
    Package::library("python3-grpcio", Need::Test),
    Package::library(VENV, Need::Test),
    Package::server("redis-server", "redis-server", Need::Test),
    Package::program("redis-tools", "redis-cli", Need::Test),
    Package::program("wrk", "wrk", Need::Test),
    Package::program("xz-utils", "xz", Need::Test),
    Package::program("zstd", "zstd", Need::Test),
    Package::program("bpftrace", "bpftrace", Need::Bench),
];

impl Package {
    pub(super) const fn library(name: &'static str, need: Need) -> Self {
        Self {
            name,
            need,
            program: None,
            service: None,
            skipped: None,
        }
    }

    /// Only for this test.
    pub(super) const fn for_one(self, test: &'static str) -> Self {
        Self {
            skipped: Some(test),
            ..self
        }
    }

    const fn with_service(self, service: &'static str) -> Self {
        Self {
            service: Some(service),
            ..self
        }
    }

    const fn program(name: &'static str, program: &'static str, need: Need) -> Self {
        Self {
            program: Some(program),
            ..Self::library(name, need)
        }
    }

    /// A program whose service has the same name.
    pub(super) const fn server(name: &'static str, program: &'static str, need: Need) -> Self {
        Self {
            service: Some(program),
            ..Self::program(name, program, need)
        }
    }
}

/// The packages for `need`; those for building have done their work once the linker exists.
pub(super) fn wanted(need: Need, has_linker: bool, has_venv: bool) -> Vec<&'static Package> {
    PACKAGES
        .iter()
        .filter(|package| package.need <= need)
        .filter(|package| !(has_linker && package.need == Need::Build))
        .filter(|package| !(has_venv && package.name == VENV))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(need: Need, has_linker: bool) -> Vec<&'static str> {
        wanted(need, has_linker, false)
            .iter()
            .map(|package| package.name)
            .collect()
    }

    #[test]
    fn each_need_includes_the_smaller_ones() {
        assert_eq!(
            names(Need::Build, false),
            [LLVM, "libzstd-dev", "zlib1g-dev"]
        );
        assert!(names(Need::Test, false).contains(&LLVM));
        assert!(!names(Need::Test, false).contains(&"bpftrace"));
        assert_eq!(names(Need::Bench, false).len(), PACKAGES.len());
    }

    #[test]
    fn a_linker_that_exists_needs_nothing_to_be_built() {
        assert!(names(Need::Build, true).is_empty());
        assert!(names(Need::Test, true).contains(&"wrk"));
    }

    #[test]
    fn python_that_can_needs_no_package() {
        let has = |has_venv| {
            let wanted = wanted(Need::Test, true, has_venv);
            wanted.iter().any(|package| package.name == VENV)
        };
        assert!(has(false) && !has(true));
    }
}
