//! What a claim says of flows, and whether they are so: by findings where there are any, else by the model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::party::Party;
use super::{EvidenceKind, Look, Wire, World};
use crate::class::{ClassId, Classes};
use crate::expectation::members::host_of;
use crate::finding::{Finding, FindingKind, FindingReason};
use crate::flow::{Flow, FlowProtocol};
use crate::observation::{Attempt, Identification, Outcome};
use crate::predict::predict;
use crate::prediction::{Denial, Verdict};
use crate::selector::{EndPair, Ends, pairs};
use crate::snapshot::{Match, Owner, Snapshot};

/// Most flows that one claim looks at.
pub const FLOWS_PER_CLAIM_MAX: usize = 2_000;

/// Flows, and what is said of them: between each two classes of the parties one, and every one that a run tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowClaim {
    /// Who sends.
    pub from: Party,
    /// Who receives.
    pub to: Party,
    /// What is sent.
    pub packets: Vec<FlowProtocol>,
    /// What is said of it.
    pub said: Said,
    /// Between which ends.
    pub between: Between,
}

/// What is said of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It arrives.
    Open,
    /// It does not arrive.
    Closed,
    /// Security groups decide about it: they admit it, or one of its two ends does not; no route and no ACL stops it.
    ByGroups,
    /// It does as the model says, whatever that is. Only a run shows that.
    AsPredicted,
    /// It does not arrive, and nothing comes back. Only a run shows that.
    Silent,
    /// It comes from the address of the interface that sends, as its target sees it. Only a run shows that.
    FromInterface,
}

/// Between which ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// On two hosts.
    Hosts,
    /// On two hosts in one subnet.
    HostsOfOneSubnet,
    /// On one host.
    OneHost,
}

/// What was found of one flow.
pub(super) struct Seen {
    pub(super) kind: EvidenceKind,
    pub(super) look: Look,
}

impl FlowClaim {
    /// Looks at the flows; why nobody can tell where there is none.
    pub(super) fn look(&self, world: &World<'_>, classes: &Classes) -> Result<Vec<Seen>, String> {
        let (from, to) = (self.from.members(world), self.to.members(world));
        let addresses = |members: &super::members::Members<'_>| -> BTreeSet<IpAddr> {
            members
                .members
                .iter()
                .map(|member| member.address)
                .collect()
        };
        let (sources, targets) = (addresses(&from), addresses(&to));
        let mut seen = Vec::new();
        let mut tried = BTreeSet::new();
        for finding in self.tried(world, (&sources, &targets)) {
            tried.insert(self.classes_of(classes, &finding.flow));
            seen.push(observed(world, self.said, finding));
        }
        for flow in self.untried(world, classes, (&sources, &targets)) {
            if !tried.contains(&self.classes_of(classes, &flow)) {
                seen.push(predicted(world.snapshot, self.said, &flow));
            }
        }
        if matches!(
            self.said,
            Said::AsPredicted | Said::Silent | Said::FromInterface
        ) {
            // What only a run shows is judged by the flows that it shows it of.
            if seen.iter().any(|one| one.look.answer != Match::Unsure) {
                seen.retain(|one| one.look.answer != Match::Unsure);
            }
        }
        if seen.is_empty() {
            let doubt = from.doubt.or(to.doubt);
            return Err(doubt.unwrap_or_else(|| {
                format!("there is no flow from `{}` to `{}`", self.from, self.to)
            }));
        }
        Ok(seen)
    }

    fn classes_of(
        &self,
        classes: &Classes,
        flow: &Flow,
    ) -> (
        Result<ClassId, IpAddr>,
        Result<ClassId, IpAddr>,
        FlowProtocol,
    ) {
        let class = |address| classes.of(address).ok_or(address);
        (class(flow.source), class(flow.destination), flow.protocol)
    }

    /// Findings of flows that are meant and that somebody tried.
    fn tried<'f>(
        &self,
        world: &World<'f>,
        (sources, targets): (&BTreeSet<IpAddr>, &BTreeSet<IpAddr>),
    ) -> Vec<&'f Finding> {
        let is_meant = |finding: &&Finding| {
            let flow = &finding.flow;
            finding.kind != FindingKind::NotObserved
                && self.packets.contains(&flow.protocol)
                && sources.contains(&flow.source)
                && targets.contains(&flow.destination)
                && self.is_between(world.snapshot, flow.source, flow.destination)
        };
        let all = world.findings.iter().filter(is_meant);
        all.take(FLOWS_PER_CLAIM_MAX).collect()
    }

    /// A flow between each two classes of the ends that are meant.
    fn untried(
        &self,
        world: &World<'_>,
        classes: &Classes,
        (sources, targets): (&BTreeSet<IpAddr>, &BTreeSet<IpAddr>),
    ) -> Vec<Flow> {
        let snapshot = world.snapshot;
        let mut all = Vec::new();
        let groups = match self.between {
            Between::Hosts => vec![(sources.clone(), targets.clone())],
            Between::HostsOfOneSubnet => {
                together(sources, targets, |address| subnet(snapshot, address))
            }
            Between::OneHost => together(sources, targets, |address| host_of(snapshot, address)),
        };
        for (sources, targets) in groups {
            let ends = (Ends::of(sources), Ends::of(targets));
            for pair in pairs(snapshot, classes, (&ends.0, &ends.1)) {
                if self.is_between(snapshot, pair.source, pair.destination) {
                    let flows = self
                        .packets
                        .iter()
                        .map(|packet| flow(snapshot, pair, *packet));
                    all.extend(flows);
                }
            }
        }
        all.truncate(FLOWS_PER_CLAIM_MAX);
        all
    }

    fn is_between(&self, snapshot: &Snapshot, source: IpAddr, destination: IpAddr) -> bool {
        if source == destination {
            return false;
        }
        let hosts = (host_of(snapshot, source), host_of(snapshot, destination));
        let is_one_host = hosts.0.is_some() && hosts.0 == hosts.1;
        match self.between {
            Between::Hosts => !is_one_host,
            Between::HostsOfOneSubnet => {
                let subnets = (subnet(snapshot, source), subnet(snapshot, destination));
                !is_one_host && subnets.0.is_some() && subnets.0 == subnets.1
            }
            Between::OneHost => is_one_host,
        }
    }
}

