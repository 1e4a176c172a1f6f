//! From what a run knows to its report.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use reachproof_model::expectation::judge::Judge;
use reachproof_model::expectation::{Expectation, Requirements};
use reachproof_model::finding::{Finding, FindingKind, FindingReason};
use reachproof_model::flow::Flow;
use reachproof_model::id::SecurityGroupId;
use reachproof_model::observation::Observation;
use reachproof_model::plan::{AgentKind, ProbePlan, Roster};
use reachproof_model::predict::predict;
use reachproof_model::snapshot::{
    ControlPlaneInterface, NetworkInterface, Owner, Platform, Snapshot,
};
use reachproof_model::vantage::Vantage;

use super::{CauseRecord, Coverage, EndpointLabel, cause};
use crate::report::coverage::coverage;

/// The judged half of a report.
pub(crate) struct Judged {
    pub(crate) summary: BTreeMap<Cow<'static, str>, usize>,
    pub(crate) expectations: Vec<Expectation>,
    pub(crate) causes: Vec<CauseRecord>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) coverage: Coverage,
    pub(crate) endpoints: BTreeMap<IpAddr, EndpointLabel>,
}

/// Adds what nobody could try to the findings of a run, orders them, and judges the expectations by them.
pub(crate) fn judged(
    snapshot: &Snapshot,
    roster: &Roster,
    plan: &ProbePlan,
    requirements: &Requirements,
    compared: Vec<Finding>,
) -> Judged {
    let coverage = coverage(snapshot, roster, plan, &compared);
    let mut findings = compared;
    let tried: BTreeSet<&Flow> = plan.flows.iter().map(|flow| &flow.flow).collect();
    let untried: BTreeSet<&Flow> = requirements
        .requirements
        .iter()
        .flat_map(|requirement| &requirement.flows)
        .filter(|flow| !tried.contains(flow))
        .collect();
    findings.extend(
        untried
            .into_iter()
            .map(|flow| not_observed(snapshot, roster, flow)),
    );
    findings.sort_by(|one, other| (one.kind, &one.flow).cmp(&(other.kind, &other.flow)));
    let expectations = expectations(snapshot, requirements, &findings);
    Judged {
        summary: summary(&findings),
        causes: cause::found(snapshot, requirements, &expectations, &findings),
        expectations,
        coverage,
        endpoints: endpoints(snapshot, roster, &findings),
        findings,
    }
}

/// A flow that nobody could try: the model alone.
fn not_observed(snapshot: &Snapshot, roster: &Roster, flow: &Flow) -> Finding {
    let name = |address| roster.holder(address).map(|agent| agent.name.clone());
    Finding {
        kind: FindingKind::NotObserved,
        flow: flow.clone(),
        source: name(flow.source).map_or(Vantage::Model, Vantage::Agent),
        destination_agent: name(flow.destination),
        prediction: predict(snapshot, flow),
        observation: Observation::default(),
        reason: Some(FindingReason::NoVantagePoint),
        conditions: Vec::new(),
        strength: None,
        attempt_conditions: Vec::new(),
        notes: Vec::new(),
    }
}

/// Judges every expectation by the findings of its flows.
fn expectations(
    snapshot: &Snapshot,
    requirements: &Requirements,
    findings: &[Finding],
) -> Vec<Expectation> {
    let judge = Judge::new(snapshot, findings);
    let places: BTreeMap<&Flow, usize> = findings
        .iter()
        .enumerate()
        .map(|(place, finding)| (&finding.flow, place))
        .collect();
    requirements
        .requirements
        .iter()
        .map(|requirement| {
            let own = requirement
                .flows
                .iter()
                .filter_map(|flow| places.get(flow).copied())
                .collect();
            judge.judge(requirement, requirements.basis, own)
        })
        .collect()
}

