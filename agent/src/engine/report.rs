//! What the loop says about an attempt.

use std::{net::SocketAddr, time::Instant};

use super::queue::Running;
use crate::{
    outcome::Outcome,
    probe::{Finished, Probe, RunName},
};

/// A finished attempt without anything that came after the handshake.
pub(super) fn finished(
    running: &Running,
    outcome: Outcome,
    local: Option<SocketAddr>,
    started_at: Instant,
) -> Finished {
    Finished {
        run: running.run.clone(),
        probe: running.probe.id,
        attempt: running.number(),
        outcome,
        local,
        started_at,
        syn_retransmissions: 0,
        identification: None,
    }
}

/// What stands for a probe that the policy refuses: one attempt, without a socket.
pub(super) fn refused(run: &RunName, probe: &Probe, now: Instant) -> Finished {
    Finished {
        run: run.clone(),
        probe: probe.id,
        attempt: probe.number(0),
        outcome: Outcome::RefusedByPolicy,
        local: None,
        started_at: now,
        syn_retransmissions: 0,
        identification: None,
    }
}
