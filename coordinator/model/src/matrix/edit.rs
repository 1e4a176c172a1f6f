//! Rows of one edited group, laid over the rows that there are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Matrix;
use super::answer::Pair;
use super::ports::covered;
use super::row::{CROSSINGS, RowId};
use crate::class::{ClassId, Facts, SetId, ZoneId};
use crate::net::PortRange;
use crate::snapshot::{Direction, GroupEntry, Key, Match, Readable, RulePeer};
use crate::snapshot::{SecurityGroup, SecurityGroupRule, Traffic};

/// What a row becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Overlay {
    pub(super) sure: Vec<u64>,
    pub(super) unsure: Vec<u64>,
}

/// Set of groups, zone of the peer, set of the peer's groups, and how references cross.
type OverlayKey = (SetId, ZoneId, SetId, Option<Match>);

/// The rows of one direction that an edited group changes.
#[derive(Debug, Default)]
pub(crate) struct RowEdit {
    overlays: BTreeMap<OverlayKey, Overlay>,
}

impl RowEdit {
    fn of(&self, own: &Facts, peer: &Facts, crossing: Option<Match>) -> Option<&Overlay> {
        self.overlays.get(&(own.set, peer.zone, peer.set, crossing))
    }
}

/// The rules that an edit takes away, by place, and those that it adds.
struct Edited<'e> {
    removed: Vec<u32>,
    added: Vec<Added<'e>>,
}

struct Added<'e> {
    rule: &'e SecurityGroupRule,
    sure: Vec<u64>,
    unsure: Vec<u64>,
}

