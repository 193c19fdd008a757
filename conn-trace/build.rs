//! Builds the eBPF objects with the toolchain that builds this crate.
//!
//! `aya-build` would do, but on a stable toolchain it needs `RUSTC_BOOTSTRAP` in this process,
//! where it would also reach every other crate. Here it reaches the eBPF crate alone.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const PACKAGE: &str = "conn-trace-ebpf";
/// Its binaries: the programs, and the benchmark's measuring floor.
const OBJECTS: [&str; 2] = ["conn-trace", "floor"];

fn main() {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let workspace = manifest.parent().expect("the crate lies in the workspace");
    for watched in [PACKAGE, "conn-trace-common"] {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(watched).display()
        );
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    // target/<profile>/build/<package>/out: all profiles have the same objects.
    let target = out.ancestors().nth(4).expect("a directory of cargo's");
    let built = build(workspace, &target.join("ebpf"));
    for name in OBJECTS {
        let object = built.join(name);
        fs::copy(&object, out.join(format!("{name}.bpf.o")))
            .unwrap_or_else(|error| panic!("copying {}: {error}", object.display()));
    }
}

/// Runs the nested build and gives the directory of the objects.
fn build(workspace: &Path, target_dir: &Path) -> PathBuf {
    let endian = if variable("CARGO_CFG_TARGET_ENDIAN") == "big" {
        "bpfeb"
    } else {
        "bpfel"
    };
    let target = format!("{endian}-unknown-none");
    let flags = [
        &format!(
            "--cfg=bpf_target_arch=\"{}\"",
            variable("CARGO_CFG_TARGET_ARCH")
        ),
        // Atomics that return a value (compare-and-swap, fetch-and-add): Linux 5.12.
        "-Ctarget-cpu=v3",
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
    ]
    .join("\x1f");
    let output = Command::new(variable("CARGO"))
        .current_dir(workspace)
        .args([
            "build",
            "--package",
            PACKAGE,
            "--bins",
            "--release",
            "--locked",
        ])
        .args(["-Z", "build-std=core", "--target", &target, "--target-dir"])
        .arg(target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", search_path(workspace))
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "building {PACKAGE} failed; `cargo xtask setup` installs what it needs.\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target_dir.join(target).join("release")
}

/// `cargo xtask setup` puts the linker into the workspace; one on the path serves as well.
fn search_path(workspace: &Path) -> std::ffi::OsString {
    let target = env::var_os("CARGO_TARGET_DIR").map_or(workspace.join("target"), PathBuf::from);
    let ours = target.join("tools").join("bin");
    let rest = env::var_os("PATH").unwrap_or_default();
    env::join_paths(std::iter::once(ours).chain(env::split_paths(&rest))).expect("plain paths")
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}
