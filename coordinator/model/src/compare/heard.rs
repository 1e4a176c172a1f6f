//! Who was heard when: what the conditions of F.2 look up.
//!
//! All times are microseconds by the coordinator's clock since the run began; those of agents are led there by the offset
//! of their clocks.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::summary::{Worth, worth};
use crate::finding::{Basis, Margin, Witness};
use crate::flow::FlowProtocol;
use crate::observation::{
    AgentName, AgentRecord, Attempt, ClockOffset, Evidence, Identification, RunEvidence,
};
use crate::plan::{PlannedFlow, PlannedPulse, ProbeKind, ProbePlan};
use crate::prediction::{Prediction, Verdict};
use crate::vantage::Vantage;

/// How long before and after a silence an answer speaks for it (F.2).
pub(super) const MARGIN: Duration = Duration::from_secs(5);

/// How well a clock must be known (F.2 "clock").
pub(super) const UNCERTAINTY_MAX: Duration = Duration::from_secs(1);

/// An answered attempt that shows that both of its ends were there.
#[derive(Debug, Clone, Copy)]
struct Answer<'a> {
    /// Whose clock says when; absent: the coordinator's.
    clock: Option<&'a AgentName>,
    at: i64,
    uncertainty: i64,
    source: IpAddr,
    target: SocketAddr,
}

/// Time of a silence: from its first SYN to its deadline, by an agent's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window<'a> {
    /// Whose attempt it is, and whose clock says when; absent: an API server's, by the coordinator's clock.
    pub(super) clock: Option<&'a AgentName>,
    pub(super) from: i64,
    pub(super) to: i64,
    /// How far both may be from the truth.
    pub(super) uncertainty: i64,
}

/// Which of the two ends of answered attempts is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Who asked.
    Source,
    /// Who answered.
    Target,
}

/// The answered attempts by target and by source, and what they show about addresses.
#[derive(Debug)]
pub(super) struct Heard<'a> {
    /// Invariant: each list is sorted by time.
    by_target: HashMap<IpAddr, Vec<Answer<'a>>>,
    /// Invariant: each list is sorted by time.
    by_source: HashMap<IpAddr, Vec<Answer<'a>>>,
    /// Addresses at which somebody answered whose proof does not hold.
    foreign: BTreeSet<IpAddr>,
    /// Addresses that a proof shows to be their agent's.
    shown: HashSet<IpAddr>,
    /// Where listeners saw the connections of each API server come from, by the address of its interface.
    seen_from: HashMap<IpAddr, BTreeSet<IpAddr>>,
    /// Addresses that a control stream comes from.
    streams: HashSet<IpAddr>,
    plan: &'a ProbePlan,
    evidence: &'a RunEvidence,
    /// Sockets whose connections were answered, by target: made when the first of them is in question.
    explained: OnceCell<HashMap<IpAddr, HashSet<SocketAddr>>>,
}

impl<'a> Heard<'a> {
    /// Collects the answers of a run, those to pulses included.
    pub(super) fn new(
        plan: &'a ProbePlan,
        predictions: &[Prediction],
        evidence: &'a RunEvidence,
    ) -> Self {
        let records = evidence.records.values();
        let plausible = records.filter(|record| record.implausible.is_none());
        let mut heard = Self {
            by_target: HashMap::new(),
            by_source: HashMap::new(),
            foreign: BTreeSet::new(),
            shown: HashSet::new(),
            seen_from: HashMap::new(),
            streams: plausible
                .filter_map(|record| record.stream_address)
                .collect(),
            plan,
            evidence,
            explained: OnceCell::new(),
        };
        for (flow, prediction) in plan.flows.iter().zip(predictions) {
            heard.note_flow(flow, is_filtered(flow.flow.protocol, &prediction.verdict));
        }
        for pulse in &plan.pulses {
            heard.note_pulse(pulse);
        }
        let lists = [&mut heard.by_target, &mut heard.by_source];
        for list in lists.into_iter().flat_map(HashMap::values_mut) {
            list.sort_by_key(|answer| answer.at);
        }
        heard
    }

