//! The formats of a report, read by others: JUnit, Markdown and CSV by Python's readers. Counts equal the JSON's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What reads, from PyPI.
const READERS: [&str; 2] = ["junitparser==5.0.3", "markdown-it-py==4.3.0"];

/// A file of the folder of these tests' crate.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Runs a program to its end.
fn run(program: &Path, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program:?}: {output:?}");
}

#[test]
#[ignore = "needs Python and its package index"]
fn other_readers_count_what_the_json_counts() {
    let home = tempfile::tempdir().unwrap();
    let environment = home.path().join("environment");
    run(
        Path::new("python3"),
        &["-m", "venv", environment.to_str().unwrap()],
    );
    let python = environment.join("bin/python");
    run(
        &python,
        &[&["-m", "pip", "install", "-q"][..], &READERS].concat(),
    );
    let written = home.path().join("written");
    fs::create_dir(&written).unwrap();
    let mut report = Command::new(env!("CARGO_BIN_EXE_reachproof"));
    report
        .arg("report")
        .arg(file("verify/tests/old/report.json.gz"));
    for format in ["json", "junit", "markdown", "markdown-short", "csv"] {
        let path = written.join(format);
        report
            .arg("--report")
            .arg(format!("{format}={}", path.display()));
    }
    assert_eq!(report.output().unwrap().status.code(), Some(1));
    let script = file("tests/readers.py");
    run(
        &python,
        &[script.to_str().unwrap(), written.to_str().unwrap()],
    );
}
