//! What the attempts of one probe say together, and what an answer is worth (F.2 "Answers").

use super::Comparison;
use crate::finding::{FindingReason, Note, Strength};
use crate::flow::FlowProtocol;
use crate::observation::{AgentName, Attempt, CertificateFault, Evidence, Identification, Outcome};
use crate::plan::{PlannedFlow, PlannedProbe, ProbeKind, SourcePorts, Target, third_of};
use crate::vantage::Vantage;

/// What the attempts of one probe say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProbeSummary {
    /// Nothing was reported.
    Nothing,
    /// The target answered.
    Answered(Answered),
    /// No attempt was answered, and some were silent.
    Silent,
    /// The attempts are no evidence, for this reason.
    NotEvidence(FindingReason),
}

/// An answer that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answered {
    /// What it is worth.
    pub(super) strength: Strength,
    /// What else is worth knowing.
    pub(super) notes: Vec<Note>,
    /// A third of the source ports that was silent in every attempt.
    pub(super) silent_third: Option<u8>,
    /// Why a third of the source ports shows neither an answer nor silence.
    pub(super) doubt: Option<FindingReason>,
}

/// What one answer is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Worth {
    /// The target gave it; to a translated source, as the model predicts, where there is a note.
    Proven(Option<Note>),
    /// Somebody gave it.
    Unproven,
    /// Somebody else gave it, or to another source than the model reckons with.
    Foreign(FindingReason),
}

impl Comparison<'_> {
    /// Sums the attempts of one probe up.
    pub(super) fn summary(&self, flow: &PlannedFlow, probe: &PlannedProbe) -> ProbeSummary {
        let attempts = self.attempts(probe);
        if attempts.is_empty() {
            return ProbeSummary::Nothing;
        }
        let mut sockets = attempts.iter().filter_map(|attempt| attempt.local);
        if sockets.any(|local| local.ip() != flow.flow.source) {
            return ProbeSummary::NotEvidence(FindingReason::SourceTranslated);
        }
        match self.answers(flow, probe, attempts) {
            Err(reason) => ProbeSummary::NotEvidence(reason),
            Ok(answers) if answers.is_empty() => unanswered(attempts),
            Ok(answers) => ProbeSummary::Answered(answers.summed_up(flow, probe, attempts)),
        }
    }

    /// The answers of a probe that count.
    ///
    /// # Errors
    /// Why none may, whatever the others are: a stranger answered, or only answers came that prove nothing where a proof
    /// could be had.
    fn answers<'b>(
        &self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        attempts: &'b [Attempt],
    ) -> Result<Answers<'b>, FindingReason> {
        let (mut proven, mut unproven, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        for attempt in attempts.iter().filter(is_answer) {
            match self.worth(flow, probe, attempt) {
                Worth::Foreign(reason) => return Err(reason),
                Worth::Unproven => unproven.push(attempt),
                Worth::Proven(note) => {
                    proven.push(attempt);
                    notes.extend(note.filter(|_| notes.is_empty()));
                }
            }
        }
        if !proven.is_empty() {
            return Ok(Answers {
                counted: proven,
                strength: Strength::Proven,
                notes,
            });
        }
        if !unproven.is_empty() && self.is_provable(flow, probe, &unproven) {
            return Err(FindingReason::Unproven);
        }
        Ok(Answers {
            counted: unproven,
            strength: Strength::Unproven,
            notes,
        })
    }

    /// What the answer to one attempt is worth, by all that the run knows: a kubelet's words prove something where a listener
    /// saw where the API server comes from, and its address is that of an agent (G.2b "Proof"). The log of an agent needs no
    /// address: nobody but the kubelet of its node has it.
    fn worth(&self, flow: &PlannedFlow, probe: &PlannedProbe, answer: &Attempt) -> Worth {
        let is_shown = || match probe.kind {
            ProbeKind::Kubelet => self.heard.is_shown(flow.flow.destination),
            ProbeKind::KubeletLog => true,
            ProbeKind::Connect | ProbeKind::Identify | ProbeKind::Resolve | ProbeKind::Certify => {
                false
            }
        };
        let is_proven = is_in_kubelets_words(&answer) && self.heard.is_seen(&flow.source);
        match worth(flow, probe, answer) {
            Worth::Unproven if is_proven && is_shown() => Worth::Proven(None),
            other @ (Worth::Proven(_) | Worth::Unproven | Worth::Foreign(_)) => other,
        }
    }

    /// Whether the target of a probe can show that it gives the answers.
    fn is_provable(&self, flow: &PlannedFlow, probe: &PlannedProbe, answers: &[&Attempt]) -> bool {
        match (probe.kind, &flow.target) {
            (ProbeKind::Connect, _) => false,
            // Without a listener that saw where the API server comes from, nothing it brings is proved.
            (ProbeKind::Kubelet | ProbeKind::KubeletLog, _) => {
                self.heard.is_seen(&flow.source) || !answers.iter().any(is_in_kubelets_words)
            }
            (ProbeKind::Identify, Target::Agent(agent)) => {
                let port = flow.flow.protocol.port();
                port.is_some_and(|port| self.is_opened(agent, port))
            }
            (ProbeKind::Certify, _) => !answers.iter().any(|attempt| {
                attempt.identification
                    == Identification::Uncertified {
                        fault: CertificateFault::NoAuthority,
                    }
            }),
            (ProbeKind::Identify | ProbeKind::Resolve, _) => true,
        }
    }

    /// Whether an agent listens on a port. Of one without a record nobody knows that it could not.
    fn is_opened(&self, agent: &AgentName, port: u16) -> bool {
        let asked = self.plan.listens.get(agent);
        let record = self.evidence.records.get(agent);
        asked.is_some_and(|ports| ports.contains(&port))
            && record.is_none_or(|record| !record.ports_refused.contains_key(&port))
    }
}

