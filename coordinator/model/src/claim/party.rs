//! Who is meant by a claim, in the words of EKS.
//!
//! | words | who |
//! |---|---|
//! | `control plane` | the interfaces of the control plane (D.1) |
//! | `API servers` | the addresses in the EndpointSlices of `default/kubernetes` |
//! | `nodes`, `managed nodes` | the nodes' own addresses; those of managed node groups |
//! | `secondary interfaces` | further interfaces of nodes, branch interfaces apart (E.2) |
//! | `pods`, `branch interfaces` | pods on the network of EC2 nodes; interfaces of one pod (E.4) |
//! | `Fargate pods` | pods on Fargate (E.6) |
//! | `CoreDNS` | its pods |
//! | `everybody` | every interface that carries a group |
//!
//! Behind these may stand `with GROUP`, `without GROUP` ([`groups`](super::groups)), `with a launch template`, `without a
//! launch template`, `with a policy`, `without a policy` (pods that a SecurityGroupPolicy gives groups, by their
//! annotations), `with IPv6` (their addresses of that family alone), `in other subnets` (than those of the control plane).
//! Anything else is a name as a [`Selector`] takes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::World;
use super::groups::{GroupWord, UnknownGroup};
use super::members::{Member, Members, NO_CLUSTER, fargate, own_addresses, secondary};
use crate::class::NodeGroup;
use crate::expectation::members::{cluster_members, core_dns};
use crate::plan::Roster;
use crate::selector::{Selector, SelectorError};
use crate::snapshot::{NetworkInterface, Reading, Snapshot};

/// Who is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    who: Who,
    filters: Vec<Filter>,
}

/// Whom the words begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Known(Known),
    Selected(Selector),
}

/// Who has words of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    ControlPlane,
    ApiServers,
    Nodes,
    ManagedNodes,
    SecondaryInterfaces,
    Pods,
    BranchInterfaces,
    FargatePods,
    CoreDns,
    Everybody,
}

/// The words of each.
const KNOWN: [(&str, Known); 10] = [
    ("control plane", Known::ControlPlane),
    ("API servers", Known::ApiServers),
    ("nodes", Known::Nodes),
    ("managed nodes", Known::ManagedNodes),
    ("secondary interfaces", Known::SecondaryInterfaces),
    ("pods", Known::Pods),
    ("branch interfaces", Known::BranchInterfaces),
    ("Fargate pods", Known::FargatePods),
    ("CoreDNS", Known::CoreDns),
    ("everybody", Known::Everybody),
];

/// Who of them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    With(GroupWord),
    Without(GroupWord),
    WithTemplate,
    WithoutTemplate,
    WithPolicy,
    WithoutPolicy,
    WithIpv6,
    OtherSubnets,
}

/// The words of filters that name no group.
const FILTERS: [(&str, Filter); 6] = [
    ("with a launch template", Filter::WithTemplate),
    ("without a launch template", Filter::WithoutTemplate),
    ("with a policy", Filter::WithPolicy),
    ("without a policy", Filter::WithoutPolicy),
    ("with IPv6", Filter::WithIpv6),
    ("in other subnets", Filter::OtherSubnets),
];

/// Words that mean nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidParty {
    /// The name selects nothing.
    #[error(transparent)]
    Name(#[from] SelectorError),
    /// The group of a filter is none.
    #[error(transparent)]
    Group(#[from] UnknownGroup),
}

impl FromStr for Party {
    type Err = InvalidParty;

    fn from_str(text: &str) -> Result<Self, InvalidParty> {
        let (who, mut rest) = split(text.trim());
        let who = match KNOWN.iter().find(|(words, _)| *words == who) {
            Some((_, known)) => Who::Known(*known),
            None => Who::Selected(who.parse()?),
        };
        let mut filters = Vec::new();
        while !rest.is_empty() {
            let (filter, after) = split(rest);
            filters.push(filter.parse()?);
            rest = after;
        }
        Ok(Self { who, filters })
    }
}

/// The words before the next filter, and those from it on.
fn split(text: &str) -> (&str, &str) {
    let starts = [" with ", " without ", " in other subnets"];
    let places = starts.iter().filter_map(|start| text.find(start));
    match places.min() {
        None => (text, ""),
        Some(place) => {
            let (before, after) = text.split_at(place);
            (before, after.trim_start())
        }
    }
}

impl FromStr for Filter {
    type Err = UnknownGroup;

    fn from_str(text: &str) -> Result<Self, UnknownGroup> {
        if let Some((_, filter)) = FILTERS.iter().find(|(words, _)| *words == text) {
            return Ok(filter.clone());
        }
        Ok(match text.split_once(' ') {
            Some(("without", group)) => Self::Without(group.parse()?),
            Some((_, group)) => Self::With(group.parse()?),
            None => Self::With(text.parse()?),
        })
    }
}

impl fmt::Display for Party {
    /// Writes the words, raw text.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::Known(known) => {
                let words = KNOWN.iter().find(|(_, other)| other == known);
                formatter.write_str(words.map_or("", |(words, _)| words))?;
            }
            Who::Selected(selector) => selector.fmt(formatter)?,
        }
        for filter in &self.filters {
            match filter {
                Filter::With(group) => write!(formatter, " with {group}")?,
                Filter::Without(group) => write!(formatter, " without {group}")?,
                Filter::WithTemplate
                | Filter::WithoutTemplate
                | Filter::WithPolicy
                | Filter::WithoutPolicy
                | Filter::WithIpv6
                | Filter::OtherSubnets => {
                    let words = FILTERS.iter().find(|(_, other)| other == filter);
                    write!(formatter, " {}", words.map_or("", |(words, _)| words))?;
                }
            }
        }
        Ok(())
    }
}

