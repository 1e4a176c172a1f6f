//! Who stands in a snapshot: instances, pods and interfaces on their own, each with the agent that could run there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use reachproof_lab::world::{AgentPlace, AgentPresence};
use reachproof_lab::{Endpoint, EndpointKind, is_namespace_name};
use reachproof_model::class::Classes;
use reachproof_model::expectation::members::core_dns;
use reachproof_model::id::{InstanceId, NetworkInterfaceId, NodeName};
use reachproof_model::snapshot::{
    Host, NetworkInterface, Owner, Platform, Pod, PodNetwork, PodPhase, Snapshot,
};
use serde_json::Value;

use crate::rehearsal::choice::{Candidate, Turn};

/// How many CoreDNS pods are drawn before all others: every pod needs one.
const CORE_DNS_FIRST: usize = 2;

/// A host of the lab, to be drawn or not.
#[derive(Debug)]
pub(super) struct Inhabitant {
    /// What holds its interfaces.
    pub(super) host: Host,
    /// Interfaces that stay if it is drawn.
    pub(super) interfaces: Vec<NetworkInterfaceId>,
    /// The pod that it is.
    pub(super) pod: Option<PodId>,
    /// Its name in the lab; absent: the lab calls it by the id of its instance or interface.
    pub(super) endpoint: Option<Endpoint>,
    /// The agent that can run there.
    pub(super) agent: Option<AgentPlace>,
    /// What decides whether it is drawn.
    pub(super) candidate: Candidate,
}

/// Namespace and name of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PodId(String, String);

impl PodId {
    pub(super) fn of(pod: &Pod) -> Self {
        Self(pod.namespace.clone(), pod.name.clone())
    }

    /// The pod that an item of `kubectl get pods -o json` is.
    pub(super) fn in_answer(item: &Value) -> Option<Self> {
        let text = |field| Some(item.pointer(field)?.as_str()?.to_owned());
        Some(Self(text("/metadata/namespace")?, text("/metadata/name")?))
    }
}

/// Everybody, hosts before the pods behind them.
pub(super) fn all(snapshot: &Snapshot, classes: &Classes) -> Vec<Inhabitant> {
    let mut census = Census {
        snapshot,
        classes,
        control_plane: snapshot
            .control_plane_interfaces()
            .iter()
            .map(|found| found.interface.id.clone())
            .collect(),
        all: Vec::new(),
        names: BTreeSet::new(),
        claimed: BTreeSet::new(),
    };
    census.add_hosts();
    census.add_pods();
    census.add_branches();
    census.all
}

/// Inhabitants, counted so far.
struct Census<'s> {
    snapshot: &'s Snapshot,
    classes: &'s Classes,
    control_plane: BTreeSet<NetworkInterfaceId>,
    all: Vec<Inhabitant>,
    names: BTreeSet<String>,
    /// Addresses that pods have.
    claimed: BTreeSet<IpAddr>,
}

/// What is known of a host with addresses of its own.
struct Standing {
    kind: EndpointKind,
    /// What it may be called, the better one first.
    names: [String; 2],
    node: Option<NodeName>,
    addresses: Vec<IpAddr>,
    /// Whether an agent can run there.
    presence: AgentPresence,
}

impl<'s> Census<'s> {
    /// Instances, and interfaces that nobody holds; branch interfaces are those of pods.
    fn add_hosts(&mut self) {
        let mut hosts: BTreeMap<Host, Vec<&NetworkInterface>> = BTreeMap::new();
        for interface in self.snapshot.network_interfaces() {
            if !interface.is_branch() {
                let host = self.snapshot.host(interface);
                hosts.entry(host).or_default().push(interface);
            }
        }
        for (host, interfaces) in hosts {
            match &host {
                Host::Instance(id) => {
                    let standing = self.instance(id, &host);
                    self.add(standing, None, host, &interfaces);
                }
                Host::Interface(_) => {
                    for interface in interfaces {
                        self.add_alone(host.clone(), interface);
                    }
                }
            }
        }
    }

