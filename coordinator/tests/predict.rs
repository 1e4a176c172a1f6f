//! `reachproof predict` on worlds of two thousand interfaces, against the literal evaluator of the model's tests.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

#[path = "../model/tests/second/mod.rs"]
mod second;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use second::random::{Dice, Size, flow, world};
use second::reference::Reference;
use serde_json::{Map, Value};

/// The fields of a prediction that a literal answer has, too.
fn verdict(line: &str) -> Value {
    let mut answer: Map<String, Value> = serde_json::from_str(line).unwrap();
    answer.remove("flow").unwrap();
    answer.remove("steps").unwrap();
    Value::Object(answer)
}

/// Asks the command about flows of one large world, and the literal evaluator; returns how long the command took.
fn ask(seed: u64, count: usize) -> Duration {
    let world = world(seed, Size::LARGEST);
    let directory = tempfile::tempdir().unwrap();
    for (stem, answer) in &world.snapshot {
        let file = directory.path().join(format!("{stem}.json"));
        fs::write(file, serde_json::to_vec(answer).unwrap()).unwrap();
    }
    let mut dice = Dice::new(seed);
    let flows: Vec<Value> = (0..count).map(|_| flow(&mut dice, &world)).collect();
    let list = directory.path().join("flows.list");
    fs::write(&list, serde_json::to_vec(&flows).unwrap()).unwrap();
    let started = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args(["predict", "-o", "json", "--snapshot"])
        .arg(directory.path())
        .arg("--flows")
        .arg(&list)
        .output()
        .unwrap();
    let taken = started.elapsed();
    let text = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seed {seed}: {complaint}");
    assert_eq!(text.lines().count(), count, "seed {seed}");
    let reference = Reference::new(&world.snapshot);
    for (flow, line) in flows.iter().zip(text.lines()) {
        assert_eq!(verdict(line), reference.answer(flow), "seed {seed}: {flow}");
    }
    taken
}

#[test]
fn flows_of_two_thousand_interfaces_are_answered_as_the_literal_evaluator_does() {
    let world = world(0, Size::LARGEST);
    assert!(
        world.interfaces.len() >= 1_900,
        "{}",
        world.interfaces.len()
    );
    ask(0, 2_000);
}

/// `cargo test --release -p reachproof --no-default-features --test predict -- --ignored --nocapture`;
/// `REACHPROOF_LARGE_WORLDS`, `REACHPROOF_LARGE_FLOWS` (of each) and `REACHPROOF_SEED` (the first) ask for others.
#[test]
#[ignore = "needs minutes: a million flows of ten large worlds"]
fn a_hundred_thousand_flows_of_each_large_world_are_answered_as_the_literal_evaluator_does() {
    let first = second::asked("REACHPROOF_SEED", 1_000);
    let worlds = second::asked("REACHPROOF_LARGE_WORLDS", 10);
    let flows = usize::try_from(second::asked("REACHPROOF_LARGE_FLOWS", 100_000)).unwrap();
    for seed in first..first + worlds {
        let taken = ask(seed, flows);
        println!(
            "world {seed}: {flows} flows in {:.2} s",
            taken.as_secs_f64()
        );
    }
}
