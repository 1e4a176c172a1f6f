//! One probe of a dispatched plan: which of its stages were handed out, and when nothing more is to come of them.

use std::time::Duration;

use reachproof_model::flow::{Flow, FlowProtocol};
use reachproof_model::observation::{AgentName, Attempt, Identification, Outcome};
use reachproof_model::plan::{ATTEMPTS, PlannedProbe, ProbeId, ProbeKind, SourcePorts, Stage};
use reachproof_proto::net::{Nonce, ProofKey, verify_proof};
use tokio::time::Instant;

use crate::certificate::CertificateJudge;
use crate::wire::assignment::makes_all;
use crate::wire::observations::ReportedIdentity;

/// `EINVAL`: stands for a probe that the agent does not make (`control.proto`).
const ERRNO_INVALID: u32 = 22;

/// Names what is handed out as one: a stage of a probe by its first attempt, or a pulse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Piece {
    pub(super) id: ProbeId,
    /// Number of its first attempt; of a pulse that goes on by itself 0.
    pub(super) first: u32,
}

/// One stage of a probe.
#[derive(Debug, Clone, Copy)]
pub(super) struct StageState {
    pub(super) stage: Stage,
    /// When it was first handed out; absent while it waits.
    pub(super) handed_out: Option<Instant>,
}

/// One probe.
pub(super) struct ProbeState {
    pub(super) agent: AgentName,
    pub(super) flow: usize,
    pub(super) planned: PlannedProbe,
    pub(super) nonce: Nonce,
    /// The stages that are to be made, in their order.
    pub(super) stages: Vec<StageState>,
}

impl ProbeState {
    /// The stage that an attempt belongs to.
    pub(super) fn stage_of(&self, number: u32) -> Option<StageState> {
        let mut stages = self.stages.iter();
        stages.find(|state| holds(state.stage, number)).copied()
    }

    /// The same, to be changed.
    pub(super) fn stage_mut(&mut self, first: u32) -> Option<&mut StageState> {
        let mut stages = self.stages.iter_mut();
        stages.find(|state| state.stage.first_attempt() == first)
    }

    /// Whether nothing more is to come of a stage, of a probe with these attempts.
    pub(super) fn is_over(&self, stage: Stage, attempts: &[Attempt]) -> bool {
        let makes_all = makes_all(&self.planned, stage);
        let ended = |attempt: &Attempt| match attempt.outcome {
            Outcome::Connected { .. } | Outcome::Refused { .. } => !makes_all,
            Outcome::RefusedByPolicy => true,
            Outcome::LocalError { errno } => errno == ERRNO_INVALID,
            Outcome::TimedOut { .. }
            | Outcome::Unreachable { .. }
            | Outcome::Starved
            | Outcome::NotDialled { .. } => false,
        };
        let own = attempts
            .iter()
            .filter(|attempt| holds(stage, attempt.number));
        let planned = usize::try_from(ATTEMPTS).unwrap_or(usize::MAX);
        own.clone().count() >= planned || own.clone().any(ended)
    }

    /// Whether the second stage is to be made, of a probe with these attempts: the first of them had no answer.
    pub(super) fn needs_second(&self, flow: &Flow, attempts: &[Attempt]) -> bool {
        let is_silent = |attempt: &Attempt| match attempt.outcome {
            Outcome::TimedOut { .. } | Outcome::Unreachable { .. } | Outcome::Starved => true,
            Outcome::LocalError { errno } => errno != ERRNO_INVALID,
            Outcome::Connected { .. }
            | Outcome::Refused { .. }
            | Outcome::RefusedByPolicy
            | Outcome::NotDialled { .. } => false,
        };
        let first = attempts.first().filter(|attempt| attempt.number == 0);
        self.stages.len() == 1 && self.may_be_staged(flow) && first.is_some_and(is_silent)
    }

    /// Whether the probe may have more than its first stage.
    pub(super) fn may_be_staged(&self, flow: &Flow) -> bool {
        let is_tcp = matches!(flow.protocol, FlowProtocol::Tcp { .. });
        is_tcp && self.planned.source_ports == SourcePorts::Spread
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

    /// All of them, in their order.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, ProbeState> {
        self.0.iter()
    }

    pub(super) fn get(&self, id: ProbeId) -> Option<&ProbeState> {
        let probe = self.0.get(id.index());
        probe.filter(|probe| probe.planned.id == id)
    }

    pub(super) fn get_mut(&mut self, id: ProbeId) -> Option<&mut ProbeState> {
        let probe = self.0.get_mut(id.index());
        probe.filter(|probe| probe.planned.id == id)
    }
}

/// Whether an attempt is of a stage.
pub(super) fn holds(stage: Stage, number: u32) -> bool {
    let first = stage.first_attempt();
    (first..first + ATTEMPTS).contains(&number)
}

/// Keeps an attempt, unless one with its number is there.
///
/// **Invariant.** `attempts` is sorted by number, each once.
pub(super) fn keep(attempts: &mut Vec<Attempt>, attempt: Attempt) {
    let place = attempts.binary_search_by_key(&attempt.number, |known| known.number);
    if let Err(place) = place {
        // Most probes are answered at once: room for one attempt more, not for four.
        attempts.reserve_exact(1);
        attempts.insert(place, attempt);
    }
}

/// Shortest time from the start of an attempt to its end.
pub(super) fn least_duration(outcome: &Outcome, deadline: Duration) -> Duration {
    match outcome {
        Outcome::Connected { handshake } => *handshake,
        Outcome::Refused { after } => *after,
        Outcome::TimedOut { after } => deadline.max(*after),
        Outcome::Unreachable { .. }
        | Outcome::LocalError { .. }
        | Outcome::Starved
        | Outcome::RefusedByPolicy
        | Outcome::NotDialled { .. } => Duration::ZERO,
    }
}

/// What is asked of a peer, and how its answer is checked.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) kind: ProbeKind,
    pub(super) nonce: &'a Nonce,
    /// Key of the listener that should answer.
    pub(super) key: Option<&'a ProofKey>,
    pub(super) judge: &'a CertificateJudge,
}

impl Question<'_> {
    /// Checks what a peer said: only the holder of the listener's key can make the proof, and only the API server the
    /// session.
    pub(super) fn check(self, identity: ReportedIdentity) -> Identification {
        match identity {
            ReportedIdentity::NotAsked => Identification::NotAsked,
            ReportedIdentity::Failed(code) => Identification::Failed { code },
            ReportedIdentity::Unreadable => Identification::Mismatch,
            ReportedIdentity::Resolver(code) => Identification::Resolver { code },
            ReportedIdentity::NoResolver(failure) => Identification::NoResolver { failure },
            ReportedIdentity::NoSession(fault) => Identification::Uncertified { fault },
            ReportedIdentity::Session(chain) if self.kind == ProbeKind::Certify => {
                self.judge.judge(&chain)
            }
            ReportedIdentity::Session(_) => Identification::Mismatch,
            ReportedIdentity::Answered { observed, proof } => {
                let said = (observed.ip(), observed.port());
                match self.key {
                    Some(key) if verify_proof(key, self.nonce, said, &proof) => {
                        Identification::Verified { observed }
                    }
                    Some(_) | None => Identification::Mismatch,
                }
            }
        }
    }
}
