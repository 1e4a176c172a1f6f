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

/// Commands and flags that a build without AWS and without the service does not have.
const LIVE: [&str; 12] = [
    "serve",
    "agents",
    "--coordinator",
    "--coordinator-token-file",
    "--kubernetes",
    "--release",
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

/// README, the other pages at the top and every page of `docs/`, with their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let top = ["README.md", "CONTRIBUTING.md", "SECURITY.md"];
    docs.chain(top.map(|name| root().join(name)))
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
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(file.exists(), "{}: {target}", path.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(file).unwrap();
                let anchors = headings(&text).into_iter().map(anchor);
                assert!(
                    anchors.into_iter().any(|anchor| anchor == heading),
                    "{}: {target}",
                    path.display()
                );
            }
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

/// Documents that sources cite by heading, by the word that stands for each.
const CITED: [(&str, &str); 2] = [
    ("ARCHITECTURE, \"", "docs/ARCHITECTURE.md"),
    ("security.md, \"", "docs/security.md"),
];

/// Every source file of the repository, with its text in one line: comments are wrapped anywhere.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["agent", "coordinator", "proto", "tests"]
        .map(|folder| root().join(folder))
        .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let lines = text.lines().map(|line| {
                    let line = line.trim_start();
                    line.trim_start_matches(['/', '!']).trim_start()
                });
                let text = lines.collect::<Vec<_>>().join(" ");
                found.push((path, text));
            }
        }
    }
    found
}

fn headings(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| line.starts_with('#'));
    lines
        .map(|line| line.trim_start_matches('#').trim())
        .collect()
}

/// What a link to a heading is called.
fn anchor(heading: &str) -> String {
    let letters = heading.to_lowercase().replace(' ', "-");
    letters
        .chars()
        .filter(|one| one.is_alphanumeric() || *one == '-')
        .collect()
}

#[test]
fn every_cited_heading_is_there() {
    let sources = sources();
    for (word, document) in CITED {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let headings = headings(&text);
        let mut cited = 0;
        for (path, source) in &sources {
            for rest in source.split(word).skip(1) {
                let heading = rest.split('"').next().unwrap();
                // This very list is no citation.
                if heading.starts_with(',') || heading.is_empty() {
                    continue;
                }
                assert!(
                    headings.contains(heading),
                    "{}: {document} has no heading `{heading}`",
                    path.display()
                );
                cited += 1;
            }
        }
        assert!(cited > 10, "{document} is cited {cited} times");
    }
}

/// Sections of SEMANTICS: its headings, and the numbered points of the parts that have no headings of their own.
fn sections(semantics: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut part = String::new();
    for line in semantics.lines() {
        let first = line.trim_start_matches('#').trim();
        let first = first.split(['.', ' ']).next().unwrap_or_default();
        if let Some(heading) = line.strip_prefix("# ") {
            part = heading.split('.').next().unwrap_or_default().to_owned();
        } else if let Some(heading) = line.strip_prefix("## ") {
            found.insert(heading.split(' ').next().unwrap_or_default().to_owned());
        } else if !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit()) {
            found.insert(format!("{part}.{first}"));
        }
    }
    found
}

