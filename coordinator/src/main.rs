//! The `reachproof` command.

fn main() {}
