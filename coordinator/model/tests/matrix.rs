//! The relation against flow-by-flow prediction.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod second;

use reachproof_model::class::Class;
use reachproof_model::describe::Described;
use reachproof_model::flow::{Flow, SourceKind};
use reachproof_model::matrix::{
    Answer, Element, Ends, Explanation, Filter, Matrix, Site, VerdictKind,
};
use reachproof_model::net::PortRange;
use reachproof_model::predict::{predict, verdict};
use reachproof_model::prediction::{Gate, Place, Prediction, StepOutcome};
use reachproof_model::snapshot::{Owner, Snapshot};
use second::random::{Dice, Size, World};
use serde_json::{Value, json};

/// A gate in words: gate, place, what it says, and the rule, the ports or the reason.
type GateWords = (Gate, String, &'static str, String);

/// The gates of an explanation.
fn explained(explanation: &Explanation<'_>) -> Vec<GateWords> {
    let site = |site: &Site<'_>| match site {
        Site::Flow => String::new(),
        Site::NetworkInterface(interface) => format!("{} {:?}", interface.id, interface.groups),
        Site::NetworkAcl(subnet, list) => format!("{subnet} {list:?}"),
        Site::RouteTable(subnet, table) => format!("{subnet} {table:?}"),
    };
    let answer = |answer: &Answer<'_>| match answer {
        Answer::Pass(Element::Rule(rule)) => ("pass", rule.to_string()),
        Answer::Pass(Element::Whole | Element::Entry(_) | Element::Route(_)) => {
            ("pass", String::new())
        }
        Answer::Drop(_) => ("drop", String::new()),
        Answer::Partly(ports) => ("partly", format!("{ports:?}")),
        Answer::Unknown(reason) => ("unknown", (*reason).to_owned()),
        Answer::Skipped => ("skipped", String::new()),
    };
    let gates = explanation.gates.iter();
    gates
        .map(|met| {
            let (word, what) = answer(&met.answer);
            (met.gate, site(&met.site), word, what)
        })
        .collect()
}

/// The gates of a prediction.
fn walked(prediction: &Prediction) -> Vec<GateWords> {
    let place = |place: &Place| match place {
        Place::Flow => String::new(),
        Place::NetworkInterface { interface, groups } => format!("{interface} {groups:?}"),
        Place::NetworkAcl { subnet, acl } => format!("{subnet} {acl:?}"),
        Place::RouteTable { subnet, table } => format!("{subnet} {table:?}"),
    };
    let what = |outcome: &StepOutcome| match outcome {
        StepOutcome::Pass { rule: Some(rule) } => rule.to_string(),
        StepOutcome::Partly { open_ports } => format!("{open_ports:?}"),
        StepOutcome::Unknown(reason) => reason.as_str().to_owned(),
        StepOutcome::Pass { rule: None } | StepOutcome::Drop | StepOutcome::Skipped => {
            String::new()
        }
    };
    let steps = prediction.steps.iter();
    steps
        .map(|step| {
            let outcome = &step.outcome;
            (
                step.gate,
                place(&step.place),
                outcome.as_str(),
                what(outcome),
            )
        })
        .collect()
}

/// Compares the relation of a random world with prediction on some flows; returns how many the rows answered.
fn compare(seed: u64, size: Size, flows: usize) -> usize {
    let world = second::random::world(seed, size);
    let snapshot = second::decode(&world.snapshot);
    compare_flows(seed, &world, &snapshot, flows)
}

/// The same for a snapshot that was made out of the world.
fn compare_flows(seed: u64, world: &World, snapshot: &Snapshot, flows: usize) -> usize {
    let matrix = Matrix::new(snapshot);
    let mut dice = Dice::new(seed);
    let mut answered = 0;
    for _ in 0..flows {
        let flow = second::random::flow(&mut dice, world);
        let flow = Flow::from_json(&flow).unwrap();
        let predicted = verdict(snapshot, &flow);
        assert_eq!(matrix.verdict(&flow), predicted, "seed {seed}: {flow}");
        assert_eq!(matrix.kind(&flow), VerdictKind::from(&predicted));
        if let Some(explanation) = matrix.explain(&flow) {
            answered += 1;
            assert_eq!(explanation.kind, VerdictKind::from(&predicted));
            assert_eq!(explanation.gate, predicted.gate());
            assert_eq!(explanation.reason, predicted.reason());
            let gates = explained(&explanation);
            assert_eq!(
                gates,
                walked(&predict(snapshot, &flow)),
                "seed {seed}: {flow}"
            );
        }
    }
    answered
}

#[test]
fn rows_agree_with_prediction_on_small_worlds() {
    let answered: usize = (0..3_000).map(|seed| compare(seed, Size::SMALL, 30)).sum();
    assert!(answered > 30_000, "the rows answered only {answered} flows");
}

