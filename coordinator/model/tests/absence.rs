//! What is missing from a world is never taken for a statement about it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reads its files and fails by panicking"
)]

use std::fs;
use std::path::Path;

use reachproof_model::describe::{Described, parse};
use reachproof_model::flow::Flow;
use reachproof_model::predict::predict;
use reachproof_model::prediction::{Prediction, StepOutcome};
use reachproof_model::snapshot::Snapshot;
use serde_json::Value;

const INTERFACES: &str = "/snapshot/describe-network-interfaces/NetworkInterfaces";

/// All vectors.
fn vectors() -> impl Iterator<Item = Value> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    let paths = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    files.map(|path| parse(&fs::read_to_string(path).unwrap()).unwrap())
}

/// What the model says of a vector's flow.
fn answer(vector: &Value) -> Prediction {
    let answers = vector.get("snapshot").and_then(Value::as_object).unwrap();
    let decoded = Snapshot::decode(&Described::from(answers.clone())).unwrap();
    let flow = Flow::from_json(vector.get("flow").unwrap()).unwrap();
    predict(&decoded.snapshot, &flow)
}

/// Whether something on the way is not known, so that silence confirms nothing (F.2 "known").
fn is_in_doubt(prediction: &Prediction) -> bool {
    let mut steps = prediction.steps.iter();
    steps.any(|step| matches!(step.outcome, StepOutcome::Unknown(_)))
}

/// As when a page of interfaces without instance is lost, which no other answer shows: each of them in turn is taken away.
/// Groups may still deny a destination that then nobody owns (K), but under an unknown step.
#[test]
fn an_interface_without_instance_that_is_missing_changes_no_answer_without_a_doubt() {
    let (mut same, mut doubtful) = (0, 0);
    for vector in vectors() {
        let whole = answer(&vector).verdict;
        let count = vector
            .pointer(INTERFACES)
            .and_then(Value::as_array)
            .unwrap();
        for missing in 0..count.len() {
            let mut less = vector.clone();
            let interfaces = less.pointer_mut(INTERFACES).unwrap();
            let gone = interfaces.as_array_mut().unwrap().remove(missing);
            if gone.pointer("/Attachment/InstanceId").is_some() {
                continue;
            }
            let now = answer(&less);
            if now.verdict == whole {
                same += 1;
                continue;
            }
            doubtful += 1;
            assert!(
                is_in_doubt(&now),
                "{}: without {}: {whole:?} became {:?}",
                vector.get("id").unwrap(),
                gone.get("NetworkInterfaceId").unwrap(),
                now.verdict
            );
        }
    }
    assert!(
        same > 100 && doubtful > 10,
        "{same} the same, {doubtful} in doubt"
    );
}