    /// An instance with its primary address and those of IPv6: secondary ones are for pods.
    fn instance(&self, id: &InstanceId, host: &Host) -> Option<Standing> {
        let primary = self.snapshot.primary_interface(id)?;
        let first = primary.addresses.iter().find(|own| own.is_ipv4());
        let others = primary.addresses.iter().filter(|own| own.is_ipv6());
        let own = first.into_iter().chain(others).copied();
        let own = own.filter(|own| self.is_held_by(*own, host) && !self.is_of_pod(*own));
        let mut nodes = self.snapshot.nodes().iter();
        let node = nodes
            .find(|node| node.instance.as_ref() == Some(id))
            .map(|node| node.name.clone());
        let state = self
            .snapshot
            .instance(id)
            .map_or("", |instance| &instance.state);
        Some(Standing {
            kind: EndpointKind::Node,
            names: [
                node.as_ref().map(ToString::to_string).unwrap_or_default(),
                id.to_string(),
            ],
            node,
            addresses: own.collect(),
            presence: match state {
                "running" | "" => AgentPresence::Running,
                _ => AgentPresence::None,
            },
        })
    }

    /// An interface on its own: Fargate (E.6), the control plane's, or one of something that runs no agent.
    fn add_alone(&mut self, host: Host, interface: &'s NetworkInterface) {
        let addresses = interface.addresses.iter();
        let fargate = addresses
            .flat_map(|address| self.snapshot.pods_at(*address))
            .find(|pod| pod.platform == Platform::Fargate && is_on_own_network(pod));
        let standing = fargate.map(|pod| Standing {
            kind: EndpointKind::Fargate,
            names: pod_names(pod),
            node: pod.node.clone(),
            addresses: self.held(v4_first(&interface.addresses), &host),
            presence: AgentPresence::Running,
        });
        let place = self.all.len();
        self.add(standing, fargate, host, &[interface]);
        if let Some(added) = self.all.get_mut(place) {
            if added.agent.is_none() {
                let addresses = interface.addresses.iter();
                let classes = addresses.filter_map(|address| self.classes.of(*address));
                added.candidate.classes = classes.collect();
            }
            if self.control_plane.contains(&interface.id) {
                added.candidate.turn = Turn::First;
            }
        }
    }

    /// Pods behind instances, each address once: the first pod that is said to have it.
    fn add_pods(&mut self) {
        let dns = core_dns(self.snapshot);
        let mut dns_first = CORE_DNS_FIRST;
        let instances = self.instances();
        let pods = self.snapshot.pods().iter();
        for pod in pods.filter(|pod| is_on_own_network(pod) && pod.platform == Platform::Ec2) {
            let first = pod.addresses.first().copied();
            let Some(Owner::One(interface)) = first.map(|first| self.snapshot.owner(first)) else {
                continue;
            };
            let host = self.snapshot.host(interface);
            let needs = instances.get(&host).copied();
            if needs.is_none() && !interface.is_branch() {
                continue;
            }
            let mut addresses = self.held(v4_first(&pod.addresses), &host);
            addresses.retain(|address| self.claimed.insert(*address));
            if addresses.is_empty() {
                continue;
            }
            let serves_dns = addresses.iter().any(|address| dns.contains(address));
            let standing = Standing {
                kind: EndpointKind::Pod,
                names: pod_names(pod),
                node: pod.node.clone(),
                addresses,
                // The stand-in for CoreDNS is all that runs there.
                presence: if serves_dns {
                    AgentPresence::None
                } else {
                    AgentPresence::Running
                },
            };
            let own: &[&NetworkInterface] = if interface.is_branch() {
                &[interface]
            } else {
                &[]
            };
            self.add(Some(standing), Some(pod), host, own);
            if let Some(added) = self.all.last_mut() {
                added.candidate.needs = needs;
                if serves_dns && dns_first > 0 {
                    dns_first -= 1;
                    added.candidate.turn = Turn::First;
                }
            }
        }
    }

