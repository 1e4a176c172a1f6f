//! The binaries of the workspace, for tests that start them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds `reachproof` and `reachproof-agent` beside the running test, without the AWS SDK: a saved snapshot is all that
/// tests let them read.
///
/// # Errors
/// When `cargo` cannot be started or fails.
pub fn build() -> Result<(), Box<dyn Error>> {
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
        Err(format!("cargo build: {status}").into())
    }
}

/// The target directory: a test is in `TARGET/PROFILE/deps`.
///
/// # Errors
/// When the running program is elsewhere.
pub fn target() -> Result<PathBuf, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    program
        .ancestors()
        .nth(3)
        .map(Path::to_owned)
        .ok_or_else(|| "no target directory".into())
}

/// A binary that [`build`] built.
///
/// # Errors
/// As [`target`].
pub fn binary(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    Ok(target()?.join("debug").join(name))
}
