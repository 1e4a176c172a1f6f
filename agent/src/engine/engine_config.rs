//! How an engine works.

use crate::{
    limits::{Allowance, STARTS_BURST},
    policy::Policy,
};

/// What an engine may do at once, where to, and what it records.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Attempts in flight; at least 1 is made.
    pub in_flight_max: usize,
    /// How attempts start.
    pub pacing: Pacing,
    /// Most entries in connection tracking that attempts leave at once; none: not counted.
    pub tracked_max: Option<usize>,
    /// What is recorded of an attempt.
    pub evidence: Evidence,
    /// What may be connected to.
    pub policy: Policy,
}

/// How attempts start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pacing {
    /// As fast as places in flight become free.
    Unpaced,
    /// Evenly, after a burst.
    Even {
        /// Attempts per second; at least 1.
        per_second: u32,
        /// Attempts that may start at once after a pause; at least 1.
        burst: u32,
    },
}

/// What is recorded of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// The outcome alone: times are those of the engine's clock, there is no local address and no count of SYNs.
    Outcome,
    /// Also what `getsockname` and `TCP_INFO` say.
    Full,
}

impl EngineConfig {
    /// The engine_config of a control stream: every cap holds, and everything is recorded.
    pub fn of_stream(allowance: Allowance, policy: Policy) -> EngineConfig {
        EngineConfig {
            in_flight_max: usize::try_from(allowance.attempts.in_flight_max).unwrap_or(usize::MAX),
            pacing: Pacing::Even {
                per_second: allowance.attempts.starts_per_second_max,
                burst: STARTS_BURST,
            },
            tracked_max: Some(allowance.tracked_max),
            evidence: Evidence::Full,
            policy,
        }
    }
}
