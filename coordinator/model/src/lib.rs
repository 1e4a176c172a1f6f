//! The static model of reachproof: nouns and decisions, without I/O, clock or async.

pub mod describe;
pub mod flow;
pub mod id;
pub mod net;
pub mod prediction;
pub mod snapshot;
