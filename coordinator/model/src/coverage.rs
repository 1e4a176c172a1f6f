//! What of the relation a set of flows shows: tuples, rules, class pairs, nodes.
//!
//! Only classes with an agent count, and as targets what the cluster needs them to reach: nobody can show the others. A
//! rule that decides nowhere at the probed ports is listed by its name and never counts as tested.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::class::ClassId;
use crate::expectation::members::{API_SERVER_PORT, DNS_PORT, core_dns};
use crate::flow::{Flow, FlowProtocol};
use crate::id::RuleId;
use crate::matrix::{Layer, Live, Matrix, Seen};
use crate::observation::AgentName;
use crate::plan::{Roster, control_plane_targets};

/// How many of some things were shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Share {
    /// How many there are.
    pub all: usize,
    /// How many of them were shown.
    pub shown: usize,
}

/// Rules by what flows say of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DecidingRules {
    /// Rules that admitted a shown flow.
    pub shown: BTreeSet<RuleId>,
    /// Rules that decide somewhere at the probed ports or on the way to what the cluster needs, but no flow showed it.
    pub missing: BTreeSet<RuleId>,
    /// Rules that decide nothing at the probed ports: others come first, or nobody is there to use them.
    pub cannot_decide: BTreeSet<RuleId>,
}

/// What of the relation was shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RelationCoverage {
    /// Decisive tuples at the probed ports, between classes with agents.
    pub tuples: Share,
    /// Rules of groups that such classes carry.
    pub rules: DecidingRules,
    /// Ordered pairs of such classes.
    pub class_pairs: Share,
    /// Agents that were the source of a flow.
    pub sources: Share,
    /// Agents that were the target of a flow.
    pub targets: Share,
}

/// Sums up what `flows` show of a relation; whoever calls it takes those that were conclusive.
///
/// `ports` are the TCP ports that the plan asked for; the edges of rules count for the rules only.
#[must_use]
pub fn relation_coverage<'f>(
    matrix: &Matrix<'_>,
    roster: &Roster,
    ports: &[u16],
    flows: impl IntoIterator<Item = &'f Flow>,
) -> RelationCoverage {
    let (live, lone) = live_classes(matrix, roster);
    let mut all = decisive(matrix, (&live, &lone), ports);
    let shown = Shown::new(matrix, roster, ports, flows);
    // What is shown decides, whoever is at its ends.
    all.extend(&shown.tuples);
    let agents = |names: &BTreeSet<AgentName>| Share {
        all: roster.len(),
        shown: names.len(),
    };
    RelationCoverage {
        tuples: Share {
            all: all.len(),
            shown: shown.tuples.len(),
        },
        rules: rules(
            matrix,
            &Live::new(matrix, &live, &lone),
            all.iter()
                .map(|(_, layer)| *layer)
                .chain(required(matrix, &live)),
            &shown,
        ),
        class_pairs: Share {
            all: live.len() * live.len(),
            shown: shown.pairs_among(&live),
        },
        sources: agents(&shown.sources),
        targets: agents(&shown.targets),
    }
}

/// Classes in which an agent is, and those of them with agents on one host only.
pub(crate) fn live_classes(
    matrix: &Matrix<'_>,
    roster: &Roster,
) -> (Vec<ClassId>, BTreeSet<ClassId>) {
    let mut hosts: BTreeMap<ClassId, BTreeSet<u32>> = BTreeMap::new();
    for address in roster.agents().flat_map(|agent| agent.vantage_points()) {
        if let Some((class, host)) = matrix.classes().endpoint(address) {
            hosts.entry(class).or_default().insert(host);
        }
    }
    let lone = hosts.iter().filter(|(_, hosts)| hosts.len() == 1);
    let lone = lone.map(|(class, _)| *class).collect();
    (hosts.into_keys().collect(), lone)
}

/// Every tuple that decides, by the place of its port.
fn decisive(
    matrix: &Matrix<'_>,
    live: (&[ClassId], &BTreeSet<ClassId>),
    ports: &[u16],
) -> BTreeSet<(usize, Layer)> {
    let mut all = BTreeSet::new();
    let mut seen = Seen::new(matrix, ports.len());
    matrix.decisive(live, ports, &mut seen, |port, layer, _| {
        all.insert((port, layer));
    });
    all
}

