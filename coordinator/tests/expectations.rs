//! Expectations of one's own, as a process takes them: what is refused and where, and what the model says of the rest.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reachproof_lab::world::World;
use reachproof_verify::expectations::ExpectationFile;
use serde_json::Value;
use tempfile::TempDir;

/// A file of the folder beside this test.
fn beside(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expectations");
    folder.join(name)
}

/// Writes the snapshot of the lab's default world.
fn world(directory: &TempDir) -> String {
    let world = World::builtin("default").unwrap().expand().unwrap();
    let path = directory.path().join("world.json");
    fs::write(&path, Value::Object(world.plan.snapshot).to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn reachproof(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn every_wrong_file_is_refused_where_it_is_wrong() {
    let directory = TempDir::new().unwrap();
    let world = world(&directory);
    let file = directory.path().join("own.yaml");
    let blocks = fs::read_to_string(beside("wrong.txt")).unwrap();
    let blocks: Vec<&str> = blocks.split("\n---- ").skip(1).collect();
    assert!(blocks.len() >= 25, "{}", blocks.len());
    for block in blocks {
        let (told, text) = block.split_once('\n').unwrap();
        fs::write(&file, text).unwrap();
        let own = file.to_str().unwrap();
        let output = reachproof(&["check", "--snapshot", &world, "--expectations", own]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}: {error}");
        let (place, what) = told.split_once(' ').unwrap();
        let expected = format!("error: {own}:{place}: {what}");
        assert!(error.contains(&expected), "{expected}\n{error}");
        assert_eq!(error.trim().lines().count(), 1, "{error}");
    }
}

#[test]
fn twelve_expectations_are_judged_as_their_names_say() {
    let directory = TempDir::new().unwrap();
    let world = world(&directory);
    let own = beside("right.yaml");
    let own = own.to_str().unwrap();
    let output = reachproof(&["check", "--snapshot", &world, "--expectations", own]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut judged = 0;
    for word in ["ok", "broken"] {
        let named = lines
            .iter()
            .filter(|line| line.contains(&format!("{word}: ")));
        let named: Vec<_> = named
            .filter(|line| line.starts_with(['o', 'b', 'u']))
            .collect();
        judged += named.len();
        for line in named {
            let is_right =
                line.starts_with(word) || line.contains("only one outsider has the port (");
            assert!(is_right, "{line}\n{text}");
        }
    }
    // Two of the twelve are `only`, which is two each; one is past.
    assert_eq!(judged, 13, "{text}");
    assert!(
        text.contains("broken: only one outsider has the port, nobody else, closed"),
        "{text}"
    );
    assert!(
        text.contains("past: it was for a week: its `until` 2020-01-07 has passed"),
        "{text}"
    );
    assert!(
        text.contains("node to coredns 53: switched off, a node-local resolver answers"),
        "{text}"
    );
    assert!(
        !lines
            .iter()
            .any(|line| line.starts_with("ok      node to coredns 53 (")),
        "{text}"
    );
}

#[test]
fn the_list_has_built_in_and_own_expectations_with_their_flows() {
    let directory = TempDir::new().unwrap();
    let world = world(&directory);
    let own = beside("right.yaml");
    let arguments = [
        "expectations",
        "--snapshot",
        &world,
        "--expectations",
        own.to_str().unwrap(),
    ];
    let output = reachproof(&arguments);
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!("list", String::from_utf8(output.stdout).unwrap());
    let json = reachproof(&[&arguments[..], &["-o", "json"]].concat());
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let all = json["expectations"].as_array().unwrap();
    let own = all.iter().filter(|one| one["origin"] == "own");
    assert_eq!(own.count(), 13);
    assert!(
        all.iter()
            .all(|one| !one["flows"].as_array().unwrap().is_empty())
    );
}

#[test]
fn a_day_that_has_passed_switches_back_on() {
    let text = "apiVersion: reachproof/v1\nswitched-off:\n  - {name: pod to coredns 53, why: for a while, until: 2027-01-31}\n";
    let file = ExpectationFile::parse(text).unwrap();
    let on = |day: &str| file.on(day.parse().unwrap());
    assert_eq!(on("2027-01-31").off.len(), 1);
    let after = on("2027-02-01");
    assert!(after.off.is_empty());
    assert!(
        after.remarks[0].ends_with("it is judged again"),
        "{after:?}"
    );
}
