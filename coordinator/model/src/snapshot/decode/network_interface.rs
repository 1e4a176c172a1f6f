//! Network interfaces and instances.

use std::net::IpAddr;

use ipnet::IpNet;

use super::shape::INTERFACES;
use super::{Decoder, Item};
use crate::describe::{Fault, Node};
use crate::id::{InstanceId, NetworkInterfaceId, SecurityGroupId, SubnetId, VpcId};
use crate::net::{network_v4, network_v6};
use crate::snapshot::{
    Completeness, Consequence, GapKind, Host, Instance, InterfaceEntry, InterfaceType,
    NetworkInterface, Reading, SourceDestCheck,
};

/// Tag that names the trunk of a branch interface [VRC; E.1].
const TRUNK_TAG: &str = "vpcresources.k8s.aws/trunk-eni-id";

/// Interfaces for the Elastic Fabric Adapter alone: what groups do there is not in the model (K.1 "Newer routes").
const EFA_ONLY: &str = "efa-only";

impl<'a> Decoder<'a> {
    pub(super) fn instances(&mut self) {
        let mut rows = Vec::new();
        for reservation in self.rows("describe-instances", "Reservations") {
            let listed = self.read(
                reservation.list("Instances"),
                Consequence::HostsFromAttachments,
            );
            rows.extend(listed.unwrap_or_default());
        }
        let consequence = Consequence::HostsFromAttachments;
        let (items, _) = self.things(rows, "InstanceId", consequence);
        for item in items {
            let instance = self.instance(&item);
            self.snapshot
                .instances
                .insert(instance.id.clone(), instance);
        }
    }

    fn instance(&mut self, item: &Item<'a>) -> Instance {
        let mut instance = Instance {
            id: InstanceId::from(item.id),
            name: None,
            state: String::new(),
            private_address: None,
            interfaces: Vec::new(),
            tags: Vec::new(),
        };
        for node in &item.descriptions {
            instance.name = self.tag(node, "Name").map(str::to_owned);
            let state = node.field("State");
            let word = state.and_then(|state| self.plain_text(&state, "Name"));
            word.unwrap_or_default().clone_into(&mut instance.state);
            instance.tags = self
                .tags(node)
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            let parsed = node.parsed("PrivateIpAddress", "an IP address", str::parse::<IpAddr>);
            instance.private_address = self.read(parsed, Consequence::None).flatten();
            let listed = self.read(listed_interfaces(node), Consequence::HostsFromAttachments);
            instance.interfaces.extend(listed.unwrap_or_default());
        }
        instance
    }

    pub(super) fn network_interfaces(&mut self) {
        let rows = if self.described.family(INTERFACES).next().is_some() {
            self.rows(INTERFACES, "NetworkInterfaces")
        } else {
            self.interfaces_of_instances()
        };
        let consequence = Consequence::InterfaceUnknown;
        let (items, mut completeness) = self.things(rows, "NetworkInterfaceId", consequence);
        for item in items {
            match self.network_interface(&item) {
                Some(mut interface) => {
                    self.compare_vpcs(&item, &mut interface);
                    self.add_interface(interface);
                }
                None => completeness = Completeness::Incomplete,
            }
        }
        if completeness == Completeness::Incomplete {
            self.snapshot.addresses_read = Completeness::Incomplete;
        }
    }