/// The answers of a probe that count, or none.
struct Answers<'b> {
    counted: Vec<&'b Attempt>,
    strength: Strength,
    notes: Vec<Note>,
}

impl Answers<'_> {
    fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }

    /// What follows from them, with how the thirds of the source ports stand.
    fn summed_up(
        mut self,
        flow: &PlannedFlow,
        probe: &PlannedProbe,
        attempts: &[Attempt],
    ) -> Answered {
        let thirds = match (probe.source_ports, flow.flow.protocol) {
            (SourcePorts::Spread, FlowProtocol::Tcp { .. }) => self.thirds(flow, attempts),
            (SourcePorts::Spread | SourcePorts::Fixed(_) | SourcePorts::Unchosen, _) => {
                [Third::Answered, Third::Answered, Third::Answered]
            }
        };
        let silent_third = (0..)
            .zip(&thirds)
            .find(|(_, third)| **third == Third::Silent);
        let silent_third = silent_third.map(|(number, _)| number);
        let doubt = thirds.iter().find_map(|third| match third {
            Third::Doubtful(reason) => Some(reason.clone()),
            Third::Answered | Third::Silent | Third::Untried => None,
        });
        let silent = attempts
            .iter()
            .filter(|attempt| attempt.outcome.evidence() == Evidence::Silence)
            .count();
        match silent_third.and_then(|third| silent_ports(flow, third)) {
            Some(note) => self.notes.insert(0, note),
            None if silent > 0 => self.notes.insert(0, Note::Lossy { silent }),
            None => {}
        }
        let relay = flow.relay.map(|address| Note::RelayedPossible { address });
        self.notes.extend(relay);
        Answered {
            strength: self.strength,
            notes: self.notes,
            silent_third,
            doubt,
        }
    }

    /// What each third of the source ports showed.
    fn thirds(&self, flow: &PlannedFlow, attempts: &[Attempt]) -> [Third; 3] {
        [0, 1, 2].map(|third| {
            let lies_there = |attempt: &&Attempt| {
                let port = attempt.local.map(|local| local.port());
                port.and_then(|port| third_of(flow.flow.ephemeral_ports, port)) == Some(third)
            };
            if self
                .counted
                .iter()
                .copied()
                .any(|attempt| lies_there(&attempt))
            {
                return Third::Answered;
            }
            let mut seen = attempts.iter().filter(lies_there).peekable();
            if seen.peek().is_none() {
                return Third::Untried;
            }
            let reasons: Vec<Option<FindingReason>> = seen.map(of_no_answer).collect();
            if reasons.iter().any(Option::is_none) {
                return Third::Silent;
            }
            reasons
                .into_iter()
                .flatten()
                .next()
                .map_or(Third::Untried, Third::Doubtful)
        })
    }
}

