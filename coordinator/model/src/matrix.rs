//! The whole reachability relation between classes of endpoints, for TCP.
//!
//! The product of classes and ports is not stored. Rows are: for every set of security groups and every kind of peer,
//! which ports its rules admit and by which rule; the same for every network ACL; and for every pair of places the way
//! between them. A verdict is a few look-ups and ANDs of rows, and names the same rule as [`crate::predict`].
//!
//! | module | what |
//! |---|---|
//! | `ports` | intervals in which no rule and no entry begins or ends |
//! | `atom` | what rules say of peers: networks, prefix lists, groups |
//! | `row` | rows of security groups |
//! | `acl` | rows of network ACLs |
//! | `answer` | verdicts of pairs and of flows |
//! | `decisive` | what settles flows, each once |
//! | `explain` | what decides at every gate of a flow |
//! | `edit` | rows of one edited group, laid over the others |
//! | `count` | one pass over every pair and interval |
//! | `listing` | the relation with who shows each line: endpoints on two hosts, or on one |
//! | `grid` | the relation in rows and columns, what is alike in one |
//! | `relation` | what people read: port ranges with verdict and deciding tuple |
//!
//! **Invariant.** [`Matrix::verdict`] agrees with [`crate::predict::verdict`] on every flow: it is built out of the same
//! gates, and flows that it does not cover are handed on.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::class::{ClassId, Classes, Exit, Facts, Untranslated, Zones, index, number};
use crate::flow::{EPHEMERAL_PORTS_AFTER_SNAT, EPHEMERAL_PORTS_DEFAULT, SourceKind};
use crate::net::{PortRange, Printable};
pub use crate::predict::RouteTaken;
use crate::predict::Way;
use crate::prediction::UnknownReason;
use crate::snapshot::{Direction, InterfaceEntry, IpFamily, Key, Match, Snapshot, SnatPorts};

pub use answer::VerdictKind;
pub use count::Counts;
pub use explain::{Answer, Element, Explanation, GateAnswer, Site};
pub use grid::{GRID_PAIRS_MAX, Grid, GridCell, GridEnd, GridQuestion};
pub use listing::{Ends, ListedEntry};
pub use relation::{Filter, RelationEntry, Tuple};

pub(crate) use decisive::{Layer, Live, Seen};
pub(crate) use explain::Decision;
pub(crate) use ports::{Ports, members, port_intervals};
pub(crate) use relation::Cells;

mod acl;
mod answer;
mod atom;
mod count;
mod decisive;
mod edit;
mod explain;
mod grid;
mod listing;
mod ports;
mod relation;
mod row;

/// The reachability relation of a snapshot: classes, rows and ways.
///
/// For TCP with the default ephemeral range; classes of pods answer as pods: outside the VPC their node translates them.
/// [`Matrix::verdict`] keeps what the flow says, and asks [`crate::predict`] about everything that rows do not cover.
#[derive(Debug)]
pub struct Matrix<'s> {
    snapshot: &'s Snapshot,
    classes: Classes,
    ports: Ports,
    groups: row::GroupRows,
    acls: acl::AclRows,
    ways: Vec<Way>,
    /// What most look-ups need, for every pair of places.
    briefs: Vec<Brief>,
    /// The same from every exit of pods to every place; absent where the node translates nothing.
    exits: Vec<Option<Brief>>,
}

impl<'s> Matrix<'s> {
    /// Returns the name of a class with its network, safe for a terminal.
    #[must_use]
    pub fn class_name(&self, id: ClassId) -> String {
        let class = self.classes().class(id);
        let name = class.name(self.snapshot());
        let network = class.network.map(|network| format!(" {network}"));
        format!("{}{}", Printable(&name), network.unwrap_or_default())
    }

    /// Builds the relation of a snapshot.
    #[must_use]
    pub fn new(snapshot: &'s Snapshot) -> Self {
        Self::with_source_kind(snapshot, None)
    }