    /// The interfaces that instances list, for a snapshot without the answer that has all of them. Whatever is not on an
    /// instance is then not seen: an address without owner may have one, and a group may have more members.
    fn interfaces_of_instances(&mut self) -> Vec<Node<'a>> {
        self.note_absent(INTERFACES, Consequence::InterfacesFromInstances);
        self.snapshot.addresses_read = Completeness::Incomplete;
        let mut rows = Vec::new();
        for reservation in self.rows("describe-instances", "Reservations") {
            // Unreadable lists were noted with the instances.
            for instance in reservation.list("Instances").unwrap_or_default() {
                rows.extend(instance.list("NetworkInterfaces").unwrap_or_default());
            }
        }
        rows
    }

    /// Marks an interface whose VPC is not that of its subnet.
    fn compare_vpcs(&mut self, item: &Item<'a>, interface: &mut NetworkInterface) {
        let subnet = self.snapshot.subnet(&interface.subnet);
        let vpc = subnet.and_then(|subnet| subnet.vpc.as_ref());
        if vpc.is_some_and(|vpc| *vpc != interface.vpc) {
            interface.reading = Reading::Conflict;
            if let Some(node) = item.descriptions.first() {
                let fault = node.fault(GapKind::Conflict);
                self.note(fault, Consequence::InterfaceUnknown);
            }
        }
    }

    /// Puts an interface where its ids lead; host and members are linked later.
    fn add_interface(&mut self, interface: NetworkInterface) {
        let vpc = self.vpc_key(&interface.vpc);
        let subnet = self.subnet_key(interface.subnet.as_str(), &interface.vpc);
        let host = self
            .snapshot
            .hosts
            .push(Host::Interface(interface.id.clone()));
        let groups = interface
            .groups
            .iter()
            .map(|group| self.group_key(group))
            .collect();
        let id = interface.id.clone();
        let key = self.snapshot.interfaces.push(InterfaceEntry {
            interface,
            vpc,
            subnet,
            host,
            groups,
        });
        self.snapshot.interface_keys.insert(id, key);
    }

    /// Reads an interface; of contradicting descriptions it takes everything and marks it.
    fn network_interface(&mut self, item: &Item<'a>) -> Option<NetworkInterface> {
        let (first, rest) = item.descriptions.split_first()?;
        let mut interface = self.described_interface(item.id, first)?;
        for node in rest {
            if let Some(other) = self.described_interface(item.id, node) {
                interface.addresses.extend(other.addresses);
                interface.prefixes.extend(other.prefixes);
                interface.groups.extend(other.groups);
            }
            interface.reading = Reading::Conflict;
        }
        interface.groups.sort();
        interface.groups.dedup();
        Some(interface)
    }

    fn described_interface(&mut self, id: &'a str, node: &Node<'a>) -> Option<NetworkInterface> {
        let consequence = Consequence::InterfaceUnknown;
        let vpc = self.read(node.required("VpcId"), consequence)?;
        let subnet = self.read(node.required("SubnetId"), consequence)?;
        let mut interface = NetworkInterface {
            id: NetworkInterfaceId::from(id),
            vpc: VpcId::from(vpc),
            subnet: SubnetId::from(subnet),
            addresses: Vec::new(),
            prefixes: Vec::new(),
            groups: Vec::new(),
            instance: None,
            device_index: None,
            network_card: None,
            interface_type: self.interface_type(node),
            description: self
                .plain_text(node, "Description")
                .unwrap_or_default()
                .to_owned(),
            status: self
                .plain_text(node, "Status")
                .unwrap_or_default()
                .to_owned(),
            source_dest_check: self.source_dest_check(node),
            trunk: self.tag(node, TRUNK_TAG).map(NetworkInterfaceId::from),
            name: self.tag(node, "Name").map(str::to_owned),
            reading: Reading::Whole,
        };
        self.addresses(node, &mut interface);
        self.groups(node, &mut interface);
        self.attachment(node, &mut interface);
        let is_secondary = node.field("SecondarySubnetId").is_some();
        let is_foreign =
            matches!(&interface.interface_type, InterfaceType::Other(word) if word == EFA_ONLY);
        if (is_secondary || is_foreign) && interface.reading == Reading::Whole {
            interface.reading = Reading::GroupsUnread;
        }
        Some(interface)
    }

    fn interface_type(&mut self, node: &Node<'a>) -> InterfaceType {
        match self.plain_text(node, "InterfaceType") {
            None | Some("interface") => InterfaceType::Interface,
            Some("trunk") => InterfaceType::Trunk,
            Some("branch") => InterfaceType::Branch,
            Some(word) => InterfaceType::Other(word.to_owned()),
        }
    }

    fn source_dest_check(&mut self, node: &Node<'a>) -> SourceDestCheck {
        let flag = self.read(node.flag("SourceDestCheck"), Consequence::InterfaceUnknown);
        match flag.flatten() {
            Some(true) => SourceDestCheck::On,
            Some(false) => SourceDestCheck::Off,
            None => SourceDestCheck::Unread,
        }
    }

    fn addresses(&mut self, node: &Node<'a>, interface: &mut NetworkInterface) {
        let consequence = Consequence::InterfaceUnknown;
        match self.read(addresses(node), consequence) {
            Some(addresses) => interface.addresses = addresses,
            None => self.miss_addresses(interface),
        }
        match self.read(prefixes(node), consequence) {
            Some(prefixes) => interface.prefixes = prefixes,
            None => self.miss_addresses(interface),
        }
    }

    /// Notes that an address without an owner may have one.
    fn miss_addresses(&mut self, interface: &mut NetworkInterface) {
        interface.reading = Reading::AddressesUnread;
        self.snapshot.addresses_read = Completeness::Incomplete;
    }

    fn groups(&mut self, node: &Node<'a>, interface: &mut NetworkInterface) {
        let listed = match node.field("Groups") {
            Some(groups) => groups.items(),
            None => Err(node.missing("Groups")),
        };
        let groups = listed.and_then(|groups| {
            groups
                .iter()
                .map(|group| group.required("GroupId").map(SecurityGroupId::from))
                .collect::<Result<Vec<_>, _>>()
        });
        match self.read(groups, Consequence::InterfaceUnknown) {
            Some(groups) => interface.groups = groups,
            None => interface.reading = Reading::GroupsUnread,
        }
    }

    fn attachment(&mut self, node: &Node<'a>, interface: &mut NetworkInterface) {
        let Some(attachment) = node.field("Attachment") else {
            return;
        };
        if !attachment.value().is_object() {
            self.note(
                attachment.malformed("an object"),
                Consequence::InterfaceUnknown,
            );
            interface.reading = Reading::Doubtful;
        }
        match self.read(attachment.text("InstanceId"), Consequence::InterfaceUnknown) {
            Some(instance) => {
                interface.instance = instance
                    .filter(|instance| !instance.is_empty())
                    .map(InstanceId::from);
            }
            None => interface.reading = Reading::Doubtful,
        }
        interface.device_index = self.index(&attachment, "DeviceIndex");
        interface.network_card = self.index(&attachment, "NetworkCardIndex");
    }

    fn index(&mut self, node: &Node<'a>, name: &str) -> Option<u64> {
        let number = self.read(node.integer(name), Consequence::HostsFromAttachments);
        number
            .flatten()
            .and_then(|number| u64::try_from(number).ok())
    }

    /// Notes ids of interfaces that name nothing.
    pub(super) fn note_dangling_interfaces(&mut self) {
        let mut found = Vec::new();
        for entry in self.snapshot.interfaces.iter() {
            let interface = &entry.interface;
            for group in &entry.groups {
                let group = self.snapshot.groups.at(*group);
                if group.state == crate::snapshot::GroupState::Undescribed {
                    let id = group.group.id.to_string();
                    found.push((interface.id.to_string(), id, Consequence::GroupUnknown));
                }
            }
            if self.snapshot.vpcs.at(entry.vpc).networks.is_empty() {
                let id = interface.vpc.to_string();
                found.push((interface.id.to_string(), id, Consequence::VpcUnknown));
            }
            if self
                .snapshot
                .subnets
                .at(entry.subnet)
                .subnet
                .networks
                .is_empty()
            {
                let id = interface.subnet.to_string();
                found.push((interface.id.to_string(), id, Consequence::SubnetUnknown));
            }
        }
        for (id, dangling, consequence) in found {
            self.gaps.push(crate::snapshot::Gap {
                file: "describe-network-interfaces".to_owned(),
                path: String::new(),
                id: Some(id),
                kind: GapKind::Dangling { id: dangling },
                consequence,
            });
        }
    }
}

