//! Worlds of the vectors, for tests that need a whole one.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test file uses its own part, and a test reads its files and fails by panicking"
)]

use reachproof_model::describe::{Described, parse};
use reachproof_model::snapshot::Snapshot;
use serde_json::Value;

/// The answers of a vector, by its id.
pub(crate) fn described(id: &str) -> Described {
    let path = format!(
        "{}/../../tests/vectors/{id}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let Value::Object(mut vector) = parse(&std::fs::read_to_string(path).unwrap()).unwrap() else {
        panic!("a vector is an object");
    };
    match vector.remove("snapshot") {
        Some(Value::Object(answers)) => Described::from(answers),
        other => panic!("a vector has a snapshot, not {other:?}"),
    }
}

/// The world of a vector.
pub(crate) fn snapshot(id: &str) -> Snapshot {
    Snapshot::decode(&described(id)).unwrap().snapshot
}
