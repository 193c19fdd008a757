//! The guest's root file system: our programs, those of the host that tests use, what both need.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{cpio::Archive, libraries, modules::Module};
use crate::{process, programs::Programs};

/// Programs of the host that tests start, and what these start. A test whose program the host
/// lacks skips itself in the guest as it does on the host.
const HOST_PROGRAMS: [&str; 29] = [
    "bash",
    "bpftool",
    "capsh",
    "cat",
    "curl",
    "head",
    "ip",
    "iperf3",
    "jq",
    "kill",
    "mkdir",
    "mount",
    "nats-server",
    "nginx",
    "nsenter",
    "redis-benchmark",
    "redis-cli",
    "redis-server",
    "setpriv",
    "sh",
    "sleep",
    "ss",
    "sudo",
    "tc",
    "true",
    "umount",
    "unshare",
    "wrk",
    "wc",
];

/// Where cargo's target directory is in the guest: tests find the peer beside their directory.
const TARGET: &str = "/target/release";

const PROGRAM: u32 = 0o755;
const DATA: u32 = 0o644;

/// The users that tests and servers name.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\n\
    www-data:x:33:33::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nnogroup:x:65534:\n";

/// What all guests have in common: written once, and the same for each kernel.
pub(super) struct Base {
    bytes: Vec<u8>,
}

impl Base {
    pub(super) fn new(programs: &Programs, scratch: &Path) -> Result<Self> {
        fs::create_dir_all(scratch).context("cannot make a directory")?;
        let mut archive = Archive::new(Vec::new());
        archive.device(Path::new("/dev/console"), 5, 1)?;
        let mut sources = BTreeSet::new();
        for (source, place) in own_programs(programs) {
            archive.file(&place, PROGRAM, &stripped(&source, scratch)?)?;
            sources.insert(source);
        }
        for program in HOST_PROGRAMS {
            if let Some(path) = process::find_program(program) {
                archive.file(&path, PROGRAM, &read(&path)?)?;
                sources.insert(path);
            }
        }
        for library in libraries::of(&sources)? {
            archive.file(&library, PROGRAM, &read(&library)?)?;
        }
        archive.file(Path::new("/etc/passwd"), DATA, PASSWD.as_bytes())?;
        archive.file(Path::new("/etc/group"), DATA, GROUP.as_bytes())?;
        archive.file(
            Path::new("/etc/hosts"),
            DATA,
            b"127.0.0.1 localhost\n::1 localhost\n",
        )?;
        for directory in [
            "/root",
            "/var/log/nginx",
            "/var/lib/nginx",
            "/var/tmp",
            "/lib/modules",
        ] {
            archive.directory(Path::new(directory))?;
        }
        Ok(Self {
            bytes: archive.finish()?,
        })
    }

    /// The root file system for one kernel, with the programs to run in it.
    pub(super) fn write(&self, file: &Path, modules: &[Module], mut plan: Value) -> Result<()> {
        let mut archive = Archive::new(Vec::new());
        let mut paths = Vec::new();
        for module in modules {
            let path = PathBuf::from(format!("/lib/modules/{}.ko", module.name));
            archive.file(&path, DATA, &module.content)?;
            paths.push(path);
        }
        plan["modules"] = json!(paths);
        archive.file(Path::new("/plan.json"), DATA, plan.to_string().as_bytes())?;
        let mut output = BufWriter::new(
            File::create(file).with_context(|| format!("cannot write {}", file.display()))?,
        );
        // The kernel takes one archive after the other.
        output.write_all(&self.bytes)?;
        output.write_all(&archive.finish()?)?;
        output.flush().context("cannot write")
    }
}

/// Where a test program is in the guest.
pub(super) fn test_path(name: &str) -> String {
    format!("{TARGET}/deps/{name}")
}

/// Where the agent is in the guest.
pub(super) fn agent_path() -> String {
    format!("{TARGET}/conn-trace")
}

/// Our own programs, each with its place in the guest.
fn own_programs(programs: &Programs) -> Vec<(PathBuf, PathBuf)> {
    let mut places = vec![(programs.agent.clone(), agent_path().into())];
    for test in &programs.end_to_end {
        places.push((test.path.clone(), test_path(&test.target).into()));
    }
    for beside in &programs.beside {
        let place = if beside.target == "conn-trace-guest" {
            "/init".into()
        } else {
            format!("{TARGET}/{}", beside.target).into()
        };
        places.push((beside.path.clone(), place));
    }
    places
}

/// Debug information is most of a program, and memory in the guest.
fn stripped(program: &Path, scratch: &Path) -> Result<Vec<u8>> {
    let copy = scratch.join(program.file_name().context("a program has a name")?);
    process::run(Command::new("strip").arg("-o").arg(&copy).arg(program))?;
    read(&copy)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::tree;

    /// What these are asked for is the same on every kernel.
    const ON_THE_HOST_ONLY: [&str; 12] = [
        "c++",
        "go",
        "mosquitto",
        "mosquitto_pub",
        "openssl",
        "prometheus",
        "promtool",
        "psql",
        "runuser",
        "ssh",
        "ssh-keygen",
        "sshd",
    ];

    /// The programs in `installed(test, ["a", "b"])`.
    fn asked_for(source: &str) -> Vec<String> {
        source
            .split("installed(")
            .skip(1)
            .filter_map(|call| call.split_once('[')?.1.split_once(']'))
            .flat_map(|(list, _)| list.split('"').skip(1).step_by(2))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn programs_are_read_from_the_tests() {
        let source =
            r#"let Some([a]) = installed(test, ["a-b", "c"]) else { installed("t", ["d"])"#;
        assert_eq!(asked_for(source), ["a-b", "c", "d"]);
    }

    /// Otherwise the test would skip itself in every guest.
    #[test]
    fn guests_have_what_tests_ask_for() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tests");
        let mut asked = Vec::new();
        tree::walk(&tests, &mut |path, is_directory| {
            if !is_directory {
                asked.extend(asked_for(&fs::read_to_string(path).expect("a source")));
            }
        })
        .expect("the tests");
        let known = [&HOST_PROGRAMS[..], &ON_THE_HOST_ONLY].concat();
        asked.retain(|program| !known.contains(&program.as_str()));
        assert!(asked.is_empty(), "not in HOST_PROGRAMS: {asked:?}");
    }
}
