//! The wire between coordinator and agents.
