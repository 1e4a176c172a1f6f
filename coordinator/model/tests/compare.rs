//! The table of F.3 row by row, and the conditions of F.2 one by one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reachproof_model::compare::replacements;
use reachproof_model::finding::{
    Basis, ConditionName, ConditionState, Finding, FindingKind, FindingReason, Note, Strength,
};
use reachproof_model::observation::{
    Attempt, CertificateFault, ClockOffset, Heartbeat, IcmpError, Identification, Implausible,
    Outcome, Presence, ProbeId,
};
use reachproof_model::plan::{
    AgentKind, PolicyFact, ProbeKind, Roster, RosterAgent, SourcePorts, Spread,
};
use reachproof_model::prediction::{Gate, StepOutcome, UnknownReason, Verdict};

use judging::{
    AGENTS, CONTROL_PLANE, Run, address, allow, bypass, connected, deny, name, of, partial,
    proven_deny, refused, silent, unknown,
};

mod judging;

/// An ICMP port unreachable, as a firewall sends it.
fn unreachable() -> Outcome {
    Outcome::Unreachable {
        errno: 111,
        icmp: Some(IcmpError {
            icmp_type: 3,
            code: 3,
            from: Some(address("10.0.1.1")),
        }),
    }
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
    use FindingKind::{Bypass, ConfirmedAllow, ContradictionOpen, Inconclusive, NotObserved};
    let (answered, silence) = (vec![connected()], vec![silent(); 3]);
    let local = Outcome::LocalError { errno: 99 };
    let rows: Vec<Row> = vec![
        (allow(), answered.clone(), (ConfirmedAllow, None)),
        (deny(), answered.clone(), (ContradictionOpen, None)),
        (bypass(), answered.clone(), (Bypass, None)),
        (
            bypass(),
            silence.clone(),
            (Inconclusive, Some("bypass-silent")),
        ),
        (unknown(), answered.clone(), (Inconclusive, Some("tgw"))),
        (unknown(), silence.clone(), (Inconclusive, Some("tgw"))),
        (partial(), answered, (Inconclusive, Some("partial"))),
        (partial(), silence.clone(), (Inconclusive, Some("partial"))),
        (allow(), vec![], (NotObserved, Some("not-reported"))),
        (deny(), vec![], (NotObserved, Some("not-reported"))),
        (
            deny(),
            vec![silent(), unreachable(), silent()],
            (Inconclusive, Some("unreachable")),
        ),
        (deny(), vec![local; 3], (Inconclusive, Some("local-error"))),
        (
            deny(),
            vec![silent(), local, silent()],
            (Inconclusive, Some("local-error")),
        ),
        (
            allow(),
            vec![silent(), Outcome::Starved, silent()],
            (Inconclusive, Some("starved")),
        ),
        (
            allow(),
            vec![Outcome::RefusedByPolicy],
            (Inconclusive, Some("refused-by-policy")),
        ),
    ];
    for (predicted, seen, expected) in rows {
        let run = Run::new().flow("a", (of("b"), 7500), predicted.clone(), &seen);
        assert_eq!(verdict(&run.first()), expected, "{predicted:?} {seen:?}");
    }
}

#[test]
fn where_a_proof_can_be_had_only_a_proof_is_an_answer() {
    let api_server = (address(CONTROL_PLANE), 443);
    for (to, answer) in [
        ((of("b"), 7500), refused()),
        ((of("b"), 7500), connected()),
        (api_server, refused()),
        (api_server, connected()),
    ] {
        for predicted in [allow(), deny(), bypass()] {
            let mut run = Run::new().flow("a", to, predicted, &[answer]);
            for identification in [
                Identification::NotAsked,
                Identification::Failed { code: 14 },
                Identification::Uncertified {
                    fault: CertificateFault::Authority,
                },
            ] {
                run.attempt(0, 0).identification = identification;
                let expected = (FindingKind::Inconclusive, Some("unproven"));
                assert_eq!(verdict(&run.first()), expected, "{to:?} {identification:?}");
            }
        }
    }
}

