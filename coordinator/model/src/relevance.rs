//! Which gaps of a snapshot an answer rests on.
//!
//! A gap touches an answer when the flow met the thing that it is of, or when the thing could have been met had it been
//! readable. In doubt a gap touches; one that only concerns rules touches no gate that a readable rule has opened.

use std::net::IpAddr;

use crate::flow::SourceKind;
use crate::prediction::{Gate, Place, Prediction, Step, StepOutcome, UnknownReason, Verdict};
use crate::snapshot::{
    Consequence, Direction, Gap, GapKind, NetworkInterface, Owner, Route, RouteDestination,
    RouteTarget, RulePeer, Snapshot,
};

/// Returns whether an answer rests on what a gap is about.
#[must_use]
pub fn touches(snapshot: &Snapshot, prediction: &Prediction, gap: &Gap) -> bool {
    let asked = Asked {
        snapshot,
        prediction,
        gap,
    };
    match gap.consequence {
        Consequence::None => false,
        Consequence::RuleUnresolved => asked.is_of_open_group(),
        Consequence::GroupUnknown => asked.is_of_open_group() || asked.is_of_interface(),
        Consequence::MembersUnknown => asked.is_outside() || asked.has_open_gate(),
        Consequence::InterfaceUnknown => asked.is_of_interface() || asked.is_outside(),
        Consequence::EntryUnknown => asked.is_of_acl(),
        Consequence::RouteUnknown => asked.is_of_table(),
        Consequence::SubnetUnknown => asked.is_of_subnet() || asked.is_of_interface(),
        Consequence::VpcUnknown => asked.is_of_vpc() || asked.is_of_interface(),
        Consequence::PrefixListUnknown => asked.names_prefix_list(),
        Consequence::PeeringUnknown => asked.leads_over(
            |target| matches!(target, RouteTarget::Peering(id) if asked.is_of(id.as_str())),
        ),
        Consequence::TransitGatewayUnknown => {
            asked.leads_over(|target| matches!(target, RouteTarget::TransitGateway(_)))
        }
        Consequence::AddressAmbiguous => asked.is_ambiguous(),
        Consequence::RulesNamedByPosition => {
            let rules = prediction.verdict.rules();
            rules.iter().any(|rule| rule.as_str().contains('['))
        }
        Consequence::StaleUnknown => asked.rests_on_far_reference(),
        Consequence::InterfacesFromInstances => true,
        Consequence::HostsFromAttachments => asked.has_end_without_host(),
        Consequence::NoCluster => asked.is_outside() || asked.is_ambiguous(),
        Consequence::CniAssumed | Consequence::CniUnread => asked.depends_on_cni(),
        Consequence::NoKubernetes => asked.depends_on_objects(),
        Consequence::PolicySelectsAll | Consequence::AddressUnread => {
            matches!(
                prediction.verdict,
                Verdict::Unknown(UnknownReason::NetworkPolicy)
            )
        }
    }
}

/// One gap beside one answer.
struct Asked<'a> {
    snapshot: &'a Snapshot,
    prediction: &'a Prediction,
    gap: &'a Gap,
}

impl<'a> Asked<'a> {
    /// Whether the gap is of that thing, names it, or is of no thing at all.
    fn is_of(&self, id: &str) -> bool {
        self.gap.id.as_deref().is_none_or(|own| own == id)
            || matches!(&self.gap.kind, GapKind::Dangling { id: named } if named == id)
    }

    fn places(&self) -> impl Iterator<Item = &'a Place> + use<'a> {
        self.prediction.steps.iter().map(|step| &step.place)
    }