/// What settles the flows of agents to the control plane and to CoreDNS.
fn required(matrix: &Matrix<'_>, live: &[ClassId]) -> Vec<Layer> {
    let snapshot = matrix.snapshot();
    let control_plane = control_plane_targets(snapshot);
    let control_plane = control_plane.map(|(address, _)| (address, API_SERVER_PORT));
    let resolvers = core_dns(snapshot).into_iter();
    let targets = control_plane.chain(resolvers.map(|address| (address, DNS_PORT)));
    let mut layers = Vec::new();
    for (target, port) in targets {
        let Some(to) = matrix.classes().of(target) else {
            continue;
        };
        let interval = matrix.interval(port);
        layers.extend(
            live.iter()
                .filter_map(|from| matrix.layer(*from, to, interval)),
        );
    }
    layers
}

/// What flows show.
#[derive(Default)]
struct Shown {
    tuples: BTreeSet<(usize, Layer)>,
    rules: BTreeSet<u32>,
    pairs: BTreeSet<(ClassId, ClassId)>,
    sources: BTreeSet<AgentName>,
    targets: BTreeSet<AgentName>,
}

impl Shown {
    fn new<'f>(
        matrix: &Matrix<'_>,
        roster: &Roster,
        ports: &[u16],
        flows: impl IntoIterator<Item = &'f Flow>,
    ) -> Self {
        let mut shown = Self::default();
        for flow in flows {
            let holder = |address| roster.holder(address).map(|agent| agent.name.clone());
            shown.sources.extend(holder(flow.source));
            shown.targets.extend(holder(flow.destination));
            let classes = matrix.classes();
            // The relation is one of TCP: a flow of another protocol shows none of it.
            let FlowProtocol::Tcp { port } = flow.protocol else {
                continue;
            };
            let (Some(from), Some(to)) = (classes.of(flow.source), classes.of(flow.destination))
            else {
                continue;
            };
            shown.pairs.insert((from, to));
            let Some(layer) = matrix.layer(from, to, matrix.interval(port)) else {
                continue;
            };
            if let Layer::Admitted { egress, ingress } = layer {
                shown.rules.extend([egress, ingress]);
            }
            let places = ports
                .iter()
                .enumerate()
                .filter(|(_, known)| **known == port);
            shown.tuples.extend(places.map(|(place, _)| (place, layer)));
        }
        shown
    }

    /// How many of the pairs shown are pairs of these classes: flows to what has no agent show others, too.
    fn pairs_among(&self, classes: &[ClassId]) -> usize {
        let is_pair = |(from, to): &&(_, _)| classes.contains(from) && classes.contains(to);
        self.pairs.iter().filter(is_pair).count()
    }
}

fn rules(
    matrix: &Matrix<'_>,
    live: &Live,
    layers: impl Iterator<Item = Layer>,
    shown: &Shown,
) -> DecidingRules {
    let deciding: BTreeSet<u32> = layers
        .filter_map(|layer| match layer {
            Layer::Admitted { egress, ingress } => Some([egress, ingress]),
            Layer::Refused(..) | Layer::Entry(..) | Layer::Way(_) => None,
        })
        .flatten()
        .collect();
    let mut rules = DecidingRules::default();
    for (place, name, range) in matrix.rules_with_edges() {
        let set = if shown.rules.contains(&place) {
            &mut rules.shown
        } else {
            let at_edge = |port: u16| !matrix.witnesses(live, place, (port, 0), 1).is_empty();
            let decides =
                deciding.contains(&place) || range.is_some_and(|range| at_edge(range.first()));
            match decides {
                true => &mut rules.missing,
                false => &mut rules.cannot_decide,
            }
        };
        set.insert(name.clone());
    }
    // A rule that is written twice has one name, and one of the two is enough.
    rules.missing.retain(|name| !rules.shown.contains(name));
    let decide = |name: &RuleId| rules.shown.contains(name) || rules.missing.contains(name);
    rules.cannot_decide.retain(|name| !decide(name));
    rules
}
