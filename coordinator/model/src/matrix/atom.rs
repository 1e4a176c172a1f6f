//! What rules say of peers: each network, prefix list and group once.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::ports::{WORD, add};
use crate::class::{Classes, GroupSet};
use crate::id::{AccountId, PrefixListId, SecurityGroupId};
use crate::snapshot::{Freshness, GroupReference, Match, Members, RulePeer, Snapshot};

/// A peer of one or many rules.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Atom {
    Network(IpNet),
    List(PrefixListId),
    Group(SecurityGroupId, Option<AccountId>),
    /// A stale reference: nobody.
    Nobody,
    /// Anybody, perhaps.
    Unread,
}

/// The peers of all rules, with who they are.
#[derive(Debug, Default)]
pub(super) struct Atoms {
    by_atom: HashMap<Atom, usize>,
    references: Vec<(usize, GroupReference)>,
    lists: Vec<(usize, PrefixListId)>,
    networks: Vec<(usize, IpNet)>,
    unread: Option<usize>,
}

/// Peers that match an address or a set of groups for certain, and those that may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Matching {
    pub(super) sure: Vec<u64>,
    pub(super) unsure: Vec<u64>,
}

impl Matching {
    /// Nothing matches yet.
    pub(super) fn none(words: usize) -> Self {
        Self {
            sure: vec![0; words],
            unsure: vec![0; words],
        }
    }

    fn note(&mut self, atom: usize, answer: Match) {
        match answer {
            Match::Yes => add(&mut self.sure, atom),
            Match::Unsure => add(&mut self.unsure, atom),
            Match::No => {}
        }
    }

    /// Returns what is in `mask`, too.
    pub(super) fn within(&self, mask: &[u64]) -> Self {
        let both = |words: &[u64]| {
            words
                .iter()
                .zip(mask)
                .map(|(one, other)| one & other)
                .collect()
        };
        Self {
            sure: both(&self.sure),
            unsure: both(&self.unsure),
        }
    }
}

impl Atoms {
    /// Returns the number of a rule's peer.
    pub(super) fn intern(&mut self, peer: &RulePeer) -> usize {
        let atom = match peer {
            RulePeer::Network(network) => Atom::Network(*network),
            RulePeer::PrefixList(id) => Atom::List(id.clone()),
            RulePeer::Group(reference) => match reference.freshness {
                Freshness::Fresh => Atom::Group(reference.group.clone(), reference.account.clone()),
                Freshness::Stale => Atom::Nobody,
            },
            RulePeer::Unread => Atom::Unread,
        };
        let next = self.by_atom.len();
        let number = *self.by_atom.entry(atom).or_insert(next);
        if number == next {
            match peer {
                RulePeer::Network(network) => self.networks.push((number, *network)),
                RulePeer::PrefixList(id) => self.lists.push((number, id.clone())),
                RulePeer::Group(reference) if reference.freshness == Freshness::Fresh => {
                    self.references.push((number, reference.clone()));
                }
                RulePeer::Group(_) => {}
                RulePeer::Unread => self.unread = Some(number),
            }
        }
        number
    }

    /// The peer of a group that nobody described: anybody, perhaps.
    pub(super) fn unread(&mut self) -> usize {
        self.intern(&RulePeer::Unread)
    }

    /// Returns how many words a set of peers has.
    pub(super) fn words(&self) -> usize {
        self.by_atom.len().div_ceil(WORD)
    }

    /// Returns the peers that an address matches, whatever groups its owner carries.
    pub(super) fn of_address(&self, snapshot: &Snapshot, address: IpAddr) -> Matching {
        let mut matching = Matching::none(self.words());
        for (atom, network) in &self.networks {
            matching.note(*atom, Match::from(network.contains(&address)));
        }
        for (atom, list) in &self.lists {
            let list = snapshot.prefix_list(list);
            matching.note(
                *atom,
                list.map_or(Match::Unsure, |list| list.matches(address)),
            );
        }
        if let Some(atom) = self.unread {
            matching.note(atom, Match::Unsure);
        }
        matching
    }

    /// Returns the references that match who carries a set of groups, where references work as `crossing` says.
    pub(super) fn of_groups(
        &self,
        snapshot: &Snapshot,
        set: &GroupSet,
        crossing: Option<Match>,
    ) -> Matching {
        let mut matching = Matching::none(self.words());
        for (atom, reference) in &self.references {
            matching.note(*atom, reference_matches(snapshot, set, reference, crossing));
        }
        matching
    }
}

impl Atoms {
    /// Returns whether one peer matches an address whose owner carries a set of groups.
    pub(super) fn peer(
        snapshot: &Snapshot,
        peer: &RulePeer,
        (address, set): (IpAddr, &GroupSet),
        crossing: Option<Match>,
    ) -> Match {
        match peer {
            RulePeer::Network(network) => Match::from(network.contains(&address)),
            RulePeer::PrefixList(id) => snapshot
                .prefix_list(id)
                .map_or(Match::Unsure, |list| list.matches(address)),
            RulePeer::Group(reference) => match reference.freshness {
                Freshness::Stale => Match::No,
                Freshness::Fresh => reference_matches(snapshot, set, reference, crossing),
            },
            RulePeer::Unread => Match::Unsure,
        }
    }
}

/// The same decision as the gates of [`crate::predict`] take for an address that one interface owns.
fn reference_matches(
    snapshot: &Snapshot,
    set: &GroupSet,
    reference: &GroupReference,
    crossing: Option<Match>,
) -> Match {
    let membership = match snapshot.members(reference) {
        Members::Nobody => return Match::No,
        Members::Invisible => Match::Unsure,
        Members::Of(_) if !set.is_read => Match::Unsure,
        Members::Of(group) => Match::from(set.groups.contains(&group)),
    };
    crossing.map_or(Match::Unsure, |crossing| crossing.and(membership))
}

/// An address of every zone in which somebody is.
pub(super) fn examples(classes: &Classes) -> Vec<Option<IpAddr>> {
    let mut examples = vec![None; classes.zones.len()];
    for place in &classes.places {
        if let Some(example) = examples.get_mut(crate::class::index(place.zone)) {
            *example = Some(place.example);
        }
    }
    examples
}