/// Why there may be pods that nobody sees.
const NO_PODS: &str = "`pods` is not in the snapshot";

impl Party {
    /// The addresses that the EndpointSlices of the API servers list.
    pub(super) fn api_servers() -> Self {
        Self {
            who: Who::Known(Known::ApiServers),
            filters: Vec::new(),
        }
    }

    /// Returns whether nodes are meant, or what belongs to them.
    pub(super) fn is_of_nodes(&self) -> bool {
        match self.who {
            Who::Known(Known::Nodes | Known::ManagedNodes | Known::SecondaryInterfaces) => true,
            Who::Known(
                Known::ControlPlane
                | Known::ApiServers
                | Known::Pods
                | Known::BranchInterfaces
                | Known::FargatePods
                | Known::CoreDns
                | Known::Everybody,
            )
            | Who::Selected(_) => false,
        }
    }

    /// Looks up who is meant.
    pub(super) fn members<'a>(&self, world: &World<'a>) -> Members<'a> {
        let mut found = match &self.who {
            Who::Known(known) => known.members(world),
            Who::Selected(selector) => selected(world.snapshot, selector),
        };
        for filter in &self.filters {
            filter.apply(world, &mut found);
        }
        found
    }
}

/// Who has a name.
fn selected<'a>(snapshot: &'a Snapshot, selector: &Selector) -> Members<'a> {
    match selector.resolve(snapshot) {
        Ok(ends) => Members::of(snapshot, ends.addresses(snapshot)),
        Err(error) => Members {
            members: Vec::new(),
            doubt: Some(error.to_string()),
        },
    }
}

impl Known {
    fn members<'a>(self, world: &World<'a>) -> Members<'a> {
        let snapshot = world.snapshot;
        let cluster = || cluster_members(snapshot, &Roster::default());
        let has = |stem| world.described.family(stem).next().is_some();
        match self {
            Self::ControlPlane => {
                // By their descriptions alone: whether they carry the cluster group is what claims are about.
                let all = snapshot.network_interfaces().filter(|interface| {
                    snapshot.is_of_control_plane(interface)
                        && (interface.status == "in-use" || interface.status.is_empty())
                });
                Members::of_interfaces(all).doubted(snapshot.cluster().is_some(), NO_CLUSTER)
            }
            Self::ApiServers => match &snapshot.api_endpoints {
                Some(listed) => Members::of(snapshot, listed.iter().copied()),
                None => {
                    Members::default().doubted(false, "`endpointslices` is not in the snapshot")
                }
            },
            Self::Nodes => Members::of(snapshot, own_addresses(snapshot, &cluster().nodes)),
            Self::ManagedNodes => managed(world, own_addresses(snapshot, &cluster().nodes)),
            Self::SecondaryInterfaces => {
                Members::of_interfaces(secondary(snapshot, &cluster().nodes))
            }
            Self::Pods => {
                let all = cluster().pods.into_iter().flat_map(|pod| pod.addresses);
                Members::of(snapshot, all).doubted(has("pods"), NO_PODS)
            }
            Self::BranchInterfaces => {
                let all = snapshot.network_interfaces();
                Members::of_interfaces(all.filter(|interface| interface.is_branch()))
            }
            Self::FargatePods => fargate(snapshot, cluster().fargate).doubted(
                has("pods") || has("nodes"),
                "neither `pods` nor `nodes` is in the snapshot",
            ),
            Self::CoreDns => {
                Members::of(snapshot, core_dns(snapshot)).doubted(has("pods"), NO_PODS)
            }
            Self::Everybody => {
                let all = snapshot.network_interfaces();
                Members::of_interfaces(all.filter(|interface| !interface.groups.is_empty()))
            }
        }
    }
}

/// Those of `addresses` that are nodes of a managed node group.
fn managed<'a>(world: &World<'a>, addresses: Vec<IpAddr>) -> Members<'a> {
    let mut found = Members::of(world.snapshot, addresses);
    found
        .members
        .retain(|member| node_group(world.snapshot, member.interface).is_some());
    let is_known = world
        .described
        .family("describe-nodegroup")
        .next()
        .is_some();
    found.doubted(
        is_known,
        "no instance is tagged with a node group, and `describe-nodegroup` is not in the snapshot",
    )
}

