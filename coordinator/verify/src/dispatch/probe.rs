//! One probe of a dispatched plan: what was reported of it, and when nothing more is to come.

use reachproof_model::observation::{AgentName, Attempt, Identification, Observation, Outcome};
use reachproof_model::plan::{ATTEMPTS, PlannedProbe, ProbeId, SourcePorts};
use reachproof_proto::net::{Nonce, ProofKey, verify_proof};

use crate::wire::observations::ReportedIdentity;

/// `EINVAL`: stands for a probe that the agent does not make (`control.proto`).
const ERRNO_INVALID: u32 = 22;

/// One probe and what was reported of it.
pub(super) struct ProbeState {
    pub(super) agent: AgentName,
    pub(super) flow: usize,
    pub(super) planned: PlannedProbe,
    pub(super) nonce: Nonce,
    /// Invariant: sorted by number, each once.
    pub(super) attempts: Vec<Attempt>,
}

impl ProbeState {
    /// Whether nothing more is to come.
    pub(super) fn finished(&self) -> bool {
        let planned = usize::try_from(ATTEMPTS).unwrap_or(usize::MAX);
        let random = matches!(self.planned.source_ports, SourcePorts::Spread);
        let ended = |attempt: &Attempt| match attempt.outcome {
            Outcome::Connected { .. } | Outcome::Refused { .. } => random,
            Outcome::RefusedByPolicy => true,
            Outcome::LocalError { errno } => errno == ERRNO_INVALID,
            Outcome::TimedOut { .. } | Outcome::Unreachable { .. } | Outcome::Starved => false,
        };
        self.attempts.len() >= planned || self.attempts.iter().any(ended)
    }

    /// Keeps an attempt, unless one with its number is there.
    pub(super) fn add(&mut self, attempt: Attempt) {
        let place = self
            .attempts
            .binary_search_by_key(&attempt.number, |known| known.number);
        if let Err(place) = place {
            // Most probes are answered at once: room for one attempt more, not for four.
            self.attempts.reserve_exact(1);
            self.attempts.insert(place, attempt);
        }
    }
}

/// All probes of a plan, each at the place that its number says; one that is elsewhere is not found.
#[derive(Default)]
pub(super) struct Probes(Vec<ProbeState>);

impl Probes {
    /// Adds the next one.
    pub(super) fn push(&mut self, probe: ProbeState) {
        self.0.push(probe);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, id: ProbeId) -> Option<&ProbeState> {
        let probe = self.0.get(id.index());
        probe.filter(|probe| probe.planned.id == id)
    }

    pub(super) fn get_mut(&mut self, id: ProbeId) -> Option<&mut ProbeState> {
        let probe = self.0.get_mut(id.index());
        probe.filter(|probe| probe.planned.id == id)
    }

    /// What was reported of each, in their order.
    pub(super) fn into_observations(self) -> Vec<Observation> {
        let attempts = self.0.into_iter().map(|probe| probe.attempts);
        attempts.map(|attempts| Observation { attempts }).collect()
    }
}

/// Checks what a peer said: only the holder of the listener's key can make the proof.
pub(super) fn identified(
    probe: &ProbeState,
    key: Option<&ProofKey>,
    identity: ReportedIdentity,
) -> Identification {
    match identity {
        ReportedIdentity::NotAsked => Identification::NotAsked,
        ReportedIdentity::Failed(code) => Identification::Failed { code },
        ReportedIdentity::Unreadable => Identification::Mismatch,
        ReportedIdentity::Resolver(code) => Identification::Resolver { code },
        ReportedIdentity::NoResolver(failure) => Identification::NoResolver { failure },
        ReportedIdentity::Answered { observed, proof } => {
            let said = (observed.ip(), observed.port());
            match key {
                Some(key) if verify_proof(key, &probe.nonce, said, &proof) => {
                    Identification::Verified { observed }
                }
                Some(_) | None => Identification::Mismatch,
            }
        }
    }
}
