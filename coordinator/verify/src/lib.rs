//! One verification run: gathers agents, dispatches probes, compares, reports.
//!
//! This crate waits: for agents, for results, for deadlines. Every decision is in `reachproof-model`; every message goes
//! through [`wire`]. It never opens a connection into the measured network, and it has no credentials but its own.
//!
//! | module | what |
//! |---|---|
//! | [`entry`], [`config`] | the control server of a fleet; one run by itself |
//! | [`mod@run`], [`progress`], [`error`] | the nine steps of a run, and what it tells |
//! | [`status`] | how far a run is, in one line |
//! | [`control_plane`] | API servers that are asked to connect |
//! | [`source`], [`inventory`] | the snapshot, and who should have an agent |
//! | [`credentials`], [`identity`], [`token`], [`audience`], [`door`], [`control`] | who may come in, and as whom |
//! | [`fleet`], [`registry`], [`territory`], [`inbox`], [`dispatch`], [`wire`] | streams, agents, what they say to a run, assignments and results |
//! | [`clock`], [`certificate`] | what agents' clocks and peers' certificates are worth |
//! | [`report`] | what was found, for people and for programs |
//! | [`expectations`], [`claims`], [`yaml`] | what users expect and claim, in files of their own |
//!
//! **Invariant.** Predictions are sealed before the first probe is sent, and no step changes the result of an earlier one.
//!
//! **Invariant.** An attempt counts once: by agent, boot and sequence of its batch, then by probe and number. Whatever an
//! agent did not deliver counts as lost, and what is lost confirms nothing.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, SystemTime};
//!
//! use reachproof_verify::door::CONNECTIONS_PER_ADDRESS;
//! use reachproof_verify::{
//!     Credentials, ExpectedAgents, Order, RESUME_WAIT, RunConfig, RunError, SnapshotContent, SystemRandomness,
//! };
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let snapshot = directory.path().join("snapshot.json");
//! std::fs::write(
//!     &snapshot,
//!     r#"{"describe-vpcs": {"Vpcs": []}, "describe-subnets": {"Subnets": []},
//!         "describe-network-interfaces": {"NetworkInterfaces": []},
//!         "describe-security-groups": {"SecurityGroups": []},
//!         "describe-route-tables": {"RouteTables": []}, "describe-network-acls": {"NetworkAcls": []}}"#,
//! )?;
//! let random = Arc::new(SystemRandomness::default());
//! let config = RunConfig {
//!     snapshot: Arc::new(snapshot),
//!     credentials: Credentials::in_directory(&directory.path().join("credentials"), random.as_ref())?,
//!     reviewer: None,
//!     connections_per_address: CONNECTIONS_PER_ADDRESS,
//!     order: Order {
//!         name: None,
//!         expected: ExpectedAgents::Count(1),
//!         settle: Duration::ZERO,
//!         wait: Duration::from_millis(10),
//!         resume_wait: RESUME_WAIT,
//!         depth: Some(reachproof_model::plan::Depth::Rules),
//!         seed: 1,
//!         expectations: Default::default(),
//!         earlier: Vec::new(),
//!         content: SnapshotContent::Included,
//!         started_at: SystemTime::now(),
//!         random,
//!         control_plane: None,
//!     },
//! };
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let report = reachproof_verify::run(config, listener, |_| {}, std::future::pending()).await;
//! assert!(matches!(report, Err(RunError::NoAgents { .. })), "nobody dialled in");
//! # Ok(())
//! # }
//! ```

mod connection;

pub mod audience;
pub mod authentication;
pub mod certificate;
pub mod clock;
pub mod control;
pub mod dispatch;
pub mod door;
pub mod fleet;
pub mod identity;
pub mod inbox;
pub mod letter;
pub mod refused;
pub mod registry;
pub mod territory;
pub mod token;
pub mod wire;

pub mod calendar;
pub mod claims;
pub mod config;
pub mod control_plane;
pub mod credentials;
pub mod entry;
pub mod error;
pub mod expectations;
pub mod inventory;
pub mod progress;
pub mod random;
pub mod report;
pub mod run;
pub mod source;
pub mod status;
pub mod yaml;

pub use config::{EntrySettings, ExpectedAgents, Order, RESUME_WAIT, RunConfig, SnapshotContent};
pub use credentials::Credentials;
pub use entry::{Entry, run};
pub use error::RunError;
pub use identity::{Authenticated, Authenticator, Identity, IdentitySource, Refusal};
pub use progress::Progress;
pub use random::{Random, SystemRandomness};
pub use report::Report;
