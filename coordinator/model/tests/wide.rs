//! Relations whose rows take several words, against flow-by-flow prediction.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod second;

use std::collections::BTreeMap;

use reachproof_model::flow::{Flow, FlowProtocol};
use reachproof_model::matrix::{Answer, Element, Explanation, Filter, Matrix, VerdictKind};
use reachproof_model::predict::predict;
use reachproof_model::prediction::{Denial, Gate, Verdict};
use reachproof_model::snapshot::Snapshot;
use second::random::{Dice, WIDE_PORTS, wide};

/// More than two words of intervals.
const INTERVALS_LEAST: usize = 130;

/// Random flows of a world at its many ports.
fn flows(seed: u64, count: usize) -> Vec<Flow> {
    let world = wide(seed);
    let mut dice = Dice::new(seed);
    let flows = (0..count).map(|_| {
        let flow = second::random::flow(&mut dice, &world);
        let flow = Flow::from_json(&flow).unwrap();
        let port = u16::try_from(WIDE_PORTS.start + dice.below(WIDE_PORTS.len())).unwrap();
        match flow.protocol {
            FlowProtocol::Tcp { .. } => Flow {
                protocol: FlowProtocol::Tcp { port },
                ..flow
            },
            _ => flow,
        }
    });
    flows.collect()
}

/// The snapshot of a wide world.
fn snapshot(seed: u64) -> Snapshot {
    second::decode(&wide(seed).snapshot)
}

/// What decides at a gate, if the gate is met and an element decides there.
fn element<'m>(explanation: &Explanation<'m>, gate: Gate) -> Option<Element<'m>> {
    let met = explanation.gates.iter().find(|met| met.gate == gate);
    met.and_then(|met| match met.answer {
        Answer::Pass(element) | Answer::Drop(element) => Some(element),
        _ => None,
    })
}

/// Fails if an explanation names other rules or entries than a prediction.
fn names_what_decides(explanation: &Explanation<'_>, predicted: &Verdict) {
    let decides = |gate, expected| assert_eq!(element(explanation, gate), Some(expected));
    match predicted {
        Verdict::Allow { egress, ingress } => {
            decides(Gate::SgEgress, Element::Rule(egress));
            decides(Gate::SgIngress, Element::Rule(ingress));
        }
        Verdict::Deny(Denial::NetworkAcl {
            gate, rule_number, ..
        }) => match gate {
            Gate::NaclOut | Gate::NaclIn => decides(*gate, Element::Entry(*rule_number)),
            _ => {}
        },
        Verdict::Deny(Denial::SecurityGroup { gate, .. }) => decides(*gate, Element::Whole),
        _ => {}
    }
}

#[test]
fn rows_of_several_words_agree_with_prediction() {
    let mut answered = 0;
    for seed in 0..150 {
        let snapshot = snapshot(seed);
        let matrix = Matrix::new(&snapshot);
        assert!(matrix.port_intervals().len() > INTERVALS_LEAST);
        for flow in flows(seed, 100) {
            let predicted = predict(&snapshot, &flow).verdict;
            assert_eq!(matrix.verdict(&flow), predicted, "seed {seed}: {flow}");
            assert_eq!(matrix.kind(&flow), VerdictKind::from(&predicted));
            if let Some(explanation) = matrix.explain(&flow) {
                answered += 1;
                assert_eq!(explanation.kind, VerdictKind::from(&predicted));
                assert_eq!(explanation.gate, predicted.gate());
                assert_eq!(explanation.reason, predicted.reason());
                names_what_decides(&explanation, &predicted);
            }
        }
    }
    assert!(answered > 5_000, "the rows answered only {answered} flows");
}

#[test]
fn a_count_over_several_words_is_the_sum_of_the_entries() {
    for seed in 0..6 {
        let snapshot = snapshot(seed);
        let matrix = Matrix::new(&snapshot);
        let counts = matrix.count();
        let mut cells: BTreeMap<VerdictKind, u64> = BTreeMap::new();
        for entry in matrix.relation(&Filter::default()) {
            let intervals = matrix.port_intervals().iter();
            let within = intervals.filter(|interval| entry.ports.contains(interval.first()));
            *cells.entry(entry.verdict).or_default() += u64::try_from(within.count()).unwrap();
        }
        for kind in [
            VerdictKind::Allow,
            VerdictKind::Deny,
            VerdictKind::Partial,
            VerdictKind::Unknown,
        ] {
            let listed = cells.get(&kind).copied().unwrap_or(0);
            assert_eq!(counts.of(kind), listed, "seed {seed}: {kind:?}");
        }
        assert_eq!(counts.total(), cells.values().sum::<u64>());
    }
}

#[test]
fn a_verdict_has_the_word_that_reports_have() {
    for (kind, word) in [
        (VerdictKind::Allow, "allow"),
        (VerdictKind::Deny, "deny"),
        (VerdictKind::Partial, "partial"),
        (VerdictKind::Unknown, "unknown"),
        (VerdictKind::Bypass, "bypass"),
        (VerdictKind::Exempt, "exempt"),
    ] {
        assert_eq!(kind.as_str(), word);
    }
}
