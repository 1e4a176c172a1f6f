//! Junk in any place of a snapshot makes no flow denied that is allowed without it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test says what it expects by failing"
)]

use std::path::Path;

use reachproof_model::describe::{Described, parse};
use reachproof_model::flow::Flow;
use reachproof_model::predict::verdict;
use reachproof_model::prediction::Verdict;
use reachproof_model::snapshot::Snapshot;
use serde_json::{Value, json};

/// Pointers to every value below one.
fn pointers(value: &Value, here: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = key.replace('~', "~0").replace('/', "~1");
                let below = format!("{here}/{key}");
                pointers(value, &below, found);
                found.push(below);
            }
        }
        Value::Array(items) => {
            for (place, value) in items.iter().enumerate() {
                let below = format!("{here}/{place}");
                pointers(value, &below, found);
                found.push(below);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Puts junk into every place of an allowed vector's world, one after the other, and lists the denies.
fn denies(name: &str, junk: &Value) -> Vec<String> {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/vectors/{name}.json"));
    let vector = parse(&std::fs::read_to_string(file).unwrap()).unwrap();
    let flow = Flow::from_json(&vector["flow"]).unwrap();
    let world = &vector["snapshot"];
    let mut places = Vec::new();
    pointers(world, "", &mut places);
    assert!(places.len() > 1000, "{name} has {} places", places.len());
    let mut found = Vec::new();
    for place in places {
        let mut broken = world.clone();
        *broken.pointer_mut(&place).unwrap() = junk.clone();
        let answers = broken.as_object().unwrap().clone();
        let Ok(decoded) = Snapshot::decode(&Described::from(answers)) else {
            continue;
        };
        if let Verdict::Deny(denial) = verdict(&decoded.snapshot, &flow) {
            found.push(format!("{place}: {denial}"));
        }
    }
    found
}

/// One test for each world and junk.
macro_rules! junk {
    ($($name:ident: $vector:expr, $junk:expr;)+) => {$(
        #[test]
        fn $name() {
            assert_eq!(denies($vector, &$junk), Vec::<String>::new());
        }
    )+};
}

junk! {
    an_object_in_a_world_of_references_denies_nothing: "F04", json!({"junk": 1});
    an_object_in_a_world_without_rules_denies_nothing: "C01", json!({"junk": 1});
    an_object_in_a_world_with_snat_settings_denies_nothing: "F20", json!({"junk": 1});
    a_number_in_a_world_with_snat_settings_denies_nothing: "F20", json!(65979);
}
