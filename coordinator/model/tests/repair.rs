//! Proposals on random worlds: each opens its flow, is minimal, and opens nothing beyond what it names. They are applied to
//! the answers of the APIs, not to the model's own snapshot.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod applied;
mod second;

use std::collections::{BTreeMap, BTreeSet};

use applied::apply;
use reachproof_model::change::Comparison;
use reachproof_model::class::{Class, ClassId, Classes};
use reachproof_model::flow::{EPHEMERAL_PORTS_DEFAULT, Flow, FlowProtocol};
use reachproof_model::matrix::VerdictKind;
use reachproof_model::predict::verdict;
use reachproof_model::prediction::Verdict;
use reachproof_model::repair::{Change, NoRepair, Opened, Repair, Workshop};
use reachproof_model::snapshot::{Host, Snapshot};
use second::random::{Dice, Size};
use serde_json::{Map, Value};

/// Worlds in an ordinary run; `REACHPROOF_REPAIR_WORLDS` asks for another number.
const WORLDS: u64 = 60;
/// Flows that are asked of each world, those that work, too.
const FLOWS: usize = 12;
/// Flows of each world that no proposal may open without a word.
const OTHERS: usize = 150;

fn is_stopped(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Deny(_) | Verdict::Partial { .. })
}

fn passes(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Allow { .. } | Verdict::Bypass(_) | Verdict::Exempt(_)
    )
}

/// Every set of changes that lacks at least one.
fn proper_subsets(changes: &[Change]) -> impl Iterator<Item = Vec<Change>> + '_ {
    let all = 1_u64 << changes.len();
    (0..all - 1).map(move |mask| {
        let kept = changes.iter().enumerate();
        kept.filter(|(place, _)| mask >> place & 1 == 1)
            .map(|(_, change)| change.clone())
            .collect()
    })
}

/// Whether a proposal names that these packets pass now.
fn is_named(
    besides: &[Opened],
    classes: &Classes,
    ends: (ClassId, ClassId),
    protocol: FlowProtocol,
) -> bool {
    besides.iter().any(|opened| {
        let has_port = protocol
            .port()
            .is_none_or(|port| opened.ports.iter().any(|range| range.contains(port)));
        classes.of(opened.source.example) == Some(ends.0)
            && classes.of(opened.destination.example) == Some(ends.1)
            && opened.protocol.number() == protocol.number()
            && has_port
    })
}

/// Whether two classes have endpoints on two hosts.
fn are_apart(snapshot: &Snapshot, one: &Class, other: &Class) -> bool {
    let hosts = |class: &Class| -> BTreeSet<Host> {
        let members = class.members.iter();
        let interfaces = members.filter_map(|member| snapshot.network_interface(&member.interface));
        interfaces
            .map(|interface| snapshot.host(interface))
            .collect()
    };
    let (one, other) = (hosts(one), hosts(other));
    one.len() > 1 || other.len() > 1 || one != other
}

/// Checks that nothing of TCP opens between classes beyond what a proposal names.
fn opens_what_it_says(before: &Snapshot, after: &Snapshot, flow: &Flow, repair: &Repair) {
    let whole = Classes::new(before);
    let comparison = Comparison::new(before, after);
    let classes = comparison.before().classes();
    for change in comparison.flows() {
        let (source, destination) = (
            classes.class(change.source.before),
            classes.class(change.destination.before),
        );
        if !are_apart(before, source, destination) {
            continue;
        }
        assert_ne!(
            change.before,
            VerdictKind::Allow,
            "{repair:?} closes {change:?}"
        );
        if change.after == VerdictKind::Deny {
            continue;
        }
        let ends = (
            whole.of(source.example).unwrap(),
            whole.of(destination.example).unwrap(),
        );
        let asked = (whole.of(flow.source), whole.of(flow.destination));
        let is_own = asked == (Some(ends.0), Some(ends.1));
        for port in [change.ports.first(), change.ports.last()] {
            let protocol = FlowProtocol::Tcp { port };
            assert!(
                is_own && protocol == flow.protocol
                    || is_named(&repair.besides, &whole, ends, protocol),
                "{flow}: {:?} opens {} -> {} tcp/{} ({:?} to {:?}, {:?}) without a word, {:?}",
                repair.changes,
                source.name(before),
                destination.name(before),
                change.ports,
                change.before,
                change.after,
                (source, destination),
                repair.besides,
            );
        }
    }
}

