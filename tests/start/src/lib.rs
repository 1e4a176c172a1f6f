//! What a lab needs of a machine, told before anything large is built.
//!
//! A crate of its own, without dependencies, because `cargo lab` builds it first: somebody who lacks `nft` or whose system
//! forbids namespaces learns so within a second or two, not after the build.

mod cargo;
mod namespaces;
mod tools;

pub use cargo::cargo;
pub use namespaces::{NamespaceError, ensure_namespaces, remedy};
pub use tools::{Needs, ToolError, ensure_tools, find};
