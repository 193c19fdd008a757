//! The kernel modules that tests need, with those that they need in turn.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::tree;
use crate::process;

/// Loaded before the tests, where the kernel does not have them built in: nothing in the guest
/// loads a module on demand.
const WANTED: [&str; 23] = [
    "act_mirred",
    "aesni_intel",
    "af_packet",
    "bridge",
    "cls_u32",
    "ctr",
    "dummy",
    "gcm",
    "ghash_clmulni_intel",
    "ifb",
    "inet_diag",
    "ipv6",
    "mptcp_diag",
    "nfsv4",
    "overlay",
    "sch_ingress",
    "sch_netem",
    "sch_tbf",
    "tcp_bbr",
    "tcp_diag",
    "tls",
    "unix_diag",
    "veth",
];

/// A module as the kernel takes it.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// Those of the wanted ones that are files below `directory`, each behind those that it needs.
pub(super) fn load_order(directory: &Path) -> Result<Vec<Module>> {
    let mut files = HashMap::new();
    tree::walk(directory, &mut |path, is_directory| {
        if let Some(name) = module_name(path).filter(|_| !is_directory) {
            files.insert(name, path.to_path_buf());
        }
    })?;
    let mut order = Vec::new();
    for name in WANTED {
        add(name, &files, &mut order)?;
    }
    Ok(order)
}

fn add(name: &str, files: &HashMap<String, PathBuf>, order: &mut Vec<Module>) -> Result<()> {
    let Some(file) = files.get(name) else {
        return Ok(());
    };
    if order.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let content = read(file)?;
    for needed in needed(&content) {
        add(&needed, files, order)?;
    }
    order.push(Module {
        name: name.to_owned(),
        content,
    });
    Ok(())
}

/// The kernel says `tcp_diag` for `tcp-diag.ko.xz` too.
fn module_name(path: &Path) -> Option<String> {
    let (name, kind) = path.file_name()?.to_str()?.split_once(".ko")?;
    ["", ".xz", ".zst", ".gz"]
        .contains(&kind)
        .then(|| name.replace('-', "_"))
}

/// Debian compresses modules since 6.10.
fn read(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    };
    process::bytes_of(
        Command::new(program)
            .args(["--decompress", "--stdout"])
            .arg(file),
    )
}

/// The names in `depends=` of the section `.modinfo`: strings that end with NUL.
fn needed(module: &[u8]) -> Vec<String> {
    module
        .split(|byte| *byte == 0)
        .find_map(|text| text.strip_prefix(b"depends="))
        .map(|names| {
            String::from_utf8_lossy(names)
                .split(',')
                .filter(|name| !name.is_empty())
                .map(|name| name.replace('-', "_"))
                .collect()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_kernel_uses() {
        assert_eq!(
            module_name(Path::new("/m/tcp-x.ko.xz")).as_deref(),
            Some("tcp_x")
        );
        assert_eq!(module_name(Path::new("/m/tls.ko")).as_deref(), Some("tls"));
        assert_eq!(module_name(Path::new("/m/modules.order")), None);
        assert_eq!(module_name(Path::new("/m/tls.ko.sig")), None);
    }

    #[test]
    fn needs_come_first() {
        let module = |depends: &str| format!("ELF\0license=GPL\0depends={depends}\0name=x\0");
        assert_eq!(needed(module("llc,stp-x").as_bytes()), ["llc", "stp_x"]);
        assert!(needed(module("").as_bytes()).is_empty());

        let directory =
            std::env::temp_dir().join(format!("conn-trace-modules-{}", std::process::id()));
        fs::create_dir_all(directory.join("net")).expect("a directory");
        for (name, depends) in [
            ("tcp_diag", "inet_diag"),
            ("inet_diag", ""),
            ("unwanted", ""),
        ] {
            let file = directory.join(format!("net/{name}.ko"));
            fs::write(file, module(depends)).expect("a file");
        }
        let order = load_order(&directory);
        fs::remove_dir_all(&directory).expect("removed");
        let names: Vec<_> = order
            .expect("read")
            .into_iter()
            .map(|module| module.name)
            .collect();
        assert_eq!(names, ["inet_diag", "tcp_diag"]);
    }
}
