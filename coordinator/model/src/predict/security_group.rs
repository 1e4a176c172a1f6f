//! Security groups: the union of all rules of an interface (A.1, A.3).

mod words;

use std::cell::OnceCell;
use std::net::IpAddr;

use super::route::Path;
use super::{Route, Walk, transit_gateway};
use crate::id::RuleId;
use crate::prediction::{Denial, Gate, Place, StepOutcome, UnknownReason, Verdict};
use crate::snapshot::{
    Completeness, Direction, Freshness, GroupEntry, GroupReference, GroupState, InterfaceEntry,
    Key, Match, Members, Reading, RulePeer, SecurityGroupRule,
};

/// What the groups of an interface say; that they refuse ends the walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission {
    /// This rule admits: of several the one with the lowest name.
    By(RuleId),
    /// No rule admits for certain; these might.
    Unresolved(Vec<RuleId>),
    /// There are no groups to ask (A.5).
    NoGroups,
}

/// What is asked of a rule.
struct Question {
    peer: IpAddr,
    /// Owners of the peer, looked up by the first rule that asks.
    owners: OnceCell<Vec<Key<InterfaceEntry>>>,
    /// Whether references to groups work on the path; absent over a transit gateway that is not described: then each
    /// of them is unresolved, whoever the peer is (K.1 "TGW").
    references: Option<Match>,
}

impl<'s> Walk<'s> {
    /// The gate `sg-egress` or `sg-ingress`.
    pub(super) fn security_group(
        &mut self,
        route: &Route<'s>,
        direction: Direction,
    ) -> Result<Admission, Verdict> {
        let (entry, peer) = match direction {
            Direction::Egress => (route.sender.entry, self.flow.destination),
            Direction::Ingress => (
                route.receiving().unwrap_or(route.sender.entry),
                route.sender.address,
            ),
        };
        let references = self.references(route, direction);
        self.groups_of((entry, direction), peer, references)
    }

