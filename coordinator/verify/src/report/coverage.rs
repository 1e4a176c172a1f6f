//! What a run exercised, and what it did not.

use std::borrow::Cow;
use std::collections::BTreeSet;

use reachproof_model::coverage::{RelationCoverage, relation_coverage};
use reachproof_model::finding::{Finding, FindingKind};
use reachproof_model::id::RuleId;
use reachproof_model::matrix::Matrix;
use reachproof_model::plan::{PEER_PORT, ProbePlan, Roster};
use reachproof_model::snapshot::{Direction, NetworkInterface, Owner, Snapshot};
use serde::{Deserialize, Serialize};

/// What the snapshot does not carry and the model therefore does not judge (SEMANTICS K.1, "Not part of K").
pub const LIMITS: [&str; 6] = [
    "load balancers",
    "VPC Block Public Access",
    "VPC encryption controls",
    "AWS Network Firewall",
    "webhooks outside the VPC in AWS_MANAGED egress mode",
    "pods with several network interfaces",
];

/// What a run exercised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Flows that the plan tries.
    pub flows_planned: usize,
    /// Flows that the limits kept out of the plan.
    pub flows_left_out: usize,
    /// Flows that were confirmed or contradicted.
    pub flows_judged: usize,
    /// Rules of the groups at the ends of the flows.
    pub rules: RuleCoverage,
    /// What of the relation between classes with agents the judged flows show, at the peer port and at edges.
    pub relation: RelationCoverage,
    /// What is not modelled.
    pub limits: Vec<Cow<'static, str>>,
}

/// Rules by whether a confirmed flow passed through them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleCoverage {
    /// Rules that the model names for a confirmed flow.
    pub exercised: BTreeSet<RuleId>,
    /// Other rules of the same groups.
    pub not_exercised: BTreeSet<RuleId>,
}

/// Sums up what `findings` exercised.
pub(crate) fn coverage(
    snapshot: &Snapshot,
    roster: &Roster,
    plan: &ProbePlan,
    findings: &[Finding],
) -> Coverage {
    let judged = findings.iter().filter(|finding| is_judged(finding));
    let flows = judged.map(|finding| &finding.flow);
    Coverage {
        flows_planned: plan.flows.len(),
        flows_left_out: plan.left_out,
        flows_judged: findings.iter().filter(|finding| is_judged(finding)).count(),
        rules: rules(snapshot, plan, findings),
        relation: relation_coverage(&Matrix::new(snapshot), roster, &[PEER_PORT], flows),
        limits: LIMITS.map(Cow::Borrowed).to_vec(),
    }
}

/// Whether a finding says something about the network.
fn is_judged(finding: &Finding) -> bool {
    match finding.kind {
        FindingKind::ContradictionOpen
        | FindingKind::ContradictionClosed
        | FindingKind::ConfirmedAllow
        | FindingKind::ConfirmedDeny
        | FindingKind::ConfirmedPartial => true,
        FindingKind::Inconclusive | FindingKind::Bypass | FindingKind::NotObserved => false,
    }
}

/// The rules at the ends of the flows, by whether a confirmed flow passed through them.
fn rules(snapshot: &Snapshot, plan: &ProbePlan, findings: &[Finding]) -> RuleCoverage {
    let mut all = BTreeSet::new();
    for flow in &plan.flows {
        if let Owner::One(interface) = snapshot.owner(flow.flow.source) {
            all.extend(rule_ids(snapshot, interface, Direction::Egress));
        }
        if let Owner::One(interface) = snapshot.owner(flow.flow.destination) {
            all.extend(rule_ids(snapshot, interface, Direction::Ingress));
        }
    }
    let exercised: BTreeSet<RuleId> = findings
        .iter()
        .filter(|finding| finding.kind == FindingKind::ConfirmedAllow)
        .flat_map(|finding| finding.prediction.verdict.rules())
        .collect();
    RuleCoverage {
        not_exercised: all.difference(&exercised).cloned().collect(),
        exercised,
    }
}

/// The rules of an interface's groups in one direction.
fn rule_ids(
    snapshot: &Snapshot,
    interface: &NetworkInterface,
    direction: Direction,
) -> Vec<RuleId> {
    let groups = interface
        .groups
        .iter()
        .filter_map(|id| snapshot.security_group(id));
    groups
        .flat_map(|group| group.rules(direction))
        .map(|rule| rule.id.clone())
        .collect()
}
