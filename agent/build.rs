//! The version that `--version` prints: that of the package, with revision and date where git knows them.
//!
//! Shared by the packages that are commands. Runs again when the revision changes, not with each build: whether files
//! differ from the revision is not said. Outside a checkout of this repository (an archive of it, a copy in another
//! repository) it is the package's version alone.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=../agent/build.rs");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version = match revision() {
        Some(revision) => format!("{version} ({revision})"),
        None => version,
    };
    println!("cargo:rustc-env=REACHPROOF_VERSION={version}");
}

/// The abbreviated revision and its date.
fn revision() -> Option<String> {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    let root = package.parent()?;
    let top = PathBuf::from(git(root, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let revision = git(root, &["log", "-1", "--format=%h %cs"])?;
    watch(root);
    Some(revision)
}

/// Has this run again when the revision changes. A file that is not there would have it run each time.
fn watch(root: &Path) {
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD", "logs/HEAD", "packed-refs"];
    for name in names.into_iter().chain(branch.as_deref()) {
        let path = git(root, &["rev-parse", "--git-path", name]).map(|path| root.join(path));
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
}

/// What git prints, if it has anything to say.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
