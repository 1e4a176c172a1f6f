//! One verification run: gathers agents, dispatches probes, compares, reports.
//!
//! This crate waits: for agents, for results, for deadlines. Every decision is in `reachproof-model`.

mod connection;

pub mod control;
pub mod dispatch;
pub mod fleet;
pub mod registry;
pub mod token;
pub mod wire;

pub mod config;
pub mod credentials;
pub mod error;
pub mod inventory;
pub mod progress;
pub mod random;
pub mod report;
pub mod run;
pub mod source;

pub use config::{ExpectedAgents, RunConfig, SnapshotContent};
pub use credentials::Credentials;
pub use error::RunError;
pub use progress::Progress;
pub use random::{Random, SystemRandomness};
pub use report::Report;
pub use run::run;
