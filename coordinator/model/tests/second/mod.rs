//! The second opinion: a literal evaluator, and random worlds to ask it about.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::if_same_then_else,
    clippy::nonminimal_bool,
    reason = "every target of the package uses its own part of this module, and only in tests"
)]

pub mod cluster;
pub mod random;
pub mod reference;

use reachproof_model::describe::Described;
use reachproof_model::snapshot::Snapshot;
use serde_json::{Map, Value};

/// Decodes the describe answers of a world.
pub fn decode(files: &Map<String, Value>) -> Snapshot {
    let mut described = Described::default();
    for (stem, answer) in files {
        described.insert(stem.as_str(), answer.clone());
    }
    Snapshot::decode(&described).unwrap().snapshot
}

/// A number that whoever runs a test asks for by an environment variable.
pub fn asked(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}
