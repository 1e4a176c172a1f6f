//! The table of F.3 row by row, and the conditions of F.2 one by one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::time::Duration;

use reachproof_model::finding::{
    Basis, ConditionName, ConditionState, Finding, FindingKind, FindingReason, Note,
};
use reachproof_model::observation::{Identification, Outcome, Presence};
use reachproof_model::plan::{PolicyFact, SourcePorts, Target};
use reachproof_model::prediction::{Gate, StepOutcome, UnknownReason, Verdict};
use reachproof_model::snapshot::EndpointListing;

use judging::{
    CONTROL_PLANE, Run, address, allow, bypass, connected, deny, name, of, partial, proven_deny,
    refused, silent, unknown,
};

mod judging;

/// One attempt that is neither answer nor silence.
fn worthless(outcome: Outcome) -> Vec<Outcome> {
    vec![silent(), outcome, silent()]
}

/// Kind and reason of a finding.
fn verdict(finding: &Finding) -> (FindingKind, Option<&'static str>) {
    let reason = finding.reason.as_ref().map(FindingReason::as_str);
    (finding.kind, reason)
}

/// The basis of one condition.
fn basis(finding: &Finding, name: ConditionName) -> &Basis {
    let found = finding.conditions.iter().find(|found| found.name == name);
    &found.unwrap().basis
}

