//! What groups, subnets and settings say, as text that can be compared: names of rules, and what nobody asks, left out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::class::Zones;
use crate::id::SubnetId;
use crate::snapshot::{
    Direction, GroupEntry, Host, InterfaceEntry, Members, NetworkAclEntry, RulePeer, Snapshot,
};

/// The directions of rules, in the order of their numbers: those that receivers are asked about, then those of senders.
const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// What a snapshot says, part by part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// Of every group, by place, what its ingress and what its egress rules say: equal numbers, equal texts.
    groups: Vec<[u32; 2]>,
    /// Of every subnet with its lists.
    subnets: BTreeMap<SubnetId, u32>,
    /// What every flow may depend on.
    pub(super) common: Vec<String>,
}

impl Contents {
    /// Writes down two snapshots with the same numbers.
    pub(super) fn both(snapshots: [&Snapshot; 2]) -> [Self; 2] {
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut number = |text: String| {
            let next = crate::class::number(numbers.len());
            *numbers.entry(text).or_insert(next)
        };
        snapshots.map(|snapshot| Self {
            groups: snapshot
                .groups
                .iter()
                .map(|entry| DIRECTIONS.map(|direction| number(group(snapshot, entry, direction))))
                .collect(),
            subnets: subnets(snapshot)
                .into_iter()
                .map(|(id, text)| (id, number(text)))
                .collect(),
            common: common(snapshot),
        })
    }
}

impl Contents {
    /// The number of what the rules of a group say in one direction.
    fn number(&self, group: usize, direction: Direction) -> Option<u32> {
        let place = DIRECTIONS.iter().position(|known| *known == direction)?;
        self.groups.get(group)?.get(place).copied()
    }
}

/// Lines in one order, as one text.
fn sorted(lines: impl Iterator<Item = String>) -> String {
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    lines.join(";")
}

fn group(snapshot: &Snapshot, entry: &GroupEntry, direction: Direction) -> String {
    let rules = sorted(entry.group.rules(direction).iter().map(|rule| {
        let members = match &rule.peer {
            RulePeer::Group(reference) => match snapshot.members(reference) {
                Members::Of(_) => "of",
                Members::Nobody => "nobody",
                Members::Invisible => "invisible",
            },
            RulePeer::Network(_) | RulePeer::PrefixList(_) | RulePeer::Unread => "",
        };
        format!("{:?} {:?} {members}", rule.traffic, rule.peer)
    }));
    let (id, state) = (&entry.group.id, &entry.state);
    format!("{id} {state:?} {direction} {rules}")
}

fn subnets(snapshot: &Snapshot) -> BTreeMap<SubnetId, String> {
    let one = |entry: &crate::snapshot::SubnetEntry| {
        let entries =
            |list: &[NetworkAclEntry]| sorted(list.iter().map(|entry| format!("{entry:?}")));
        let acl = entry.acl.map(|key| {
            let acl = snapshot.network_acls.at(key);
            format!("in {} out {}", entries(&acl.ingress), entries(&acl.egress))
        });
        let table = entry.table.map(|key| {
            let routes = snapshot.route_tables.at(key).routes.iter();
            sorted(routes.map(|route| format!("{route:?}")))
        });
        let subnet = &entry.subnet;
        let networks = sorted(subnet.networks.iter().map(ToString::to_string));
        let (vpc, zone, zone_id) = (&subnet.vpc, &subnet.zone, &subnet.zone_id);
        let views = (entry.views, entry.acl_views);
        format!("{vpc:?} {networks} {zone:?} {zone_id:?} {views:?} acl {acl:?} routes {table:?}")
    };
    let all = snapshot.subnets.iter();
    all.map(|entry| (entry.subnet.id.clone(), one(entry)))
        .collect()
}

