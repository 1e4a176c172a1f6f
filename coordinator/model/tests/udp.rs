//! What a query to a resolver proves, over UDP and TCP, and what it does not.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use reachproof_model::finding::{Finding, FindingKind, FindingReason, Strength};
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
fn an_answer_over_udp_proves_the_path() {
    for (predicted, expected) in [
        (allow(), FindingKind::ConfirmedAllow),
        (deny(), FindingKind::ContradictionOpen),
        (bypass(), FindingKind::Bypass),
    ] {
        let finding = query(UDP, predicted, &[silent(), connected()]).first();
        assert_eq!(verdict(&finding), (expected, None));
        assert_eq!(finding.strength, Some(Strength::Proven));
    }
}

#[test]
fn silence_over_udp_is_inconclusive_whatever_the_model_says_and_whatever_else_was_answered() {
    for predicted in [allow(), deny(), bypass()] {
        // Heard, on time, repeated: what would be enough over TCP.
        let run = query(UDP, predicted, &[silent(); 3]);
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
fn a_connection_without_an_answer_to_the_query_proves_nothing() {
    for protocol in [UDP, TCP] {
        for failure in [
            QueryFailure::Silent,
            QueryFailure::Closed,
            QueryFailure::Malformed,
        ] {
            for said in [
                Identification::NotAsked,
                Identification::NoResolver { failure },
            ] {
                let mut run = query(protocol, allow(), &[connected()]);
                run.attempt(0, 0).identification = said;
                let expected = (FindingKind::Inconclusive, Some("unproven"));
                assert_eq!(verdict(&run.first()), expected, "{said:?}");
            }
        }
        let refusal = query(protocol, allow(), &[refused()]).first();
        assert_eq!(verdict(&refusal).1, Some("unproven"));
    }
}

#[test]
fn silence_over_tcp_is_judged_as_on_any_other_port() {
    let run = query(TCP, deny(), &[silent(); 3]);
    assert_eq!(verdict(&run.first()), (FindingKind::ConfirmedDeny, None));
}

#[test]
fn an_answer_over_udp_does_not_show_that_tcp_would_be_answered() {
    let pod = address(CONTROL_PLANE);
    let mut run = Run::new()
        .flow("a", (pod, 443), deny(), &[silent(); 3])
        .flow("a", (pod, 53), allow(), &[connected(); 3]);
    run.plan.pulses.retain(|pulse| pulse.target.ip() != pod);
    run.plan.flows[1].probes[0].kind = ProbeKind::Resolve;
    run.plan.flows[1].flow.protocol = UDP;
    for number in 0..3 {
        run.attempt(1, number).identification = Identification::Resolver { code: 0 };
    }
    let expected = (FindingKind::Inconclusive, Some("no-control"));
    assert_eq!(verdict(&run.first()), expected);
}

#[test]
fn a_full_queue_elsewhere_changes_nothing() {
    let mut run = proven_deny();
    run.record("a").accept_queue_drops = Some(9);
    run.record("c").accept_queue_drops = Some(9);
    assert_eq!(verdict(&run.first()), (FindingKind::ConfirmedDeny, None));
}
