//! The binaries of the workspace, for whoever starts them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use reachproof_start::cargo;

use crate::error::BinariesError;

/// Both binaries.
const NAMES: [&str; 2] = ["reachproof", "reachproof-agent"];

/// Builds `reachproof` and `reachproof-agent` beside the running program, without the AWS SDK: a saved snapshot is all
/// that is read here.
///
/// Where a build of the whole workspace left both, they are taken as they are: alone they are built with fewer features of
/// their dependencies, so that these would be built once more.
///
/// # Errors
/// [`BinariesError`].
pub fn build() -> Result<(), BinariesError> {
    let built = NAMES.map(|name| Ok::<_, BinariesError>(is_current(&binary(name)?)));
    if built.into_iter().all(|built| matches!(built, Ok(true))) {
        return Ok(());
    }
    let status = cargo()
        .args(["build", "--quiet", "--no-default-features"])
        .args(
            NAMES
                .iter()
                .flat_map(|name| ["--package", name, "--bin", name]),
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

/// Whether a binary is there and younger than everything that it was built from; where that cannot be told, it is not.
fn is_current(binary: &Path) -> bool {
    let is_older =
        |source: &Path, built| Some(fs::metadata(source).ok()?.modified().ok()? <= built);
    let built = fs::metadata(binary).and_then(|file| file.modified());
    match (built, sources(binary)) {
        (Ok(built), Ok(sources)) => sources
            .iter()
            .all(|source| is_older(source, built) == Some(true)),
        _ => false,
    }
}

/// The files that a binary was built from: the sources that cargo notes beside it, their manifests, the lock file.
///
/// Source: The Cargo Book, "Dep-info files": the form of a rule of `make`, blanks in paths escaped.
fn sources(binary: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let rule = fs::read_to_string(binary.with_extension("d"))?;
    let (_, noted) = rule
        .split_once(": ")
        .ok_or_else(|| io::Error::other("no rule"))?;
    let noted = noted.trim_end().replace("\\ ", "\0");
    let mut sources: BTreeSet<PathBuf> = noted
        .split(' ')
        .map(|path| path.replace('\0', " ").into())
        .collect();
    let folders: BTreeSet<&Path> = sources.iter().flat_map(|path| path.ancestors()).collect();
    let manifests: Vec<PathBuf> = folders
        .into_iter()
        .flat_map(|folder| ["Cargo.toml", "Cargo.lock"].map(|name| folder.join(name)))
        .filter(|path| path.is_file())
        .collect();
    sources.extend(manifests);
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

    #[test]
    fn a_binary_is_current_while_nothing_that_it_was_built_from_is_younger() {
        let folder = tempfile::tempdir().unwrap();
        let start = SystemTime::now();
        let make = |name: &str, text: &str, age: u64| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let file = File::options().append(true).open(&path).unwrap();
            file.set_modified(start - Duration::from_secs(age)).unwrap();
            path
        };
        let binary = make("target/tool", "", 10);
        assert!(!is_current(&binary), "nothing says what it was built from");
        let main = make("a tool/src/main.rs", "", 20);
        let manifest = make("a tool/Cargo.toml", "", 20);
        let escaped = main.display().to_string().replace(' ', "\\ ");
        make(
            "target/tool.d",
            &format!("{}: {escaped}\n", binary.display()),
            10,
        );
        assert!(is_current(&binary));
        for source in ["a tool/src/main.rs", "a tool/Cargo.toml", "Cargo.lock"] {
            make(source, "", 5);
            assert!(!is_current(&binary), "{source}");
            make(source, "", 20);
        }
        assert!(is_current(&binary));
        fs::remove_file(main).unwrap();
        assert!(!is_current(&binary), "a source is gone");
        assert!(manifest.is_file());
    }
}
