//! The lab runner and the end-to-end tests.
