//! Every command that README shows is run here, or is named here with the test that runs it.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reachproof_lab::world::World;
use reachproof_tests::binaries::{binary, build};

/// Beginnings of commands that need a cluster, an account or a registry of somebody's, and where they are run instead.
const ELSEWHERE: [(&str, &str); 9] = [
    ("cargo test", "this test is a part of it"),
    (
        "aws ec2 authorize-security-group-ingress",
        "done to a world: repairs",
    ),
    ("deploy/images/build", "image"),
    ("buildah push", "needs a registry"),
    ("kubectl apply", "manifests"),
    ("kubectl delete", "manifests"),
    (
        "cargo install --path",
        "takes minutes; the packages are built for every other test",
    ),
    ("reachproof serve", "serve"),
    ("reachproof verify", "cluster, worlds"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Commands of the consoles and of the tables, lines joined and prompts away.
fn commands() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let text = text.replace("\\\n", " ");
    let consoles = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("$ "));
    let quoted = text.split('`').skip(1).step_by(2).filter(|code| {
        ["cargo ", "reachproof ", "kubectl "]
            .iter()
            .any(|start| code.starts_with(start))
    });
    let words = |command: &str| command.split_whitespace().collect::<Vec<_>>().join(" ");
    consoles.chain(quoted).map(words).collect()
}

/// Writes the snapshot of a world as a directory of answers.
fn save(world: &str, directory: &Path) {
    fs::create_dir(directory).unwrap();
    let expanded = World::builtin(world).unwrap().expand().unwrap();
    for (stem, answer) in expanded.plan.snapshot {
        fs::write(directory.join(format!("{stem}.json")), answer.to_string()).unwrap();
    }
}

/// Runs a command of README where `world`, `before` and `after` are snapshots; its exit code is that of an answer.
fn answers(command: &str, program: &Path, at: &Path) {
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let output = Command::new(program).args(&words).current_dir(at).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{command}: {said}"
    );
    assert!(!output.stdout.is_empty(), "{command}: {said}");
}

/// Whether a command is run here; fails for one that nobody runs.
fn is_run_here(command: &str) -> bool {
    if ELSEWHERE
        .iter()
        .any(|(start, _)| command.starts_with(start))
    {
        return false;
    }
    // Read from AWS: `cargo test -p reachproof --test cluster` has an account and a cluster of its own.
    let is_live = command.starts_with("reachproof ") && command.contains("--cluster");
    let is_local = command.starts_with("reachproof ") || command.starts_with("cargo lab");
    assert!(is_local, "nobody runs `{command}`");
    !is_live
}

#[test]
fn every_command_of_readme_is_run() {
    build().unwrap();
    let reachproof = binary("reachproof").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    save("node-sg", &at.join("world"));
    save("default", &at.join("before"));
    save("drift-closed", &at.join("after"));
    let commands = commands();
    let here: Vec<&String> = commands
        .iter()
        .filter(|command| is_run_here(command))
        .collect();
    std::thread::scope(|scope| {
        for command in &here {
            scope.spawn(|| match command.strip_prefix("cargo ") {
                Some(lab) => answers(lab, Path::new(env!("CARGO_BIN_EXE_reachproof-lab")), at),
                None => answers(command, &reachproof, at),
            });
        }
    });
    for start in [
        "cargo lab",
        "reachproof check",
        "reachproof explain",
        "reachproof diff",
    ] {
        assert!(
            here.iter().any(|command| command.starts_with(start)),
            "{start}: {here:?}"
        );
    }
}
