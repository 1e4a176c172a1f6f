//! The binaries of the workspace, for whoever starts them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::BinariesError;

/// Builds `reachproof` and `reachproof-agent` beside the running program, without the AWS SDK: a saved snapshot is all
/// that is read here.
///
/// # Errors
/// [`BinariesError`].
pub fn build() -> Result<(), BinariesError> {
    let status = cargo()
        .args([
            "build",
            "--quiet",
            "--no-default-features",
            "--package",
            "reachproof",
            "--package",
            "reachproof-agent",
        ])
        .args(["--bin", "reachproof", "--bin", "reachproof-agent"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target()?)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(BinariesError::Failed { status })
    }
}

/// A `cargo` that builds what one from a shell would.
///
/// This program often runs below another `cargo`, which tells it of its package; build scripts of dependencies look at
/// those variables, and with other values all that rests on them would be built again, here and once more outside.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| is_of_package(name)) {
        cargo.env_remove(name);
    }
    cargo
}

/// Whether `cargo` sets a variable for the programs that it runs, by their package.
///
/// Source: The Cargo Book, "Environment variables Cargo sets for crates".
fn is_of_package(name: &str) -> bool {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
    let names = ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) || names.contains(&name)
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
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_build_knows_nothing_of_the_package_that_asks_for_it() {
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        let cargo = cargo();
        let removed: Vec<&OsStr> = cargo
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name)
            .collect();
        for name in [
            "CARGO_PKG_NAME",
            "CARGO_PKG_VERSION_PRE",
            "CARGO_MANIFEST_DIR",
        ] {
            assert!(removed.contains(&OsStr::new(name)), "{name}: {removed:?}");
        }
        assert!(!removed.contains(&OsStr::new("CARGO_HOME")));
    }
}