    /// Builds the relation of a snapshot in which all endpoints send as hosts, or all as pods; without a kind, as those that
    /// the snapshot says they are (K.1 "Source kind").
    #[must_use]
    pub fn with_source_kind(snapshot: &'s Snapshot, kind: Option<SourceKind>) -> Self {
        let (zones, ports) = (Zones::new([snapshot]), Ports::new([snapshot]));
        Self::of_classes(snapshot, Classes::with_zones(snapshot, zones, kind), ports)
    }

    /// Builds the relation with the networks and ports of several snapshots, so that relations can be compared.
    pub(crate) fn with(snapshot: &'s Snapshot, zones: Zones, ports: Ports) -> Self {
        Self::of_classes(snapshot, Classes::with_zones(snapshot, zones, None), ports)
    }

    /// The same between some interfaces alone: see [`Classes::of_some`].
    pub(crate) fn among(
        snapshot: &'s Snapshot,
        (zones, ports): (Zones, Ports),
        is_wanted: impl Fn(Key<InterfaceEntry>) -> bool,
    ) -> Self {
        let classes = Classes::of_some(snapshot, (zones, None), is_wanted);
        Self::of_classes(snapshot, classes, ports)
    }

    fn of_classes(snapshot: &'s Snapshot, classes: Classes, ports: Ports) -> Self {
        let (mut ways, way_of) = ways(snapshot, &classes);
        let exit_ways = exit_ways(snapshot, &classes, &mut ways);
        let acls = acl::AclRows::new(snapshot, &classes, &ports);
        let groups = row::GroupRows::new(snapshot, &classes, &ports, &ways);
        let briefs = briefs(&classes, &acls, (&ways, &way_of));
        let exits = exit_briefs(&classes, &acls, (&ways, &exit_ways));
        Self {
            snapshot,
            classes,
            ports,
            groups,
            acls,
            ways,
            briefs,
            exits,
        }
    }

    /// Returns the snapshot whose relation it is.
    #[must_use]
    pub fn snapshot(&self) -> &'s Snapshot {
        self.snapshot
    }

    /// Returns the classes.
    #[must_use]
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Returns the port intervals: within one of them no verdict changes.
    #[must_use]
    pub fn port_intervals(&self) -> &[PortRange] {
        self.ports.intervals()
    }

    /// Returns how many different rows of security groups there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.groups.len()
    }

    /// Who sends in the place of pods that their node translates on the way to a class, and the way from there; absent
    /// where nobody is translated.
    fn exit(&self, from: &Facts, to: &Facts) -> Option<(Facts, &Brief)> {
        let exit = self.classes.exits.get(index(from.exit))?;
        let place = index(from.exit) * self.classes.places.len() + index(to.place);
        let brief = self.exits.get(place)?.as_ref()?;
        Some((exit.primary.unwrap_or(*from), brief))
    }

    /// What most look-ups need of the way between two classes; absent of two families.
    fn brief(&self, from: &Facts, to: &Facts) -> Option<&Brief> {
        let place = index(from.place) * self.classes.places.len() + index(to.place);
        self.briefs.get(place).filter(|brief| brief.way != u32::MAX)
    }
}

/// What most look-ups need of the way between two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Brief {
    /// Number of the way.
    way: u32,
    /// Rows of the two lists.
    acls: (u32, u32),
    /// Nothing on the way but rules and entries decides.
    is_plain: bool,
    is_same_subnet: bool,
    egress: Option<Match>,
    ingress: Option<Match>,
}

/// What most look-ups need of every way, pair of places after pair of places.
fn briefs(classes: &Classes, acls: &acl::AclRows, (ways, way_of): (&[Way], &[u32])) -> Vec<Brief> {
    let places = &classes.places;
    let pairs = places
        .iter()
        .flat_map(|from| places.iter().map(move |to| (from, to)));
    pairs
        .zip(way_of)
        .map(|((from, to), number)| {
            let way = ways.get(index(*number));
            Brief {
                way: *number,
                acls: (
                    acls.row(from.acl, Direction::Egress, to.zone),
                    acls.row(to.acl, Direction::Ingress, from.zone),
                ),
                is_plain: way.is_some_and(Way::is_plain),
                is_same_subnet: way.is_some_and(|way| way.is_same_subnet),
                egress: way.and_then(|way| way.egress),
                ingress: way.and_then(|way| way.ingress),
            }
        })
        .collect()
}