fn listed_interfaces(node: &Node<'_>) -> Result<Vec<NetworkInterfaceId>, Fault> {
    node.list("NetworkInterfaces")?
        .iter()
        .map(|interface| {
            interface
                .required("NetworkInterfaceId")
                .map(NetworkInterfaceId::from)
        })
        .collect()
}

/// Single addresses, the primary one first, each once.
fn addresses(node: &Node<'_>) -> Result<Vec<IpAddr>, Fault> {
    let parse = |text: &str| text.parse::<IpAddr>();
    let mut found: Vec<IpAddr> = Vec::new();
    found.extend(node.parsed("PrivateIpAddress", "an IP address", parse)?);
    for (list, field) in [
        ("PrivateIpAddresses", "PrivateIpAddress"),
        ("Ipv6Addresses", "Ipv6Address"),
    ] {
        let mut items = node.list(list)?;
        items.sort_by_key(|item| item.flag("Primary").ok().flatten() != Some(true));
        for item in items {
            let address = item
                .parsed(field, "an IP address", parse)?
                .ok_or_else(|| item.missing(field))?;
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    Ok(found)
}

fn prefixes(node: &Node<'_>) -> Result<Vec<IpNet>, Fault> {
    let mut found = Vec::new();
    for item in node.list("Ipv4Prefixes")? {
        let prefix = item.parsed("Ipv4Prefix", "an IPv4 network", network_v4)?;
        found.push(prefix.ok_or_else(|| item.missing("Ipv4Prefix"))?);
    }
    for item in node.list("Ipv6Prefixes")? {
        let prefix = item.parsed("Ipv6Prefix", "an IPv6 network", network_v6)?;
        found.push(prefix.ok_or_else(|| item.missing("Ipv6Prefix"))?);
    }
    Ok(found)
}
