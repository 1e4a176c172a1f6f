//! A coordinator that stays: agents keep their streams, runs happen on a schedule, and what they found is remembered.
//!
//! One task owns the fleet and does one run after another by [`reachproof_verify::run::run`]; HTTP looks at what it says of
//! itself and at the store, and may ask for a run. Nothing here decides what a run means.
//!
//! | module | what |
//! |---|---|
//! | [`config`], [`schedule`] | the file of settings; when a run is due |
//! | [`service`] | the task that does the runs |
//! | [`store`] | runs, worlds and verdicts of flows, in a database |
//! | [`flows`], [`coverage`] | what a report says of each kind of flow; which agents took part |
//! | [`web`] | API, page and metrics |
//! | [`keeper`] | where the last run is kept for whoever cannot reach this process |
//! | [`client`], [`alert`] | HTTP to another coordinator, and to whoever wants to hear of a new verdict |
//!
//! **Invariant.** A run is in the store before it begins, and its verdict comes there in one transaction with its report: after
//! a crash it is *interrupted* and done anew, and no verdict rests on half of its results.
//!
//! **Invariant.** One process leads a store ([`store::leader`]); another waits.

pub mod alert;
pub mod client;
pub mod config;
pub mod coverage;
pub mod error;
pub mod flows;
pub mod keeper;
pub mod schedule;
pub mod service;
pub mod status;
pub mod store;
mod timetable;
pub mod web;

pub use config::{Config, ConfigError, Variables};
pub use error::ServiceError;
pub use service::{Parts, serve};