#[test]
fn where_none_can_be_had_an_answer_counts_and_its_strength_is_said() {
    let strength = |run: &Run| (run.first().kind, run.first().strength);
    let closed = Run::new().flow("a", (of("b"), 8080), allow(), &[refused()]);
    let unproven = (FindingKind::ConfirmedAllow, Some(Strength::Unproven));
    assert_eq!(
        strength(&closed),
        unproven,
        "nobody was asked to listen there"
    );

    let proven = Run::new().flow("a", (of("b"), 7500), allow(), &[connected()]);
    let expected = (FindingKind::ConfirmedAllow, Some(Strength::Proven));
    assert_eq!(strength(&proven), expected);

    let mut taken = Run::new().flow("a", (of("b"), 7500), allow(), &[connected()]);
    taken.attempt(0, 0).identification = Identification::Failed { code: 14 };
    assert_eq!(verdict(&taken.first()).1, Some("unproven"));
    taken.record("b").ports_refused.insert(7500, 98);
    assert_eq!(strength(&taken), unproven, "another program holds the port");

    let mut no_authority =
        Run::new().flow("a", (address(CONTROL_PLANE), 443), allow(), &[connected()]);
    no_authority.attempt(0, 0).identification = Identification::Uncertified {
        fault: CertificateFault::NoAuthority,
    };
    assert_eq!(strength(&no_authority), unproven);
}

#[test]
fn an_icmp_error_is_no_answer_whatever_the_model_says() {
    for predicted in [allow(), deny(), bypass()] {
        let run = Run::new().flow("a", (of("b"), 7500), predicted, &[unreachable(); 3]);
        let expected = (FindingKind::Inconclusive, Some("unreachable"));
        assert_eq!(verdict(&run.first()), expected);
    }
}

#[test]
fn a_silent_deny_is_confirmed_when_all_conditions_hold() {
    let finding = proven_deny().first();
    assert_eq!(verdict(&finding), (FindingKind::ConfirmedDeny, None));
    assert_eq!(finding.conditions.len(), 11);
    assert!(
        finding
            .conditions
            .iter()
            .all(|found| found.state == ConditionState::Met),
        "{:#?}",
        finding.conditions
    );
    assert_eq!(finding.attempt_conditions.len(), 3);
    assert!(finding.attempt_conditions.iter().all(|found| found.counts));
    let Basis::Answered { before, after } = basis(&finding, ConditionName::SourceHeard) else {
        panic!("{:?}", finding.conditions);
    };
    // The first silence is from 0.1 s to 3.1 s; calls are made every 2 s.
    assert_eq!((before.at_ms, after.at_ms), (0, 4_000));
}

#[test]
fn a_silent_allow_is_a_contradiction_when_its_conditions_hold() {
    let mut run = Run::new().flow("a", (of("b"), 7500), allow(), &[silent(); 3]);
    let expected = (FindingKind::ContradictionClosed, None);
    assert_eq!(verdict(&run.first()), expected);
    // The target saw the connection: its answer was lost, which is closed all the same.
    let socket = run.attempt(0, 0).local.unwrap();
    run.accepted("b", 7500, socket);
    assert_eq!(verdict(&run.first()), expected);
}

/// A change to a run that breaks one condition.
type Break = fn(&mut Run);