/// What a third of the source ports showed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Third {
    /// An answer that counts.
    Answered,
    /// Silence, and no answer that counts.
    Silent,
    /// Neither.
    Doubtful(FindingReason),
    /// Nothing: no attempt was made from there.
    Untried,
}

/// The note that one third of the source ports is silent.
fn silent_ports(flow: &PlannedFlow, third: u8) -> Option<Note> {
    let ports = crate::plan::Spread::Third(third).ranges(flow.flow.ephemeral_ports);
    let range = ports.first()?;
    Some(Note::SilentPorts {
        first: range.first(),
        last: range.last(),
    })
}

/// Why an attempt that is no answer that counts is not silence either; nothing for silence.
fn of_no_answer(attempt: &Attempt) -> Option<FindingReason> {
    match attempt.outcome {
        Outcome::TimedOut { .. } => None,
        Outcome::Connected { .. } | Outcome::Refused { .. } => Some(FindingReason::Unproven),
        Outcome::Unreachable { .. } => Some(FindingReason::Unreachable),
        Outcome::LocalError { .. } => Some(FindingReason::LocalError),
        Outcome::Starved => Some(FindingReason::Starved),
        Outcome::RefusedByPolicy => Some(FindingReason::RefusedByPolicy),
        Outcome::NotDialled { failure } => Some(FindingReason::Dial(failure)),
    }
}

/// What attempts say of which none was answered.
///
/// An ICMP error is somebody's word, and neither answer nor silence: one of them leaves a doubt. What the agent itself
/// spoiled was made again: it counts only where nothing else is there.
fn unanswered(attempts: &[Attempt]) -> ProbeSummary {
    let reasons = || attempts.iter().filter_map(of_no_answer);
    let spoils = |reason: &FindingReason| {
        matches!(
            reason,
            FindingReason::Unreachable | FindingReason::RefusedByPolicy
        )
    };
    let first = reasons().find(spoils);
    let all = || {
        let none_silent = reasons().count() == attempts.len();
        none_silent.then(|| reasons().next()).flatten()
    };
    match first.or_else(all) {
        Some(reason) => ProbeSummary::NotEvidence(reason),
        None => ProbeSummary::Silent,
    }
}

/// Whether somebody answered an attempt.
fn is_answer(attempt: &&Attempt) -> bool {
    attempt.outcome.evidence() == Evidence::Answer
}

/// Whether an attempt got as far as a socket of the flow's own source. Of an API server's nobody sees it.
pub(super) fn is_own(flow: &PlannedFlow, attempt: &Attempt) -> bool {
    match flow.source {
        Vantage::ApiServer(_) => true,
        Vantage::Agent(_) | Vantage::Model => attempt
            .local
            .is_some_and(|local| local.ip() == flow.flow.source),
    }
}

/// Whether an answer is in the words of a kubelet.
fn is_in_kubelets_words(answer: &&Attempt) -> bool {
    answer.identification == Identification::Kubelet
}

/// What the answer to one attempt is worth.
pub(super) fn worth(flow: &PlannedFlow, probe: &PlannedProbe, answer: &Attempt) -> Worth {
    match answer.identification {
        Identification::Verified { observed } => match flow.translated {
            Some(expected) if observed.ip() == expected => {
                Worth::Proven(Some(Note::Translated { observed }))
            }
            None if Some(observed) == answer.local => Worth::Proven(None),
            Some(_) | None => Worth::Foreign(FindingReason::SourceTranslated),
        },
        Identification::Mismatch => Worth::Foreign(FindingReason::PeerMismatch),
        Identification::Certified if probe.kind == ProbeKind::Certify => Worth::Proven(None),
        Identification::Resolver { .. } if probe.kind == ProbeKind::Resolve => Worth::Proven(None),
        Identification::Certified
        | Identification::Resolver { .. }
        | Identification::NotAsked
        | Identification::Uncertified { .. }
        | Identification::Kubelet
        | Identification::Failed { .. }
        | Identification::NoResolver { .. } => Worth::Unproven,
    }
}
