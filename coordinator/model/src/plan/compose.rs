//! From snapshot and roster to the flows of a run: which are drafted, and in which order.

use super::build::{Drafts, Room, candidate};
use super::control::add_controls;
use super::cover::cover;
use super::pulse;
use super::required::{add_required, add_wanted};
use super::scope::{Depth, Scope};
use super::seed::Sequence;
use super::{PEER_PORT, ProbePlan, Purpose, Roster, RosterAgent, Target};
use crate::flow::Flow;
use crate::matrix::Matrix;
use crate::snapshot::Snapshot;

/// Plans a run: every agent to every control-plane interface on 443, and as much more as the scope's depth says, with a
/// control probe for every predicted deny that decides anything.
///
/// Control-plane interfaces that the EndpointSlice does not list are left out, since they may be idle (D.1). Flows
/// between agents on one host are planned and end as bypass. Two calls with equal arguments return equal plans.
#[must_use]
pub fn plan(snapshot: &Snapshot, roster: &Roster, scope: &Scope) -> ProbePlan {
    plan_with(snapshot, roster, scope, Besides::default())
}

/// Flows over TCP that are tried besides, where an agent can try them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Besides<'f> {
    /// Those that users expect something of: first of all.
    pub wanted: &'f [&'f Flow],
    /// Those that an earlier run tried: after everything else, as far as there is room. No rule may name their ports any
    /// more.
    pub earlier: &'f [Flow],
}

/// Plans the same, and besides every flow of `besides` that an agent can try.
#[must_use]
pub fn plan_with(
    snapshot: &Snapshot,
    roster: &Roster,
    scope: &Scope,
    besides: Besides<'_>,
) -> ProbePlan {
    match scope.depth {
        Depth::Rules => {
            let ports = &[PEER_PORT];
            cover_rules(&Matrix::new(snapshot), roster, scope, (ports, besides))
        }
        Depth::Required => {
            let mut sequence = Sequence::new(scope.seed);
            let mut drafts = Drafts::new((snapshot, None), roster, scope);
            add_required(&mut drafts, &mut sequence);
            add_wanted(&mut drafts, besides.wanted, Purpose::Required);
            add_earlier(&mut drafts, besides);
            add_controls(&mut drafts, &mut sequence);
            finish(drafts, scope, &mut sequence)
        }
        Depth::Mesh => plan_mesh(snapshot, roster, scope, besides),
    }
}

/// Plans what the rules decide at some ports, out of a relation.
///
/// Every decisive tuple between classes with agents is tried once at least, with its control where it denies; each agent
/// is source and target once a port; rules with ports of their own are tried on both sides of their edges.
#[must_use]
pub fn plan_rules(matrix: &Matrix<'_>, roster: &Roster, scope: &Scope, ports: &[u16]) -> ProbePlan {
    cover_rules(matrix, roster, scope, (ports, Besides::default()))
}

fn cover_rules(
    matrix: &Matrix<'_>,
    roster: &Roster,
    scope: &Scope,
    (ports, besides): (&[u16], Besides<'_>),
) -> ProbePlan {
    let mut sequence = Sequence::new(scope.seed);
    let mut drafts = Drafts::new((matrix.snapshot(), Some(matrix)), roster, scope);
    add_required(&mut drafts, &mut sequence);
    add_wanted(&mut drafts, besides.wanted, Purpose::Required);
    for (candidate, purpose) in cover(matrix, roster, ports, &mut sequence) {
        drafts.add(candidate, purpose);
    }
    add_earlier(&mut drafts, besides);
    add_controls(&mut drafts, &mut sequence);
    finish(drafts, scope, &mut sequence)
}

/// Plans every pair of agents.
fn plan_mesh(
    snapshot: &Snapshot,
    roster: &Roster,
    scope: &Scope,
    besides: Besides<'_>,
) -> ProbePlan {
    let mut sequence = Sequence::new(scope.seed);
    let mut drafts = Drafts::new((snapshot, None), roster, scope);
    add_required(&mut drafts, &mut sequence);
    add_wanted(&mut drafts, besides.wanted, Purpose::Required);
    for source in roster.agents() {
        let others = roster.agents().filter(|other| other.name != source.name);
        let mut targets = sequence.shuffle(others.collect()).into_iter();
        while drafts.room(source) == Room::Left {
            let Some(target) = targets.next() else {
                break;
            };
            add_pair(&mut drafts, source, target);
        }
        drafts.left_out += targets.len();
    }
    add_earlier(&mut drafts, besides);
    add_controls(&mut drafts, &mut sequence);
    finish(drafts, scope, &mut sequence)
}

/// Adds what an earlier run tried.
fn add_earlier(drafts: &mut Drafts<'_>, besides: Besides<'_>) {
    let earlier: Vec<&Flow> = besides.earlier.iter().collect();
    add_wanted(drafts, &earlier, Purpose::Earlier);
}

/// Adds the flows from one agent to another, over each family that both have.
fn add_pair(drafts: &mut Drafts<'_>, source: &RosterAgent, target: &RosterAgent) {
    for address in target.vantage_points() {
        let at = |port| candidate(source, (address, Target::Agent(target.name.clone())), port);
        let Some(peer) = at(PEER_PORT) else {
            continue;
        };
        let edges = drafts.snapshot.port_edges(peer.flow.source, address);
        drafts.add(peer, Purpose::Peer);
        for edge in edges.into_iter().filter_map(at) {
            drafts.add(edge, Purpose::Edge);
        }
    }
}

/// Says who calls whom meanwhile, and numbers all probes.
fn finish(drafts: Drafts<'_>, scope: &Scope, sequence: &mut Sequence) -> ProbePlan {
    let first = drafts.probe_count(scope.depth);
    let pulses = pulse::pulses(&drafts, sequence, first);
    drafts.finish(scope, pulses, sequence)
}