/// Words like `A.3` or `G.2b`, of the parts that SEMANTICS has.
fn keys(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|one: char| !(one.is_ascii_alphanumeric() || one == '.'));
    let words = words.map(|word| word.trim_end_matches('.'));
    words.filter(|word| {
        let Some((part, number)) = word.split_once('.') else {
            return false;
        };
        let digits = number.trim_end_matches(|one: char| one.is_ascii_lowercase());
        matches!(part.as_bytes(), [b'A'..=b'L'])
            && !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[test]
fn every_cited_section_of_semantics_is_there() {
    let semantics = root().join("coordinator/model/SEMANTICS.md");
    let sections = sections(&fs::read_to_string(semantics).unwrap());
    let mut cited = BTreeSet::new();
    for (path, source) in sources() {
        for key in keys(&source) {
            assert!(sections.contains(key), "{}: {key}", path.display());
            cited.insert(key.to_owned());
        }
    }
    assert!(cited.len() > 30, "{cited:?}");
}

#[test]
fn the_list_of_flows_that_comes_along_is_answered_and_an_unknown_key_is_named() {
    let predict = |flows: &Path| {
        Command::new(env!("CARGO_BIN_EXE_reachproof"))
            .args(["predict", "-o", "json", "--snapshot"])
            .arg(root().join("tests/vectors/F03.json"))
            .arg("--flows")
            .arg(flows)
            .output()
            .unwrap()
    };
    let path = root().join("docs/flows.json");
    let flows: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let output = predict(&path);
    assert!(output.status.success(), "{output:?}");
    let answers = String::from_utf8(output.stdout).unwrap();
    assert_eq!(answers.lines().count(), flows.as_array().unwrap().len());
    let first: Value = serde_json::from_str(answers.lines().next().unwrap()).unwrap();
    assert_eq!(first["flow"]["protocol"], "tcp");

    let home = tempfile::tempdir().unwrap();
    let wrong = home.path().join("flows.json");
    fs::write(
        &wrong,
        r#"[{"source": "10.0.1.20", "destination": "10.0.2.10", "dport": 443}]"#,
    )
    .unwrap();
    let output = predict(&wrong);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("flow 0 (counted from 0): field `dport` is unknown, a flow has source,"),
        "{told}"
    );
}

/// Who knows nothing of predictions and findings: agents, the wire, the readers, and the network of the lab.
const BLIND: [&str; 7] = [
    "agent/src",
    "proto/src",
    "coordinator/aws/src",
    "coordinator/kube/src",
    "tests/lab/src/lab",
    "tests/lab/src/nft",
    "tests/lab/src/host",
];

/// What predicts before a packet leaves, and so knows nothing of what the network says.
const PREDICTING: [&str; 11] = [
    "coordinator/model/src/describe",
    "coordinator/model/src/snapshot",
    "coordinator/model/src/predict",
    "coordinator/model/src/matrix",
    "coordinator/model/src/class",
    "coordinator/model/src/change",
    "coordinator/model/src/cause",
    "coordinator/model/src/repair",
    "coordinator/model/src/diagnosis",
    "coordinator/model/src/selector",
    "coordinator/model/src/plan",
];

/// Words of the three vocabularies (ARCHITECTURE, "Words"), with where each must not stand.
const VOCABULARIES: [(&[&str], &[&[&str]]); 3] = [
    (&["Verdict", "Prediction"], &[&BLIND]),
    (
        &[
            "Outcome",
            "TimedOut",
            "Starved",
            "RefusedByPolicy",
            "LocalError",
        ],
        &[&PREDICTING],
    ),
    (
        &[
            "FindingKind",
            "ConfirmedAllow",
            "ConfirmedDeny",
            "ContradictionOpen",
            "ContradictionClosed",
        ],
        &[&BLIND, &PREDICTING],
    ),
];

/// Words that were given up, each for one that strangers know.
const GIVEN_UP: [(&str, &str); 6] = [
    ("wish", "expectation"),
    ("wishes", "expectations"),
    ("wears", "carries"),
    ("worn", "carried"),
    ("Regime", "EngineConfig"),
    ("seams", "environment"),
];

#[test]
fn words_that_were_given_up_do_not_come_back() {
    let this = Path::new(file!()).file_name().unwrap();
    for (path, source) in sources() {
        if path.file_name() == Some(this) {
            continue;
        }
        let mut words = source.split(|one: char| !(one.is_ascii_alphanumeric() || one == '_'));
        let found = words.find_map(|word| GIVEN_UP.iter().find(|(old, _)| *old == word));
        assert!(found.is_none(), "{}: {found:?}", path.display());
    }
}

#[test]
fn the_words_of_each_vocabulary_stand_where_they_belong() {
    let root = root();
    for (path, source) in sources() {
        let place = path.strip_prefix(&root).unwrap().to_str().unwrap();
        let words: BTreeSet<&str> = source
            .split(|one: char| !(one.is_ascii_alphanumeric() || one == '_'))
            .collect();
        for (vocabulary, strangers) in VOCABULARIES {
            let is_stranger = strangers
                .iter()
                .any(|folders| folders.iter().any(|folder| place.starts_with(folder)));
            let found = vocabulary.iter().find(|word| words.contains(*word));
            assert!(!is_stranger || found.is_none(), "{place}: {found:?}");
        }
    }
}
