//! Random runs: whatever is confirmed or contradicted meets every condition, checked literally from F.2 and F.3.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use reachproof_model::finding::{Finding, FindingKind};
use reachproof_model::observation::{Attempt, Identification, Outcome, Presence};
use reachproof_model::plan::{PlannedFlow, PolicyFact, ProbeKind};
use reachproof_model::prediction::{StepOutcome, UnknownReason, Verdict};

use judging::{
    AGENTS, CONTROL_PLANE, Run, address, allow, bypass, connected, deny, of, refused, silent,
    unknown,
};

mod judging;

/// Any outcome, silence more often than others.
fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        8 => Just(silent()),
        2 => Just(connected()),
        2 => Just(refused()),
        1 => Just(Outcome::Starved),
        1 => Just(Outcome::Unreachable { errno: 113, icmp: None }),
        1 => Just(Outcome::LocalError { errno: 99 }),
        1 => Just(Outcome::RefusedByPolicy),
    ]
}

/// What one random flow is: source, target, port, verdict, outcomes.
type FlowDraw = (usize, usize, u16, usize, Vec<Outcome>);

/// Any flow.
fn flow() -> impl Strategy<Value = FlowDraw> {
    (
        0..3_usize,
        0..4_usize,
        prop_oneof![Just(443_u16), Just(7_500), Just(8_080)],
        0..5_usize,
        vec(outcome(), 0..4),
    )
}

/// A change to one attempt, record or flow.
#[derive(Debug, Clone)]
enum Spoil {
    Lost(usize),
    Dropped(usize),
    Stream(usize),
    Accept(usize, usize, u16),
    Identity(usize, usize),
    Start(usize, u64),
    SamePort(usize),
    OtherAddress(usize),
    Policy(usize),
    UnknownGate(usize),
    Unstable(usize),
    Outage(usize, u64, u64),
    Late(usize, u64),
    NoClock(usize),
    Queue(usize),
}

/// Any change.
fn spoil() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        (0..3_usize).prop_map(Spoil::Lost),
        (0..3_usize).prop_map(Spoil::Dropped),
        (0..3_usize).prop_map(Spoil::Stream),
        (0..3_usize, 0..3_usize, 33_000..33_200_u16).prop_map(|(a, b, c)| Spoil::Accept(a, b, c)),
        (0..12_usize, 0..3_usize).prop_map(|(a, b)| Spoil::Identity(a, b)),
        (0..12_usize, 0..12_000_u64).prop_map(|(a, b)| Spoil::Start(a, b)),
        (0..12_usize).prop_map(Spoil::SamePort),
        (0..12_usize).prop_map(Spoil::OtherAddress),
        (0..12_usize).prop_map(Spoil::Policy),
        (0..12_usize).prop_map(Spoil::UnknownGate),
        (0..12_usize).prop_map(Spoil::Unstable),
        (0..4_usize, 0..20_u64, 1..20_u64).prop_map(|(a, b, c)| Spoil::Outage(a, b, c)),
        (0..3_usize, 0..500_u64).prop_map(|(a, b)| Spoil::Late(a, b)),
        (0..3_usize).prop_map(Spoil::NoClock),
        (0..3_usize).prop_map(Spoil::Queue),
    ]
}

/// Builds the run that was drawn.
fn build(flows: &[FlowDraw], spoils: &[Spoil]) -> Run {
    let mut run = Run::new();
    for (from, to, port, verdict, seen) in flows {
        let (source, _) = AGENTS[*from];
        let target = match AGENTS.get(*to) {
            Some((agent, _)) => of(agent),
            None => address(CONTROL_PLANE),
        };
        if target != of(source) {
            let verdicts = [allow(), deny(), deny(), bypass(), unknown()];
            run = run.flow(source, (target, *port), verdicts[*verdict].clone(), seen);
        }
    }
    for spoil in spoils {
        apply(&mut run, spoil);
    }
    run
}