/// Addresses that share what `key` says of each.
fn together<K: Ord>(
    sources: &BTreeSet<IpAddr>,
    targets: &BTreeSet<IpAddr>,
    key: impl Fn(IpAddr) -> Option<K>,
) -> Vec<(BTreeSet<IpAddr>, BTreeSet<IpAddr>)> {
    let mut all: BTreeMap<K, (BTreeSet<IpAddr>, BTreeSet<IpAddr>)> = BTreeMap::new();
    for address in sources {
        if let Some(key) = key(*address) {
            all.entry(key).or_default().0.insert(*address);
        }
    }
    for address in targets {
        if let Some(key) = key(*address) {
            all.entry(key).or_default().1.insert(*address);
        }
    }
    all.into_values().collect()
}

fn subnet(snapshot: &Snapshot, address: IpAddr) -> Option<crate::id::SubnetId> {
    match snapshot.owner(address) {
        Owner::One(interface) => Some(interface.subnet.clone()),
        Owner::Nobody | Owner::Several(_) => None,
    }
}

/// The flow between two ends, out of an API server where the source is one's interface.
fn flow(snapshot: &Snapshot, pair: EndPair, packet: FlowProtocol) -> Flow {
    let is_api_server = match snapshot.owner(pair.source) {
        Owner::One(interface) => snapshot.is_of_control_plane(interface),
        Owner::Nobody | Owner::Several(_) => false,
    };
    match packet {
        FlowProtocol::Tcp { port } if is_api_server => {
            Flow::from_api_server(pair.source, pair.destination, port)
        }
        FlowProtocol::Tcp { .. }
        | FlowProtocol::Udp { .. }
        | FlowProtocol::Icmp { .. }
        | FlowProtocol::IcmpV6 { .. }
        | FlowProtocol::Other(_) => pair.flow(snapshot, packet),
    }
}

/// What the model says of a flow.
fn predicted(snapshot: &Snapshot, said: Said, flow: &Flow) -> Seen {
    let verdict = predict(snapshot, flow).verdict;
    let answer = match said {
        Said::Open => arrives(&verdict),
        Said::Closed => is_closed(&verdict),
        Said::ByGroups => by_groups(&verdict),
        Said::AsPredicted | Said::Silent | Said::FromInterface => None,
    };
    let what = snapshot.flow_called(flow);
    let text = match said {
        Said::Open | Said::Closed | Said::ByGroups => format!("{what}: {verdict}"),
        Said::AsPredicted | Said::Silent | Said::FromInterface => {
            format!("{what}: only a run with agents shows this")
        }
    };
    Seen {
        kind: EvidenceKind::Predicted,
        look: Look::of(answer, text),
    }
}

/// Whether the model lets all of a flow arrive; absent where it does not know.
fn arrives(verdict: &Verdict) -> Option<bool> {
    match verdict {
        Verdict::Allow { .. } | Verdict::Bypass(_) | Verdict::Exempt(_) => Some(true),
        Verdict::Deny(_) | Verdict::Partial { .. } => Some(false),
        Verdict::Unknown(_) => None,
    }
}

/// Whether the model lets nothing of a flow arrive; absent where it does not know.
fn is_closed(verdict: &Verdict) -> Option<bool> {
    match verdict {
        Verdict::Deny(_) => Some(true),
        Verdict::Allow { .. }
        | Verdict::Partial { .. }
        | Verdict::Bypass(_)
        | Verdict::Exempt(_) => Some(false),
        Verdict::Unknown(_) => None,
    }
}

