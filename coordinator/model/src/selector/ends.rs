//! The ends that a selector stands for, by class, and the pairs that show what lies between two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::known_addresses;
use crate::class::{ClassId, Classes};
use crate::id::NetworkInterfaceId;
use crate::snapshot::{Owner, Snapshot};

/// Most addresses of a class that are tried for two ends on two hosts.
const TRIED_MAX: usize = 64;

/// What some things stand for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Members {
    /// Single addresses.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Interfaces with all their addresses.
    pub(super) interfaces: BTreeSet<NetworkInterfaceId>,
}

/// The ends that a selector stands for in one snapshot; never none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ends {
    pub(super) members: Members,
}

/// Ends that the model cannot tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndClass {
    /// Their class; absent of an address that is in none, which stands alone.
    pub class: Option<ClassId>,
    /// Their addresses, of each interface that is meant as a whole one alone; sorted, never empty.
    pub addresses: Vec<IpAddr>,
}

/// Two ends that show what lies between two classes of ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndPair {
    /// Address that sends.
    pub source: IpAddr,
    /// Address that receives.
    pub destination: IpAddr,
    /// For how many ends the source stands, itself among them.
    pub sources: usize,
    /// For how many the destination stands.
    pub destinations: usize,
}

impl EndPair {
    /// Returns whether the pair stands for nothing but its own two ends.
    #[must_use]
    pub fn stands_for_itself(&self) -> bool {
        (self.sources, self.destinations) == (1, 1)
    }
}

impl Ends {
    /// Every known address of a snapshot.
    #[must_use]
    pub fn all(snapshot: &Snapshot) -> Self {
        Self::of(known_addresses(snapshot))
    }

    /// These addresses.
    pub(crate) fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let members = Members {
            addresses: addresses.into_iter().collect(),
            ..Members::default()
        };
        Self { members }
    }

    /// Returns the addresses, of an interface that is meant as a whole its single ones; sorted.
    pub(crate) fn addresses(&self, snapshot: &Snapshot) -> BTreeSet<IpAddr> {
        let interfaces = self.members.interfaces.iter();
        let interfaces = interfaces.filter_map(|id| snapshot.network_interface(id));
        let own = interfaces.flat_map(|interface| interface.addresses.iter().copied());
        own.chain(self.members.addresses.iter().copied()).collect()
    }

    /// Adds the ends of another selector.
    pub fn join(&mut self, other: &Self) {
        let own = &mut self.members;
        own.addresses.extend(&other.members.addresses);
        own.interfaces
            .extend(other.members.interfaces.iter().cloned());
    }

    /// Leaves the addresses of `others` out.
    #[must_use]
    pub fn without(mut self, others: &Self, snapshot: &Snapshot) -> Self {
        let is_other = |address: &IpAddr| {
            let of_interface = match snapshot.owner(*address) {
                Owner::One(interface) => others.members.interfaces.contains(&interface.id),
                Owner::Nobody | Owner::Several(_) => false,
            };
            of_interface || others.members.addresses.contains(address)
        };
        self.members.addresses.retain(|address| !is_other(address));
        self
    }

    /// Sorts the ends into their classes, in the order of these; those of no class come last.
    #[must_use]
    pub fn by_class(&self, snapshot: &Snapshot, classes: &Classes) -> Vec<EndClass> {
        let mut found: BTreeMap<ClassId, BTreeSet<IpAddr>> = BTreeMap::new();
        let mut alone = BTreeSet::new();
        let mut placed = BTreeSet::new();
        if !self.members.interfaces.is_empty() {
            for (id, class) in classes.iter() {
                let is_meant = |id: &NetworkInterfaceId| self.members.interfaces.contains(id);
                for member in class.members.iter().filter(|it| is_meant(&it.interface)) {
                    placed.insert(&member.interface);
                    found.entry(id).or_default().insert(member.address);
                }
            }
        }
        let unplaced = self.members.interfaces.iter();
        let unplaced = unplaced.filter(|id| !placed.contains(id));
        let unplaced = unplaced.filter_map(|id| snapshot.network_interface(id));
        let unplaced = unplaced.flat_map(|interface| &interface.addresses);
        for address in self.members.addresses.iter().chain(unplaced) {
            match classes.of(*address) {
                Some(id) => found.entry(id).or_default().insert(*address),
                None => alone.insert(*address),
            };
        }
        let classes = found.into_iter().map(|(id, addresses)| EndClass {
            class: Some(id),
            addresses: addresses.into_iter().collect(),
        });
        let alone = alone.into_iter().map(|address| EndClass {
            class: None,
            addresses: vec![address],
        });
        classes.chain(alone).collect()
    }

    /// Returns the classes in which at least one of the ends is, in their order.
    #[must_use]
    pub fn classes(&self, snapshot: &Snapshot, classes: &Classes) -> Vec<ClassId> {
        let found = self.by_class(snapshot, classes);
        found.into_iter().filter_map(|end| end.class).collect()
    }

    /// Returns the one address that is meant; absent where it is not one alone.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let members = &self.members;
        let is_one = members.addresses.len() == 1 && members.interfaces.is_empty();
        members.addresses.first().copied().filter(|_| is_one)
    }
}

/// Returns a pair for each two classes of one address family, in the order of the classes: on two hosts where there are
/// two, else of two addresses. One address with itself is a pair only where nothing else is.
#[must_use]
pub fn pairs(snapshot: &Snapshot, classes: &Classes, ends: (&Ends, &Ends)) -> Vec<EndPair> {
    pairs_preferring(snapshot, classes, ends, &|_| false)
}

/// The same, of addresses for which `is_first` holds where a class has some.
pub(crate) fn pairs_preferring(
    snapshot: &Snapshot,
    classes: &Classes,
    (from, to): (&Ends, &Ends),
    is_first: &dyn Fn(IpAddr) -> bool,
) -> Vec<EndPair> {
    let sorted = |ends: &Ends| {
        let mut sorted = ends.by_class(snapshot, classes);
        for class in &mut sorted {
            class.addresses.sort_by_key(|address| !is_first(*address));
        }
        sorted
    };
    let (from, to) = (sorted(from), sorted(to));
    let all = from
        .iter()
        .flat_map(|from| to.iter().map(move |to| (from, to)));
    let mut pairs: Vec<EndPair> = all
        .filter_map(|(from, to)| {
            let (source, destination) = apart(classes, &from.addresses, &to.addresses)?;
            Some(EndPair {
                source,
                destination,
                sources: from.addresses.len(),
                destinations: to.addresses.len(),
            })
        })
        .collect();
    if pairs.iter().any(|pair| pair.source != pair.destination) {
        pairs.retain(|pair| pair.source != pair.destination);
    }
    pairs
}

/// Two addresses of one family, as far apart as can be.
fn apart(classes: &Classes, from: &[IpAddr], to: &[IpAddr]) -> Option<(IpAddr, IpAddr)> {
    let host = |address: IpAddr| classes.endpoint(address).map(|(_, host)| host);
    let mut best = None;
    for source in from.iter().copied().take(TRIED_MAX) {
        let alike = to
            .iter()
            .copied()
            .filter(|to| to.is_ipv4() == source.is_ipv4());
        for destination in alike.take(TRIED_MAX) {
            let distance = match (host(source), host(destination)) {
                (Some(one), Some(other)) if one == other => u8::from(source != destination),
                (_, _) if source == destination => 0,
                (_, _) => return Some((source, destination)),
            };
            if best.is_none_or(|(known, _)| known < distance) {
                best = Some((distance, (source, destination)));
            }
        }
    }
    best.map(|(_, pair)| pair)
}
