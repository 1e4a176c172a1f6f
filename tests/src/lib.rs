//! The lab runner and the end-to-end tests.
//!
//! * [`random`]: worlds drawn from a seed, to compare model and kernel

pub mod random;
