//! What a distribution's init does before anything else runs, as far as the tests need it.

use std::{
    error::Error,
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    process::Command,
};

use crate::plan::Plan;
use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::resource::{Resource, setrlimit},
};

/// Where, of which type, with which mode the directory is made.
const MOUNTS: [(&str, &str, u32); 11] = [
    ("/proc", "proc", 0o555),
    ("/sys", "sysfs", 0o555),
    ("/sys/fs/bpf", "bpf", 0o700),
    ("/sys/fs/cgroup", "cgroup2", 0o755),
    ("/sys/kernel/debug", "debugfs", 0o700),
    ("/sys/kernel/tracing", "tracefs", 0o700),
    ("/dev", "devtmpfs", 0o755),
    ("/dev/pts", "devpts", 0o755),
    ("/dev/shm", "tmpfs", 0o1777),
    ("/run", "tmpfs", 0o755),
    ("/tmp", "tmpfs", 0o1777),
];

/// Closed connections that the kernel remembers for a minute, as on a machine with more memory:
/// tests close more than 8,192 in that time, and beyond the limit the kernel answers a FIN with a
/// reset.
const TIME_WAIT: (&str, &str) = ("/proc/sys/net/ipv4/tcp_max_tw_buckets", "262144");

/// As many open files as systemd allows a service.
const DESCRIPTORS: u64 = 524_288;

pub(crate) fn mount_all() -> Result<(), Box<dyn Error>> {
    for (place, kind, mode) in MOUNTS {
        // In sysfs the kernel has made them.
        if !Path::new(place).exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(place)
                .map_err(|error| format!("{place}: {error}"))?;
        }
        let options = (kind == "tmpfs").then(|| format!("mode={mode:o}"));
        mount(
            Some(kind),
            place,
            Some(kind),
            MsFlags::empty(),
            options.as_deref(),
        )
        .map_err(|error| format!("mounting {place}: {error}"))?;
    }
    Ok(())
}

/// Loads the modules and sets the rest up. What a test may do without is returned as a problem.
pub(crate) fn prepare(plan: &Plan) -> Result<Vec<String>, Box<dyn Error>> {
    let mut problems = Vec::new();
    for module in &plan.modules {
        let file = File::open(module).map_err(|error| format!("{}: {error}", module.display()))?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            // Another module's needs have loaded it.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => problems.push(format!("module {}: {error}", module.display())),
        }
    }
    setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS)?;
    fs::write("/proc/sys/kernel/hostname", "guest")?;
    fs::write(TIME_WAIT.0, TIME_WAIT.1)?;
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .envs(&plan.environment)
        .status()
        .map_err(|error| format!("ip: {error}"))?;
    if !status.success() {
        return Err(format!("`ip link set lo up`: {status}").into());
    }
    Ok(problems)
}

pub(crate) fn kernel_release() -> Result<String, Box<dyn Error>> {
    Ok(fs::read_to_string("/proc/sys/kernel/osrelease")?
        .trim_end()
        .to_owned())
}
