//! The agent on this machine's loopback: real sockets, real kernel, no network beyond.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod control;
mod coordinator;
mod dns;
mod engine;
mod fence;
mod peers;
mod pings;
mod spool;
mod stress;
mod support;
mod tls;
mod wire;
