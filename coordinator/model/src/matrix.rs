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
use crate::predict::Way;
use crate::snapshot::{Match, Snapshot};

pub use answer::{Decision, VerdictKind};
pub use count::Counts;
pub use relation::{Filter, RelationEntry, Tuple};

pub(crate) use ports::Ports;

mod acl;
mod answer;
mod atom;
mod count;
mod edit;
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
    /// What most look-ups need of a way.
    briefs: Vec<Brief>,
    /// Number of a way for every pair of places.
    way_of: Vec<u32>,
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
        Self {
            snapshot,
            classes,
            ports,
            groups,
            acls,
            briefs: ways.iter().map(Brief::from).collect(),
            ways,
            way_of,
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

    /// The place of the way between two classes; past the end for two families.
    fn way(&self, from: &Facts, to: &Facts) -> usize {
        let place = index(from.place) * self.classes.places.len() + index(to.place);
        self.way_of.get(place).map_or(usize::MAX, |way| index(*way))
    }
}

/// What most look-ups need of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Brief {
    /// Nothing on the way but rules and entries decides.
    is_plain: bool,
    is_same_subnet: bool,
    egress: Option<Match>,
    ingress: Option<Match>,
}

impl From<&Way> for Brief {
    fn from(way: &Way) -> Self {
        let verdicts = [
            &way.endpoints,
            &way.route,
            &way.receiver,
            &way.replies,
            &way.return_route,
            &way.partial,
        ];
        Self {
            is_plain: verdicts.iter().all(|verdict| verdict.is_none())
                && way.before_rules.is_none()
                && way.after_rules.is_none(),
            is_same_subnet: way.is_same_subnet,
            egress: way.egress,
            ingress: way.ingress,
        }
    }
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
