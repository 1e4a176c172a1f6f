//! One verification run: gathers agents, dispatches probes, compares, reports.
//!
//! This crate waits: for agents, for results, for deadlines. Every decision is in `reachproof-model`.

pub mod config;
pub mod credentials;
pub mod error;
pub mod progress;
pub mod random;
pub mod report;
pub mod run;

pub use config::{ExpectedAgents, RunConfig, SnapshotContent};
pub use credentials::Credentials;
pub use error::RunError;
pub use progress::Progress;
pub use report::Report;
pub use run::run;