    /// Notes the answers of a flow. Only where groups filter do they show that the wire works.
    fn note_flow(&mut self, flow: &'a PlannedFlow, filtered: Filtered) {
        let Some(port) = flow.flow.protocol.port() else {
            return;
        };
        let target = SocketAddr::new(flow.flow.destination, port);
        for probe in &flow.probes {
            for attempt in answered(self.evidence.attempts(probe.id)) {
                self.note_address(attempt, target.ip());
                self.note_api_server(&flow.source, attempt);
                if let (Worth::Proven(_), Filtered::Yes) = (worth(flow, probe, attempt), filtered) {
                    let call = (flow.flow.source, target);
                    self.add(flow.source.agent(), call, attempt);
                }
            }
        }
    }

    /// Notes the answers to a pulse, of which the model says that groups filter it and let it pass.
    fn note_pulse(&mut self, pulse: &'a PlannedPulse) {
        for attempt in answered(self.plan.attempts_of_pulse(self.evidence, pulse.id)) {
            self.note_address(attempt, pulse.target.ip());
            let is_proven = match (pulse.kind, attempt.identification) {
                (ProbeKind::Identify, Identification::Verified { observed }) => {
                    Some(observed) == attempt.local
                }
                (ProbeKind::Certify, Identification::Certified)
                | (ProbeKind::Resolve, Identification::Resolver { .. }) => true,
                (_, _) => false,
            };
            let is_own = attempt
                .local
                .is_some_and(|local| local.ip() == pulse.source);
            if is_proven && is_own {
                let call = (pulse.source, pulse.target);
                self.add(Some(&pulse.agent), call, attempt);
            }
        }
    }

    /// Notes what an answer shows about the addresses of both ends.
    fn note_address(&mut self, attempt: &Attempt, target: IpAddr) {
        match attempt.identification {
            Identification::Verified { observed } => {
                self.shown.insert(target);
                if Some(observed) == attempt.local {
                    self.shown.insert(observed.ip());
                }
            }
            Identification::Mismatch => {
                self.foreign.insert(target);
            }
            Identification::NotAsked
            | Identification::Certified
            | Identification::Kubelet
            | Identification::Uncertified { .. }
            | Identification::Failed { .. }
            | Identification::Resolver { .. }
            | Identification::NoResolver { .. } => {}
        }
    }

    /// Notes from where a listener saw an API server connect.
    fn note_api_server(&mut self, source: &Vantage, attempt: &Attempt) {
        if let (Some(own), Identification::Verified { observed }) =
            (source.control_plane(), attempt.identification)
        {
            self.seen_from.entry(own).or_default().insert(observed.ip());
        }
    }

    /// Adds an answer. One whose SYN had to be sent again began in a silence, and one of an agent without a clock or with
    /// impossible results has no time.
    fn add(
        &mut self,
        agent: Option<&'a AgentName>,
        (source, target): (IpAddr, SocketAddr),
        attempt: &Attempt,
    ) {
        let of_agent = |agent| {
            let record: Option<&AgentRecord> = self.evidence.records.get(agent);
            let record = record.filter(|record| record.implausible.is_none());
            record.and_then(clock)
        };
        let Some(clock) = agent.map_or(Some(ClockOffset::OWN), of_agent) else {
            return;
        };
        if attempt.syn_retransmissions > 0 {
            return;
        }
        let answer = Answer {
            clock: agent,
            at: micros(attempt.started) - clock.offset_us,
            uncertainty: micros(clock.uncertainty),
            source,
            target,
        };
        self.by_target.entry(target.ip()).or_default().push(answer);
        self.by_source.entry(source).or_default().push(answer);
    }

    /// Whether somebody who is not the intended agent answered at `target` in this run.
    pub(super) fn is_foreign(&self, target: IpAddr) -> bool {
        self.foreign.contains(&target)
    }

    /// Whether a listener saw the connections of an API server come from its interface, and none come from elsewhere (G.2b
    /// "Proof").
    pub(super) fn is_seen(&self, source: &Vantage) -> bool {
        source.control_plane().is_some_and(|own| {
            let seen = self.seen_from.get(&own);
            seen.is_some_and(|seen| seen.len() == 1 && seen.contains(&own))
        })
    }