/// Whether groups decide about a flow; absent where the model does not know.
fn by_groups(verdict: &Verdict) -> Option<bool> {
    match verdict {
        Verdict::Allow { .. } | Verdict::Deny(Denial::SecurityGroup { .. }) => Some(true),
        Verdict::Deny(_) | Verdict::Partial { .. } | Verdict::Bypass(_) | Verdict::Exempt(_) => {
            Some(false)
        }
        Verdict::Unknown(_) => None,
    }
}

/// What a run says of a flow.
fn observed(world: &World<'_>, said: Said, finding: &Finding) -> Seen {
    let answer = match said {
        Said::Open => is_open(finding.kind),
        Said::Closed => was_closed(finding.kind),
        Said::ByGroups => as_predicted(finding.kind)
            .and_then(|holds| Some(holds && by_groups(&finding.prediction.verdict)?)),
        Said::AsPredicted => as_predicted(finding.kind),
        Said::Silent => is_silent(finding),
        Said::FromInterface => from_interface(finding),
    };
    let reason = finding.reason.as_ref();
    let reason = reason.map_or_else(String::new, |reason| format!(" ({})", reason.as_str()));
    let text = format!(
        "{}: {}{reason}",
        world.snapshot.flow_called(&finding.flow),
        finding.kind.as_str()
    );
    Seen {
        kind: match world.wire {
            Wire::Network => EvidenceKind::Observed,
            Wire::Lab => EvidenceKind::Lab,
        },
        look: Look::of(answer, text),
    }
}

/// Whether every packet arrives; absent where nobody can tell.
fn is_open(kind: FindingKind) -> Option<bool> {
    match kind {
        FindingKind::ConfirmedAllow | FindingKind::ContradictionOpen | FindingKind::Bypass => {
            Some(true)
        }
        FindingKind::ConfirmedDeny
        | FindingKind::ContradictionClosed
        | FindingKind::ConfirmedPartial => Some(false),
        FindingKind::Inconclusive | FindingKind::NotObserved => None,
    }
}

/// Whether no packet arrives; absent where nobody can tell.
fn was_closed(kind: FindingKind) -> Option<bool> {
    match kind {
        FindingKind::ConfirmedPartial => Some(false),
        FindingKind::ConfirmedAllow
        | FindingKind::ContradictionOpen
        | FindingKind::Bypass
        | FindingKind::ConfirmedDeny
        | FindingKind::ContradictionClosed
        | FindingKind::Inconclusive
        | FindingKind::NotObserved => is_open(kind).map(|open| !open),
    }
}

/// Whether the wire does as the model says; absent where nobody can tell.
fn as_predicted(kind: FindingKind) -> Option<bool> {
    match kind {
        FindingKind::ConfirmedAllow
        | FindingKind::ConfirmedDeny
        | FindingKind::ConfirmedPartial
        | FindingKind::Bypass => Some(true),
        FindingKind::ContradictionOpen | FindingKind::ContradictionClosed => Some(false),
        FindingKind::Inconclusive | FindingKind::NotObserved => None,
    }
}

/// Whether a closed flow was closed without a word; absent of one that nobody knows to be closed.
fn is_silent(finding: &Finding) -> Option<bool> {
    match finding.kind {
        FindingKind::ConfirmedDeny | FindingKind::ContradictionClosed => {
            let attempts = &finding.observation.attempts;
            let is_silent = |attempt: &Attempt| matches!(attempt.outcome, Outcome::TimedOut { .. });
            (!attempts.is_empty()).then(|| attempts.iter().all(is_silent))
        }
        FindingKind::Inconclusive if finding.reason == Some(FindingReason::Unreachable) => {
            Some(false)
        }
        FindingKind::Inconclusive
        | FindingKind::ContradictionOpen
        | FindingKind::ConfirmedAllow
        | FindingKind::ConfirmedPartial
        | FindingKind::Bypass
        | FindingKind::NotObserved => None,
    }
}

/// Whether the target saw the sender's own address: it says so with its proof, as what the sender itself calls its address does
/// not show it. Absent where no target says anything.
fn from_interface(finding: &Finding) -> Option<bool> {
    if finding.reason == Some(FindingReason::SourceTranslated) {
        return Some(false);
    }
    let seen = |attempt: &Attempt| match attempt.identification {
        Identification::Verified { observed } => Some(observed.ip()),
        Identification::NotAsked
        | Identification::Mismatch
        | Identification::Certified
        | Identification::Uncertified { .. }
        | Identification::Failed { .. }
        | Identification::Resolver { .. }
        | Identification::Kubelet
        | Identification::NoResolver { .. } => None,
    };
    let seen: Vec<IpAddr> = finding
        .observation
        .attempts
        .iter()
        .filter_map(seen)
        .collect();
    (!seen.is_empty()).then(|| seen.iter().all(|address| *address == finding.flow.source))
}
