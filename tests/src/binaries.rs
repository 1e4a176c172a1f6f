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
    let status = Command::new(env!("CARGO"))
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
