//! The literal evaluator against the vectors, and against the model on random worlds.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::reference::Reference;
use serde_json::Value;

/// Every vector that the repository has.
fn vectors() -> Vec<(String, Value)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (
                path.display().to_string(),
                serde_json::from_str(&text).unwrap(),
            )
        })
        .collect()
}

#[test]
fn the_literal_evaluator_answers_every_vector() {
    let vectors = vectors();
    assert!(vectors.len() >= 64, "only {} vectors", vectors.len());
    for (file, vector) in vectors {
        let reference = Reference::new(vector["snapshot"].as_object().unwrap());
        assert_eq!(
            reference.answer(&vector["flow"]),
            vector["expect"],
            "{file}"
        );
    }
}