    /// Whether a listener saw a connection of an API server come from another address than its interface's.
    pub(super) fn is_translated(&self, source: &Vantage) -> bool {
        source.control_plane().is_some_and(|own| {
            let seen = self.seen_from.get(&own);
            seen.is_some_and(|seen| seen.iter().any(|address| *address != own))
        })
    }

    /// Whether something shows that `address` is its agent's: its stream, or a peer's proof.
    pub(super) fn is_shown(&self, address: IpAddr) -> bool {
        self.shown.contains(&address) || self.streams.contains(&address)
    }

    /// How "address" is met by `address`, or not.
    pub(super) fn address(&self, address: IpAddr) -> Basis {
        if self.streams.contains(&address) {
            Basis::StreamFrom { address }
        } else if self.shown.contains(&address) {
            Basis::SeenByPeer { address }
        } else {
            Basis::AddressUnshown { address }
        }
    }

    /// How `address` was heard around a silence: as an end of answered attempts, or weaker by the stream of its agent.
    pub(super) fn around(
        &self,
        (end, address): (End, IpAddr),
        holder: Option<&AgentName>,
        window: Window<'_>,
    ) -> Basis {
        let answers = match end {
            End::Source => self.by_source.get(&address),
            End::Target => self.by_target.get(&address),
        };
        let answers = answers.map_or(&[][..], Vec::as_slice);
        let by_answers = (before(answers, window), after(answers, window));
        if let (Some(before), Some(after)) = by_answers {
            return Basis::Answered { before, after };
        }
        let record = holder.and_then(|agent| self.evidence.records.get(agent));
        let beats = record.map_or_else(Vec::new, |record| self.beats(record, address));
        let by_stream = beats_around(&beats, window);
        match (holder, by_stream) {
            (Some(agent), (Some(before_ms), Some(after_ms))) => Basis::Stream {
                agent: agent.clone(),
                before_ms,
                after_ms,
            },
            (_, _) if answers.is_empty() && beats.is_empty() => Basis::NeverHeard,
            (_, (stream_before, stream_after)) => Basis::Unheard {
                margin: match (
                    by_answers.0.is_some() || stream_before.is_some(),
                    by_answers.1.is_some() || stream_after.is_some(),
                ) {
                    (false, true) => Margin::Before,
                    (true, false) => Margin::After,
                    // Each side was heard in its own way: neither is heard in one.
                    (false, false) | (true, true) => Margin::Both,
                },
            },
        }
    }

    /// When signs of life of an agent came over the interface of `address`.
    fn beats(&self, record: &AgentRecord, address: IpAddr) -> Vec<i64> {
        if record.implausible.is_some() {
            return Vec::new();
        }
        let interface = self.plan.interfaces.get(&address);
        let runs_over = |from: IpAddr| {
            from == address || (interface.is_some() && self.plan.interfaces.get(&from) == interface)
        };
        let beats = record.heartbeats.iter();
        let beats = beats.filter(|beat| beat.from.is_some_and(runs_over));
        beats.map(|beat| micros(beat.at)).collect()
    }

    /// Whether a connection from `peer` that `target` saw is one that its source knows to have been answered.
    pub(super) fn explains(&self, target: IpAddr, peer: SocketAddr) -> bool {
        let explained = self
            .explained
            .get_or_init(|| explained(self.plan, self.evidence));
        explained
            .get(&target)
            .is_some_and(|sockets| sockets.contains(&peer))
    }
}

/// The clock of an agent, if it is known well enough.
pub(super) fn clock(record: &AgentRecord) -> Option<ClockOffset> {
    record
        .clock
        .filter(|clock| clock.uncertainty <= UNCERTAINTY_MAX)
}

/// Microseconds; more than fit do not occur.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Whole milliseconds of a time that is not before the run began.
fn millis(micros: i64) -> u64 {
    u64::try_from(micros / 1_000).unwrap_or(0)
}