/// Changes that make silence worthless on either side of the table, each with the reason.
const BREAKS: [(&str, &str, Break); 19] = [
    ("source-unheard", "an outage of the source", |run| {
        run.unanswered(&[of("a")], 1..20);
    }),
    ("target-unheard", "an outage of the target", |run| {
        run.unanswered(&[of("b")], 1..20);
    }),
    ("source-unheard", "only an answer to a second SYN", |run| {
        for seen in &mut run.evidence.pulses {
            for call in &mut seen.attempts {
                call.syn_retransmissions = 1;
            }
            seen.attempts[0].syn_retransmissions = 0;
        }
    }),
    ("no-control", "nobody was ever heard", |run| {
        run.unanswered(&[of("a"), of("b")], 0..60);
        run.record("a").stream_address = Some(of("a"));
    }),
    ("address-unshown", "nothing shows the address", |run| {
        run.unanswered(&[of("a")], 0..60);
    }),
    ("clock", "the source's clock is not known", |run| {
        run.record("a").clock = None;
        run.record("a").stream_address = Some(of("a"));
    }),
    (
        "clock",
        "the target's clock is not known well enough",
        |run| {
            run.record("b").clock = Some(ClockOffset {
                offset_us: 0,
                uncertainty: Duration::from_millis(1_001),
            });
        },
    ),
    ("source-late", "the source's agent slept", |run| {
        run.record("a").lateness[0].late_max = Duration::from_millis(251);
    }),
    ("target-late", "the target's agent slept", |run| {
        run.record("b").lateness[0].late_max = Duration::from_secs(16);
    }),
    ("target-late", "nobody measured", |run| {
        run.record("b").lateness.clear();
    }),
    ("target-late", "nobody measured to the end", |run| {
        run.record("b").lateness[0].to = Duration::from_millis(13_000);
    }),
    ("accept-queue", "connections were dropped", |run| {
        run.record("b").accept_queue_drops = Some(1);
    }),
    ("accept-queue", "nobody counted", |run| {
        run.record("b").accept_queue_drops = None;
    }),
    ("unknown-gate", "a gate unknown", |run| {
        run.predictions[0].steps[0].outcome = StepOutcome::Unknown(UnknownReason::Other);
    }),
    ("networkpolicy", "a policy selects", |run| {
        run.plan.flows[0].policy = PolicyFact::Selects(of("b"));
    }),
    ("policies-unread", "policies unread", |run| {
        run.plan.flows[0].policy = PolicyFact::Unread;
    }),
    ("not-repeated", "one source port used twice", |run| {
        run.attempt(0, 1).local = run.attempt(0, 0).local;
    }),
    ("not-repeated", "too close together", |run| {
        run.attempt(0, 2).started = Duration::from_millis(10_099);
    }),
    ("unstable", "the world changed", |run| {
        run.stability.touched.insert(0);
    }),
];

#[test]
fn each_condition_that_fails_makes_silence_inconclusive_on_either_side() {
    for predicted in [deny(), allow()] {
        for (reason, what, change) in BREAKS {
            let mut run = proven_deny();
            run.predictions[0].verdict = predicted.clone();
            change(&mut run);
            let expected = (FindingKind::Inconclusive, Some(reason));
            assert_eq!(verdict(&run.first()), expected, "{predicted:?}: {what}");
        }
    }
}

#[test]
fn what_the_target_saw_makes_a_deny_inconclusive() {
    let breaks: [(&str, &str, Break); 6] = [
        ("seen-by-target", "from the very socket", |run| {
            let socket = run.attempt(0, 1).local.unwrap();
            run.accepted("b", 7500, socket);
        }),
        ("seen-by-target", "from a socket of nobody", |run| {
            run.accepted("b", 7500, SocketAddr::new(of("a"), 1));
        }),
        ("seen-by-target", "from where SNAT would come", |run| {
            run.plan.flows[0].translated = Some(address("10.0.1.99"));
            run.accepted("b", 7500, SocketAddr::new(address("10.0.1.99"), 1));
        }),
        ("target-report-incomplete", "agent lost", |run| {
            run.record("b").presence = Presence::Lost;
        }),
        ("target-report-incomplete", "accepts dropped", |run| {
            run.record("b").accepts_dropped = 1;
        }),
        ("target-report-incomplete", "results lost", |run| {
            run.record("b").results_lost = 1;
        }),
    ];
    for (reason, what, change) in breaks {
        let mut run = proven_deny();
        change(&mut run);
        let expected = (FindingKind::Inconclusive, Some(reason));
        assert_eq!(verdict(&run.first()), expected, "{what}");
    }
}

#[test]
fn a_source_or_an_attempt_that_is_not_the_flows_own_does_not_count() {
    let mut run = proven_deny();
    run.attempt(0, 1).local = Some(SocketAddr::new(address("10.0.1.99"), 43_000));
    let translated = (FindingKind::Inconclusive, Some("source-translated"));
    assert_eq!(verdict(&run.first()), translated);
    run.attempt(0, 1).local = None;
    let short = (FindingKind::Inconclusive, Some("not-repeated"));
    assert_eq!(verdict(&run.first()), short);
}

