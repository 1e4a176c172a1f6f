//! Opens ordinary connections where it is told to and reports what the kernel said.
//!
//! An agent attaches to one coordinator, makes the probes of its assignments, listens on the ports that they name, and
//! delivers every result once. It never judges, never sees a prediction, holds no right in AWS or Kubernetes, sends no byte
//! but to peers, one question to resolvers and one TLS handshake to API servers, and opens no raw socket. The only name that it resolves beside its
//! coordinator's is the cluster endpoint of its own configuration.
//!
//! | module | what it does |
//! |---|---|
//! | [`cli`] | arguments and wiring |
//! | [`config`], [`identity`], [`limits`] | what it is told, who it says it is, what it never exceeds |
//! | [`endpoint`] | the one name that it resolves |
//! | [`control`] | the stream to the coordinator |
//! | [`engine`] | makes attempts, on a thread of its own |
//! | [`policy`] | what it may connect to, whatever it is told |
//! | [`by_hand`] | probes without a coordinator |
//! | [`health`] | tells a local program how the agent is |
//! | [`lateness`] | how late its loops ran |
//! | [`peer`], [`dns`], [`tls`] | asks a peer who it is, a resolver anything, or a server for its certificates |
//! | [`listener`] | accepts, reports, and proves who is there |
//! | [`probe`], [`outcome`] | what is tried, and what it gave |
//! | [`spool`] | keeps results until the coordinator has counted them |
//! | [`wire`] | messages from and to these types |
//! | [`environment`], [`sys`] | clock, random numbers and network; two options of sockets |
//!
//! **Invariants.** The far end decides an outcome, never the agent's clock alone: an agent that ran late says so
//! ([`Outcome::Starved`](outcome::Outcome::Starved)). No socket is made for a target that its own policy refuses, and nothing
//! that comes over the stream changes that policy. Every attempt is a new socket. A result that was dropped is counted.
//!
//! ```
//! use reachproof_agent::config::Coordinator;
//!
//! let coordinator: Coordinator = "https://10.0.0.10".parse()?;
//! assert_eq!(coordinator.port, 7443);
//! # Ok::<(), reachproof_agent::config::InvalidCoordinator>(())
//! ```

pub mod by_hand;
pub mod cli;
pub mod close;
pub mod config;
pub mod control;
pub mod dns;
pub mod endpoint;
pub mod engine;
pub mod environment;
pub mod health;
pub mod identity;
pub mod lateness;
pub mod limits;
pub mod listener;
pub mod outcome;
pub mod peer;
pub mod policy;
pub mod probe;
pub mod spool;
pub mod sys;
pub mod tls;
pub mod wire;