fn common(snapshot: &Snapshot) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(snapshot.vpcs.iter().map(|vpc| {
        let networks = sorted(vpc.networks.iter().map(ToString::to_string));
        format!(
            "{} {:?} {networks} {:?} {:?} {:?}",
            vpc.id, vpc.primary, vpc.completeness, vpc.views, vpc.disputed_primaries
        )
    }));
    lines.extend(snapshot.prefix_lists.values().map(|list| {
        let networks = list.networks.as_ref();
        let networks = networks.map(|networks| sorted(networks.iter().map(ToString::to_string)));
        format!("{} {networks:?}", list.id)
    }));
    lines.extend(snapshot.peerings.values().map(|it| format!("{it:?}")));
    lines.push(format!("{:?}", snapshot.contradicted_peerings));
    lines.push(format!("{:?}", snapshot.contradicted_gateways));
    lines.push(format!("{:?}", snapshot.contradicted_attachments));
    lines.extend(
        snapshot
            .transit_gateways
            .values()
            .map(|it| format!("{it:?}")),
    );
    lines.extend(snapshot.attachments.iter().map(|it| format!("{it:?}")));
    let tables = snapshot.transit_gateway_tables.as_ref();
    lines.push(format!(
        "{:?}",
        tables.map(|tables| { sorted(tables.iter().map(|table| format!("{table:?}"))) })
    ));
    lines.push(format!(
        "{:?} {:?}",
        snapshot.own_accounts, snapshot.addresses_read
    ));
    lines.push(format!(
        "{:?}",
        snapshot
            .cluster
            .as_ref()
            .map(|cluster| { (cluster.ip_family, &cluster.service_networks) })
    ));
    let home = snapshot.cluster_vpc.map(|key| &snapshot.vpcs.at(key).id);
    lines.push(format!("{home:?} {:?}", snapshot.cni));
    lines.sort_unstable();
    lines
}

/// Everything that flows may depend on of every interface, by place, where it receives (ingress) or sends (egress): what it
/// is, carries and stands in, and the same of the primary interface as which its pods may leave (E.1). Rules of the other
/// direction are not met: replies pass them (A.4).
pub(super) fn interface_texts(
    snapshot: &Snapshot,
    contents: &Contents,
    zones: &Zones,
    direction: Direction,
) -> Vec<String> {
    let own = |entry: &InterfaceEntry| {
        let interface = &entry.interface;
        let groups = sorted(entry.groups.iter().map(|key| {
            let number = contents.number(key.place(), direction);
            format!("{} {number:?}", snapshot.groups.at(*key).group.id)
        }));
        let holder = match snapshot.hosts.at(entry.host) {
            Host::Instance(_) => "instance",
            Host::Interface(_) => "alone",
        };
        let subnet = contents.subnets.get(&interface.subnet);
        format!(
            "{} {} {subnet:?} {groups} {:?} {:?} {} {holder}",
            interface.vpc,
            interface.subnet,
            interface.reading,
            interface.source_dest_check,
            interface.is_branch(),
        )
    };
    let texts: Vec<String> = snapshot.interfaces.iter().map(own).collect();
    let exit = |entry: &InterfaceEntry| {
        let primary = snapshot
            .interfaces
            .at(*snapshot.primaries.get(&entry.host)?);
        let first = primary.interface.primary_address().filter(IpAddr::is_ipv4);
        let sixth = primary
            .interface
            .addresses
            .iter()
            .copied()
            .find(IpAddr::is_ipv6);
        let addresses = [first, sixth].map(|address| {
            let owners = address.map(|address| snapshot.addresses.owners(address));
            let owners = owners.unwrap_or_default();
            let text = |key: crate::snapshot::Key<InterfaceEntry>| texts.get(key.place());
            (
                address.map(|address| zones.of(address)),
                owners.into_iter().map(text).collect::<Vec<_>>(),
            )
        });
        let own = texts.get(snapshot.primaries.get(&entry.host)?.place());
        Some(format!("{own:?} {addresses:?}"))
    };
    let exits: Vec<Option<String>> = snapshot.interfaces.iter().map(exit).collect();
    texts
        .iter()
        .zip(exits)
        .map(|(own, exit)| format!("{own} exit {exit:?}"))
        .collect()
}
