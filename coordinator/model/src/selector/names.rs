//! The names of one address: what selects it, among others.

use std::net::IpAddr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::thing::{EndName, Kind, Thing, profile};
use super::{Selector, is_called};
use crate::class::NodeGroup;
use crate::flow::SourceKind;
use crate::snapshot::{IpFamily, NetworkInterface, Owner, PodPhase, Snapshot};

impl Serialize for EndName {
    /// Writes the kind, a slash and the name, as it can be typed.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}/{}", self.kind, self.name))
    }
}

impl<'de> Deserialize<'de> for EndName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts = text.split_once('/');
        let found = parts.and_then(|(kind, name)| {
            Some(Self {
                kind: Kind::of_prefix(kind)?,
                name: name.to_owned(),
            })
        });
        found.ok_or_else(|| D::Error::custom(format!("`{text}` is no KIND/NAME")))
    }
}

impl Snapshot {
    /// Returns the names by which an address can be selected, all kinds of them, sorted.
    #[must_use]
    pub fn end_names(&self, address: IpAddr) -> Vec<EndName> {
        let mut things: Vec<Thing<'_>> = Vec::new();
        for pod in self.pods_at(address) {
            if pod.phase == PodPhase::Live {
                things.push(Thing::Pod(pod));
                things.extend(profile(pod).map(Thing::FargateProfile));
            }
        }
        let services = self.services().iter();
        let services = services.filter(|it| it.endpoints.iter().any(|to| to.ip() == address));
        things.extend(services.map(Thing::Service));
        if let Owner::One(interface) = self.owner(address) {
            self.holders(interface, address, &mut things);
        }
        let mut names: Vec<EndName> = things.into_iter().flat_map(Thing::end_names).collect();
        names.sort();
        names.dedup();
        names
    }

    /// What an interface is, and what it belongs to.
    fn holders<'s>(
        &'s self,
        interface: &'s NetworkInterface,
        address: IpAddr,
        things: &mut Vec<Thing<'s>>,
    ) {
        things.push(Thing::Interface(interface));
        things.extend(self.subnet(&interface.subnet).map(Thing::Subnet));
        let groups = interface.groups.iter();
        let groups = groups.filter_map(|id| self.security_group(id));
        things.extend(groups.map(Thing::SecurityGroup));
        if self.is_of_control_plane(interface) {
            things.push(Thing::ControlPlane);
        }
        let is_own = interface.emitting_address(IpFamily::of(address)) == Some(address)
            && self.source_kind(address) == SourceKind::Host;
        let instance = interface.instance.as_ref().filter(|_| is_own);
        if let Some(instance) = instance.and_then(|id| self.instance(id)) {
            things.push(Thing::Instance(instance));
            things.extend(NodeGroup::of(instance).map(Thing::NodeGroup));
        }
        things.extend(self.node_at(address).map(Thing::Node));
    }
}

impl Selector {
    /// Returns whether an address is meant that has these names.
    #[must_use]
    pub fn means(&self, address: IpAddr, names: &[EndName]) -> bool {
        match self {
            Self::Address(own) => *own == address,
            Self::Network(network) => network.contains(&address),
            // Labels are no names: who has them is in the snapshot alone.
            Self::Labelled { .. } => false,
            Self::Named { kind, name } => {
                let of_kind = names
                    .iter()
                    .filter(|own| kind.is_none_or(|kind| kind == own.kind));
                of_kind.into_iter().any(|own| is_called(&own.name, name))
            }
        }
    }
}
