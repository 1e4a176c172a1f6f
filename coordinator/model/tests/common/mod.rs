//! What several tests and benches of the model share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "every target of the package uses its own part of this module, and only in tests"
)]

pub mod random;
pub mod reference;