#[test]
fn the_lower_one_of_two_counters_of_drops_is_nearer() {
    let socket = SocketAddr::new(of("b"), 7500);
    let mut run = proven_deny();
    run.record("b").accept_queue_drops = Some(9);
    run.record("b").listen_drops.insert(socket, 0);
    assert_eq!(verdict(&run.first()), (FindingKind::ConfirmedDeny, None));
    run.record("b").listen_drops.insert(socket, 1);
    assert_eq!(verdict(&run.first()).1, Some("accept-queue"));
    // The socket counts repeated SYNs, too: such as all that get no answer, where the way back is closed.
    run.record("b").listen_drops.insert(socket, 72);
    run.record("b").accept_queue_drops = Some(0);
    assert_eq!(verdict(&run.first()), (FindingKind::ConfirmedDeny, None));
}

#[test]
fn silence_counts_only_with_an_attempt_from_every_third_of_the_source_ports() {
    let mut run = proven_deny();
    run.attempt(0, 2).local = Some(SocketAddr::new(of("a"), 43_777));
    assert_eq!(verdict(&run.first()).1, Some("not-repeated"));
}

/// Heartbeats of an agent at these seconds, over the stream from its own address.
fn beats(run: &mut Run, agent: &str, seconds: &[u64]) {
    let from = Some(of(agent));
    let beat = |at: &u64| Heartbeat {
        at: Duration::from_secs(*at),
        from,
    };
    run.record(agent).heartbeats = seconds.iter().map(beat).collect();
    run.record(agent).stream_address = from;
}

#[test]
fn a_stream_over_the_very_interface_is_the_weaker_sign_of_life() {
    let every_2_s: Vec<u64> = (0..12).map(|beat| 2 * beat).collect();
    for agent in ["a", "b"] {
        let mut run = proven_deny();
        run.unanswered(&[of(agent)], 0..60);
        beats(&mut run, agent, &every_2_s);
        let finding = run.first();
        let condition = if agent == "a" {
            ConditionName::SourceHeard
        } else {
            ConditionName::TargetHeard
        };
        assert_eq!(
            verdict(&finding),
            (FindingKind::ConfirmedDeny, None),
            "{agent}"
        );
        let found = finding
            .conditions
            .iter()
            .find(|found| found.name == condition);
        assert_eq!(found.unwrap().state, ConditionState::MetWeakly, "{agent}");

        let other = Some(address("198.18.0.5"));
        for beat in &mut run.record(agent).heartbeats {
            beat.from = other;
        }
        let found = run.first().conditions.into_iter();
        let found = found.into_iter().find(|found| found.name == condition);
        assert_eq!(found.unwrap().state, ConditionState::Failed, "{agent}");
    }
}

#[test]
fn beats_on_one_side_of_the_silence_alone_do_not_count() {
    let mut run = proven_deny();
    run.unanswered(&[of("b")], 0..60);
    beats(&mut run, "b", &[0, 15, 17, 19]);
    assert_eq!(verdict(&run.first()).1, Some("target-unheard"));
}

#[test]
fn times_of_two_agents_are_compared_on_the_coordinators_clock() {
    let mut run = proven_deny();
    // The agents started 1000 s and 5 s before the run.
    for (agent, offset) in [("a", 1_000), ("b", 5), ("c", 0)] {
        let offset = Duration::from_secs(offset);
        let record = run.record(agent);
        record.clock = Some(ClockOffset {
            offset_us: i64::try_from(offset.as_micros()).unwrap(),
            uncertainty: Duration::from_micros(500),
        });
        record.lateness[0].from += offset;
        record.lateness[0].to += offset;
        for (planned, seen) in run.plan.pulses.iter().zip(&mut run.evidence.pulses) {
            if planned.source == of(agent) {
                let attempts = seen.attempts.iter_mut();
                attempts.for_each(|attempt| attempt.started += offset);
            }
        }
    }
    for number in 0..3 {
        run.attempt(0, number).started += Duration::from_secs(1_000);
    }
    assert_eq!(verdict(&run.first()), (FindingKind::ConfirmedDeny, None));
}

