//! The executables of a cargo build, from its message stream.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use serde_json::Value;

use crate::process;

/// An executable that cargo built, or found up to date.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    /// The target's name: of the binary, the library or the test file.
    pub(crate) target: String,
    /// The directory of the package, where cargo runs its tests.
    pub(crate) package_dir: PathBuf,
    pub(crate) path: PathBuf,
    /// Built with the test harness.
    pub(crate) is_test: bool,
}

/// Runs a `cargo build` and returns its executables; cargo's progress and diagnostics go to the user.
pub(crate) fn build(cargo: &mut Command) -> Result<Vec<Executable>> {
    let messages = process::stdout_of(cargo.arg("--message-format=json-render-diagnostics"))?;
    Ok(messages.lines().filter_map(executable).collect())
}

/// Reads one message; most are about libraries and build scripts.
fn executable(message: &str) -> Option<Executable> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    Some(Executable {
        path: message["executable"].as_str()?.into(),
        target: message["target"]["name"].as_str()?.to_owned(),
        package_dir: Path::new(message["manifest_path"].as_str()?)
            .parent()?
            .into(),
        is_test: message["profile"]["test"].as_bool()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_with_an_executable_count() {
        let test = r#"{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml",
            "target":{"name":"connz"},"profile":{"test":true},"executable":"/w/target/connz-1"}"#;
        assert_eq!(
            executable(test),
            Some(Executable {
                target: "connz".to_owned(),
                package_dir: "/w/tests".into(),
                path: "/w/target/connz-1".into(),
                is_test: true,
            })
        );
        let library = r#"{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml",
            "target":{"name":"a"},"profile":{"test":false},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(
            executable(r#"{"reason":"build-finished","success":true}"#),
            None
        );
        assert_eq!(executable("not a message"), None);
    }
}
