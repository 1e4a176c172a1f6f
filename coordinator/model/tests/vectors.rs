//! Every vector of `tests/vectors`, one test a file: the answer agrees on every field of `expect`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test says what it expects by failing"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use reachproof_model::describe::{Described, parse};
use reachproof_model::flow::Flow;
use reachproof_model::predict::{predict, verdict};
use reachproof_model::prediction::Prediction;
use reachproof_model::snapshot::Snapshot;
use serde_json::Value;

/// Directory of the vectors.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

/// Predicts the flow of one vector and compares every field of the answer.
fn agrees(name: &str) {
    let file = directory().join(format!("{name}.json"));
    let vector = parse(&fs::read_to_string(file).unwrap()).unwrap();
    let answers = vector.get("snapshot").and_then(Value::as_object).unwrap();
    let decoded = Snapshot::decode(&Described::from(answers.clone())).unwrap();
    let flow = Flow::from_json(vector.get("flow").unwrap()).unwrap();
    let prediction = predict(&decoded.snapshot, &flow);
    let answer = serde_json::to_value(&prediction.verdict).unwrap();
    assert_eq!(
        Some(&answer),
        vector.get("expect"),
        "{name}: {}\nsteps: {}",
        vector.get("pins").unwrap(),
        serde_json::to_string_pretty(&prediction.steps).unwrap()
    );
    assert_eq!(
        verdict(&decoded.snapshot, &flow),
        prediction.verdict,
        "{name}: bare verdict"
    );
    assert!(!prediction.steps.is_empty(), "{name}: no gate was walked");
    let written = serde_json::to_value(&prediction).unwrap();
    let read: Prediction = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(read.verdict, prediction.verdict, "{name}: read back");
    assert_eq!(
        serde_json::to_value(&read).unwrap(),
        written,
        "{name}: read back"
    );
}

macro_rules! vectors {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                agrees(&stringify!($name).to_uppercase());
            }
        )+

        /// Names of the vectors that have a test.
        const TESTED: &[&str] = &[$(stringify!($name)),+];
    };
}

vectors! {
    a01 a02 a03 a05 a06 a07 a08 a10 a11 a12 a14 a15 a17 a18 a20 a21 b01 b03 b05 b06 b08 b09 b11 b13 b15 b16
    b17 c01 c03 c04 c06 c07 c08 d01 d03 d04 d06 d08 d09 d12 d13 e01 e03 e04 e07 e09 f01 f02 f03 f04 f05 f07
    f08 f10 f11 f13 f15 f16 f17 f19 f20 f22 f24 f25 g01 g02 g04 g06 g07 g09 g10 g12 g13 g15
}

#[test]
fn every_vector_file_has_a_test() {
    let files: BTreeSet<String> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_lowercase())
        .collect();
    let tested: BTreeSet<String> = TESTED.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(files, tested);
}
