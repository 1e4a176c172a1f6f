//! The binaries of the workspace, for whoever starts them.

use std::path::{Path, PathBuf};
use std::{fs, io};

use reachproof_start::cargo;

use crate::error::BinariesError;

/// The name of a binary, and the folders at the root of the workspace that it is built from.
type Binary = (&'static str, [&'static str; 2]);

const COORDINATOR: Binary = ("reachproof", ["coordinator", "proto"]);
const AGENT: Binary = ("reachproof-agent", ["agent", "proto"]);

/// Builds `reachproof` and `reachproof-agent` beside the running program, without the AWS SDK: a saved snapshot is all
/// that is read here.
///
/// Where a build of the whole workspace left both, each younger than its own sources, they are taken as they are: alone they are
/// built with fewer features of their dependencies, so that these would be built once more.
///
/// # Errors
/// [`BinariesError`].
pub fn build() -> Result<(), BinariesError> {
    build_these(&[COORDINATOR, AGENT])
}

/// The same of `reachproof-agent` alone, for tests of a `reachproof` that has more than these.
///
/// # Errors
/// [`BinariesError`].
pub fn build_agent() -> Result<(), BinariesError> {
    build_these(&[AGENT])
}

fn build_these(binaries: &[Binary]) -> Result<(), BinariesError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // Where the sources cannot be read, cargo says why.
    let is_there = |(name, folders): &Binary| match (binary(name), sources(&root, folders)) {
        (Ok(binary), Ok(sources)) => is_current(&binary, &sources),
        (Err(_), _) | (_, Err(_)) => false,
    };
    if binaries.iter().all(is_there) {
        return Ok(());
    }
    let status = cargo()
        .args(["build", "--quiet", "--no-default-features"])
        .args(
            binaries
                .iter()
                .flat_map(|(name, _)| ["--package", name, "--bin", name]),
        )
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target()?)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(BinariesError::Failed { status })
    }
}

/// Whether a binary is there and younger than every one of `sources`; where that cannot be told, it is not.
fn is_current(binary: &Path, sources: &[PathBuf]) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
    let Ok(built) = modified(binary) else {
        return false;
    };
    sources
        .iter()
        .all(|source| modified(source).is_ok_and(|modified| modified <= built))
}

/// Folders and files below them that only tests and benches read.
const TESTS: [&str; 4] = ["tests", "tests.rs", "benches", "target"];

/// All files that a binary of `folders` may be built from: cargo notes them beside a binary only where that was asked for by name,
/// which tests never do.
fn sources(root: &Path, folders: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut sources: Vec<PathBuf> = ["Cargo.toml", "Cargo.lock"]
        .map(|name| root.join(name))
        .into();
    let mut folders: Vec<PathBuf> = folders.iter().map(|name| root.join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if TESTS.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            // A link is followed by nobody, so that the walk ends.
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                sources.push(entry.path());
            }
        }
    }
    Ok(sources)
}

/// The target directory in which the running program is: cargo marks it with a file.
///
/// # Errors
/// [`BinariesError::NoTarget`].
pub fn target() -> Result<PathBuf, BinariesError> {
    let program = std::env::current_exe()?;
    program
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .map(Path::to_owned)
        .ok_or(BinariesError::NoTarget)
}

/// A binary that [`build`] built.
///
/// # Errors
/// As [`target`].
pub fn binary(name: &str) -> Result<PathBuf, BinariesError> {
    Ok(target()?.join("debug").join(name))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    const FOLDERS: [&str; 2] = ["coordinator", "proto"];

    #[test]
    fn a_binary_is_current_while_nothing_that_it_may_be_built_from_is_younger() {
        let folder = tempfile::tempdir().unwrap();
        let start = SystemTime::now();
        let make = |name: &str, age: u64| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(&path).unwrap();
            file.set_modified(start - Duration::from_secs(age)).unwrap();
            path
        };
        let built_from = [
            "Cargo.toml",
            "Cargo.lock",
            "coordinator/build.rs",
            "coordinator/model/src/flow/json.rs",
            "proto/agent.proto",
        ];
        let not_built_from = [
            // Of another binary, which cargo does not make anew for this one's sake.
            "agent/src/main.rs",
            "coordinator/model/src/flow/tests.rs",
            "coordinator/tests/check.rs",
            "tests/src/main.rs",
        ];
        for source in built_from {
            make(source, 20);
        }
        for source in not_built_from {
            make(source, 5);
        }
        let binary = folder.path().join("target/debug/tool");
        let current = || is_current(&binary, &sources(folder.path(), &FOLDERS).unwrap());
        assert!(!current(), "it was never built");
        make("target/debug/tool", 10);
        assert!(current());
        for source in built_from {
            make(source, 5);
            assert!(!current(), "{source}");
            make(source, 20);
        }
        assert!(current());
        fs::remove_dir_all(folder.path().join("proto")).unwrap();
        assert!(
            sources(folder.path(), &FOLDERS).is_err(),
            "a folder is gone"
        );
    }
}
