//! What a query over UDP proves, and what it does not; and what a target says whose queue was full.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use reachproof_model::finding::{Basis, ConditionName, Finding, FindingKind, FindingReason};
use reachproof_model::flow::FlowProtocol;
use reachproof_model::observation::{Identification, Outcome, QueryFailure};
use reachproof_model::plan::ProbeKind;
use reachproof_model::prediction::Verdict;

use judging::{
    CONTROL_PLANE, Run, address, allow, bypass, connected, deny, of, partial, proven_deny, refused,
    silent, unknown,
};

mod judging;

/// Kind and reason of a finding.
fn verdict(finding: &Finding) -> (FindingKind, Option<&'static str>) {
    let reason = finding.reason.as_ref().map(FindingReason::as_str);
    (finding.kind, reason)
}

/// A run whose first flow is a query from `a` to `b` over `protocol` that ended like this; each connection was answered.
fn query(protocol: FlowProtocol, predicted: Verdict, seen: &[Outcome]) -> Run {
    let mut run = Run::new().flow("a", (of("b"), 53), predicted, seen);
    run.plan.flows[0].probes[0].kind = ProbeKind::Resolve;
    run.plan.flows[0].flow.protocol = protocol;
    run.predictions[0].flow.protocol = protocol;
    for (number, outcome) in seen.iter().enumerate() {
        if matches!(outcome, Outcome::Connected { .. }) {
            run.attempt(0, number).identification = Identification::Resolver { code: 3 };
        }
    }
    run
}

/// The protocol of a query over UDP.
const UDP: FlowProtocol = FlowProtocol::Udp { port: 53 };

/// The protocol of a query over TCP.
const TCP: FlowProtocol = FlowProtocol::Tcp { port: 53 };

#[test]
fn an_answer_over_udp_and_a_refusal_prove_the_path() {
    for answer in [connected(), refused()] {
        for (predicted, expected) in [
            (allow(), FindingKind::ConfirmedAllow),
            (deny(), FindingKind::ContradictionOpen),
            (bypass(), FindingKind::Bypass),
        ] {
            let seen = [silent(), answer];
            let finding = query(UDP, predicted, &seen).first();
            assert_eq!(verdict(&finding), (expected, None), "{answer:?}");
        }
    }
}

#[test]
fn silence_over_udp_is_inconclusive_whatever_the_model_says_and_whatever_else_was_answered() {
    for predicted in [allow(), deny(), bypass()] {
        // Alive, with a control, repeated: what would be enough over TCP.
        let run = query(UDP, predicted, &[silent(); 3])
            .flow("a", (of("b"), 8080), allow(), &[refused()])
            .flow("c", (of("b"), 53), allow(), &[refused()]);
        let expected = (FindingKind::Inconclusive, Some("udp-silent"));
        assert_eq!(verdict(&run.first()), expected);
    }
    let tgw = query(UDP, unknown(), &[silent(); 3]).first();
    assert_eq!(verdict(&tgw), (FindingKind::Inconclusive, Some("tgw")));
}

#[test]
fn a_partial_verdict_over_udp_is_not_judged() {
    for seen in [vec![connected()], vec![silent(); 3]] {
        let finding = query(UDP, partial(), &seen).first();
        let expected = (FindingKind::Inconclusive, Some("partial"));
        assert_eq!(verdict(&finding), expected);
    }
}

#[test]
fn a_connection_over_udp_without_an_answer_to_the_query_is_no_evidence() {
    let failure = QueryFailure::Malformed;
    for said in [
        Identification::NotAsked,
        Identification::Mismatch,
        Identification::NoResolver { failure },
    ] {
        let mut run = query(UDP, allow(), &[connected()]);
        run.attempt(0, 0).identification = said;
        let expected = (FindingKind::Inconclusive, Some("peer-mismatch"));
        assert_eq!(verdict(&run.first()), expected, "{said:?}");
    }
}

#[test]
fn over_tcp_the_handshake_proves_the_path_whatever_the_query_gave() {
    for failure in [
        QueryFailure::Silent,
        QueryFailure::Closed,
        QueryFailure::Malformed,
    ] {
        let mut run = query(TCP, allow(), &[connected()]);
        run.attempt(0, 0).identification = Identification::NoResolver { failure };
        assert_eq!(verdict(&run.first()), (FindingKind::ConfirmedAllow, None));
    }
}

#[test]
fn silence_over_tcp_is_judged_as_on_any_other_port() {
    let run = query(TCP, deny(), &[silent(); 3]).flow("a", (of("b"), 8080), allow(), &[refused()]);
    assert_eq!(verdict(&run.first()), (FindingKind::ConfirmedDeny, None));
}

#[test]
fn an_answer_over_udp_shows_life_and_is_no_control_for_tcp() {
    let pod = address(CONTROL_PLANE);
    let mut run = Run::new()
        .flow("a", (pod, 443), deny(), &[silent(); 3])
        .flow("a", (pod, 53), allow(), &[connected()]);
    run.plan.flows[1].probes[0].kind = ProbeKind::Resolve;
    run.plan.flows[1].flow.protocol = UDP;
    run.attempt(1, 0).identification = Identification::Resolver { code: 0 };
    let finding = run.first();
    assert_eq!(
        verdict(&finding),
        (FindingKind::Inconclusive, Some("no-control"))
    );
    let alive = &finding.conditions[0];
    assert!(matches!(alive.basis, Basis::AnsweredProbe { port: 53, .. }));
}

#[test]
fn silence_of_a_target_whose_queue_was_full_proves_neither_a_deny_nor_a_contradiction() {
    for predicted in [deny(), allow()] {
        let mut run = proven_deny();
        run.predictions[0].verdict = predicted;
        assert!(run.first().kind != FindingKind::Inconclusive);
        run.record("b").accept_queue_drops = Some(0);
        assert!(run.first().kind != FindingKind::Inconclusive);
        run.record("b").accept_queue_drops = Some(2);
        let finding = run.first();
        let expected = (FindingKind::Inconclusive, Some("accept-queue-full"));
        assert_eq!(verdict(&finding), expected);
        let mut unseen = finding.conditions.iter();
        let unseen = unseen.find(|condition| condition.name == ConditionName::Unseen);
        assert!(matches!(
            unseen.unwrap().basis,
            Basis::QueueFull { drops: 2, .. }
        ));
    }
}

#[test]
fn a_full_queue_elsewhere_changes_nothing() {
    let mut run = proven_deny();
    run.record("a").accept_queue_drops = Some(9);
    run.record("c").accept_queue_drops = Some(9);
    assert_eq!(verdict(&run.first()), (FindingKind::ConfirmedDeny, None));
}
