//! What README and `docs/` say of the repository is so.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Most lines of README: who opens it shall read it to the end.
const README_LINES_MAX: usize = 150;

/// Commands and flags that a build without AWS and Kubernetes does not have.
const LIVE: [&str; 6] = [
    "doctor",
    "--cluster",
    "--region",
    "--profile",
    "--no-kubernetes",
    "--redact",
];

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// README and every page of `docs/`, with their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    docs.chain([root().join("README.md")])
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

#[test]
fn readme_is_short() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let lines = text.lines().count();
    assert!(lines <= README_LINES_MAX, "{lines} lines");
}

#[test]
fn every_link_leads_to_a_file() {
    for (path, text) in pages() {
        let targets = text.split("](").skip(1);
        let targets = targets.filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
        for target in targets.filter(|target| !target.starts_with("http")) {
            let file = path.parent().unwrap().join(target);
            assert!(file.exists(), "{}: {target}", path.display());
        }
    }
}

#[test]
fn every_reason_of_a_report_is_explained() {
    let evidence = fs::read_to_string(root().join("docs/evidence.md")).unwrap();
    let schema = fs::read_to_string(root().join("deploy/schemas/report.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let reasons = &schema["$defs"]["finding"]["properties"]["reason"]["enum"];
    // Behind it come the reasons of the model, which each name a gate.
    let own = reasons.as_array().unwrap().iter();
    let own = own.take_while(|reason| *reason != "unresolved-rule");
    for reason in own.map(|reason| reason.as_str().unwrap()) {
        assert!(evidence.contains(&format!("`{reason}`")), "{reason}");
    }
}

/// The words of every call of `reachproof` in the consoles of `text`, with continued lines joined.
fn calls(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let calls = joined
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("$ reachproof "));
    calls
        .map(|call| call.split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[test]
fn every_call_in_a_console_names_a_command_and_flags_that_there_are() {
    let mut seen = BTreeSet::new();
    for (path, text) in pages() {
        for call in calls(&text) {
            if LIVE.contains(&call[0].as_str()) {
                continue;
            }
            let help = Command::new(env!("CARGO_BIN_EXE_reachproof"))
                .args([&call[0], "--help"])
                .output()
                .unwrap();
            assert!(help.status.success(), "{}: {call:?}", path.display());
            let help = String::from_utf8(help.stdout).unwrap();
            let flags = call.iter().filter(|word| word.starts_with("--"));
            for flag in flags.filter(|flag| !LIVE.contains(&flag.as_str())) {
                let known: BTreeSet<&str> = help
                    .split(|character: char| character.is_whitespace() || character == ',')
                    .collect();
                assert!(known.contains(flag.as_str()), "{}: {flag}", path.display());
            }
            seen.insert(call[0].clone());
        }
    }
    for command in ["verify", "manifests", "token", "matrix", "diff"] {
        assert!(seen.contains(command), "{command}");
    }
}
