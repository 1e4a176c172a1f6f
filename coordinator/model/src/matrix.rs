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
//! | `relation` | what people read: port ranges with verdict and deciding tuple |
//!
//! **Invariant.** [`Matrix::verdict`] agrees with [`crate::predict::verdict`] on every flow: it is built out of the same
//! gates, and flows that it does not cover are handed on.

use std::collections::HashMap;

use crate::class::{Classes, Facts, Zones, index, number};
use crate::flow::EPHEMERAL_PORTS_DEFAULT;
use crate::net::PortRange;
pub use crate::predict::RouteTaken;
use crate::predict::Way;
use crate::snapshot::{Direction, Match, Snapshot};

pub use answer::VerdictKind;
pub use count::Counts;
pub use explain::{Answer, Element, Explanation, GateAnswer, Site};
pub use relation::{Filter, RelationEntry, Tuple};

pub(crate) use decisive::{Layer, Live, Seen};
pub(crate) use ports::Ports;

mod acl;
mod answer;
mod atom;
mod count;
mod decisive;
mod edit;
mod explain;
mod ports;
mod relation;
mod row;

/// The reachability relation of a snapshot: classes, rows and ways.
///
/// For TCP from a host's network namespace with the default ephemeral range; [`Matrix::verdict`] asks
/// [`crate::predict`] about everything else.
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
}

impl<'s> Matrix<'s> {
    /// Builds the relation of a snapshot.
    #[must_use]
    pub fn new(snapshot: &'s Snapshot) -> Self {
        Self::with(snapshot, Zones::new([snapshot]), Ports::new([snapshot]))
    }

    /// Builds the relation with the networks and ports of several snapshots, so that relations can be compared.
    pub(crate) fn with(snapshot: &'s Snapshot, zones: Zones, ports: Ports) -> Self {
        let classes = Classes::with_zones(snapshot, zones);
        let (ways, way_of) = ways(snapshot, &classes);
        let acls = acl::AclRows::new(snapshot, &classes, &ports);
        let groups = row::GroupRows::new(snapshot, &classes, &ports, &ways);
        let briefs = briefs(&classes, &acls, (&ways, &way_of));
        Self {
            snapshot,
            classes,
            ports,
            groups,
            acls,
            ways,
            briefs,
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
    let facts: Vec<Facts> = classes.by_place();
    let pairs = facts
        .iter()
        .flat_map(|from| facts.iter().map(move |to| (from, to)));
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

/// The ways between all pairs of places, each once.
fn ways(snapshot: &Snapshot, classes: &Classes) -> (Vec<Way>, Vec<u32>) {
    let mut ways: Vec<Way> = Vec::new();
    let mut way_of = Vec::with_capacity(classes.places.len() * classes.places.len());
    let mut known: HashMap<String, u32> = HashMap::new();
    for from in &classes.places {
        for to in &classes.places {
            if from.example.is_ipv4() != to.example.is_ipv4() {
                way_of.push(u32::MAX);
                continue;
            }
            let source = (from.owner, from.example);
            let way = Way::follow(snapshot, source, to.example, EPHEMERAL_PORTS_DEFAULT);
            let name = format!("{way:?}");
            let place = *known.entry(name).or_insert_with(|| {
                ways.push(way);
                number(ways.len() - 1)
            });
            way_of.push(place);
        }
    }
    (ways, way_of)
}