/// Checks that of random flows between classes, of any protocol, none opens beyond what a proposal names.
fn opens_no_other_protocol(
    (before, after): (&Snapshot, &Snapshot),
    flow: &Flow,
    repair: &Repair,
    others: &[Flow],
) {
    let classes = Classes::new(before);
    let asked = (classes.of(flow.source), classes.of(flow.destination));
    for other in others {
        let (Some(source), Some(destination)) =
            (classes.of(other.source), classes.of(other.destination))
        else {
            continue;
        };
        // Of the others a proposal that is about another protocol names nothing.
        let is_told = match other.protocol {
            FlowProtocol::Tcp { .. } | FlowProtocol::Udp { .. } => true,
            protocol => protocol.echo_reply().is_some(),
        };
        if !is_told {
            continue;
        }
        let usual = Flow {
            source_kind: classes.class(source).source_kind,
            ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
            source_interface: None,
            ..other.clone()
        };
        let (was, is) = (verdict(before, &usual), verdict(after, &usual));
        let is_own = asked == (Some(source), Some(destination)) && usual.protocol == flow.protocol;
        let ends = (source, destination);
        assert!(
            VerdictKind::from(&was) == VerdictKind::from(&is)
                || matches!(is, Verdict::Deny(_)) && !passes(&was)
                || is_own
                || is_named(&repair.besides, &classes, ends, usual.protocol),
            "{flow}: {:?} turns {usual} from {was} to {is} without a word, {:?}",
            repair.changes,
            repair.besides,
        );
    }
}

/// Checks one proposal against the world to whose answers it is applied.
fn holds(
    files: &Map<String, Value>,
    workshop: &mut Workshop<'_>,
    (flow, others): (&Flow, &[Flow]),
    repair: &Repair,
) {
    let mut changed = files.clone();
    for change in &repair.changes {
        apply(&mut changed, change);
    }
    let (before, after) = (second::decode(files), second::decode(&changed));
    let then = verdict(&after, flow);
    match repair.not_known {
        None => assert!(passes(&then), "{flow}: {repair:?} leaves {then}"),
        Some(reason) => assert_eq!(then.reason(), Some(reason), "{flow}: {repair:?}"),
    }
    for fewer in proper_subsets(&repair.changes) {
        let left = workshop.judge(&fewer, [flow]);
        assert!(
            is_stopped(&left[0]),
            "{flow}: {fewer:?} of {repair:?} is enough"
        );
    }
    opens_what_it_says(&before, &after, flow, repair);
    if !repair.is_bounded {
        opens_no_other_protocol((&before, &after), flow, repair, others);
    }
}

#[test]
fn every_proposal_opens_its_flow_is_minimal_and_names_what_else_it_opens() {
    let first = second::asked("REACHPROOF_SEED", 1);
    let worlds = second::asked("REACHPROOF_REPAIR_WORLDS", WORLDS);
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    let mut bounded = 0;
    for seed in first..first + worlds {
        let world = second::random::world(seed, Size::SMALL);
        let snapshot = second::decode(&world.snapshot);
        let mut workshop = Workshop::new(&snapshot);
        let mut dice = Dice::new(seed);
        let all: Vec<Flow> = (0..OTHERS)
            .filter_map(|_| Flow::from_json(&second::random::flow(&mut dice, &world)).ok())
            .collect();
        for flow in all.iter().take(FLOWS) {
            if !is_stopped(&verdict(&snapshot, flow)) {
                continue;
            }
            match workshop.repair(std::slice::from_ref(flow), &[]) {
                Ok(repair) => {
                    for change in &repair.changes {
                        let kind = match change {
                            Change::Rule(_) => "rule",
                            Change::Entry(_) => "entry",
                            Change::Route(_) => "route",
                        };
                        *made.entry(kind).or_default() += 1;
                    }
                    bounded += usize::from(repair.is_bounded);
                    holds(&world.snapshot, &mut workshop, (flow, &all), &repair);
                }
                Err(NoRepair::NotStopped) => panic!("{flow} is stopped"),
                Err(error) => {
                    let text = error.to_string();
                    let words: Vec<_> = text.split(' ').take(3).collect();
                    *refused.entry(words.join(" ")).or_default() += 1;
                }
            }
        }
    }
    println!("changes: {made:?}, none for: {refused:?}, bounded: {bounded}");
    for kind in ["rule", "entry", "route"] {
        assert!(
            made.get(kind).is_some_and(|count| *count > 0),
            "no {kind} in {made:?}"
        );
    }
}