/// Changes a run; a place that does not exist changes nothing.
fn apply(run: &mut Run, spoil: &Spoil) {
    let attempts = |run: &mut Run, flow: usize, change: &dyn Fn(usize, &mut Attempt)| {
        if let Some(planned) = run.plan.flows.get(flow) {
            let id = planned.probes[0].id;
            let observation = &mut run.evidence.observations[id.index()];
            for (index, attempt) in observation.attempts.iter_mut().enumerate() {
                change(index, attempt);
            }
        }
    };
    match spoil {
        Spoil::Lost(agent) => run.record(AGENTS[*agent].0).presence = Presence::Lost,
        Spoil::Dropped(agent) => run.record(AGENTS[*agent].0).accepts_dropped = 1,
        Spoil::Stream(agent) => {
            let (name, text) = AGENTS[*agent];
            run.record(name).stream_address = Some(address(text));
        }
        Spoil::Accept(at, from, port) => {
            let peer = SocketAddr::new(of(AGENTS[*from].0), *port);
            run.accepted(AGENTS[*at].0, 7_500, peer);
        }
        Spoil::Identity(flow, which) => attempts(run, *flow, &|_, attempt| {
            let wrong = SocketAddr::new(address("10.0.9.9"), 1);
            attempt.identification = [
                Identification::Mismatch,
                Identification::Failed { code: 1 },
                Identification::Verified { observed: wrong },
            ][*which];
        }),
        Spoil::Start(flow, ms) => attempts(run, *flow, &|index, attempt| {
            if index == 2 {
                attempt.started = Duration::from_millis(*ms);
            }
        }),
        Spoil::SamePort(flow) => attempts(run, *flow, &|_, attempt| {
            attempt.local = attempt
                .local
                .map(|local| SocketAddr::new(local.ip(), 40_000));
        }),
        Spoil::OtherAddress(flow) => attempts(run, *flow, &|index, attempt| {
            if index == 1 {
                attempt.local = Some(SocketAddr::new(address("10.0.9.8"), 40_001));
            }
        }),
        Spoil::Policy(flow) => {
            if let Some(planned) = run.plan.flows.get_mut(*flow) {
                planned.policy = PolicyFact::Unread;
            }
        }
        Spoil::UnknownGate(flow) => {
            if let Some(prediction) = run.predictions.get_mut(*flow) {
                prediction.steps[0].outcome = StepOutcome::Unknown(UnknownReason::Other);
            }
        }
        Spoil::Unstable(flow) => {
            run.stability.touched.insert(*flow);
        }
        Spoil::Outage(end, from, length) => {
            let end = match AGENTS.get(*end) {
                Some((agent, _)) => of(agent),
                None => address(CONTROL_PLANE),
            };
            run.unanswered(&[end], *from..from + length);
        }
        Spoil::Late(agent, ms) => {
            let lateness = &mut run.record(AGENTS[*agent].0).lateness;
            lateness[0].late_max = Duration::from_millis(*ms);
        }
        Spoil::NoClock(agent) => run.record(AGENTS[*agent].0).clock = None,
        Spoil::Queue(agent) => run.record(AGENTS[*agent].0).accept_queue_drops = None,
    }
}

/// Attempts of a flow, from the raw reports.
fn attempts<'a>(run: &'a Run, flow: &PlannedFlow) -> &'a [Attempt] {
    run.evidence.attempts(flow.probes[0].id)
}

/// Whether an attempt shows that `flow`'s target answered it: with its proof, or where none can be had.
fn answers(run: &Run, flow: &PlannedFlow, attempt: &Attempt) -> bool {
    let port = flow.flow.protocol.port().unwrap();
    let is_answer = matches!(
        attempt.outcome,
        Outcome::Connected { .. } | Outcome::Refused { .. }
    );
    is_answer && (is_proven(attempt) || !is_provable(run, flow, port))
}

/// Whether the answer to an attempt has its proof.
fn is_proven(attempt: &Attempt) -> bool {
    match attempt.identification {
        Identification::Verified { observed } => Some(observed) == attempt.local,
        Identification::Certified => true,
        Identification::NotAsked
        | Identification::Kubelet
        | Identification::Mismatch
        | Identification::Uncertified { .. }
        | Identification::Failed { .. }
        | Identification::Resolver { .. }
        | Identification::NoResolver { .. } => false,
    }
}

/// Whether the target of a flow can prove that it answers: an agent on 7500, the control plane on 443.
fn is_provable(run: &Run, flow: &PlannedFlow, port: u16) -> bool {
    match flow.probes[0].kind {
        ProbeKind::Identify => run.plan.listens.values().any(|ports| ports.contains(&port)),
        ProbeKind::Certify => true,
        ProbeKind::Connect | ProbeKind::Resolve | ProbeKind::Kubelet | ProbeKind::KubeletLog => {
            false
        }
    }
}

