//! The literal evaluator against the vectors, and against the model on random worlds.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod second;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use reachproof_model::flow::Flow;
use reachproof_model::matrix::Matrix;
use reachproof_model::predict::verdict;
use second::random::{Dice, Size};
use second::reference::Reference;
use serde_json::Value;

/// Every vector that the repository has.
fn vectors() -> Vec<(String, Value)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (
                path.display().to_string(),
                serde_json::from_str(&text).unwrap(),
            )
        })
        .collect()
}

#[test]
fn the_literal_evaluator_answers_every_vector() {
    let vectors = vectors();
    assert!(vectors.len() >= 74, "only {} vectors", vectors.len());
    for (file, vector) in vectors {
        let reference = Reference::new(vector["snapshot"].as_object().unwrap());
        assert_eq!(
            reference.answer(&vector["flow"]),
            vector["expect"],
            "{file}"
        );
    }
}

/// What an answer shows, in a word.
fn kind(answer: &Value) -> String {
    let part = |key: &str| answer[key].as_str().unwrap_or_default();
    format!("{} {} {}", part("verdict"), part("gate"), part("reason"))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Every verdict with every gate and reason that SEMANTICS K lists.
const KINDS: [&str; 42] = [
    "allow",
    "bypass loopback",
    "bypass same-host",
    "deny nacl-in",
    "deny nacl-out",
    "deny nacl-return-in",
    "deny nacl-return-out",
    "deny return-route blackhole",
    "deny return-route far-side",
    "deny return-route filtered",
    "deny return-route igw",
    "deny return-route nat",
    "deny return-route none",
    "deny return-route other",
    "deny return-route tgw-zone",
    "deny route blackhole",
    "deny route far-side",
    "deny route filtered",
    "deny route none",
    "deny route tgw-zone",
    "deny sg-egress",
    "deny sg-ingress",
    "deny src-dst-check",
    "exempt link-local",
    "exempt vpc-dns",
    "partial nacl-return-in",
    "partial nacl-return-out",
    "unknown ambiguous-address",
    "unknown dst-outside-model",
    "unknown igw",
    "unknown middlebox",
    "unknown nat",
    "unknown networkpolicy",
    "unknown no-groups",
    "unknown other",
    "unknown return-middlebox",
    "unknown same-host-branch",
    "unknown service-address",
    "unknown src-outside-model",
    "unknown tgw",
    "unknown unresolved-rule",
    "unknown vgw",
];

#[test]
fn random_worlds_reach_every_gate_and_every_reason() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..1_000 {
        let world = second::random::world(seed, Size::SMALL);
        let reference = Reference::new(&world.snapshot);
        let mut dice = Dice::new(seed);
        for _ in 0..20 {
            let flow = second::random::flow(&mut dice, &world);
            *seen.entry(kind(&reference.answer(&flow))).or_default() += 1;
        }
    }
    println!("{seen:#?}");
    let reached: Vec<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(reached, KINDS);
}

/// A disagreement on one flow, for people.
struct Disagreement {
    seed: u64,
    flow: Value,
    literal: Value,
    model: Value,
}

/// Asks both evaluators about `flows` flows of a random world.
fn compare(seed: u64, size: Size, flows: usize) -> Vec<Disagreement> {
    let world = second::random::world(seed, size);
    let reference = Reference::new(&world.snapshot);
    let snapshot = second::decode(&world.snapshot);
    let mut dice = Dice::new(seed);
    let mut found = Vec::new();
    for _ in 0..flows {
        let flow = second::random::flow(&mut dice, &world);
        let literal = reference.answer(&flow);
        let asked = Flow::from_json(&flow).unwrap();
        let model = serde_json::to_value(verdict(&snapshot, &asked)).unwrap();
        if literal != model {
            found.push(Disagreement {
                seed,
                flow,
                literal,
                model,
            });
        }
    }
    found
}

