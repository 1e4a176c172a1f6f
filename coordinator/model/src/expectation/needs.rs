//! Everything that a cluster needs of its network, as the model alone can judge it: more than agents try.
//!
//! [`super::requirements`] holds what a run is measured by. What is added here (the metrics server's way to the kubelets,
//! nodes to CoreDNS) is judged by `reachproof check` alone.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::members::{DNS_PORT, KUBELET_PORT, NodeBasis, cluster_members, core_dns};
use super::{ExpectationName, FLOWS_PER_EXPECTATION_MAX, family, requirements};
use crate::flow::{Flow, FlowProtocol};
use crate::plan::{Roster, control_plane_targets};
use crate::snapshot::{Backend, Snapshot, Targets};

/// API group of the metrics server, which asks every kubelet (G.1; the metrics server's documentation).
const METRICS_GROUP: &str = "metrics.k8s.io";

/// Flows that the cluster needs for one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What kind of need.
    pub name: ExpectationName,
    /// Whose need it is, where there are several of the kind: a webhook, an `APIService`; raw text.
    pub subject: Option<String>,
    /// The flows, at most [`FLOWS_PER_EXPECTATION_MAX`].
    pub flows: Vec<Flow>,
    /// Flows beyond that.
    pub left_out: usize,
}

/// All needs of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The needs, in the order of their names.
    pub needs: Vec<Need>,
    /// How the nodes were found.
    pub basis: NodeBasis,
    /// What nobody can judge, since the snapshot does not say where it leads; raw text, sorted.
    pub unknown: Vec<String>,
    /// What has no endpoint, so that nothing is dialled; raw text, sorted.
    pub idle: Vec<String>,
}

/// Finds every flow that the cluster needs, whoever could try it (D.4, G.1).
///
/// A snapshot without a cluster has no needs, which is in [`Needs::unknown`].
#[must_use]
pub fn needs(snapshot: &Snapshot) -> Needs {
    let roster = Roster::default();
    let found = requirements(snapshot, &roster);
    let mut needs = Needs {
        needs: Vec::new(),
        basis: found.basis,
        unknown: Vec::new(),
        idle: Vec::new(),
    };
    if snapshot.cluster().is_none() {
        needs
            .unknown
            .push("the snapshot has no cluster: `describe-cluster` is missing".to_owned());
        return needs;
    }
    for requirement in found.requirements {
        if requirement.flows.is_empty() {
            needs.unknown.push(format!(
                "{}: no interface of the control plane is in the snapshot",
                requirement.name.as_str()
            ));
            continue;
        }
        needs.needs.push(Need {
            name: requirement.name,
            subject: requirement.subject,
            flows: requirement.flows,
            left_out: requirement.left_out,
        });
    }
    needs.more(snapshot);
    needs
        .needs
        .sort_by(|one, other| (&one.name, &one.subject).cmp(&(&other.name, &other.subject)));
    needs
}

impl Needs {
    /// Visits every flow, need by need.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.needs.iter().flat_map(|need| &need.flows)
    }

    /// Adds what only the model judges.
    fn more(&mut self, snapshot: &Snapshot) {
        let members = cluster_members(snapshot, &Roster::default());
        let nodes: Vec<&[IpAddr]> = members
            .nodes
            .iter()
            .map(|node| node.addresses.as_slice())
            .collect();
        let dns = core_dns(snapshot);
        let tcp = FlowProtocol::Tcp { port: DNS_PORT };
        let udp = FlowProtocol::Udp { port: DNS_PORT };
        let mut flows = pairs(snapshot, &nodes, &dns, tcp);
        flows.extend(pairs(snapshot, &nodes, &dns, udp));
        self.add(ExpectationName::NodeToCoreDns, None, flows);
        let control_plane: Vec<IpAddr> = control_plane_targets(snapshot)
            .map(|(address, _)| address)
            .collect();
        for backend in snapshot.backends() {
            self.backend(backend, &control_plane);
        }
        let metrics: BTreeSet<IpAddr> = snapshot
            .backends()
            .iter()
            .filter(|backend| backend.is_of_group(METRICS_GROUP))
            .flat_map(|backend| targets(backend).into_iter().flatten())
            .map(|target| target.ip())
            .collect();
        let sources: Vec<[IpAddr; 1]> = metrics.into_iter().map(|address| [address]).collect();
        let sources: Vec<&[IpAddr]> = sources.iter().map(<[IpAddr; 1]>::as_slice).collect();
        let kubelets: Vec<IpAddr> = members
            .nodes
            .iter()
            .chain(&members.fargate)
            .filter_map(|member| member.addresses.first().copied())
            .collect();
        let kubelet = FlowProtocol::Tcp { port: KUBELET_PORT };
        let flows = pairs(snapshot, &sources, &kubelets, kubelet);
        self.add(ExpectationName::MetricsToKubelet, None, flows);
    }

    /// Says of a backend to which nothing can be asked for why.
    fn backend(&mut self, backend: &Backend, control_plane: &[IpAddr]) {
        match targets(backend) {
            None => {
                let what = "the snapshot does not say where its service leads";
                self.unknown.push(format!("{backend}: {what}"));
            }
            Some(targets) if targets.is_empty() => {
                self.idle.push(format!("{backend} has no endpoint"));
            }
            Some(_) if control_plane.is_empty() => {
                let what = "no interface of the control plane is in the snapshot";
                self.unknown.push(format!("{backend}: {what}"));
            }
            Some(_) => {}
        }
    }

    fn add(&mut self, name: ExpectationName, subject: Option<String>, mut flows: Vec<Flow>) {
        flows.sort();
        flows.dedup();
        let left_out = flows.len().saturating_sub(FLOWS_PER_EXPECTATION_MAX);
        flows.truncate(FLOWS_PER_EXPECTATION_MAX);
        if !flows.is_empty() {
            self.needs.push(Need {
                name,
                subject,
                flows,
                left_out,
            });
        }
    }
}

fn targets(backend: &Backend) -> Option<&BTreeSet<SocketAddr>> {
    match &backend.targets {
        Targets::Known(targets) => Some(targets),
        Targets::Unknown => None,
    }
}

/// From the first address of each source that has the family of a target.
fn pairs(
    snapshot: &Snapshot,
    sources: &[&[IpAddr]],
    targets: &[IpAddr],
    protocol: FlowProtocol,
) -> Vec<Flow> {
    let ends = sources.iter().flat_map(|own| {
        let of_family = |target: &IpAddr| family(own, *target).map(|source| (source, *target));
        targets.iter().filter_map(of_family)
    });
    flows(snapshot, ends, protocol)
}

/// Flows between two addresses, from a pod where the source is one's.
fn flows(
    snapshot: &Snapshot,
    ends: impl Iterator<Item = (IpAddr, IpAddr)>,
    protocol: FlowProtocol,
) -> Vec<Flow> {
    ends.filter(|(source, target)| source != target)
        .map(|(source, target)| Flow {
            protocol,
            source_kind: snapshot.source_kind(source),
            ..Flow::tcp(source, target, 0)
        })
        .collect()
}