/// Counts each kind, zero included.
fn summary(findings: &[Finding]) -> BTreeMap<Cow<'static, str>, usize> {
    let mut summary: BTreeMap<_, _> = FindingKind::ALL
        .into_iter()
        .map(|kind| (Cow::Borrowed(kind.as_str()), 0))
        .collect();
    for finding in findings {
        *summary.entry(finding.kind.as_str().into()).or_default() += 1;
    }
    summary
}

/// What people call the ends of the findings.
pub(super) fn endpoints(
    snapshot: &Snapshot,
    roster: &Roster,
    findings: &[Finding],
) -> BTreeMap<IpAddr, EndpointLabel> {
    let addresses: BTreeSet<IpAddr> = findings
        .iter()
        .flat_map(|finding| [finding.flow.source, finding.flow.destination])
        .collect();
    let control_plane = snapshot.control_plane_interfaces();
    addresses
        .into_iter()
        .map(|address| (address, label(snapshot, roster, &control_plane, address)))
        .collect()
}

/// What people call one address.
fn label(
    snapshot: &Snapshot,
    roster: &Roster,
    control_plane: &[ControlPlaneInterface<'_>],
    address: IpAddr,
) -> EndpointLabel {
    let agent = roster.holder(address);
    let interface = match snapshot.owner(address) {
        Owner::One(interface) => Some(interface),
        Owner::Nobody | Owner::Several(_) => None,
    };
    let named = || {
        snapshot
            .address_name(address)
            .or_else(|| Some(interface?.id.to_string()))
    };
    let name = match agent {
        Some(agent) => agent.name.to_string(),
        None => named().unwrap_or_else(|| "outside the snapshot".to_owned()),
    };
    let is_control_plane = control_plane
        .iter()
        .any(|found| found.interface.owns(address));
    let role = match agent.map(|agent| agent.kind) {
        Some(kind) => role(kind),
        None if is_control_plane => "control plane",
        None => silent_role(snapshot, address),
    };
    EndpointLabel {
        name,
        class: format!("{role} [{}]", groups(snapshot, interface)),
        key: key(role, interface, address),
        names: snapshot.end_names(address),
    }
}

/// What stays the same when a node or pod is replaced: role, groups and subnet by their ids, and the address family. Of an
/// address without an interface it is the address.
fn key(role: &str, interface: Option<&NetworkInterface>, address: IpAddr) -> String {
    let Some(interface) = interface else {
        return format!("{role} {address}");
    };
    let groups: Vec<&str> = interface
        .groups
        .iter()
        .map(SecurityGroupId::as_str)
        .collect();
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    format!("{role} {} {} {family}", groups.join("+"), interface.subnet)
}

/// What an agent's kind is called.
fn role(kind: AgentKind) -> &'static str {
    match kind {
        AgentKind::Node => "host",
        AgentKind::Pod => "pod",
        AgentKind::Fargate => "fargate",
    }
}

/// What an address without an agent is called.
fn silent_role(snapshot: &Snapshot, address: IpAddr) -> &'static str {
    match snapshot.pods_at(address).next().map(|pod| pod.platform) {
        Some(Platform::Fargate) => "fargate",
        Some(Platform::Ec2) => "pod",
        None => "host",
    }
}

/// The names of an interface's security groups; the cluster security group has a generated one and is called so.
fn groups(snapshot: &Snapshot, interface: Option<&NetworkInterface>) -> String {
    let cluster = snapshot
        .cluster()
        .and_then(|cluster| cluster.cluster_group.as_ref());
    let name = |id: &SecurityGroupId| {
        if Some(id) == cluster {
            return "cluster SG".to_owned();
        }
        let group = snapshot.security_group(id);
        group
            .and_then(|group| group.display_name())
            .map_or_else(|| id.to_string(), str::to_owned)
    };
    let groups = interface
        .into_iter()
        .flat_map(|interface| &interface.groups);
    let names: Vec<String> = groups.map(name).collect();
    names.join(" + ")
}