    /// Asks the groups of an interface about a peer; that they refuse is an `Err`.
    pub(super) fn groups_of(
        &mut self,
        (entry, direction): (&'s InterfaceEntry, Direction),
        peer: IpAddr,
        references: Option<Match>,
    ) -> Result<Admission, Verdict> {
        let question = Question {
            peer,
            owners: OnceCell::new(),
            references,
        };
        let admission = self.admission(entry, direction, &question);
        self.note_admission(direction, entry, peer, &admission);
        admission.ok_or_else(|| {
            Verdict::Deny(Denial::SecurityGroup {
                gate: match direction {
                    Direction::Egress => Gate::SgEgress,
                    Direction::Ingress => Gate::SgIngress,
                },
                at: entry.interface.id.clone(),
            })
        })
    }

    /// Whether references to groups work on a path; where the way ends they are judged as on a local one (K.1).
    ///
    /// Absent over a transit gateway that is not described: then every reference is unresolved (K.1 "TGW").
    pub(super) fn references(&self, route: &Route<'s>, direction: Direction) -> Option<Match> {
        let far = route.receiving().map(|entry| &entry.interface.vpc);
        Some(match &route.hop.path {
            Path::SameSubnet
            | Path::Local
            | Path::None
            | Path::Blackhole
            | Path::Filtered
            | Path::FarSide => Match::Yes,
            Path::Peering { references, .. } => *references,
            Path::TransitGateway(gateway) => match direction {
                // Outbound references over a transit gateway are not supported [TGW-SG].
                Direction::Egress => Match::No,
                Direction::Ingress => {
                    let near = Some(&route.sender.entry.interface.vpc);
                    transit_gateway::references(self.snapshot, gateway, [near, far])?
                }
            },
            Path::Middlebox
            | Path::Nat
            | Path::InternetGateway
            | Path::VpnGateway
            | Path::Other => Match::No,
            Path::Unread | Path::Conflict => Match::Unsure,
        })
    }

    /// What the groups of an interface say; nothing if they refuse.
    fn admission(
        &self,
        entry: &InterfaceEntry,
        direction: Direction,
        question: &Question,
    ) -> Option<Admission> {
        if entry.groups.is_empty() || entry.interface.reading == Reading::GroupsUnread {
            return Some(Admission::NoGroups);
        }
        let mut admitted: Option<&RuleId> = None;
        let mut unresolved = Vec::new();
        for key in &entry.groups {
            let group = self.snapshot.groups.at(*key);
            if group.state != GroupState::Described {
                unresolved.push(RuleId::from(group.group.id.as_str()));
                continue;
            }
            for rule in group.group.rules(direction) {
                match self.matches(rule, question) {
                    Match::No => {}
                    Match::Unsure => unresolved.push(rule.id.clone()),
                    Match::Yes => {
                        let lowest = admitted.is_none_or(|known| rule.id < *known);
                        admitted = if lowest { Some(&rule.id) } else { admitted };
                    }
                }
            }
        }
        if let Some(rule) = admitted {
            return Some(Admission::By(rule.clone()));
        }
        unresolved.sort();
        unresolved.dedup();
        (!unresolved.is_empty()).then_some(Admission::Unresolved(unresolved))
    }

    fn matches(&self, rule: &SecurityGroupRule, question: &Question) -> Match {
        let traffic = rule.traffic.matches(self.flow.protocol);
        if traffic == Match::No {
            return Match::No;
        }
        traffic.and(match &rule.peer {
            RulePeer::Network(network) => Match::from(network.contains(&question.peer)),
            RulePeer::PrefixList(id) => self
                .snapshot
                .prefix_list(id)
                .map_or(Match::Unsure, |list| list.matches(question.peer)),
            RulePeer::Group(reference) => self.reference(reference, question),
            RulePeer::Unread => Match::Unsure,
        })
    }

    /// Whether the peer is a private address of an interface that carries the group (A.3).
    fn reference(&self, reference: &GroupReference, question: &Question) -> Match {
        if reference.freshness == Freshness::Stale || question.references == Some(Match::No) {
            return Match::No;
        }
        let membership = match self.snapshot.members(reference) {
            Members::Nobody => return Match::No,
            Members::Invisible => Match::Unsure,
            Members::Of(group) => self.membership(group, question),
        };
        question
            .references
            .map_or(Match::Unsure, |references| references.and(membership))
    }

    fn membership(&self, group: Key<GroupEntry>, question: &Question) -> Match {
        let mut answer = Match::No;
        let look_up = || self.snapshot.addresses.owners(question.peer);
        let owners = question.owners.get_or_init(look_up);
        for owner in owners {
            let entry = self.snapshot.interfaces.at(*owner);
            match entry.interface.reading {
                Reading::Whole | Reading::AddressesUnread if entry.groups.contains(&group) => {
                    return Match::Yes;
                }
                Reading::Whole | Reading::AddressesUnread => {}
                Reading::GroupsUnread | Reading::Doubtful | Reading::Conflict => {
                    answer = Match::Unsure;
                }
            }
        }
        // An address that nobody owns may be one of an interface that could not be read.
        if owners.is_empty() && self.snapshot.addresses_read == Completeness::Incomplete {
            return Match::Unsure;
        }
        answer
    }

    fn note_admission(
        &mut self,
        direction: Direction,
        entry: &'s InterfaceEntry,
        peer: IpAddr,
        admission: &Option<Admission>,
    ) {
        if !self.notes.is_wanted() {
            return;
        }
        let outcome = match admission {
            Some(Admission::By(rule)) => StepOutcome::Pass {
                rule: Some(rule.clone()),
            },
            Some(Admission::Unresolved(rules)) => {
                StepOutcome::Unknown(UnknownReason::UnresolvedRule {
                    rules: rules.clone(),
                })
            }
            Some(Admission::NoGroups) => StepOutcome::Unknown(UnknownReason::NoGroups),
            None => StepOutcome::Drop,
        };
        let place = Place::NetworkInterface {
            interface: entry.interface.id.clone(),
            groups: entry.interface.groups.clone(),
        };
        let flow = self.flow;
        let gate = match direction {
            Direction::Egress => Gate::SgEgress,
            Direction::Ingress => Gate::SgIngress,
        };
        self.note(gate, place, outcome, |snapshot| {
            words::admission(snapshot, direction, entry, (flow, peer), admission.as_ref())
        });
    }
}
