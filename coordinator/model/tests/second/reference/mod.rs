//! A second evaluator, written from SEMANTICS K alone: literal, slow and obvious.
//!
//! It shares no code with the model: it reads the describe answers itself, compares every address with every owner,
//! and walks the list of section K line by line. What it answers is the JSON of `expect` in the vectors.

mod net;
mod path;
mod policy;
mod rule;
mod walk;
mod world;

use serde_json::{Map, Value};

pub use walk::Answer;

/// The evaluator of one world.
pub struct Reference {
    world: world::World,
}

impl Reference {
    /// Reads the describe answers of a whole and well-formed snapshot.
    pub fn new(snapshot: &Map<String, Value>) -> Self {
        Self {
            world: world::World::read(snapshot),
        }
    }

    /// Answers one flow, given as JSON (ARCHITECTURE, "Flow").
    pub fn answer(&self, flow: &Value) -> Answer {
        walk::answer(&self.world, &walk::Question::read(flow))
    }
}
