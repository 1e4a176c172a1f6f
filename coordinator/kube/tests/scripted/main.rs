//! The crate against a scripted API server on loopback: what it makes of each way to misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at a surprise"
)]

mod changes;
mod doctor;
mod faults;
mod forward;
mod storage;
mod support;
mod tokens;