/// Fails with the first disagreements of each kind.
fn report(found: &[Disagreement]) {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for one in found {
        let kind = format!(
            "literal {} | model {}",
            kind(&one.literal),
            kind(&one.model)
        );
        let count = kinds.entry(kind).or_default();
        *count += 1;
        if *count <= 2 {
            println!(
                "seed {}: {}\n  literal {}\n  model   {}",
                one.seed, one.flow, one.literal, one.model
            );
        }
    }
    assert!(found.is_empty(), "{kinds:#?}");
}

/// Compares many worlds on all processors; returns the disagreements, sorted by seed.
fn compare_all(seeds: std::ops::Range<u64>, size: Size, flows: usize) -> Vec<Disagreement> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let next = AtomicU64::new(seeds.start);
    let mut found: Vec<Disagreement> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut found = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return found;
                        }
                        found.extend(compare(seed, size, flows));
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    found.sort_by_key(|one| one.seed);
    found
}

#[test]
fn both_evaluators_agree_on_small_worlds() {
    report(&compare_all(0..20_000, Size::SMALL, 12));
}

#[test]
fn both_evaluators_agree_on_larger_worlds() {
    report(&compare_all(0..40, Size::LARGER, 200));
}

#[test]
fn both_evaluators_agree_on_the_largest_worlds() {
    report(&compare_all(0..2, Size::LARGEST, 1_000));
}

/// `cargo test --release -p reachproof-model --test reference -- --ignored million_worlds`;
/// `REACHPROOF_WORLDS` and `REACHPROOF_SEED` (the first) ask for others.
#[test]
#[ignore = "needs minutes: a million worlds"]
fn both_evaluators_agree_on_a_million_worlds() {
    let first = second::asked("REACHPROOF_SEED", 1_000_000);
    let worlds = second::asked("REACHPROOF_WORLDS", 1_000_000);
    report(&compare_all(first..first + worlds, Size::SMALL, 12));
}

/// Prints how much faster the relation is; `cargo test --release -p reachproof-model --test reference -- --ignored
/// --nocapture race`, `REACHPROOF_FLOWS` asks for others than ten million.
#[test]
#[ignore = "needs minutes: ten million flows of the large cluster"]
fn both_evaluators_agree_on_ten_million_flows_and_race() {
    const ROUNDS: u64 = 100;
    let asked = second::asked("REACHPROOF_FLOWS", 10_000_000);
    let round_flows = usize::try_from(asked / ROUNDS).unwrap();
    let shape = second::cluster::Shape::FULL;
    let files = second::cluster::cluster(1, shape);
    let snapshot = second::decode(&files);
    let (mut best, mut cells) = (f64::INFINITY, 0);
    for _ in 0..5 {
        let started = Instant::now();
        cells = Matrix::new(&snapshot).count().total();
        best = best.min(started.elapsed().as_secs_f64());
    }
    let matrix = Matrix::new(&snapshot);
    let reference = Reference::new(&files);
    let (mut spent, mut count) = (0.0, 0);
    for round in 0..ROUNDS {
        let flows = second::cluster::flows(round, shape, round_flows);
        count += flows.len();
        let asked: Vec<Value> = flows
            .iter()
            .map(|flow| serde_json::to_value(flow).unwrap())
            .collect();
        let started = Instant::now();
        let answers: Vec<Value> = asked.iter().map(|flow| reference.answer(flow)).collect();
        spent += started.elapsed().as_secs_f64();
        for (flow, answer) in flows.iter().zip(answers) {
            assert_eq!(
                serde_json::to_value(matrix.verdict(flow)).unwrap(),
                answer,
                "{flow}"
            );
        }
    }
    let each = spent / f64::from(u32::try_from(count).unwrap());
    let extrapolated = each * 10_005.0 * 10_005.0 * 16.0;
    println!("{cells} cells in {best:.3} s; literal: {spent:.1} s for {count} flows");
    println!(
        "extrapolated to all pairs x 16 ports: {extrapolated:.0} s, {:.0}x",
        extrapolated / best
    );
}
