//! What a vector's world predicts does not change when it is read through the SDK, or redacted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod support;

use std::path::Path;

use reachproof_model::describe::{Described, parse};
use reachproof_model::flow::Flow;
use reachproof_model::predict::predict;
use reachproof_model::snapshot::Snapshot;
use serde_json::{Map, Value};
use support::world::vector_files;
use support::{Fault, World, read_with};

/// One vector: its flow, what is expected of it, and its world.
struct Vector {
    name: String,
    flow: Flow,
    expect: Value,
    world: World,
}

fn vector(file: &Path) -> Vector {
    let vector = parse(&std::fs::read_to_string(file).unwrap()).unwrap();
    Vector {
        name: file.file_stem().unwrap().to_string_lossy().into_owned(),
        flow: Flow::from_json(&vector["flow"]).unwrap(),
        expect: vector["expect"].clone(),
        world: World(vector["snapshot"].as_object().unwrap().clone()),
    }
}

/// The verdict and every gate walked.
fn prediction(answers: &Map<String, Value>, flow: &Flow) -> (Value, Value) {
    let decoded = Snapshot::decode(&Described::from(answers.clone())).unwrap();
    let prediction = predict(&decoded.snapshot, flow);
    (
        serde_json::to_value(&prediction.verdict).unwrap(),
        serde_json::to_value(&prediction.steps).unwrap(),
    )
}

#[tokio::test]
async fn every_vector_predicts_the_same_when_its_world_is_read_through_the_sdk() {
    let files = vector_files();
    assert_eq!(files.len(), 64);
    for file in files {
        let Vector {
            name,
            flow,
            expect,
            world,
        } = vector(&file);
        let mut answers = read_with(world.clone(), |_| Fault::Pages(4))
            .await
            .unwrap()
            .answers;
        answers.extend(world.kubernetes());
        let (verdict, steps) = prediction(&answers, &flow);
        assert_eq!(verdict, expect, "{name}");
        assert_eq!(steps, prediction(&world.0, &flow).1, "{name}");
    }
}

#[test]
fn every_vector_predicts_the_same_when_it_is_redacted() {
    for file in vector_files() {
        let Vector {
            name,
            flow,
            expect,
            world,
        } = vector(&file);
        let redacted = reachproof_aws::redact(&world.0);
        let text = Value::Object(redacted.clone()).to_string();
        assert!(
            !text.contains("111122223333") && !text.contains("444455556666"),
            "{name}"
        );
        assert_eq!(prediction(&redacted, &flow).0, expect, "{name}");
    }
}