#[test]
fn an_address_that_two_agents_claim_makes_its_flows_inconclusive() {
    let mut run = proven_deny().flow("c", (of("a"), 7500), allow(), &[connected()]);
    let claims = AGENTS.into_iter().chain([("z", "10.0.1.20")]);
    run.roster = Roster::new(claims.map(|(agent, text)| RosterAgent {
        name: name(agent),
        node: None,
        kind: AgentKind::Node,
        addresses: vec![address(text)],
        ephemeral_ports: reachproof_model::flow::EPHEMERAL_PORTS_DEFAULT,
        stream_address: None,
    }));
    for finding in run.findings() {
        let expected = (FindingKind::Inconclusive, Some("address-disputed"));
        assert_eq!(verdict(&finding), expected);
    }
}

#[test]
fn nothing_counts_of_an_agent_whose_results_cannot_be() {
    let mut run = Run::new()
        .flow("a", (of("b"), 7500), allow(), &[connected()])
        .flow("b", (of("a"), 7500), deny(), &[silent(); 3])
        .flow("c", (of("b"), 7500), allow(), &[connected()]);
    run.record("a").implausible = Some(Implausible::TooSoon {
        probe: ProbeId(0),
        number: 0,
        by: Duration::from_millis(20),
    });
    let findings = run.findings();
    let expected = (FindingKind::Inconclusive, Some("implausible"));
    assert_eq!(verdict(&findings[0]), expected);
    assert_eq!(verdict(&findings[1]), expected);
    assert_eq!(verdict(&findings[2]), (FindingKind::ConfirmedAllow, None));
}

/// A flow of which each attempt ended like this, twice from every third of the source ports, and thrice.
fn by_third(predicted: Verdict, seen: [Outcome; 3]) -> Run {
    let all: Vec<Outcome> = seen.into_iter().cycle().take(9).collect();
    let mut run = Run::new().flow("a", (of("b"), 7500), predicted, &all);
    // Nine attempts at 5.1 s take longer than the calls of the usual run.
    let until = Duration::from_secs(60);
    for seen in &mut run.evidence.pulses {
        let calls: Vec<Attempt> = seen.attempts.clone();
        for round in 1..3_u32 {
            seen.attempts.extend(calls.iter().map(|call| Attempt {
                number: call.number + round * 12,
                started: call.started + Duration::from_secs(24) * round,
                ..call.clone()
            }));
        }
    }
    assert!(run.record("a").lateness[0].to >= until);
    run
}

#[test]
fn a_third_of_the_source_ports_that_stays_silent_closes_an_allow_and_opens_a_deny() {
    let seen = [connected(), silent(), connected()];
    let closed = by_third(allow(), seen).first();
    let expected = (FindingKind::ContradictionClosed, Some("some-source-ports"));
    assert_eq!(verdict(&closed), expected);
    let ports = Note::SilentPorts {
        first: 42_178,
        last: 51_588,
    };
    assert_eq!(closed.notes, [ports]);
    let open = by_third(deny(), seen).first();
    assert_eq!(verdict(&open), (FindingKind::ContradictionOpen, None));
}

#[test]
fn a_third_that_is_silent_on_doubt_leaves_an_allow_inconclusive() {
    let mut run = by_third(allow(), [connected(), silent(), connected()]);
    run.unanswered(&[of("b")], 1..60);
    let unheard = (FindingKind::Inconclusive, Some("target-unheard"));
    assert_eq!(verdict(&run.first()), unheard);
    let expected = (FindingKind::Inconclusive, Some("some-source-ports"));
    let once = Run::new().flow("a", (of("b"), 7500), allow(), &[silent(), connected()]);
    assert_eq!(verdict(&once.first()), expected);
}

#[test]
fn a_third_that_was_answered_later_is_lossy() {
    let seen = [silent(), connected(), connected(), connected()];
    let finding = Run::new()
        .flow("a", (of("b"), 7500), allow(), &seen)
        .first();
    assert_eq!(verdict(&finding), (FindingKind::ConfirmedAllow, None));
    assert_eq!(finding.notes, [Note::Lossy { silent: 1 }]);
}

#[test]
fn a_third_from_which_only_icmp_errors_came_leaves_an_allow_inconclusive() {
    let seen = [connected(), unreachable(), connected()];
    let finding = by_third(allow(), seen).first();
    let expected = (FindingKind::Inconclusive, Some("unreachable"));
    assert_eq!(verdict(&finding), expected);
    let open = by_third(deny(), seen).first();
    assert_eq!(verdict(&open), (FindingKind::ContradictionOpen, None));
}