/// The last answer in the margin before a window.
fn before(answers: &[Answer<'_>], window: Window<'_>) -> Option<Witness> {
    let end = answers.partition_point(|answer| answer.at <= window.from);
    let earliest = window.from - micros(MARGIN);
    let mut before = answers.get(..end)?.iter().rev();
    before
        .by_ref()
        .take_while(|answer| answer.at >= earliest)
        .find(|answer| {
            let doubt = doubt(answer, window);
            answer.at + doubt <= window.from && answer.at - doubt >= earliest
        })
        .map(witness)
}

/// The first answer in the margin after a window.
fn after(answers: &[Answer<'_>], window: Window<'_>) -> Option<Witness> {
    let begin = answers.partition_point(|answer| answer.at < window.to);
    let latest = window.to + micros(MARGIN);
    answers
        .get(begin..)?
        .iter()
        .take_while(|answer| answer.at <= latest)
        .find(|answer| {
            let doubt = doubt(answer, window);
            answer.at - doubt >= window.to && answer.at + doubt <= latest
        })
        .map(witness)
}

/// How far the time between an answer and a window may be from the truth: not at all where one clock measured both.
fn doubt(answer: &Answer<'_>, window: Window<'_>) -> i64 {
    if answer.clock == window.clock {
        0
    } else {
        answer.uncertainty + window.uncertainty
    }
}

/// When an agent was heard before and after a window, in milliseconds since the run began.
fn beats_around(beats: &[i64], window: Window<'_>) -> (Option<u64>, Option<u64>) {
    let (margin, doubt) = (micros(MARGIN), window.uncertainty);
    let lies = |at: &&i64, from: i64, to: i64| **at >= from && **at <= to;
    let before = beats
        .iter()
        .rfind(|at| lies(at, window.from - margin + doubt, window.from - doubt));
    let after = beats
        .iter()
        .find(|at| lies(at, window.to + doubt, window.to + margin - doubt));
    (before.map(|at| millis(*at)), after.map(|at| millis(*at)))
}

/// An answer as it is written down.
fn witness(answer: &Answer<'_>) -> Witness {
    Witness {
        source: answer.source,
        target: answer.target,
        at_ms: millis(answer.at),
    }
}

/// Those attempts that somebody answered.
fn answered(attempts: &[Attempt]) -> impl Iterator<Item = &Attempt> {
    attempts
        .iter()
        .filter(|attempt| attempt.outcome.evidence() == Evidence::Answer)
}

/// From which sockets each target was connected to, as their owners and the target's agent saw them.
fn explained(plan: &ProbePlan, evidence: &RunEvidence) -> HashMap<IpAddr, HashSet<SocketAddr>> {
    let flows = plan.flows.iter().flat_map(|flow| {
        let attempts = |probe: &crate::plan::PlannedProbe| evidence.attempts(probe.id);
        let of_probes = flow.probes.iter().flat_map(attempts);
        of_probes.map(|attempt| (flow.flow.destination, attempt))
    });
    let pulses = plan.pulses.iter().flat_map(|pulse| {
        let attempts = plan.attempts_of_pulse(evidence, pulse.id).iter();
        attempts.map(|attempt| (pulse.target.ip(), attempt))
    });
    let mut explained: HashMap<IpAddr, HashSet<SocketAddr>> = HashMap::new();
    for (target, attempt) in flows.chain(pulses) {
        if attempt.outcome.evidence() != Evidence::Answer {
            continue;
        }
        let sockets = explained.entry(target).or_default();
        sockets.extend(attempt.local);
        if let Identification::Verified { observed } = attempt.identification {
            sockets.insert(observed);
        }
    }
    explained
}

/// Whether the packets of a flow meet security groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filtered {
    /// They do, so an answer shows that the wire works.
    Yes,
    /// They do not (bypass, exempt), or nobody knows, or others than those of TCP.
    No,
}

/// Whether the packets of a flow with this verdict meet security groups. Rules for UDP say nothing about TCP.
fn is_filtered(protocol: FlowProtocol, verdict: &Verdict) -> Filtered {
    if !matches!(protocol, FlowProtocol::Tcp { .. }) {
        return Filtered::No;
    }
    match verdict {
        Verdict::Allow { .. } | Verdict::Deny(_) | Verdict::Partial { .. } => Filtered::Yes,
        Verdict::Unknown(_) | Verdict::Bypass(_) | Verdict::Exempt(_) => Filtered::No,
    }
}
