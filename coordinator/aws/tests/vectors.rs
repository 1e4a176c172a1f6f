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
use serde_json::{Map, Value, json};
use support::world::{is_of_two_accounts, vector_files};
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
    assert_eq!(files.len(), 74);
    for file in files {
        let Vector {
            name,
            flow,
            expect,
            world,
        } = vector(&file);
        if is_of_two_accounts(&world) {
            continue;
        }
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

/// Kubernetes objects that name accounts in every way in which a reader keeps them.
fn kubernetes() -> Map<String, Value> {
    let arn = "arn:aws:iam::444455556666:role/reader";
    let image = "111122223333.dkr-ecr.us-east-1.on.aws/web:1";
    let half = json!({
        "nodes": {"items": [{"metadata": {"name": "ip-10-0-1-20", "labels": {"account": "111122223333"}}}]},
        "pods": {"items": [{
            "metadata": {
                "namespace": "default", "name": "web",
                "annotations": {"eks.amazonaws.com/role-arn": arn, "from": image},
            },
            "spec": {"nodeName": "ip-10-0-1-20"},
            "status": {"phase": "Running", "podIP": "10.0.1.21", "podIPs": [{"ip": "10.0.1.21"}]},
        }]},
        "networkpolicies": {"items": []},
    });
    half.as_object().unwrap().clone()
}

#[test]
fn every_vector_predicts_the_same_when_both_its_halves_are_redacted() {
    for file in vector_files() {
        let Vector {
            name,
            flow,
            expect,
            mut world,
        } = vector(&file);
        // Whoever else is a pod decides for whom policies count: a world that has some keeps its own objects.
        let has_own = |stem: &str| world.0.contains_key(stem);
        if !has_own("networkpolicies") && !has_own("pods") {
            world.0.extend(kubernetes());
        }
        let plain = prediction(&world.0, &flow);
        let redacted = reachproof_aws::redact(&world.0);
        let text = Value::Object(redacted.clone()).to_string();
        assert!(
            !text.contains("111122223333") && !text.contains("444455556666"),
            "{name}"
        );
        assert_eq!(prediction(&redacted, &flow), plain, "{name}");
        assert_eq!(plain.0, expect, "{name}");
    }
}