/// Puts junk into a random place.
fn spoil(value: &mut Value, dice: &mut Dice) {
    let is_deep_enough = dice.chance(10);
    match value {
        Value::Object(fields) if !is_deep_enough && !fields.is_empty() => {
            let place = dice.below(fields.len());
            fields
                .values_mut()
                .nth(place)
                .into_iter()
                .for_each(|below| spoil(below, dice));
        }
        Value::Array(items) if !is_deep_enough && !items.is_empty() => {
            let place = dice.below(items.len());
            spoil(&mut items[place], dice);
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {
            *value = dice
                .pick(&[json!({"junk": 1}), json!(65979), json!("junk"), json!(null)])
                .clone()
        }
    }
}

#[test]
fn rows_agree_with_prediction_where_the_snapshot_cannot_be_read() {
    let (mut decoded, mut answered) = (0, 0);
    for seed in 0..1_500 {
        let mut world = second::random::world(seed, Size::SMALL);
        let mut dice = Dice::new(seed);
        for _ in 0..2 {
            let place = dice.below(world.snapshot.len());
            let answers = world.snapshot.values_mut().nth(place);
            answers
                .into_iter()
                .for_each(|answer| spoil(answer, &mut dice));
        }
        let Ok(read) = Snapshot::decode(&Described::from(world.snapshot.clone())) else {
            continue;
        };
        decoded += 1;
        answered += compare_flows(seed, &world, &read.snapshot, 40);
    }
    assert!(
        decoded > 700 && answered > 9_000,
        "{decoded} worlds, {answered} flows"
    );
}

/// Asks the entries of every class of pods about every class, and prediction about one pod of each; returns how many
/// verdicts a translation changed.
fn compare_pods(seed: u64) -> usize {
    let world = second::random::world(seed, Size::SMALL);
    let snapshot = second::decode(&world.snapshot);
    let matrix = Matrix::new(&snapshot);
    let mut changed = 0;
    for (source, from) in matrix.classes().iter() {
        if from.source_kind == SourceKind::Host {
            continue;
        }
        for (destination, to) in matrix.classes().iter() {
            let owner = |class: &Class| {
                let first = &class.members[0].interface;
                snapshot.host(snapshot.network_interface(first).unwrap())
            };
            if owner(from) == owner(to) {
                continue;
            }
            for entry in matrix.entries(source, destination, PortRange::ALL) {
                let mut flow = Flow::tcp(from.example, to.example, entry.ports.first());
                let as_host = VerdictKind::from(&verdict(&snapshot, &flow));
                flow.source_kind = SourceKind::Pod;
                let as_pod = verdict(&snapshot, &flow);
                assert_eq!(
                    entry.verdict,
                    VerdictKind::from(&as_pod),
                    "seed {seed}: {flow}"
                );
                assert_eq!(entry.tuple.reason, as_pod.reason(), "seed {seed}: {flow}");
                changed += usize::from(as_host != entry.verdict);
            }
        }
    }
    changed
}

#[test]
fn classes_of_pods_answer_as_pods() {
    let changed: usize = (0..600).map(compare_pods).sum();
    assert!(
        changed > 50,
        "the node's translation changed only {changed} verdicts"
    );
}

/// Asks prediction about the two endpoints that show each line, as the line's kind of source; returns how many lines are
/// about one host.
fn compare_listing(seed: u64, kind: Option<SourceKind>) -> usize {
    let world = second::random::world(seed, Size::SMALL);
    let snapshot = second::decode(&world.snapshot);
    let matrix = Matrix::with_source_kind(&snapshot, kind);
    let mut on_one_host = 0;
    for listed in matrix.listing(&Filter::default(), Ends::default()) {
        let entry = &listed.entry;
        let host = |address| match snapshot.owner(address) {
            Owner::One(interface) => Some(snapshot.host(interface)),
            Owner::Nobody | Owner::Several(_) => None,
        };
        assert_eq!(
            listed.on_one_host,
            host(listed.source) == host(listed.destination),
            "seed {seed}"
        );
        for port in [entry.ports.first(), entry.ports.last()] {
            let mut flow = Flow::tcp(listed.source, listed.destination, port);
            flow.source_kind = kind.unwrap_or_else(|| snapshot.source_kind(flow.source));
            let predicted = verdict(&snapshot, &flow);
            let said = (entry.verdict, entry.tuple.gate, entry.tuple.reason);
            let wanted = VerdictKind::from(&predicted);
            let wanted = (wanted, predicted.gate(), predicted.reason());
            assert_eq!(said, wanted, "seed {seed}, {kind:?}: {flow}");
        }
        on_one_host += usize::from(listed.on_one_host);
    }
    on_one_host
}

#[test]
fn every_line_of_the_listing_is_true_of_the_endpoints_that_show_it() {
    for kind in [None, Some(SourceKind::Host), Some(SourceKind::Pod)] {
        let on_one_host: usize = (0..200).map(|seed| compare_listing(seed, kind)).sum();
        assert!(
            on_one_host > 100,
            "{kind:?}: only {on_one_host} lines about one host"
        );
    }
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

/// `cargo test --release -p reachproof-model --test matrix -- --ignored --nocapture`; `REACHPROOF_FLOWS` asks for others
/// than ten million, half of them in small worlds.
#[test]
#[ignore = "needs minutes: ten million flows"]
fn rows_agree_with_prediction_on_ten_million_flows() {
    let half = second::asked("REACHPROOF_FLOWS", 10_000_000) / 2;
    let first = second::asked("REACHPROOF_SEED", 1_000_000);
    let small: usize = (first..first + half / 50)
        .map(|seed| compare(seed, Size::SMALL, 50))
        .sum();
    let shape = second::cluster::Shape::FULL;
    let snapshot = second::decode(&second::cluster::cluster(2, shape));
    let matrix = Matrix::new(&snapshot);
    let mut large = 0;
    for round in 0..50 {
        let flows = second::cluster::flows(round, shape, usize::try_from(half / 50).unwrap());
        for flow in flows {
            assert_eq!(matrix.verdict(&flow), verdict(&snapshot, &flow), "{flow}");
            large += usize::from(matrix.explain(&flow).is_some());
        }
    }
    println!(
        "rows answered {small} of {half} in small worlds and {large} of {half} in a large one"
    );
    assert!(small > 0 && large > 0);
}