    /// The gates of security groups that no readable rule has opened.
    fn open_gates(&self) -> impl Iterator<Item = (Direction, &'a Step)> + use<'a> {
        self.prediction.steps.iter().filter_map(|step| {
            let direction = group_gate(step.gate)?;
            let is_settled = matches!(step.outcome, StepOutcome::Pass { rule: Some(_) });
            (!is_settled).then_some((direction, step))
        })
    }

    fn has_open_gate(&self) -> bool {
        self.open_gates().next().is_some()
    }

    fn is_of_open_group(&self) -> bool {
        let is_egress = self.gap.path.contains("IpPermissionsEgress");
        let is_ingress = self.gap.path.contains("IpPermissions") && !is_egress;
        self.open_gates().any(|(direction, step)| {
            let fits = match direction {
                Direction::Egress => !is_ingress,
                Direction::Ingress => !is_egress,
            };
            fits && groups(step).iter().any(|group| self.is_of(group.as_str()))
        })
    }

    fn is_of_interface(&self) -> bool {
        let is_met = self.places().any(|place| match place {
            Place::NetworkInterface { interface, .. } => self.is_of(interface.as_str()),
            Place::Flow | Place::NetworkAcl { .. } | Place::RouteTable { .. } => false,
        });
        is_met
            || self
                .ends()
                .any(|interface| self.is_of(interface.id.as_str()))
    }

    fn is_of_acl(&self) -> bool {
        self.places().any(|place| match place {
            Place::NetworkAcl { acl, .. } => {
                acl.as_ref().is_none_or(|acl| self.is_of(acl.as_str()))
            }
            Place::Flow | Place::NetworkInterface { .. } | Place::RouteTable { .. } => false,
        })
    }

    fn is_of_table(&self) -> bool {
        self.places().any(|place| match place {
            Place::RouteTable { table, .. } => table
                .as_ref()
                .is_none_or(|table| self.is_of(table.as_str())),
            Place::Flow | Place::NetworkInterface { .. } | Place::NetworkAcl { .. } => false,
        })
    }

    fn is_of_subnet(&self) -> bool {
        self.places().any(|place| match place {
            Place::NetworkAcl { subnet, .. } | Place::RouteTable { subnet, .. } => {
                self.is_of(subnet.as_str())
            }
            Place::Flow | Place::NetworkInterface { .. } => false,
        })
    }

    fn is_of_vpc(&self) -> bool {
        self.is_outside()
            || self
                .ends()
                .any(|interface| self.is_of(interface.vpc.as_str()))
    }

    /// The interfaces of both ends, as far as each has one owner.
    fn ends(&self) -> impl Iterator<Item = &'a NetworkInterface> + use<'a> {
        let flow = &self.prediction.flow;
        let snapshot = self.snapshot;
        [flow.source, flow.destination]
            .into_iter()
            .filter_map(move |address| match snapshot.owner(address) {
                Owner::One(interface) => Some(interface),
                Owner::Nobody | Owner::Several(_) => None,
            })
    }

    /// Whether an end belongs to nobody that the snapshot knows.
    fn is_outside(&self) -> bool {
        let flow = &self.prediction.flow;
        [flow.source, flow.destination]
            .into_iter()
            .any(|address| matches!(self.snapshot.owner(address), Owner::Nobody))
    }

    fn is_ambiguous(&self) -> bool {
        let flow = &self.prediction.flow;
        [flow.source, flow.destination]
            .into_iter()
            .any(|address| matches!(self.snapshot.owner(address), Owner::Several(_)))
    }

    /// Routes by which the flow or its replies go: of each table met, the longest that cover the address.
    fn leads_over(&self, is_meant: impl Fn(&RouteTarget) -> bool) -> bool {
        let flow = &self.prediction.flow;
        self.prediction.steps.iter().any(|step| {
            let Place::RouteTable {
                table: Some(table), ..
            } = &step.place
            else {
                return false;
            };
            let address = if step.gate == Gate::ReturnRoute {
                flow.source
            } else {
                flow.destination
            };
            let routes = self.snapshot.route_table(table);
            let routes = routes
                .map(|table| table.routes.as_slice())
                .unwrap_or_default();
            longest(routes, address).any(|route| is_meant(&route.target))
        })
    }

    /// Whether a rule of an open gate or a route that was met names the prefix list.
    fn names_prefix_list(&self) -> bool {
        let of_rules = self.open_gates().any(|(direction, step)| {
            let groups = groups(step).iter();
            let mut rules = groups
                .filter_map(|id| self.snapshot.security_group(id))
                .flat_map(|group| group.rules(direction));
            rules.any(|rule| match &rule.peer {
                RulePeer::PrefixList(id) => self.is_of(id.as_str()),
                RulePeer::Network(_) | RulePeer::Group(_) | RulePeer::Unread => false,
            })
        });
        of_rules
            || self.places().any(|place| match place {
                Place::RouteTable {
                    table: Some(table), ..
                } => self.snapshot.route_table(table).is_some_and(|table| {
                    table.routes.iter().any(|route| match &route.destination {
                        RouteDestination::PrefixList(id) => self.is_of(id.as_str()),
                        RouteDestination::Network(_)
                        | RouteDestination::Unread
                        | RouteDestination::Conflict => false,
                    })
                }),
                Place::RouteTable { table: None, .. }
                | Place::Flow
                | Place::NetworkInterface { .. }
                | Place::NetworkAcl { .. } => false,
            })
    }

    /// Whether a reference to a group of another VPC opened a gate: it could be stale.
    fn rests_on_far_reference(&self) -> bool {
        self.leads_over(|target| matches!(target, RouteTarget::Peering(_)))
            && self.prediction.steps.iter().any(|step| {
                let StepOutcome::Pass { rule: Some(rule) } = &step.outcome else {
                    return false;
                };
                let Some(direction) = group_gate(step.gate) else {
                    return false;
                };
                let mut rules = groups(step)
                    .iter()
                    .filter_map(|id| self.snapshot.security_group(id))
                    .flat_map(|group| group.rules(direction));
                rules.any(|known| known.id == *rule && matches!(known.peer, RulePeer::Group(_)))
            })
    }

    /// Whether an end is on no known instance, and no control plane's: `describe-instances` could name one.
    fn has_end_without_host(&self) -> bool {
        let control: Vec<_> = self
            .snapshot
            .control_plane_interfaces()
            .iter()
            .map(|found| found.interface.id.clone())
            .collect();
        self.ends().any(|interface| match &interface.instance {
            Some(instance) => self.gap.id.is_some() && self.is_of(instance.as_str()),
            None => self.gap.id.is_none() && !control.contains(&interface.id),
        })
    }

    /// Whether the CNI translates the source, or enforces groups on a branch interface.
    fn depends_on_cni(&self) -> bool {
        self.prediction.flow.source_kind == SourceKind::Pod
            || self.ends().any(NetworkInterface::is_branch)
    }

    /// Whether an end could be a pod whose policies, or whose labels, are not known.
    fn depends_on_objects(&self) -> bool {
        let flow = &self.prediction.flow;
        let has_policies = self.snapshot.has_network_policies();
        let is_pod = [flow.source, flow.destination]
            .into_iter()
            .any(|address| self.could_be_pod(address));
        match self.gap.file.split('.').next() {
            Some("networkpolicies") => is_pod,
            Some("nodes" | "pods") => is_pod && has_policies,
            _ => false,
        }
    }

    /// Whether an address could be a pod's (K.1 "Who could be a pod"): a further one of an instance's interface, or any
    /// of a branch interface.
    fn could_be_pod(&self, address: IpAddr) -> bool {
        match self.snapshot.owner(address) {
            Owner::One(interface) => {
                interface.is_branch()
                    || interface.instance.is_some() && interface.primary_address() != Some(address)
            }
            Owner::Nobody | Owner::Several(_) => false,
        }
    }
}

/// The direction of a gate of security groups.
fn group_gate(gate: Gate) -> Option<Direction> {
    [
        (Gate::SgEgress, Direction::Egress),
        (Gate::SgIngress, Direction::Ingress),
    ]
    .into_iter()
    .find_map(|(known, direction)| (known == gate).then_some(direction))
}

/// The groups of a gate.
fn groups(step: &Step) -> &[crate::id::SecurityGroupId] {
    match &step.place {
        Place::NetworkInterface { groups, .. } => groups,
        Place::Flow | Place::NetworkAcl { .. } | Place::RouteTable { .. } => &[],
    }
}

/// The routes with the longest prefix that cover an address.
fn longest(routes: &[Route], address: IpAddr) -> impl Iterator<Item = &Route> {
    let length = move |route: &Route| match &route.destination {
        RouteDestination::Network(network) if network.contains(&address) => {
            Some(network.prefix_len())
        }
        RouteDestination::Network(_)
        | RouteDestination::PrefixList(_)
        | RouteDestination::Unread
        | RouteDestination::Conflict => None,
    };
    let most = routes.iter().filter_map(length).max();
    routes
        .iter()
        .filter(move |route| most.is_some() && length(route) == most)
}
