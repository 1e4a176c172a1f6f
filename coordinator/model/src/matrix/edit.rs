//! Rows of one edited group, laid over the rows that there are.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::Matrix;
use super::answer::Pair;
use super::count::Row;
use super::ports::covered;
use super::row::{CROSSINGS, Overlay, RowId};
use crate::class::{ClassId, Facts, SetId, ZoneId};
use crate::net::PortRange;
use crate::snapshot::{Direction, GroupEntry, Key, Match, Readable, RulePeer};
use crate::snapshot::{SecurityGroup, SecurityGroupRule, Traffic};

/// Set of groups, zone of the peer, set of the peer's groups, and how references cross.
type OverlayKey = (SetId, ZoneId, SetId, Option<Match>);

/// The rows of one direction that an edited group changes.
#[derive(Debug, Default)]
pub(crate) struct RowEdit {
    /// Each key once, set after set.
    overlays: Vec<(OverlayKey, Rc<Overlay>)>,
}

impl RowEdit {
    fn index(&self) -> HashMap<OverlayKey, &Overlay> {
        let all = self.overlays.iter();
        all.map(|(key, overlay)| (*key, overlay.as_ref())).collect()
    }
}

/// What an edit makes of the row of an end for a peer.
fn overlay_of<'e>(
    index: &HashMap<OverlayKey, &'e Overlay>,
    own: &Facts,
    peer: &Facts,
    crossing: Option<Match>,
) -> Option<&'e Overlay> {
    if index.is_empty() {
        return None;
    }
    let key = (own.set, peer.zone, peer.set, crossing);
    index.get(&key).copied()
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
        let mut known: HashMap<(RowId, Vec<Match>), Option<Rc<Overlay>>> = HashMap::new();
        let own = self.groups.own_of(&self.classes, set, direction);
        let is_kept = |rule: &u32| !edited.removed.contains(rule);
        let kept: Vec<u32> = own.into_iter().filter(is_kept).collect();
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
                    let mut overlay = self.groups.overlay(&kept, end);
                    for (added, answer) in edited.added.iter().zip(matches) {
                        overlay.admit(&added.sure, &added.unsure, *answer);
                    }
                    overlay.settle(self.groups.bits(row));
                    let is_changed = overlay.touched.iter().any(|word| *word != 0);
                    is_changed.then(|| Rc::new(overlay))
                });
            if let Some(overlay) = overlay {
                let key = (set, *zone, *peer, crossing);
                edit.overlays.push((key, Rc::clone(overlay)));
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
        let (egress_of, ingress_of) = (egress.index(), ingress.index());
        for ((set, zone, peer, crossing), overlay) in &egress.overlays {
            for source in own(*set) {
                for destination in peers(*zone, *peer) {
                    let Some(pair) = self.pair(*source, *destination) else {
                        continue;
                    };
                    let ends = (
                        self.classes.facts(*source),
                        self.classes.facts(*destination),
                    );
                    if pair.way.egress != *crossing || self.exit(ends.0, ends.1).is_some() {
                        continue;
                    }
                    let other = overlay_of(&ingress_of, ends.1, ends.0, pair.way.ingress);
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
                    let crossed = pair.way.egress;
                    let is_visited = overlay_of(&egress_of, ends.0, ends.1, crossed).is_some();
                    let is_translated = self.exit(ends.0, ends.1).is_some();
                    if pair.way.ingress != *crossing || is_visited || is_translated {
                        continue;
                    }
                    if let Some(ports) = self.changed(&pair, [None, Some(overlay)], &mut known) {
                        found(*source, *destination, ports);
                    }
                }
            }
        }
        self.visit_translated((&egress_of, &ingress_of), &mut known, &mut found);
    }

    /// Visits the pairs of pods that are translated: they have the rows of their nodes' primary interfaces.
    fn visit_translated(
        &self,
        (egress, ingress): (
            &HashMap<OverlayKey, &Overlay>,
            &HashMap<OverlayKey, &Overlay>,
        ),
        known: &mut KnownPorts,
        found: &mut impl FnMut(ClassId, ClassId, Arc<[PortRange]>),
    ) {
        let all = || self.classes.iter().map(|(id, class)| (id, class.facts));
        for (source, from) in all().filter(|(_, facts)| facts.exit != Facts::NO_EXIT) {
            for (destination, to) in all() {
                let Some((sender, brief)) = self.exit(&from, &to) else {
                    continue;
                };
                let overlays = [
                    overlay_of(egress, &sender, &to, brief.egress),
                    overlay_of(ingress, &to, &sender, brief.ingress),
                ];
                let pair = self.pair(source, destination);
                let changed = pair
                    .filter(|_| overlays.iter().any(Option::is_some))
                    .and_then(|pair| self.changed(&pair, overlays, known));
                if let Some(ports) = changed {
                    found(source, destination, ports);
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
        fn bits(overlay: &Overlay) -> Row<'_> {
            (&overlay.sure, &overlay.unsure)
        }
        let rows = (
            self.groups.bits(pair.egress),
            self.groups.bits(pair.ingress),
        );
        known.next.clear();
        match (egress, ingress) {
            (Some(overlay), None) if pair.is_plain() => {
                if !overlay.meets(rows.1) {
                    return None;
                }
                known
                    .next
                    .extend(self.delta(pair, (rows.0, bits(overlay)), rows.1));
            }
            (None, Some(overlay)) if pair.is_plain() => {
                if !overlay.meets(rows.0) {
                    return None;
                }
                known
                    .next
                    .extend(self.delta(pair, (rows.1, bits(overlay)), rows.0));
            }
            (_, _) => {
                let new = (egress.map_or(rows.0, bits), ingress.map_or(rows.1, bits));
                let (before, after) = (self.kind_words(*pair, rows), self.kind_words(*pair, new));
                let words = before.zip(after);
                known
                    .next
                    .extend(words.map(|(one, other)| (one.0 ^ other.0) | (one.1 ^ other.1)));
            }
        }
        if known.next.iter().all(|word| *word == 0) {
            return None;
        }
        if let Some(ports) = known.ports.get(&known.next) {
            return Some(Arc::clone(ports));
        }
        let ports: Arc<[PortRange]> = self.ports.ranges(&known.next).into();
        known.ports.insert(known.next.clone(), Arc::clone(&ports));
        Some(ports)
    }
}

impl Matrix<'_> {
    /// Words of the intervals at which another row of one side changes the verdict of a pair on a plain way.
    fn delta<'m>(
        &'m self,
        pair: &Pair<'_>,
        (old, new): (Row<'m>, Row<'m>),
        other: Row<'m>,
    ) -> impl Iterator<Item = u64> + 'm {
        let lists = pair
            .acls
            .map(|(out, back)| (self.acls.bits(out), self.acls.bits(back)));
        let sides = old.0.iter().zip(old.1).zip(new.0.iter().zip(new.1));
        let words = sides.zip(other.0.iter().zip(other.1)).enumerate();
        words.map(
            move |(place, (((old, old_unsure), (new, new_unsure)), other))| {
                let at = |words: &[u64]| words.get(place).copied().unwrap_or(0);
                let (passing, possible) = match lists {
                    None => (u64::MAX, u64::MAX),
                    Some((out, back)) => {
                        let (one, two) = (at(out.0), at(back.0));
                        (one & two, (one | at(out.1)) & (two | at(back.1)))
                    }
                };
                let sure = (old ^ new) & other.0 & passing;
                sure | ((old | old_unsure) ^ (new | new_unsure)) & (other.0 | other.1) & possible
            },
        )
    }
}

/// Ports by the words of their intervals: many pairs have the same.
#[derive(Default)]
struct KnownPorts {
    next: Vec<u64>,
    ports: HashMap<Vec<u64>, Arc<[PortRange]>>,
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

    /// What is sure is not unsure; notes where the row differs from what it was.
    pub(super) fn settle(&mut self, old: Row<'_>) {
        for (unsure, sure) in self.unsure.iter_mut().zip(&self.sure) {
            *unsure &= !sure;
        }
        let before = old.0.iter().zip(old.1);
        let after = self.sure.iter().zip(&self.unsure);
        self.touched = before
            .zip(after)
            .map(|(one, other)| (one.0 ^ other.0) | (one.1 ^ other.1))
            .collect();
    }

    /// Whether the other side lets anything pass where the row changes.
    fn meets(&self, other: Row<'_>) -> bool {
        let other = other.0.iter().zip(other.1);
        let mut words = self.touched.iter().zip(other);
        words.any(|(touched, (sure, unsure))| touched & (sure | unsure) != 0)
    }
}
