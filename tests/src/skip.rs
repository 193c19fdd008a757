//! Saying that a test cannot run here.

use std::{env, path::PathBuf};

/// Says why a test is skipped, in the form that `cargo xtask test` counts.
pub fn skip(test: &str, reason: &str) {
    println!("SKIP {test}: {reason}");
}

/// Finds programs that a test needs; without one of them, says that `test` is skipped.
#[must_use]
pub fn installed<const N: usize>(test: &str, programs: [&str; N]) -> Option<[PathBuf; N]> {
    let found = programs.map(find);
    for (program, path) in programs.iter().zip(&found) {
        if path.is_none() {
            skip(test, &format!("{program} is not installed"));
            return None;
        }
    }
    Some(found.map(Option::unwrap_or_default))
}

/// On the path, or where servers are even if the path lacks it.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}