/// Whether the intended target answered `flow`, literally.
fn is_answered(run: &Run, flow: &PlannedFlow) -> bool {
    attempts(run, flow)
        .iter()
        .any(|attempt| answers(run, flow, attempt))
}

/// Source, target and port of a flow.
fn ends(flow: &PlannedFlow) -> (IpAddr, IpAddr, u16) {
    let port = flow.flow.protocol.port().unwrap();
    (flow.flow.source, flow.flow.destination, port)
}

/// When `end` took part in an answer with a proof, over a wire that groups filter.
fn heard(run: &Run, end: IpAddr) -> Vec<Duration> {
    let flows = run.plan.flows.iter().zip(&run.predictions);
    let of_flows = flows
        .filter(|(_, prediction)| {
            matches!(prediction.verdict, Verdict::Allow { .. } | Verdict::Deny(_))
        })
        .flat_map(|(flow, _)| {
            let attempts = attempts(run, flow).iter();
            attempts.map(move |attempt| (flow.flow.source, flow.flow.destination, attempt))
        });
    let pulses = run.plan.pulses.iter().zip(&run.evidence.pulses);
    let of_pulses = pulses.flat_map(|(pulse, seen)| {
        let attempts = seen.attempts.iter();
        attempts.map(move |attempt| (pulse.source, pulse.target.ip(), attempt))
    });
    of_flows
        .chain(of_pulses)
        .filter(|(source, target, attempt)| {
            (*source == end || *target == end)
                && matches!(attempt.outcome, Outcome::Connected { .. })
                && is_proven(attempt)
                && has_clock(run, *source)
        })
        .map(|(_, _, attempt)| attempt.started)
        .collect()
}

/// The name of the agent at an address.
fn agent_at(at: IpAddr) -> Option<&'static str> {
    let agent = AGENTS.iter().find(|(_, text)| address(text) == at);
    agent.map(|(agent, _)| *agent)
}

/// Whether the clock of the agent at an address is known; where there is none, none is needed.
fn has_clock(run: &Run, at: IpAddr) -> bool {
    agent_at(at).is_none_or(|agent| run.evidence.records[&judging::name(agent)].clock.is_some())
}

/// Whether an agent was on time; where there is none, none was late.
fn is_on_time(run: &Run, at: IpAddr) -> bool {
    agent_at(at).is_none_or(|agent| {
        let record = &run.evidence.records[&judging::name(agent)];
        record.lateness[0].late_max <= Duration::from_millis(250)
    })
}

/// F.2 "source heard" and "target heard", "clock" and the lateness of both ends, literally: the silent attempts that count.
fn counted(run: &Run, index: usize) -> Vec<&Attempt> {
    let (source, target, _) = ends(&run.plan.flows[index]);
    let margin = Duration::from_secs(5);
    let is_heard = |end: IpAddr, attempt: &Attempt| {
        let Outcome::TimedOut { after } = attempt.outcome else {
            return false;
        };
        let (from, to) = (attempt.started, attempt.started + after);
        let at = heard(run, end);
        at.iter().any(|at| *at <= from && *at + margin >= from)
            && at.iter().any(|at| *at >= to && *at <= to + margin)
    };
    attempts(run, &run.plan.flows[index])
        .iter()
        .filter(|attempt| attempt.local.is_some_and(|local| local.ip() == source))
        .filter(|attempt| is_heard(source, attempt) && is_heard(target, attempt))
        .filter(|_| {
            [source, target]
                .iter()
                .all(|end| has_clock(run, *end) && is_on_time(run, *end))
        })
        .collect()
}

/// F.2 "repeated", literally.
fn is_repeated(run: &Run, index: usize) -> bool {
    let counted = counted(run, index);
    let ports: BTreeSet<u16> = counted
        .iter()
        .filter_map(|attempt| attempt.local)
        .map(|local| local.port())
        .collect();
    let thirds = [32_768..42_178, 42_178..51_589, 51_589..61_000_u16];
    let first = counted.iter().map(|attempt| attempt.started).min();
    let last = counted.iter().map(|attempt| attempt.started).max();
    ports.len() >= 3
        && thirds
            .iter()
            .all(|third| ports.iter().any(|port| third.contains(port)))
        && last.unwrap() - first.unwrap() >= Duration::from_secs(10)
}