    /// Branch interfaces that no pod is said to have: where no pod is known at all, each is one (E.4).
    fn add_branches(&mut self) {
        let taken: BTreeSet<NetworkInterfaceId> = self
            .all
            .iter()
            .flat_map(|one| one.interfaces.iter().cloned())
            .collect();
        let instances = self.instances();
        let presence = if self.snapshot.pods().is_empty() {
            AgentPresence::Running
        } else {
            AgentPresence::None
        };
        let branches = self.snapshot.network_interfaces();
        for interface in branches.filter(|one| one.is_branch() && !taken.contains(&one.id)) {
            let host = self.snapshot.host(interface);
            let standing = Standing {
                kind: EndpointKind::Pod,
                names: [interface.id.to_string(), String::new()],
                node: None,
                addresses: self.held(v4_first(&interface.addresses), &host),
                presence,
            };
            let needs = instances.get(&host).copied();
            self.add(Some(standing), None, host, &[interface]);
            if let Some(added) = self.all.last_mut() {
                added.candidate.needs = needs;
            }
        }
    }

    /// The places of the instances, on which pods stand.
    fn instances(&self) -> BTreeMap<Host, usize> {
        let all = self.all.iter().enumerate();
        all.filter(|(_, one)| one.pod.is_none() && matches!(one.host, Host::Instance(_)))
            .map(|(place, one)| (one.host.clone(), place))
            .collect()
    }

    /// Adds a host. Without a name that the lab can use, or an address, it is called by its id and has no agent.
    fn add(
        &mut self,
        standing: Option<Standing>,
        pod: Option<&Pod>,
        host: Host,
        interfaces: &[&NetworkInterface],
    ) {
        let named = standing.and_then(|standing| {
            let mut names = standing.names.iter();
            let name = names
                .find(|name| is_namespace_name(name) && !self.names.contains(*name))
                .cloned()?;
            (!standing.addresses.is_empty()).then_some((name, standing))
        });
        let addresses = named
            .as_ref()
            .map(|(_, standing)| standing.addresses.clone())
            .unwrap_or_default();
        let classes = addresses
            .iter()
            .filter_map(|address| self.classes.of(*address));
        let candidate = Candidate {
            classes: classes.collect(),
            needs: None,
            turn: Turn::ByClass,
        };
        if let Some((name, _)) = &named {
            self.names.insert(name.clone());
        }
        self.all.push(Inhabitant {
            host,
            interfaces: interfaces.iter().map(|own| own.id.clone()).collect(),
            pod: pod.map(PodId::of),
            endpoint: named.as_ref().map(|(name, standing)| Endpoint {
                name: name.clone(),
                addresses: standing.addresses.clone(),
                kind: standing.kind,
            }),
            agent: named.and_then(|(name, standing)| standing.agent(name)),
            candidate,
        });
    }

    /// Those of `addresses` that `host` alone has.
    fn held(&self, mut addresses: Vec<IpAddr>, host: &Host) -> Vec<IpAddr> {
        addresses.retain(|address| self.is_held_by(*address, host));
        addresses
    }

    fn is_held_by(&self, address: IpAddr, host: &Host) -> bool {
        matches!(self.snapshot.owner(address), Owner::One(owner) if self.snapshot.host(owner) == *host)
    }

    fn is_of_pod(&self, address: IpAddr) -> bool {
        self.snapshot.pods_at(address).any(is_on_own_network)
    }
}

impl Standing {
    fn agent(self, endpoint: String) -> Option<AgentPlace> {
        (self.presence == AgentPresence::Running).then(|| AgentPlace {
            endpoint,
            node: self.node.map(|node| node.to_string()),
            kind: self.kind,
            addresses: self.addresses,
            presence: self.presence,
        })
    }
}

fn is_on_own_network(pod: &Pod) -> bool {
    pod.network == PodNetwork::Pod && pod.phase == PodPhase::Live
}

/// What a pod is called in the lab: by namespace and name, or where these do not fit, by its address.
fn pod_names(pod: &Pod) -> [String; 2] {
    let address = pod.addresses.first().map(ToString::to_string);
    [
        format!("{}.{}", pod.namespace, pod.name),
        format!("pod-{}", address.unwrap_or_default().replace(':', "-")),
    ]
}

fn v4_first(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let (mut v4, v6): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().partition(|address| address.is_ipv4());
    v4.extend(v6);
    v4
}
