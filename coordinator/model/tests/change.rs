//! Differences between two snapshots, against the relations themselves.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod second;

use std::collections::BTreeMap;

use reachproof_model::change::Comparison;
use reachproof_model::class::ClassId;
use reachproof_model::matrix::{Matrix, VerdictKind};
use reachproof_model::net::PortRange;
use reachproof_model::snapshot::SecurityGroup;
use second::random::{Dice, Size, World};
use serde_json::Value;

/// A small world, and one with many ports.
const MAKERS: [fn(u64) -> World; 2] = [
    |seed| second::random::world(seed, Size::SMALL),
    second::random::wide,
];

/// The world of a seed with one rule of one group taken away, if it has any.
fn without_a_rule(make: fn(u64) -> World, seed: u64) -> Option<(World, World)> {
    let before = make(seed);
    let mut after = make(seed);
    let mut dice = Dice::new(seed);
    let groups = after.snapshot["describe-security-groups"]["SecurityGroups"]
        .as_array_mut()
        .unwrap();
    let place = dice.below(groups.len());
    let key = if dice.chance(50) {
        "IpPermissions"
    } else {
        "IpPermissionsEgress"
    };
    let permissions = groups[place][key].as_array_mut().unwrap();
    if permissions.is_empty() {
        return None;
    }
    let place = dice.below(permissions.len());
    permissions.remove(place);
    // Names by position would move.
    before.snapshot.get("describe-security-group-rules")?;
    Some((before, after))
}

/// Seeds of small worlds, and a tenth as many of worlds with many ports, which take longer.
fn seeds(small: u64) -> impl Iterator<Item = (u64, fn(u64) -> World)> {
    let counts = [small, small / 10];
    MAKERS
        .into_iter()
        .zip(counts)
        .flat_map(|(make, count)| (0..count).map(move |seed| (seed, make)))
}

/// Verdicts of every pair of classes at every port of both relations.
fn cells(matrix: &Matrix<'_>) -> BTreeMap<(ClassId, ClassId, PortRange), VerdictKind> {
    let ids: Vec<ClassId> = matrix.classes().iter().map(|(id, _)| id).collect();
    let mut cells = BTreeMap::new();
    for source in &ids {
        for destination in &ids {
            for entry in matrix.entries(*source, *destination, PortRange::ALL) {
                for interval in matrix.port_intervals() {
                    if entry.ports.contains(interval.first()) {
                        cells.insert((*source, *destination, *interval), entry.verdict);
                    }
                }
            }
        }
    }
    cells
}

#[test]
fn the_difference_is_what_the_relations_say() {
    let mut changed = 0;
    for (seed, make) in seeds(150) {
        let Some((before, after)) = without_a_rule(make, seed) else {
            continue;
        };
        let (before, after) = (
            second::decode(&before.snapshot),
            second::decode(&after.snapshot),
        );
        let comparison = Comparison::new(&before, &after);
        let (one, other) = (cells(comparison.before()), cells(comparison.after()));
        let flows = comparison.flows();
        let differing = one
            .iter()
            .filter(|(key, kind)| other.get(key) != Some(kind))
            .count();
        let listed: usize = flows
            .iter()
            .map(|flow| {
                assert_eq!(flow.source.before, flow.source.after);
                let intervals = comparison.before().port_intervals().iter();
                intervals
                    .filter(|interval| flow.ports.contains(interval.first()))
                    .count()
            })
            .sum();
        assert_eq!(listed, differing, "seed {seed}");
        changed += usize::from(!flows.is_empty());
    }
    assert!(changed > 10, "only {changed} worlds changed");
}

#[test]
fn an_edited_group_changes_what_a_new_snapshot_would() {
    let mut changed = 0;
    for (seed, make) in seeds(400) {
        let Some((before, after)) = without_a_rule(make, seed) else {
            continue;
        };
        let (before, after) = (
            second::decode(&before.snapshot),
            second::decode(&after.snapshot),
        );
        let edited: Vec<&SecurityGroup> = after
            .security_groups()
            .filter(|group| before.security_group(&group.id) != Some(group))
            .collect();
        let [edited] = edited.as_slice() else {
            continue;
        };
        let comparison = Comparison::new(&before, &after);
        let mut wanted: BTreeMap<(ClassId, ClassId), Vec<PortRange>> = BTreeMap::new();
        for flow in comparison.flows() {
            let pair = (flow.source.before, flow.destination.before);
            wanted.entry(pair).or_default().push(flow.ports);
        }
        // Taken away, and given back.
        let away = comparison.before().edited(edited).unwrap();
        let back = comparison
            .after()
            .edited(before.security_group(&edited.id).unwrap());
        for found in [away, back.unwrap()] {
            let mut pairs: Vec<_> = found.iter().map(|it| (it.source, it.destination)).collect();
            pairs.sort_unstable();
            assert_eq!(
                pairs,
                wanted.keys().copied().collect::<Vec<_>>(),
                "seed {seed}"
            );
            for pair in found {
                let ports = &wanted[&(pair.source, pair.destination)];
                let width = |ranges: &[PortRange]| -> u32 {
                    let one = |range: &PortRange| u32::from(range.last() - range.first()) + 1;
                    ranges.iter().map(one).sum()
                };
                assert_eq!(width(&pair.ports), width(ports), "seed {seed}");
            }
        }
        changed += usize::from(!wanted.is_empty());
    }
    assert!(changed > 20, "only {changed} worlds changed");
}

#[test]
fn rules_that_say_the_same_are_no_change_in_reachability() {
    let before = second::random::world(3, Size::SMALL);
    let mut after = second::random::world(3, Size::SMALL);
    let groups = after.snapshot["describe-security-groups"]["SecurityGroups"]
        .as_array_mut()
        .unwrap();
    for group in groups {
        for key in ["IpPermissions", "IpPermissionsEgress"] {
            // Every network as its two halves.
            for permission in group[key].as_array_mut().unwrap() {
                let halves: Vec<Value> = permission["IpRanges"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .flat_map(|range| {
                        let network: ipnet::IpNet =
                            range["CidrIp"].as_str().unwrap().parse().unwrap();
                        let width = network.prefix_len() + 1;
                        let halves = network.subnets(width).map(Iterator::collect::<Vec<_>>);
                        halves.unwrap_or_else(|_| vec![network])
                    })
                    .map(|half| serde_json::json!({"CidrIp": half}))
                    .collect();
                permission["IpRanges"] = Value::Array(halves);
            }
        }
    }
    let (before, after) = (
        second::decode(&before.snapshot),
        second::decode(&after.snapshot),
    );
    let difference = Comparison::new(&before, &after).difference();
    assert!(!difference.lines.is_empty());
    assert!(!difference.is_change(), "{:?}", difference.flows.first());
}