/// F.2 "unseen", literally for the queue of the target's agent.
fn is_queue_known_empty(run: &Run, index: usize) -> bool {
    let (_, target, _) = ends(&run.plan.flows[index]);
    agent_at(target).is_none_or(|agent| {
        run.evidence.records[&judging::name(agent)].accept_queue_drops == Some(0)
    })
}

/// F.2 "unseen", literally: the target's agent, if any, reported to the end and saw nothing that cannot be explained otherwise.
fn is_unseen(run: &Run, index: usize) -> bool {
    let (source, target, port) = ends(&run.plan.flows[index]);
    let Some((agent, _)) = AGENTS.iter().find(|(_, text)| address(text) == target) else {
        return true;
    };
    let record = &run.evidence.records[&judging::name(agent)];
    let own: Vec<_> = attempts(run, &run.plan.flows[index])
        .iter()
        .map(|a| a.local)
        .collect();
    record.accepts_complete()
        && !record.accepts.iter().any(|accept| {
            accept.local == SocketAddr::new(target, port) && own.contains(&Some(accept.peer))
        })
        && !record.accepts.iter().any(|accept| {
            accept.local == SocketAddr::new(target, port)
                && accept.peer.ip() == source
                && !run.plan.flows.iter().any(|flow| {
                    flow.flow.destination == target
                        && attempts(run, flow).iter().any(|attempt| {
                            attempt.local == Some(accept.peer)
                                && matches!(
                                    attempt.outcome,
                                    Outcome::Connected { .. } | Outcome::Refused { .. }
                                )
                        })
                })
        })
}

/// What may carry a verdict at all.
fn is_undoubted(run: &Run, index: usize) -> bool {
    !run.stability.touched.contains(&index)
        && !matches!(run.predictions[index].verdict, Verdict::Unknown(_))
}

/// Whether what is confirmed or contradicted has its proof.
fn has_proof(run: &Run, index: usize, finding: &Finding) -> bool {
    let flow = &run.plan.flows[index];
    let known = !run.predictions[index]
        .steps
        .iter()
        .any(|step| matches!(step.outcome, StepOutcome::Unknown(_)));
    let silent = || {
        known
            && flow.policy == PolicyFact::NoneSelects
            && is_repeated(run, index)
            && is_queue_known_empty(run, index)
    };
    let verdict = &run.predictions[index].verdict;
    let proof = match finding.kind {
        FindingKind::ConfirmedAllow => {
            matches!(verdict, Verdict::Allow { .. }) && is_answered(run, flow)
        }
        FindingKind::ContradictionOpen => {
            matches!(verdict, Verdict::Deny(_)) && is_answered(run, flow)
        }
        FindingKind::ContradictionClosed => matches!(verdict, Verdict::Allow { .. }) && silent(),
        FindingKind::ConfirmedDeny => {
            matches!(verdict, Verdict::Deny(_)) && silent() && is_unseen(run, index)
        }
        FindingKind::ConfirmedPartial => false,
        FindingKind::Inconclusive | FindingKind::NotObserved => return finding.reason.is_some(),
        FindingKind::Bypass => {
            return matches!(verdict, Verdict::Bypass(_)) && is_answered(run, flow);
        }
    };
    proof && is_undoubted(run, index)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn nothing_is_confirmed_or_contradicted_without_its_proof(
        flows in vec(flow(), 1..12),
        spoils in vec(spoil(), 0..4),
    ) {
        let run = build(&flows, &spoils);
        for (index, finding) in run.findings().iter().enumerate() {
            prop_assert!(has_proof(&run, index, finding), "{finding:#?}");
        }
    }

    #[test]
    fn a_proven_deny_with_one_thing_spoilt_is_confirmed_only_with_its_proof(
        spoils in vec(spoil(), 0..3),
    ) {
        let mut run = judging::proven_deny();
        for spoil in &spoils {
            apply(&mut run, spoil);
        }
        let finding = run.first();
        prop_assert!(has_proof(&run, 0, &finding), "{finding:#?}");
        let whole = is_undoubted(&run, 0) && finding.kind == FindingKind::ConfirmedDeny;
        prop_assert_eq!(spoils.is_empty() && !whole, false);
    }
}
