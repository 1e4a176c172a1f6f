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
        1 => Just(Outcome::Unreachable { errno: 113 }),
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
    }
}

/// Attempts of a flow, from the raw reports.
fn attempts<'a>(run: &'a Run, flow: &PlannedFlow) -> &'a [Attempt] {
    run.evidence.attempts(flow.probes[0].id)
}

/// Whether the intended target answered `flow`, literally.
fn is_answered(run: &Run, flow: &PlannedFlow) -> bool {
    attempts(run, flow)
        .iter()
        .any(|attempt| match attempt.outcome {
            Outcome::Refused { .. } => true,
            Outcome::Connected { .. } => {
                flow.probes[0].kind == ProbeKind::Connect
                    || matches!(attempt.identification, Identification::Verified { observed }
                    if Some(observed) == attempt.local)
            }
            Outcome::TimedOut { .. }
            | Outcome::Unreachable { .. }
            | Outcome::LocalError { .. }
            | Outcome::Starved
            | Outcome::RefusedByPolicy => false,
        })
}

/// Whether `flow` is a control: answered, and its packets met groups.
fn is_control(run: &Run, index: usize) -> bool {
    is_answered(run, &run.plan.flows[index])
        && matches!(
            run.predictions[index].verdict,
            Verdict::Allow { .. } | Verdict::Deny(_)
        )
}

/// Source, target and port of a flow.
fn ends(flow: &PlannedFlow) -> (IpAddr, IpAddr, u16) {
    let port = flow.flow.protocol.port().unwrap();
    (flow.flow.source, flow.flow.destination, port)
}

/// F.2.5, literally.
fn has_control(run: &Run, index: usize) -> bool {
    let (source, target, port) = ends(&run.plan.flows[index]);
    let controls: Vec<_> = (0..run.plan.flows.len())
        .filter(|other| is_control(run, *other))
        .map(|other| ends(&run.plan.flows[other]))
        .collect();
    let same_target = controls
        .iter()
        .any(|c| c.0 == source && c.1 == target && c.2 != port);
    let elsewhere = controls.iter().any(|c| c.0 == source && c.1 != target);
    let other_source = controls
        .iter()
        .any(|c| c.0 != source && c.1 == target && c.2 == port);
    let streams = AGENTS.iter().any(|(agent, text)| {
        let record = &run.evidence.records[&judging::name(agent)];
        address(text) == target
            && record.stream_address == Some(target)
            && record.presence == Presence::HeardToTheEnd
    });
    same_target || (elsewhere && (other_source || streams))
}

/// F.2.1, literally.
fn is_alive(run: &Run, index: usize) -> bool {
    let (_, target, _) = ends(&run.plan.flows[index]);
    let heard = AGENTS.iter().any(|(agent, text)| {
        let record = &run.evidence.records[&judging::name(agent)];
        address(text) == target && record.presence == Presence::HeardToTheEnd
    });
    heard
        || run
            .plan
            .flows
            .iter()
            .any(|flow| flow.flow.destination == target && is_answered(run, flow))
}

/// F.2.6, literally.
fn is_repeated(run: &Run, index: usize) -> bool {
    let flow = &run.plan.flows[index];
    let attempts = attempts(run, flow);
    let sockets: BTreeSet<_> = attempts
        .iter()
        .filter_map(|attempt| attempt.local)
        .collect();
    let first = attempts.iter().map(|attempt| attempt.started).min();
    let last = attempts.iter().map(|attempt| attempt.started).max();
    attempts
        .iter()
        .all(|attempt| matches!(attempt.outcome, Outcome::TimedOut { .. }))
        && sockets.len() == attempts.len()
        && sockets.len() >= 3
        && sockets.iter().all(|socket| socket.ip() == flow.flow.source)
        && last.unwrap() - first.unwrap() >= Duration::from_secs(10)
}

/// F.2.2, literally: the target's agent, if any, reported to the end and saw nothing that cannot be explained otherwise.
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
        is_alive(run, index)
            && known
            && flow.policy == PolicyFact::NoneSelects
            && has_control(run, index)
            && is_repeated(run, index)
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
