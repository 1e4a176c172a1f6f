//! The grid that `matrix` prints, run as a process on worlds of the lab, at 80 and 120 columns.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use reachproof_lab::world::{BUILTIN, World};
use serde_json::Value;
use tempfile::TempDir;

/// The snapshot of a world of the lab.
fn world(name: &str) -> Value {
    let expanded = World::builtin(name).unwrap().expand().unwrap();
    Value::Object(expanded.plan.snapshot)
}

fn run(world: &Value, columns: usize, arguments: &[&str]) -> Output {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("snapshot.json");
    fs::write(&path, world.to_string()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args([
            "matrix",
            "--snapshot",
            path.to_str().unwrap(),
            "--gaps",
            "none",
        ])
        .args(arguments)
        .env("COLUMNS", columns.to_string())
        .output()
        .unwrap()
}

/// The grid at some width; no line is wider.
fn grid(world: &Value, columns: usize, arguments: &[&str]) -> String {
    let output = run(world, columns, arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for line in text.lines() {
        assert!(line.chars().count() <= columns, "{line}");
    }
    text
}

#[test]
fn one_port_of_worlds_of_the_lab() {
    for name in ["node-sg", "dual-stack", "peering", "nacl-ephemeral"] {
        for columns in [80, 120] {
            let text = grid(&world(name), columns, &["--port", "https"]);
            insta::assert_snapshot!(format!("{name}-{columns}"), text);
        }
    }
}

#[test]
fn every_port_of_worlds_of_the_lab() {
    for name in ["default", "pod-sg", "peered-client"] {
        for columns in [80, 120] {
            let text = grid(&world(name), columns, &[]);
            insta::assert_snapshot!(format!("any-{name}-{columns}"), text);
        }
    }
}

#[test]
fn what_does_not_fit_is_said_and_shown_when_it_is_asked_for() {
    let world = world("peering");
    let narrow = grid(&world, 38, &[]);
    assert!(
        narrow.contains("1 destination does not fit: --wide"),
        "{narrow}"
    );
    let wide = run(&world, 38, &["--wide"]);
    let wide = String::from_utf8(wide.stdout).unwrap();
    assert!(!wide.contains("not fit"), "{wide}");
    assert!(wide.lines().any(|line| line.chars().count() > 80), "{wide}");
}

#[test]
fn no_two_rows_of_any_world_have_one_name() {
    for builtin in BUILTIN {
        let output = run(&world(builtin.name), 80, &["--wide"]);
        let text = String::from_utf8(output.stdout).unwrap();
        for part in text.split("any port of") {
            let rows = part.lines().skip_while(|line| !line.starts_with(" FROM"));
            let rows = rows.skip(1).take_while(|line| !line.is_empty());
            let names: Vec<&str> = rows
                .map(|line| line.trim_start().split("  ").next().unwrap())
                .collect();
            let unique: BTreeSet<&&str> = names.iter().collect();
            assert_eq!(names.len(), unique.len(), "{text}");
        }
    }
}

#[test]
fn a_grid_of_udp_answers_as_explain_does() {
    let world = world("node-sg");
    let text = grid(&world, 80, &["--port", "domain", "--protocol", "udp"]);
    assert!(text.starts_with("udp/53: who sends in rows"), "{text}");
    insta::assert_snapshot!(text);
    let output = run(&world, 80, &["--protocol", "udp", "--list"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with("error: lists, JSON and CSV are about tcp"),
        "{text}"
    );
}

#[test]
fn a_filter_keeps_rows_and_columns_and_may_not_be_empty() {
    let world = world("dual-stack");
    let text = grid(
        &world,
        80,
        &["--destination", "control plane", "--source", "nodegroup/*"],
    );
    assert!(text.contains("1 control plane"), "{text}");
    assert!(!text.contains(" nodes"), "{text}");
    let output = run(
        &world,
        80,
        &["--source", "10.0.1.10", "--destination", "2001:db8::1"],
    );
    assert_eq!(output.status.code(), Some(2));
    let output = run(&world, 80, &["--source", "nodegroup/worker"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.ends_with("near it: `nodegroup/workers`\n"), "{text}");
}
