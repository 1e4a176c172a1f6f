//! The relation against flow-by-flow prediction.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod second;

use reachproof_model::flow::Flow;
use reachproof_model::matrix::{Filter, Matrix, VerdictKind};
use reachproof_model::predict::verdict;
use second::random::{Dice, Size};

/// Compares the relation of a random world with prediction on some flows; returns how many the rows answered.
fn compare(seed: u64, size: Size, flows: usize) -> usize {
    let world = second::random::world(seed, size);
    let snapshot = second::decode(&world.snapshot);
    let matrix = Matrix::new(&snapshot);
    let mut dice = Dice::new(seed);
    let mut answered = 0;
    for _ in 0..flows {
        let flow = second::random::flow(&mut dice, &world);
        let flow = Flow::from_json(&flow).unwrap();
        let predicted = verdict(&snapshot, &flow);
        assert_eq!(matrix.verdict(&flow), predicted, "seed {seed}: {flow}");
        assert_eq!(matrix.kind(&flow), VerdictKind::from(&predicted));
        if let Some(decision) = matrix.decision(&flow) {
            answered += 1;
            assert_eq!(decision.kind, VerdictKind::from(&predicted));
            assert_eq!(decision.gate, predicted.gate());
            assert_eq!(decision.reason, predicted.reason());
        }
    }
    answered
}

#[test]
fn rows_agree_with_prediction_on_small_worlds() {
    let answered: usize = (0..3_000).map(|seed| compare(seed, Size::SMALL, 30)).sum();
    assert!(answered > 30_000, "the rows answered only {answered} flows");
}

#[test]
fn the_count_is_the_sum_of_the_entries() {
    for seed in 0..60 {
        let world = second::random::world(seed, Size::SMALL);
        let snapshot = second::decode(&world.snapshot);
        let matrix = Matrix::new(&snapshot);
        let counts = matrix.count();
        let mut cells = std::collections::BTreeMap::new();
        for entry in matrix.relation(&Filter::default()) {
            let intervals = matrix
                .port_intervals()
                .iter()
                .filter(|interval| entry.ports.contains(interval.first()))
                .count();
            *cells.entry(entry.verdict).or_insert(0) += u64::try_from(intervals).unwrap();
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
    }
}

/// `cargo test --release -p reachproof-model --test matrix -- --ignored`.
#[test]
#[ignore = "needs minutes: ten million flows"]
fn rows_agree_with_prediction_on_ten_million_flows() {
    let small: usize = (1_000_000..1_100_000)
        .map(|seed| compare(seed, Size::SMALL, 50))
        .sum();
    let shape = second::cluster::Shape::FULL;
    let snapshot = second::decode(&second::cluster::cluster(2, shape));
    let matrix = Matrix::new(&snapshot);
    let mut large = 0;
    for round in 0..5 {
        for flow in second::cluster::flows(round, shape, 1_000_000) {
            assert_eq!(matrix.verdict(&flow), verdict(&snapshot, &flow), "{flow}");
            large += usize::from(matrix.decision(&flow).is_some());
        }
    }
    println!(
        "rows answered {small} of 5,000,000 in 100,000 worlds and {large} of 5,000,000 in a large one"
    );
    assert!(small > 1_000_000 && large > 4_900_000);
}