/// What most look-ups need of the ways of pods that are translated, exit after exit.
fn exit_briefs(
    classes: &Classes,
    acls: &acl::AclRows,
    (ways, way_of): (&[Way], &[Option<u32>]),
) -> Vec<Option<Brief>> {
    let pairs = classes
        .exits
        .iter()
        .flat_map(|exit| classes.places.iter().map(move |to| (exit, to)));
    pairs
        .zip(way_of)
        .map(|((exit, to), number)| {
            let way = ways.get(index((*number)?))?;
            let lists = exit.primary.map(|from| {
                (
                    acls.row(from.acl, Direction::Egress, to.zone),
                    acls.row(to.acl, Direction::Ingress, from.zone),
                )
            });
            Some(Brief {
                way: (*number)?,
                acls: lists.unwrap_or_default(),
                is_plain: way.is_plain(),
                is_same_subnet: way.is_same_subnet,
                egress: way.egress,
                ingress: way.ingress,
            })
        })
        .collect()
}

/// The ways from every exit of pods to every place, exit after exit; absent where the node translates nothing: within the
/// VPC, to networks that the CNI excludes, and to the other family (E.1).
fn exit_ways(snapshot: &Snapshot, classes: &Classes, ways: &mut Vec<Way>) -> Vec<Option<u32>> {
    let ports = match snapshot.cni.snat_ports {
        SnatPorts::Random => EPHEMERAL_PORTS_AFTER_SNAT,
        SnatPorts::Kept => EPHEMERAL_PORTS_DEFAULT,
    };
    let mut found = Vec::with_capacity(classes.exits.len() * classes.places.len());
    for exit in &classes.exits {
        for to in &classes.places {
            if !leaves(snapshot, exit, to.example) {
                found.push(None);
                continue;
            }
            let way = match exit.primary {
                Err(Untranslated::NoPrimary) => Way::unknown(UnknownReason::SrcOutsideModel),
                Err(Untranslated::Unread) => Way::unknown(UnknownReason::Other),
                Err(Untranslated::Contradicted) => Way::unknown(UnknownReason::Conflict),
                Ok(primary) => match classes.places.get(index(primary.place)) {
                    None => Way::unknown(UnknownReason::Other),
                    Some(from) => {
                        let source = (from.owner, from.example);
                        Way::follow(snapshot, source, to.example, ports)
                    }
                },
            };
            ways.push(way);
            found.push(Some(number(ways.len() - 1)));
        }
    }
    found
}

/// Whether the node of pods translates what they send to an address (E.1, K.1 "Pods of the other family").
fn leaves(snapshot: &Snapshot, exit: &Exit, destination: IpAddr) -> bool {
    let is_excluded = |network: &ipnet::IpNet| network.contains(&destination);
    let is_inside = || {
        snapshot.vpcs.at(exit.vpc).contains(destination)
            || snapshot.cni.snat_excluded.iter().any(is_excluded)
    };
    IpFamily::of(destination) == exit.family
        && (exit.family != snapshot.ip_family() || !is_inside())
}

/// The ways between all pairs of places, each once.
fn ways(snapshot: &Snapshot, classes: &Classes) -> (Vec<Way>, Vec<u32>) {
    let mut ways: Vec<Way> = Vec::new();
    let mut way_of = Vec::with_capacity(classes.places.len() * classes.places.len());
    let mut known: HashMap<Way, u32> = HashMap::new();
    for from in &classes.places {
        for to in &classes.places {
            if from.example.is_ipv4() != to.example.is_ipv4() {
                way_of.push(u32::MAX);
                continue;
            }
            let source = (from.owner, from.example);
            let way = Way::follow(snapshot, source, to.example, EPHEMERAL_PORTS_DEFAULT);
            let place = *known.entry(way).or_insert_with_key(|way| {
                ways.push(way.clone());
                number(ways.len() - 1)
            });
            way_of.push(place);
        }
    }
    (ways, way_of)
}