impl Matrix<'_> {
    /// Computes the rows that change; absent if a rule needs a port or network that the relation does not tell apart.
    pub(crate) fn row_edit(&self, group: &SecurityGroup, direction: Direction) -> Option<RowEdit> {
        let Some(key) = self.snapshot.group_keys.get(&group.id).copied() else {
            return Some(RowEdit::default());
        };
        let edited = self.edited_rules(key, group, direction)?;
        let mut edit = RowEdit::default();
        if edited.removed.is_empty() && edited.added.is_empty() {
            return Some(edit);
        }
        let sets = (0..).zip(&self.classes.sets);
        for (set, _) in sets.filter(|(_, set)| set.is_read && set.groups.contains(&key)) {
            for crossing in CROSSINGS {
                self.edit_set(&mut edit, (set, direction, crossing), &edited);
            }
        }
        Some(edit)
    }

    fn edited_rules<'e>(
        &self,
        key: Key<GroupEntry>,
        group: &'e SecurityGroup,
        direction: Direction,
    ) -> Option<Edited<'e>> {
        let known = self.snapshot.groups.at(key).group.rules(direction);
        let wanted = group.rules(direction);
        let removed = (0..)
            .zip(&self.groups.rules)
            .filter(|(_, rule)| rule.group == key && rule.direction == direction)
            .filter(|(_, rule)| {
                let is = |other: &&SecurityGroupRule| other.id == rule.id;
                known.iter().find(is) != wanted.iter().find(is)
            })
            .map(|(place, _)| place)
            .collect();
        let mut added = Vec::new();
        for rule in wanted.iter().filter(|rule| !known.contains(rule)) {
            if !self.tells_apart(rule) {
                return None;
            }
            let (sure, unsure) = covered(&rule.traffic, &self.ports);
            added.push(Added { rule, sure, unsure });
        }
        Some(Edited { removed, added })
    }

    /// Whether the intervals and zones are fine enough for a rule.
    fn tells_apart(&self, rule: &SecurityGroupRule) -> bool {
        let is_cut = match &rule.traffic {
            Traffic::Tcp(Readable::Is(range)) => self.ports.are_cut_at(*range),
            Traffic::All
            | Traffic::Tcp(Readable::Unread)
            | Traffic::Udp(_)
            | Traffic::Icmp(_)
            | Traffic::IcmpV6(_)
            | Traffic::Protocol(_)
            | Traffic::Unread => true,
        };
        let is_zoned = match &rule.peer {
            RulePeer::Network(network) => self.classes.zones.contains(network),
            RulePeer::PrefixList(_) | RulePeer::Group(_) | RulePeer::Unread => true,
        };
        is_cut && is_zoned
    }

    fn edit_set(
        &self,
        edit: &mut RowEdit,
        (set, direction, crossing): (SetId, Direction, Option<Match>),
        edited: &Edited<'_>,
    ) {
        let mut known: HashMap<(RowId, Vec<Match>), Option<Overlay>> = HashMap::new();
        for (zone, peer) in &self.groups.peers {
            let Some(row) = self.groups.row_at(direction, set, (*zone, *peer), crossing) else {
                continue;
            };
            let end = (*zone, *peer, crossing);
            let matches: Vec<Match> = edited
                .added
                .iter()
                .map(|added| {
                    let peer = &added.rule.peer;
                    self.groups
                        .peer_matches(self.snapshot, &self.classes, peer, end)
                })
                .collect();
            let is_touched = matches.iter().any(|answer| *answer != Match::No)
                || edited
                    .removed
                    .iter()
                    .any(|rule| self.groups.matched(*rule, end));
            if !is_touched {
                continue;
            }
            let overlay = known
                .entry((row, matches))
                .or_insert_with_key(|(_, matches)| {
                    let own = self.groups.own_of(&self.classes, set, direction);
                    let kept: Vec<u32> = own
                        .into_iter()
                        .filter(|rule| !edited.removed.contains(rule))
                        .collect();
                    let mut overlay = self.groups.overlay(&kept, end);
                    for (added, answer) in edited.added.iter().zip(matches) {
                        overlay.admit(&added.sure, &added.unsure, *answer);
                    }
                    let (sure, unsure) = self.groups.bits(row);
                    overlay.settle();
                    (overlay.sure != sure || overlay.unsure != unsure).then_some(overlay)
                });
            if let Some(overlay) = overlay {
                edit.overlays
                    .insert((set, *zone, *peer, crossing), overlay.clone());
            }
        }
    }

    /// Visits the pairs whose verdict changes, with the ports.
    pub(crate) fn visit(
        &self,
        egress: &RowEdit,
        ingress: &RowEdit,
        mut found: impl FnMut(ClassId, ClassId, Arc<[PortRange]>),
    ) {
        let (by_set, by_peer) = self.groupings();
        let own = |set| by_set.get(&set).map_or(&[][..], Vec::as_slice);
        let peers = |zone, set| by_peer.get(&(zone, set)).map_or(&[][..], Vec::as_slice);
        let mut known = KnownPorts::default();
        for ((set, zone, peer, crossing), overlay) in &egress.overlays {
            for source in own(*set) {
                for destination in peers(*zone, *peer) {
                    let Some(pair) = self.pair(*source, *destination) else {
                        continue;
                    };
                    if pair.way.egress != *crossing {
                        continue;
                    }
                    let ends = (
                        self.classes.facts(*source),
                        self.classes.facts(*destination),
                    );
                    let other = ingress.of(ends.1, ends.0, pair.way.ingress);
                    if let Some(ports) = self.changed(&pair, [Some(overlay), other], &mut known) {
                        found(*source, *destination, ports);
                    }
                }
            }
        }
        for ((set, zone, peer, crossing), overlay) in &ingress.overlays {
            for destination in own(*set) {
                for source in peers(*zone, *peer) {
                    let Some(pair) = self.pair(*source, *destination) else {
                        continue;
                    };
                    let ends = (
                        self.classes.facts(*source),
                        self.classes.facts(*destination),
                    );
                    // Pairs with an edited row on both sides were visited above.
                    let is_visited = egress.of(ends.0, ends.1, pair.way.egress).is_some();
                    if pair.way.ingress != *crossing || is_visited {
                        continue;
                    }
                    if let Some(ports) = self.changed(&pair, [None, Some(overlay)], &mut known) {
                        found(*source, *destination, ports);
                    }
                }
            }
        }
    }

    /// Classes by their set of groups, and by what others see of them.
    #[expect(clippy::type_complexity, reason = "two maps that live for one call")]
    fn groupings(
        &self,
    ) -> (
        HashMap<SetId, Vec<ClassId>>,
        HashMap<(ZoneId, SetId), Vec<ClassId>>,
    ) {
        let mut by_set: HashMap<SetId, Vec<ClassId>> = HashMap::new();
        let mut by_peer: HashMap<(ZoneId, SetId), Vec<ClassId>> = HashMap::new();
        for (id, class) in self.classes.iter() {
            let facts = class.facts;
            by_set.entry(facts.set).or_default().push(id);
            by_peer.entry((facts.zone, facts.set)).or_default().push(id);
        }
        (by_set, by_peer)
    }

    /// The ports at which overlays change the verdict of a pair; absent if at none.
    fn changed(
        &self,
        pair: &Pair<'_>,
        [egress, ingress]: [Option<&Overlay>; 2],
        known: &mut KnownPorts,
    ) -> Option<Arc<[PortRange]>> {
        fn bits(overlay: &Overlay) -> (&[u64], &[u64]) {
            (&overlay.sure, &overlay.unsure)
        }
        let rows = (
            self.groups.bits(pair.egress),
            self.groups.bits(pair.ingress),
        );
        let new = (egress.map_or(rows.0, bits), ingress.map_or(rows.1, bits));
        let before = self.kind_words(*pair, rows);
        let after = self.kind_words(*pair, new);
        known.next.clear();
        known.next.extend(
            before
                .zip(after)
                .map(|(one, other)| (one.0 ^ other.0) | (one.1 ^ other.1)),
        );
        if known.next.iter().all(|word| *word == 0) {
            return None;
        }
        if known.next != known.words {
            known.words.clone_from(&known.next);
            known.ports = self.ports.ranges(&known.words).into();
        }
        Some(Arc::clone(&known.ports))
    }
}

/// The ports of the last pair: its neighbours often have the same.
#[derive(Default)]
struct KnownPorts {
    next: Vec<u64>,
    words: Vec<u64>,
    ports: Arc<[PortRange]>,
}

impl Overlay {
    /// Adds what a rule admits whose peer matches so.
    pub(super) fn admit(&mut self, sure: &[u64], unsure: &[u64], peer: Match) {
        let join = |words: &mut Vec<u64>, more: &[u64]| {
            words
                .iter_mut()
                .zip(more)
                .for_each(|(word, more)| *word |= more);
        };
        match peer {
            Match::No => {}
            Match::Yes => {
                join(&mut self.sure, sure);
                join(&mut self.unsure, unsure);
            }
            Match::Unsure => {
                join(&mut self.unsure, sure);
                join(&mut self.unsure, unsure);
            }
        }
    }

    /// What is sure is not unsure.
    pub(super) fn settle(&mut self) {
        for (unsure, sure) in self.unsure.iter_mut().zip(&self.sure) {
            *unsure &= !sure;
        }
    }
}
