//! The relation as people read it: port ranges between classes, with the tuple that decides.

use crate::class::{ClassId, Facts, index};
use crate::id::{NetworkAclId, RouteTableId, RuleId};
use crate::net::PortRange;
use crate::prediction::{Gate, Verdict};

use super::Matrix;
use super::answer::{Pair, VerdictKind};
use super::explain::Decision;

/// Which part of the relation is wanted; absent means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Classes that send.
    pub sources: Option<Vec<ClassId>>,
    /// Classes that receive.
    pub destinations: Option<Vec<ClassId>>,
    /// Ports.
    pub ports: Option<PortRange>,
}

/// What decides a port range between two classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuple {
    /// Gate that decides a deny or a partial.
    pub gate: Option<Gate>,
    /// Word of a route denial or of an unknown.
    pub reason: Option<&'static str>,
    /// Rule that admits at the sender.
    pub egress: Option<RuleId>,
    /// Rule that admits at the receiver.
    pub ingress: Option<RuleId>,
    /// List and entry of the sender's subnet.
    pub entry_out: Option<(NetworkAclId, u32)>,
    /// List and entry of the receiver's subnet.
    pub entry_in: Option<(NetworkAclId, u32)>,
    /// Route table and route of the forward path, as `destination -> target`.
    pub route: Option<(RouteTableId, String)>,
}

/// One line of the relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationEntry {
    /// Class that sends.
    pub source: ClassId,
    /// Class that receives.
    pub destination: ClassId,
    /// Ports, both ends inclusive.
    pub ports: PortRange,
    /// The verdict of each of them.
    pub verdict: VerdictKind,
    /// What decides.
    pub tuple: Tuple,
}

impl Matrix<'_> {
    /// Lists the relation between two classes, lowest ports first; neighbours with one tuple are one entry.
    ///
    /// Empty for two address families. Members on one host are not filtered at all, whatever it says.
    #[must_use]
    pub fn entries(
        &self,
        source: ClassId,
        destination: ClassId,
        wanted: PortRange,
    ) -> Vec<RelationEntry> {
        let Some(pair) = self.pair(source, destination) else {
            return Vec::new();
        };
        let mut entries: Vec<RelationEntry> = Vec::new();
        for (interval, range) in self.ports.intervals().iter().enumerate() {
            let Some(ports) = range.intersection(wanted) else {
                continue;
            };
            let decision = self.decide(&pair, interval);
            let tuple = self.tuple(&decision, (source, destination));
            match entries.last_mut() {
                Some(last) if last.verdict == decision.kind && last.tuple == tuple => {
                    last.ports = PortRange::between(last.ports.first(), ports.last());
                }
                Some(_) | None => entries.push(RelationEntry {
                    source,
                    destination,
                    ports,
                    verdict: decision.kind,
                    tuple,
                }),
            }
        }
        entries
    }

    /// Visits the relation, pair by pair.
    pub fn relation<'m>(&'m self, filter: &'m Filter) -> impl Iterator<Item = RelationEntry> + 'm {
        let is_wanted = |list: &Option<Vec<ClassId>>, id: ClassId| {
            list.as_ref().is_none_or(|list| list.contains(&id))
        };
        let ids = || self.classes.iter().map(|(id, _)| id);
        let ports = filter.ports.unwrap_or(PortRange::ALL);
        ids()
            .filter(move |id| is_wanted(&filter.sources, *id))
            .flat_map(move |source| {
                ids()
                    .filter(move |id| is_wanted(&filter.destinations, *id))
                    .flat_map(move |destination| self.entries(source, destination, ports))
            })
    }

    /// Everything that is said of two classes; absent of two families.
    pub(crate) fn cells_between(&self, source: ClassId, destination: ClassId) -> Option<Cells<'_>> {
        Some(Cells {
            matrix: self,
            ends: (source, destination),
            pair: self.pair(source, destination)?,
        })
    }

    fn tuple(&self, decision: &Decision<'_>, (source, destination): (ClassId, ClassId)) -> Tuple {
        let (from, to) = (self.classes.facts(source), self.classes.facts(destination));
        let sender = self.exit(from, to).map_or(*from, |(sender, _)| sender);
        let list = |facts: &Facts, number: Option<u32>| {
            let place = index(facts.acl).checked_sub(1)?;
            let acl = self.snapshot.network_acls.iter().nth(place)?;
            Some((acl.id.clone(), number?))
        };
        Tuple {
            gate: decision.gate,
            reason: decision.reason,
            egress: decision.egress.cloned(),
            ingress: decision.ingress.cloned(),
            entry_out: list(&sender, decision.entry_out),
            entry_in: list(to, decision.entry_in),
            route: decision.route.map(|route| {
                let text = format!("{} -> {}", route.destination, route.target);
                (route.table.clone(), text)
            }),
        }
    }
}

/// The cells of two classes, one for each port interval.
pub(crate) struct Cells<'m> {
    matrix: &'m Matrix<'m>,
    ends: (ClassId, ClassId),
    pair: Pair<'m>,
}

impl<'m> Cells<'m> {
    /// Returns the words of what is not denied and of what passes, and whether what passes is partial.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (u64, u64, bool)> + '_ {
        let groups = &self.matrix.groups;
        let rows = (
            groups.bits(self.pair.egress),
            groups.bits(self.pair.ingress),
        );
        let is_partial = self.pair.way.partial.is_some();
        let words = self.matrix.kind_words(self.pair, rows);
        words.map(move |(possible, sure)| (possible, sure, is_partial))
    }

    /// Returns whether equal words mean equal verdicts: not on a way that ends with a word of its own.
    pub(crate) fn are_told_by_words(&self) -> bool {
        let end = self.pair.way.end.as_ref();
        end.is_none_or(|(_, verdict)| matches!(verdict, Verdict::Deny(_) | Verdict::Unknown(_)))
    }

    /// Returns what decides at an interval.
    pub(crate) fn decide(&self, interval: usize) -> Decision<'m> {
        self.matrix.decide(&self.pair, interval)
    }

    /// Returns the tuple of a decision.
    pub(crate) fn tuple(&self, decision: &Decision<'m>) -> Tuple {
        self.matrix.tuple(decision, self.ends)
    }
}
