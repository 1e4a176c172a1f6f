//! The lab runner and the end-to-end tests.
//!
//! The runner brings a world up, starts agents as ordinary processes in its namespaces, lets the same
//! `reachproof_verify::run` as the binary judge, and holds the report against what the world states.
//!
//! * [`cli`]: arguments of `reachproof-lab`; [`runner`]: one run; [`judge`]: the report against the world
//! * [`rehearsal`]: a snapshot in the place of a world
//! * [`stage`]: a world that is up; [`resolver`]: what answers in its CoreDNS pods; [`agents`] and [`coordinator`]:
//!   processes in it; [`error`]: what can go wrong
//! * [`kubelet`]: nodes that start what is scheduled to them; [`pod`]: what a pod asks of its node; [`fargate`]: what EKS
//!   does about Fargate; [`deployment`]: agents that come by manifest; [`job`]: the pod of a Job, from start to exit code
//! * [`helm`]: Helm, and the chart as it renders it
//! * [`dialling`]: runs in which API servers connect; [`counters`]: what the kernel counted of that
//! * [`play`]: a run through the binaries in which somebody has a hand; [`truth`]: what the wire does, whatever a report
//!   says; [`decoy`]: who answers in a target's place
//! * [`random`]: worlds drawn from a seed; [`agreement`]: model and kernel, asked the same about them
//! * [`mod@bench`]: the agent against its floor and against other tools
//! * [`harness`]: runs tests in namespaces of their own; [`binaries`]: the programs that they start

pub mod agents;
pub mod agreement;
pub mod bench;
pub mod binaries;
pub mod cli;
pub mod coordinator;
pub mod counters;
pub mod decoy;
pub mod deployment;
pub mod dialling;
pub mod error;
pub mod fargate;
pub mod harness;
pub mod helm;
pub mod job;
pub mod judge;
pub mod kubelet;
pub mod play;
pub mod pod;
pub mod random;
pub mod rehearsal;
pub mod resolver;
pub mod runner;
pub mod stage;
pub mod truth;