/// The managed node group of the instance that holds an interface.
fn node_group<'a>(snapshot: &'a Snapshot, interface: Option<&NetworkInterface>) -> Option<&'a str> {
    let instance = snapshot.instance(interface?.instance.as_ref()?)?;
    match NodeGroup::of(instance)? {
        NodeGroup::Group(name) => Some(name),
        NodeGroup::Pool(_) => None,
    }
}

impl Filter {
    fn apply<'a>(&self, world: &World<'a>, found: &mut Members<'a>) {
        match self {
            Self::With(group) => by_group(world, found, group, true),
            Self::Without(group) => by_group(world, found, group, false),
            Self::WithTemplate => by_template(world, found, true),
            Self::WithoutTemplate => by_template(world, found, false),
            Self::WithPolicy => by_policy(world, found, true),
            Self::WithoutPolicy => by_policy(world, found, false),
            Self::WithIpv6 => found.members.retain(|member| member.address.is_ipv6()),
            Self::OtherSubnets => {
                let all = world.snapshot.control_plane_interfaces();
                let taken: BTreeSet<_> = all.iter().map(|it| &it.interface.subnet).collect();
                let is_other = |member: &Member<'_>| {
                    let subnet = member.interface.map(|interface| &interface.subnet);
                    subnet.is_some_and(|subnet| !taken.contains(subnet))
                };
                found.members.retain(is_other);
            }
        }
    }
}

/// Keeps those that carry one of the groups that are meant, or those that carry none of them.
fn by_group<'a>(world: &World<'a>, found: &mut Members<'a>, group: &GroupWord, wanted: bool) {
    let groups = match group.groups(world) {
        Ok(groups) => groups,
        Err(why) => {
            found.members.clear();
            found.doubt = Some(why);
            return;
        }
    };
    let mut unread = None;
    found.members.retain(|member| match member.interface {
        Some(interface) if interface.reading != Reading::GroupsUnread => {
            interface.groups.iter().any(|own| groups.contains(own)) == wanted
        }
        Some(_) | None => {
            unread = Some(format!("the groups of {} are not known", member.address));
            false
        }
    });
    found.doubt = found.doubt.take().or(unread);
}

/// Keeps nodes of managed node groups with a launch template, or without one.
fn by_template<'a>(world: &World<'a>, found: &mut Members<'a>, wanted: bool) {
    let mut templates: BTreeMap<&str, bool> = BTreeMap::new();
    for answer in world.described.family("describe-nodegroup") {
        let group = answer.value().get("nodegroup");
        let name = group.and_then(|group| group.get("nodegroupName")?.as_str());
        if let Some(name) = name {
            let template = group.and_then(|group| group.get("launchTemplate"));
            templates.insert(name, template.is_some_and(|template| !template.is_null()));
        }
    }
    let mut unsaid = None;
    found.members.retain(|member| {
        let Some(name) = node_group(world.snapshot, member.interface) else {
            return false;
        };
        match templates.get(name) {
            Some(has) => *has == wanted,
            None => {
                unsaid = Some(format!(
                    "`describe-nodegroup` of `{name}` is not in the snapshot"
                ));
                false
            }
        }
    });
    found.doubt = found.doubt.take().or(unsaid);
}

/// Annotations of pods to which a `SecurityGroupPolicy` gave groups: on EC2, and on Fargate \[VRC, E.4\].
const POLICY_ANNOTATIONS: [&str; 2] = ["vpc.amazonaws.com/pod-eni", "fargate.amazonaws.com/pod-sg"];

/// Keeps pods that a policy gives groups, or the others.
fn by_policy(world: &World<'_>, found: &mut Members<'_>, wanted: bool) {
    let mut answers = world.described.family("pods").peekable();
    if answers.peek().is_none() {
        found.members.clear();
        found.doubt = Some(NO_PODS.to_owned());
        return;
    }
    let pods = answers.flat_map(|answer| {
        let items = answer
            .value()
            .get("items")
            .and_then(|items| items.as_array());
        items.into_iter().flatten()
    });
    let with_policy = pods.filter(|pod| {
        let annotations = pod.pointer("/metadata/annotations");
        let mut names = POLICY_ANNOTATIONS.iter();
        annotations.is_some_and(|own| names.any(|name| own.get(name).is_some()))
    });
    let addresses: BTreeSet<IpAddr> = with_policy
        .flat_map(|pod| {
            let all = pod.pointer("/status/podIPs").and_then(|all| all.as_array());
            let all = all.into_iter().flatten().filter_map(|one| one.get("ip"));
            all.chain(pod.pointer("/status/podIP"))
        })
        .filter_map(|address| address.as_str()?.parse().ok())
        .collect();
    found
        .members
        .retain(|member| addresses.contains(&member.address) == wanted);
}
