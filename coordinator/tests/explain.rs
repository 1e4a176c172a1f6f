//! What `explain` and `predict` print, run as processes on the worlds of the vectors.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The world and the flow of a vector.
fn vector(name: &str) -> Value {
    let file = format!("../tests/vectors/{name}.json");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Writes JSON into a directory.
fn written(directory: &TempDir, name: &str, value: &Value) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, value.to_string()).unwrap();
    path
}

/// Runs the command.
fn reachproof(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What the command says on standard output when it explains a flow of a vector's world.
fn explained(world: &Value, arguments: &[&str]) -> String {
    let directory = TempDir::new().unwrap();
    let snapshot = written(&directory, "snapshot.json", world);
    let mut all = vec!["explain"];
    all.extend(arguments);
    all.extend(["--snapshot", snapshot.to_str().unwrap()]);
    let output = reachproof(&all);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code, standard output and standard error of `predict` on a list of flows.
fn predicted(world: &Value, flows: &Value) -> (Option<i32>, String, String) {
    let directory = TempDir::new().unwrap();
    let snapshot = written(&directory, "snapshot.json", world);
    let list = written(&directory, "flows.json", flows);
    let output = reachproof(&[
        "predict",
        "--snapshot",
        snapshot.to_str().unwrap(),
        "--flows",
        list.to_str().unwrap(),
        "--output",
        "json",
    ]);
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_deny_says_what_was_missing() {
    let world = &vector("F03")["snapshot"];
    insta::assert_snapshot!(explained(world, &["10.0.1.20", "10.0.2.10", "443"]));
}

#[test]
fn an_allow_names_both_rules() {
    let world = &vector("F04")["snapshot"];
    insta::assert_snapshot!(explained(world, &["10.0.1.20", "10.0.2.10", "443"]));
}

#[test]
fn a_partial_names_the_ports_that_work() {
    let world = &vector("D12")["snapshot"];
    insta::assert_snapshot!(explained(world, &["10.0.1.20", "10.0.2.20", "8080"]));
}

#[test]
fn a_dropped_reply_is_on_the_way_back() {
    let world = &vector("D04")["snapshot"];
    insta::assert_snapshot!(explained(world, &["10.0.1.20", "10.0.2.20", "8080"]));
}

#[test]
fn an_unreadable_list_is_named() {
    let world = &vector("A18")["snapshot"];
    insta::assert_snapshot!(explained(world, &["10.0.1.20", "10.0.2.20", "8080"]));
}

#[test]
fn a_translated_source_is_shown() {
    let world = &vector("F19")["snapshot"];
    let flow = ["10.0.1.31", "10.1.0.5", "8080", "--source-kind", "pod"];
    insta::assert_snapshot!(explained(world, &flow));
}

#[test]
fn traffic_of_one_host_meets_no_gate() {
    let world = &vector("C01")["snapshot"];
    insta::assert_snapshot!(explained(world, &["10.0.1.21", "10.0.1.31", "8080"]));
}

#[test]
fn names_cannot_move_the_cursor() {
    let mut world = vector("F03")["snapshot"].clone();
    let groups = world["describe-security-groups"]["SecurityGroups"]
        .as_array_mut()
        .unwrap();
    for group in groups {
        group["GroupName"] = json!("evil\u{1b}[2J\r\nname");
    }
    let text = explained(&world, &["10.0.1.20", "10.0.2.10", "443"]);
    assert!(text.contains("evil?[2J??name"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn answers_come_one_a_line_in_the_order_of_the_flows() {
    let vector = vector("A01");
    let mut other = vector["flow"].clone();
    other["port"] = json!(8081);
    let flows = json!([vector["flow"], other]);
    let (code, out, _) = predicted(&vector["snapshot"], &flows);
    assert_eq!(code, Some(0));
    let answers: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 2);
    for (answer, (port, verdict)) in answers.iter().zip([(8080, "allow"), (8081, "deny")]) {
        assert_eq!(answer["flow"]["port"], json!(port));
        assert_eq!(answer["verdict"], json!(verdict));
        assert!(
            answer["steps"]
                .as_array()
                .is_some_and(|steps| !steps.is_empty())
        );
    }
}

#[test]
fn one_bad_flow_leaves_standard_output_empty() {
    let vector = vector("A01");
    let mut bad = vector["flow"].clone();
    bad["port"] = json!(65979);
    let (code, out, err) = predicted(&vector["snapshot"], &json!([vector["flow"], bad]));
    assert_eq!(code, Some(2));
    assert_eq!(out, "");
    assert!(err.contains("flow 1 (counted from 0)"), "{err}");
    assert!(
        err.contains("field `port` must be a port from 0 to 65535, found `65979`"),
        "{err}"
    );
}

#[test]
fn a_snapshot_that_is_a_directory_gives_the_same_answer() {
    let world = vector("F04")["snapshot"].clone();
    let directory = TempDir::new().unwrap();
    for (stem, answer) in world.as_object().unwrap() {
        written(&directory, &format!("{stem}.json"), answer);
    }
    let path = directory.path().to_str().unwrap();
    let output = reachproof(&[
        "explain",
        "10.0.1.20",
        "10.0.2.10",
        "443",
        "--snapshot",
        path,
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, explained(&world, &["10.0.1.20", "10.0.2.10", "443"]));
}

#[test]
fn tcp_without_a_port_is_a_usage_error() {
    let output = reachproof(&[
        "explain",
        "10.0.1.20",
        "10.0.2.10",
        "--snapshot",
        "/nonexistent",
    ]);
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        err,
        "error: cannot use these arguments: field `port` is missing\n"
    );
}