/// What the model said, what was seen, and what follows.
type Row = (Verdict, Vec<Outcome>, (FindingKind, Option<&'static str>));

#[test]
fn every_row_of_the_table_ends_as_it_says() {
    use FindingKind::{Bypass, ConfirmedAllow, ContradictionOpen, Inconclusive};
    let rows: Vec<Row> = vec![
        (allow(), vec![connected()], (ConfirmedAllow, None)),
        (allow(), vec![refused()], (ConfirmedAllow, None)),
        (deny(), vec![connected()], (ContradictionOpen, None)),
        (
            deny(),
            vec![silent(), silent(), refused()],
            (ContradictionOpen, None),
        ),
        (bypass(), vec![connected()], (Bypass, None)),
        (
            bypass(),
            vec![silent(); 3],
            (Inconclusive, Some("bypass-silent")),
        ),
        (unknown(), vec![connected()], (Inconclusive, Some("tgw"))),
        (unknown(), vec![silent(); 3], (Inconclusive, Some("tgw"))),
        (
            partial(),
            vec![connected()],
            (Inconclusive, Some("partial")),
        ),
        (
            partial(),
            vec![silent(); 3],
            (Inconclusive, Some("partial")),
        ),
        (
            allow(),
            vec![],
            (FindingKind::NotObserved, Some("not-reported")),
        ),
        (
            deny(),
            vec![],
            (FindingKind::NotObserved, Some("not-reported")),
        ),
        (
            deny(),
            worthless(Outcome::Unreachable { errno: 113 }),
            (Inconclusive, Some("unreachable")),
        ),
        (
            deny(),
            worthless(Outcome::LocalError { errno: 99 }),
            (Inconclusive, Some("local-error")),
        ),
        (
            allow(),
            worthless(Outcome::Starved),
            (Inconclusive, Some("starved")),
        ),
        (
            allow(),
            worthless(Outcome::RefusedByPolicy),
            (Inconclusive, Some("refused-by-policy")),
        ),
    ];
    for (predicted, seen, expected) in rows {
        let run = Run::new()
            .flow("a", (of("b"), 7500), predicted.clone(), &seen)
            .flow("a", (of("b"), 8080), allow(), &[refused()]);
        assert_eq!(verdict(&run.first()), expected, "{predicted:?} {seen:?}");
    }
}

#[test]
fn a_silent_deny_is_confirmed_when_all_six_conditions_hold() {
    let finding = proven_deny().first();
    assert_eq!(verdict(&finding), (FindingKind::ConfirmedDeny, None));
    assert_eq!(finding.conditions.len(), 6);
    assert!(
        finding
            .conditions
            .iter()
            .all(|found| found.state == ConditionState::Met)
    );
    assert_eq!(
        basis(&finding, ConditionName::Control),
        &Basis::OtherPort { port: 8080 }
    );
}

#[test]
fn a_silent_allow_is_a_contradiction_when_its_conditions_hold() {
    let mut run = Run::new()
        .flow("a", (of("b"), 7500), allow(), &[silent(); 3])
        .flow("a", (of("b"), 8080), allow(), &[refused()]);
    assert_eq!(
        verdict(&run.first()),
        (FindingKind::ContradictionClosed, None)
    );
    // The target saw the connection: its answer was lost, which is closed all the same.
    let socket = run.attempt(0, 0).local.unwrap();
    run.accepted("b", 7500, socket);
    assert_eq!(
        verdict(&run.first()),
        (FindingKind::ContradictionClosed, None)
    );
}

/// A change to a run that breaks one condition.
type Break = fn(&mut Run);

#[test]
fn each_condition_that_fails_makes_silence_inconclusive() {
    let breaks: Vec<(&str, &str, Break)> = vec![
        ("not-alive", "target gone", |run| {
            run.record("b").presence = Presence::Lost;
            run.attempt(1, 0).outcome = Outcome::Unreachable { errno: 113 };
        }),
        ("seen-by-target", "accepted from the very socket", |run| {
            let socket = run.attempt(0, 1).local.unwrap();
            run.accepted("b", 7500, socket);
        }),
        (
            "seen-by-target",
            "accepted from the source, from a socket of nobody",
            |run| {
                run.accepted("b", 7500, SocketAddr::new(of("a"), 1));
            },
        ),
        (
            "seen-by-target",
            "accepted from where SNAT would come from",
            |run| {
                run.plan.flows[0].translated = Some(address("10.0.1.99"));
                run.accepted("b", 7500, SocketAddr::new(address("10.0.1.99"), 1));
            },
        ),
        ("target-report-incomplete", "target's agent lost", |run| {
            run.record("b").presence = Presence::Lost;
        }),
        ("target-report-incomplete", "accepts dropped", |run| {
            run.record("b").accepts_dropped = 1;
        }),
        ("target-report-incomplete", "results lost", |run| {
            run.record("b").results_lost = 1;
        }),
        ("unknown-gate", "a gate unknown", |run| {
            run.predictions[0].steps[0].outcome = StepOutcome::Unknown(UnknownReason::Other);
        }),
        ("networkpolicy", "a policy selects", |run| {
            run.plan.flows[0].policy = PolicyFact::Selects(of("b"));
        }),
        ("networkpolicy", "policies unread", |run| {
            run.plan.flows[0].policy = PolicyFact::Unread;
        }),
        ("no-control", "no answer at all", |run| {
            run.attempt(1, 0).outcome = silent();
        }),
        ("no-control", "the control crosses no group", |run| {
            run.predictions[1].verdict = bypass();
        }),
        ("not-repeated", "one source port used twice", |run| {
            run.attempt(0, 1).local = run.attempt(0, 0).local;
        }),
        ("not-repeated", "too close together", |run| {
            run.attempt(0, 2).started = Duration::from_millis(10_099);
        }),
        ("not-repeated", "two attempts only", |run| {
            let id = run.plan.flows[0].probes[0].id;
            run.evidence.observations[id.index()].attempts.remove(1);
        }),
        ("not-repeated", "an attempt without a socket", |run| {
            run.attempt(0, 1).local = None;
        }),
        ("source-translated", "another local address", |run| {
            run.attempt(0, 1).local = Some(SocketAddr::new(address("10.0.1.99"), 34_000));
        }),
        ("unstable", "the world changed", |run| {
            run.stability.touched.insert(0);
        }),
    ];
    for (reason, what, change) in breaks {
        let mut run = proven_deny();
        change(&mut run);
        let finding = run.first();
        assert_eq!(
            verdict(&finding),
            (FindingKind::Inconclusive, Some(reason)),
            "{what}"
        );
    }
}

#[test]
fn silence_of_an_allow_needs_the_same_conditions_but_unseen() {
    let breaks: Vec<(&str, Break)> = vec![
        ("not-alive", |run| {
            run.record("b").presence = Presence::Lost;
            run.attempt(1, 0).outcome = Outcome::Starved;
        }),
        ("unknown-gate", |run| {
            run.predictions[0].steps[0].outcome = StepOutcome::Unknown(UnknownReason::Other);
        }),
        ("networkpolicy", |run| {
            run.plan.flows[0].policy = PolicyFact::Unread
        }),
        ("no-control", |run| run.attempt(1, 0).outcome = silent()),
        ("not-repeated", |run| {
            run.attempt(0, 2).started = Duration::from_secs(10)
        }),
        ("unstable", |run| run.stability.touched.extend([0])),
    ];
    for (reason, change) in breaks {
        let mut run = proven_deny();
        run.predictions[0].verdict = allow();
        change(&mut run);
        assert_eq!(
            verdict(&run.first()),
            (FindingKind::Inconclusive, Some(reason))
        );
    }
}

#[test]
fn another_source_and_another_target_are_a_control() {
    let run = Run::new()
        .flow("a", (of("b"), 7500), deny(), &[silent(); 3])
        .flow("c", (of("b"), 7500), allow(), &[connected()])
        .flow("a", (of("c"), 8080), allow(), &[refused()]);
    let finding = run.first();
    assert_eq!(verdict(&finding), (FindingKind::ConfirmedDeny, None));
    let Basis::OtherSourceAndTarget { agent, target } = basis(&finding, ConditionName::Control)
    else {
        panic!("{:?}", finding.conditions);
    };
    assert_eq!(
        (agent, target),
        (&name("c"), &SocketAddr::new(of("c"), 8080))
    );
}

#[test]
fn half_of_that_control_is_none() {
    let only_source = Run::new()
        .flow("a", (of("b"), 7500), deny(), &[silent(); 3])
        .flow("c", (of("b"), 7500), allow(), &[connected()]);
    let only_target = Run::new()
        .flow("a", (of("b"), 7500), deny(), &[silent(); 3])
        .flow("a", (of("c"), 8080), allow(), &[refused()]);
    let other_port = Run::new()
        .flow("a", (of("b"), 7500), deny(), &[silent(); 3])
        .flow("c", (of("b"), 8080), allow(), &[connected()])
        .flow("a", (of("c"), 8080), allow(), &[refused()]);
    for run in [only_source, only_target, other_port] {
        let expected = (FindingKind::Inconclusive, Some("no-control"));
        assert_eq!(verdict(&run.first()), expected);
    }
}

#[test]
fn a_stream_through_the_targets_interface_is_the_weaker_control() {
    let mut run = Run::new()
        .flow("a", (of("b"), 7500), deny(), &[silent(); 3])
        .flow("a", (of("c"), 8080), allow(), &[refused()]);
    run.record("b").stream_address = Some(of("b"));
    let finding = run.first();
    assert_eq!(verdict(&finding), (FindingKind::ConfirmedDeny, None));
    let control = finding
        .conditions
        .iter()
        .find(|found| found.name == ConditionName::Control);
    assert_eq!(control.unwrap().state, ConditionState::MetWeakly);

    run.record("b").stream_address = Some(address("198.18.0.5"));
    assert_eq!(run.first().reason, Some(FindingReason::NoControl));
}

#[test]
fn a_control_plane_interface_is_alive_by_an_answer_or_weaker_by_its_slice() {
    let target = (address(CONTROL_PLANE), 443);
    let mut run = Run::new()
        .flow("a", target, deny(), &[silent(); 3])
        .flow("a", (of("c"), 8080), allow(), &[refused()])
        .flow("b", target, allow(), &[connected()]);
    let finding = run.first();
    assert_eq!(verdict(&finding), (FindingKind::ConfirmedDeny, None));
    let by_b = Basis::AnsweredProbe {
        agent: name("b"),
        port: 443,
    };
    assert_eq!(basis(&finding, ConditionName::Alive), &by_b);
    assert_eq!(
        basis(&finding, ConditionName::Unseen),
        &Basis::NoTargetAgent
    );

    run.attempt(2, 0).outcome = silent();
    assert_eq!(run.first().reason, Some(FindingReason::NotAlive));
    run.plan.flows[0].target = Target::ControlPlane(EndpointListing::Listed);
    assert_eq!(
        basis(&run.first(), ConditionName::Alive),
        &Basis::EndpointSlice
    );
    assert_eq!(run.first().reason, Some(FindingReason::NoControl));
}

#[test]
fn silence_before_an_answer_is_noted() {
    let run = Run::new().flow(
        "a",
        (of("b"), 8080),
        allow(),
        &[silent(), silent(), refused()],
    );
    let finding = run.first();
    assert_eq!(verdict(&finding), (FindingKind::ConfirmedAllow, None));
    assert_eq!(finding.notes, [Note::Lossy { silent: 2 }]);
}

#[test]
fn whoever_cannot_prove_to_be_the_target_makes_its_address_inconclusive() {
    let wrong = [
        Identification::Mismatch,
        Identification::Failed { code: 14 },
        Identification::NotAsked,
    ];
    for identification in wrong {
        for predicted in [allow(), deny(), bypass()] {
            let mut run = Run::new().flow("a", (of("b"), 7500), predicted, &[connected()]);
            run.attempt(0, 0).identification = identification;
            let expected = (FindingKind::Inconclusive, Some("peer-mismatch"));
            assert_eq!(verdict(&run.first()), expected, "{identification:?}");
        }
    }
}

#[test]
fn an_answer_of_a_stranger_is_neither_control_nor_life_and_spoils_other_flows_to_the_address() {
    let mut run = proven_deny().flow("c", (of("b"), 7500), allow(), &[connected()]);
    run.attempt(2, 0).identification = Identification::Mismatch;
    for finding in run.findings() {
        assert_eq!(
            verdict(&finding),
            (FindingKind::Inconclusive, Some("peer-mismatch"))
        );
    }
}

#[test]
fn a_source_that_the_target_saw_otherwise_is_no_evidence_unless_predicted() {
    let seen = SocketAddr::new(address("10.0.1.99"), 5_000);
    let mut run = Run::new().flow("a", (of("b"), 7500), allow(), &[connected()]);
    run.attempt(0, 0).identification = Identification::Verified { observed: seen };
    let expected = (FindingKind::Inconclusive, Some("source-translated"));
    assert_eq!(verdict(&run.first()), expected);

    run.plan.flows[0].translated = Some(seen.ip());
    let finding = run.first();
    assert_eq!(verdict(&finding), (FindingKind::ConfirmedAllow, None));
    assert_eq!(finding.notes, [Note::Translated { observed: seen }]);

    // Predicted, but it did not happen: the rules that were reckoned with are not those that were met.
    run.plan.flows[0].translated = Some(address("10.0.1.98"));
    assert_eq!(verdict(&run.first()), expected);
}

/// A partial flow whose four judged ports (ends and edge) did this, in their order.
fn by_port(seen: [Vec<Outcome>; 4]) -> Run {
    let ports = [32_768, 40_000, 40_001, 60_999];
    let tried: Vec<_> = ports.into_iter().zip(seen).collect();
    Run::new().ports("a", (of("b"), 8080), &tried)
}

#[test]
fn a_partial_is_confirmed_port_by_port() {
    let (open, closed) = (vec![refused(); 3], vec![silent(); 3]);
    let finding = by_port([open.clone(), open, closed.clone(), closed]).first();
    assert_eq!(verdict(&finding), (FindingKind::ConfirmedPartial, None));
    let control = basis(&finding, ConditionName::Control);
    assert_eq!(control, &Basis::OtherSourcePort { port: 32_768 });
}

#[test]
fn one_port_that_does_the_opposite_contradicts_a_partial() {
    let (open, closed) = (vec![refused(); 3], vec![silent(); 3]);
    let answered = by_port([open.clone(), open.clone(), closed.clone(), open.clone()]).first();
    assert_eq!(verdict(&answered), (FindingKind::ContradictionOpen, None));
    let silent = by_port([open, closed.clone(), closed.clone(), closed]).first();
    assert_eq!(verdict(&silent), (FindingKind::ContradictionClosed, None));
}

#[test]
fn a_partial_with_a_port_in_doubt_or_untried_is_inconclusive() {
    let (open, closed) = (vec![refused(); 3], vec![silent(); 3]);
    let short = vec![silent(); 2];
    let doubtful = by_port([open.clone(), open.clone(), closed.clone(), short]).first();
    assert_eq!(doubtful.reason, Some(FindingReason::NotRepeated));

    let nothing = by_port([open.clone(), open.clone(), closed.clone(), vec![]]).first();
    assert_eq!(nothing.reason, Some(FindingReason::Partial));

    let mut untried = by_port([open.clone(), open.clone(), closed.clone(), closed.clone()]);
    untried.plan.flows[0].probes.pop();
    assert_eq!(untried.first().reason, Some(FindingReason::Partial));

    let mut random = by_port([open.clone(), open, closed.clone(), closed]);
    random.plan.flows[0].probes[2].source_ports = SourcePorts::Random;
    assert_eq!(random.first().reason, Some(FindingReason::Partial));
}

#[test]
fn another_source_port_than_planned_is_not_repeated() {
    let (open, closed) = (vec![refused(); 3], vec![silent(); 3]);
    let mut run = by_port([open.clone(), open, closed.clone(), closed]);
    let id = run.plan.flows[0].probes[3].id;
    let attempts = &mut run.evidence.observations[id.index()].attempts;
    attempts[1].local = Some(SocketAddr::new(of("a"), 60_998));
    assert_eq!(run.first().reason, Some(FindingReason::NotRepeated));
}

#[test]
fn a_gate_that_is_named_is_the_first_unknown_one() {
    let mut run = proven_deny();
    run.predictions[0].steps[0].outcome = StepOutcome::Unknown(UnknownReason::Tgw);
    let finding = run.first();
    let gate = Basis::GateUnknown {
        gate: Gate::SgEgress,
    };
    assert_eq!(basis(&finding, ConditionName::Known), &gate);
}
