//! `--version`, and what the build script makes of a checkout and of what is none.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/build.rs")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

fn git(directory: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(directory)
        .args(["-c", "user.name=n", "-c", "user.email=e"])
        .args(words)
        .env("GIT_COMMITTER_DATE", "2024-02-03T12:00:00Z");
    run(&mut command).trim().to_owned()
}

/// What the script says for a package in `root`.
fn said(program: &Path, root: &Path) -> String {
    let package = root.join("coordinator");
    let mut command = Command::new(program);
    command
        .current_dir(&package)
        .env("CARGO_MANIFEST_DIR", &package)
        .env("CARGO_PKG_VERSION", "1.2.3");
    run(&mut command)
}

#[test]
fn version_names_the_revision_of_a_checkout_and_nothing_but_the_version_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("script");
    let rustc = option_env!("RUSTC").unwrap_or("rustc");
    run(Command::new(rustc)
        .args(["--edition", "2024", "-o"])
        .arg(&program)
        .arg(script()));
    let root = home.path().join("repository");
    fs::create_dir_all(root.join("coordinator")).unwrap();
    let alone = "cargo:rustc-env=REACHPROOF_VERSION=1.2.3\n";
    assert!(said(&program, &root).ends_with(alone), "an archive");

    git(home.path(), &["init", "--quiet", "repository"]);
    assert!(
        said(&program, &root).ends_with(alone),
        "nothing is committed"
    );
    git(
        &root,
        &["commit", "--quiet", "--allow-empty", "-m", "first"],
    );
    let revision = git(&root, &["rev-parse", "--short", "HEAD"]);
    let text = said(&program, &root);
    let named = format!("cargo:rustc-env=REACHPROOF_VERSION=1.2.3 ({revision} 2024-02-03)\n");
    assert!(text.ends_with(&named), "{text}");
    // Cargo runs the script each time if a file is not there.
    let watched = text
        .lines()
        .filter_map(|line| line.strip_prefix("cargo:rerun-if-changed="))
        .filter(|path| *path != "../agent/build.rs");
    let watched: Vec<&str> = watched.collect();
    assert!(watched.iter().any(|path| path.ends_with("HEAD")), "{text}");
    assert!(
        watched.iter().all(|path| Path::new(path).exists()),
        "{text}"
    );

    let inner = root.join("vendor/reachproof");
    fs::create_dir_all(inner.join("coordinator")).unwrap();
    assert!(
        said(&program, &inner).ends_with(alone),
        "a copy in another repository"
    );
}

#[test]
fn the_command_names_its_version() {
    let text = run(Command::new(env!("CARGO_BIN_EXE_reachproof")).arg("--version"));
    let version = concat!("reachproof ", env!("CARGO_PKG_VERSION"));
    let rest = text.strip_prefix(version).unwrap();
    assert!(rest == "\n" || rest.starts_with(" ("), "{text}");
}