/// What is to be made once more in a run.
fn again(run: &Run) -> Vec<(ProbeId, Spread)> {
    replacements(&run.plan, &run.predictions, &run.roster, &run.evidence)
}

#[test]
fn attempts_that_do_not_count_are_made_once_more_whatever_was_predicted() {
    for predicted in [deny(), allow(), bypass()] {
        let mut run = proven_deny();
        run.predictions[0].verdict = predicted;
        assert_eq!(again(&run), []);
        run.attempt(0, 1).outcome = Outcome::Starved;
        assert_eq!(again(&run), [(ProbeId(0), Spread::Thirds)]);
        let mut run = proven_deny();
        run.unanswered(&[of("b")], 1..8);
        assert_eq!(again(&run), [(ProbeId(0), Spread::Thirds)]);
        let seen = [silent(), connected(), connected()];
        let run = Run::new().flow("a", (of("b"), 7500), allow(), &seen);
        assert_eq!(again(&run), [(ProbeId(0), Spread::Third(0))]);
    }
}

#[test]
fn what_the_agent_may_not_try_or_somebody_said_is_not_made_once_more() {
    for outcome in [Outcome::RefusedByPolicy, unreachable(), connected()] {
        let run = Run::new().flow("a", (of("b"), 7500), deny(), &[outcome]);
        assert_eq!(again(&run), [], "{outcome:?}");
    }
}

#[test]
fn the_parts_of_the_source_ports_cover_the_range_and_do_not_overlap() {
    let range = reachproof_model::flow::EPHEMERAL_PORTS_DEFAULT;
    let mut parts = Spread::Even.ranges(range);
    parts.extend(Spread::Odd.ranges(range));
    parts.sort_by_key(|part| part.first());
    assert_eq!(parts.first().unwrap().first(), range.first());
    assert_eq!(parts.last().unwrap().last(), range.last());
    for pair in parts.windows(2) {
        assert_eq!(u32::from(pair[0].last()) + 1, u32::from(pair[1].first()));
    }
}

#[test]
fn whoever_cannot_prove_to_be_the_target_makes_its_address_inconclusive() {
    for predicted in [allow(), deny(), bypass()] {
        let mut run = proven_deny().flow("c", (of("b"), 7500), predicted, &[connected()]);
        run.attempt(1, 0).identification = Identification::Mismatch;
        for finding in run.findings() {
            let expected = (FindingKind::Inconclusive, Some("peer-mismatch"));
            assert_eq!(verdict(&finding), expected);
        }
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
    assert_eq!(finding.strength, Some(Strength::Unproven));
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

    let mut spread = by_port([open.clone(), open, closed.clone(), closed]);
    spread.plan.flows[0].probes[2].source_ports = SourcePorts::Spread;
    assert_eq!(spread.first().reason, Some(FindingReason::Partial));
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

#[test]
fn a_control_plane_interface_needs_no_agent_to_be_heard() {
    let target: (IpAddr, u16) = (address(CONTROL_PLANE), 443);
    let mut run = Run::new().flow("a", target, deny(), &[silent(); 3]);
    assert_eq!(run.plan.flows[0].probes[0].kind, ProbeKind::Certify);
    let finding = run.first();
    assert_eq!(verdict(&finding), (FindingKind::ConfirmedDeny, None));
    let unseen = basis(&finding, ConditionName::Unseen);
    assert_eq!(unseen, &Basis::NoTargetAgent);
    for seen in &mut run.evidence.pulses {
        for call in &mut seen.attempts {
            if call.identification == Identification::Certified {
                call.identification = Identification::NotAsked;
            }
        }
    }
    assert_eq!(verdict(&run.first()).1, Some("no-control"));
}

#[test]
fn a_service_mesh_at_an_end_is_noted_with_the_answer() {
    let mut run = Run::new().flow("a", (of("b"), 7500), allow(), &[connected()]);
    run.plan.flows[0].relay = Some(of("a"));
    let finding = run.first();
    assert_eq!(verdict(&finding), (FindingKind::ConfirmedAllow, None));
    assert_eq!(finding.notes, [Note::RelayedPossible { address: of("a") }]);
}
