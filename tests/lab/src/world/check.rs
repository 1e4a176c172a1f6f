//! What a world file must keep to beyond its shape. Names that lead nowhere are found by expanding.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::expand::{Expansion, dangling, primary_address};
use super::host::Host;
use super::network::{Acl, SecurityGroup};
use super::notation::{AclLine, Direction, Rule, is_name};
use super::{World, WorldError};

impl World {
    pub(super) fn check(&self) -> Result<(), WorldError> {
        self.check_names()?;
        self.check_groups()?;
        self.check_interfaces()?;
        self.check_pods()?;
        self.check_expectations()
    }

    fn check_names(&self) -> Result<(), WorldError> {
        let subnets = || self.vpcs.values().flat_map(|vpc| vpc.subnets.keys());
        check_names("VPC", self.vpcs.keys())?;
        check_names("subnet", subnets())?;
        check_names("security group", self.security_groups.keys())?;
        check_names("network ACL", self.acls.keys())?;
        check_names("route table", self.route_tables.keys())?;
        check_names("peering", self.peerings.keys())?;
        check_names("prefix list", self.prefix_lists.keys())?;
        check_names("node group", self.cluster.node_groups.keys())?;
        check_names("cluster", std::iter::once(&self.cluster.name))?;
        check_names("backend", self.cluster.backends.keys())?;
        check_names("host, pod or interface", self.inhabitants())?;
        check_unique(subnets())?;
        check_unique(self.inhabitants())
    }

    /// Names of everything that can be a source or a destination.
    fn inhabitants(&self) -> impl Iterator<Item = &String> {
        let hosts = self
            .hosts
            .iter()
            .flat_map(|(name, host)| host.pods.keys().chain([name]));
        hosts
            .chain(self.fargate.keys())
            .chain(self.cluster.control_plane.keys())
    }

    fn check_groups(&self) -> Result<(), WorldError> {
        for (name, group) in &self.security_groups {
            check_group(&format!("security group `{name}`"), group)?;
        }
        for (name, acl) in &self.acls {
            check_acl(&format!("network ACL `{name}`"), acl)?;
        }
        let Some(drift) = &self.drift else {
            return Ok(());
        };
        for (name, group) in &drift.security_groups {
            let place = format!("drift of security group `{name}`");
            if !self.security_groups.contains_key(name) {
                return Err(dangling("drift", "security group", name));
            }
            check_group(&place, group)?;
        }
        for (name, acl) in &drift.acls {
            if !self.acls.contains_key(name) {
                return Err(dangling("drift", "network ACL", name));
            }
            check_acl(&format!("drift of network ACL `{name}`"), acl)?;
        }
        Ok(())
    }

    fn check_interfaces(&self) -> Result<(), WorldError> {
        let expansion = Expansion { world: self };
        let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for eni in expansion.enis()? {
            let (_, subnet) = expansion.subnet(&eni.place, eni.subnet)?;
            if primary_address(eni.addresses).is_none() {
                return Err(WorldError::NoPrimaryAddress { place: eni.place });
            }
            let networks = eni.prefixes.iter().map(IpNet::network);
            for address in eni.addresses.iter().copied().chain(networks) {
                if !subnet.cidrs.iter().any(|cidr| cidr.contains(&address)) {
                    let subnet = eni.subnet.to_owned();
                    return Err(WorldError::Outside {
                        place: eni.place,
                        address,
                        subnet,
                    });
                }
                if !seen.insert(address) {
                    return Err(WorldError::SameAddress {
                        place: eni.place,
                        address,
                    });
                }
            }
            if !ids.insert(eni.id.clone()) {
                return Err(WorldError::SameName { name: eni.id });
            }
        }
        Ok(())
    }

    fn check_pods(&self) -> Result<(), WorldError> {
        for (host_name, host) in &self.hosts {
            for (name, pod) in &host.pods {
                if pod.addresses.is_empty() {
                    let place = format!("pod `{name}`");
                    return Err(WorldError::Empty {
                        place,
                        what: "address",
                    });
                }
                let foreign = pod.addresses.iter().find(|address| !owns(host, address));
                if let (None, Some(address)) = (&pod.branch, foreign) {
                    return Err(WorldError::PodAddress {
                        pod: name.clone(),
                        address: *address,
                        host: host_name.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn check_expectations(&self) -> Result<(), WorldError> {
        let known: BTreeSet<&String> = self.inhabitants().collect();
        let expected = std::iter::once(&self.expect).chain(&self.expect_with_api_servers);
        for finding in expected.flat_map(|it| it.findings.iter().chain(&it.contradictions)) {
            for name in [&finding.source, &finding.destination] {
                if !known.contains(name) {
                    return Err(dangling("expect", "host, pod or interface", name));
                }
            }
        }
        match &self.coordinator {
            Some(name) if !self.hosts.contains_key(name) => {
                Err(dangling("coordinator", "host", name))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn owns(host: &Host, address: &IpAddr) -> bool {
    host.interfaces.iter().any(|interface| {
        interface.addresses.contains(address)
            || interface
                .prefixes
                .iter()
                .any(|prefix| prefix.contains(address))
    })
}

fn check_names<'n>(
    what: &'static str,
    names: impl Iterator<Item = &'n String>,
) -> Result<(), WorldError> {
    let mut names = names;
    match names.find(|name| !is_name(name)) {
        Some(name) => Err(WorldError::Name {
            what,
            name: name.clone(),
        }),
        None => Ok(()),
    }
}

fn check_unique<'n>(names: impl Iterator<Item = &'n String>) -> Result<(), WorldError> {
    let mut seen = BTreeSet::new();
    let mut names = names;
    match names.find(|name| !seen.insert(name.as_str())) {
        Some(name) => Err(WorldError::SameName { name: name.clone() }),
        None => Ok(()),
    }
}

fn check_group(place: &str, group: &SecurityGroup) -> Result<(), WorldError> {
    check_rules(
        &format!("`ingress` of {place}"),
        &group.ingress,
        Direction::Ingress,
    )?;
    check_rules(
        &format!("`egress` of {place}"),
        &group.egress,
        Direction::Egress,
    )
}

fn check_rules(place: &str, rules: &[Rule], expected: Direction) -> Result<(), WorldError> {
    match rules.iter().find(|rule| rule.direction != expected) {
        Some(rule) => Err(WorldError::Direction {
            place: place.to_owned(),
            rule: String::from(rule.clone()),
            expected,
        }),
        None => Ok(()),
    }
}

fn check_acl(place: &str, acl: &Acl) -> Result<(), WorldError> {
    check_entries(
        &format!("`ingress` of {place}"),
        &acl.ingress,
        Direction::Ingress,
    )?;
    check_entries(
        &format!("`egress` of {place}"),
        &acl.egress,
        Direction::Egress,
    )
}

fn check_entries(place: &str, lines: &[AclLine], expected: Direction) -> Result<(), WorldError> {
    let mut numbers = BTreeSet::new();
    for line in lines {
        let own: &[u16] = match line {
            AclLine::Open => &[100, 101],
            AclLine::Entry(entry) if entry.direction != expected => {
                return Err(WorldError::Direction {
                    place: place.to_owned(),
                    rule: String::from(line.clone()),
                    expected,
                });
            }
            AclLine::Entry(entry) => std::slice::from_ref(&entry.number),
        };
        if let Some(number) = own.iter().find(|number| !numbers.insert(**number)) {
            return Err(WorldError::SameNumber {
                place: place.to_owned(),
                number: *number,
            });
        }
    }
    Ok(())
}
