//! Port intervals: between two cuts no rule and no entry begins or ends.

use std::collections::BTreeSet;

use crate::flow::Transport;
use crate::net::PortRange;
use crate::snapshot::{Direction, Readable, Snapshot, Traffic};

/// Number of TCP ports.
const PORTS: usize = 1 << 16;
/// Bits in a word of a row.
pub(crate) const WORD: usize = 64;

/// The intervals into which rules and entries for TCP cut the ports.
#[derive(Debug, Clone)]
pub(crate) struct Ports {
    intervals: Vec<PortRange>,
    /// Interval of every port.
    of: Vec<u16>,
    /// Words of the set of all intervals.
    whole: Vec<u64>,
    /// Words of the empty set.
    none: Vec<u64>,
}

impl Ports {
    /// Cuts where a rule or an entry of any of the snapshots begins or ends.
    pub(crate) fn new<'s>(snapshots: impl IntoIterator<Item = &'s Snapshot>) -> Self {
        let intervals = port_intervals(snapshots, Transport::Tcp);
        let mut of = Vec::with_capacity(PORTS);
        for (place, interval) in (0..=u16::MAX).zip(&intervals) {
            let width = usize::from(interval.last() - interval.first()) + 1;
            of.extend(std::iter::repeat_n(place, width));
        }
        let mut whole = vec![0; intervals.len().div_ceil(WORD)];
        (0..intervals.len()).for_each(|interval| add(&mut whole, interval));
        Self {
            intervals,
            of,
            none: vec![0; whole.len()],
            whole,
        }
    }

    /// Returns the intervals, lowest ports first.
    pub(crate) fn intervals(&self) -> &[PortRange] {
        &self.intervals
    }

    /// Returns how many intervals there are.
    pub(crate) fn len(&self) -> usize {
        self.intervals.len()
    }

    /// Returns the words of the set of all intervals.
    pub(crate) fn whole(&self) -> &[u64] {
        &self.whole
    }

    /// Returns the words of the empty set.
    pub(crate) fn none(&self) -> &[u64] {
        &self.none
    }

    /// Returns how many words a row has.
    pub(crate) fn words(&self) -> usize {
        self.intervals.len().div_ceil(WORD)
    }

    /// Returns the interval of a port.
    pub(crate) fn of(&self, port: u16) -> usize {
        self.of
            .get(usize::from(port))
            .copied()
            .map_or(0, usize::from)
    }

    /// Returns the ports of a set of intervals, sorted and disjoint.
    pub(crate) fn ranges(&self, words: &[u64]) -> Vec<PortRange> {
        let mut ranges: Vec<PortRange> = Vec::new();
        for range in members(words).filter_map(|it| self.intervals.get(it)) {
            match ranges.last_mut() {
                Some(last) if last.last().checked_add(1) == Some(range.first()) => {
                    *last = PortRange::between(last.first(), range.last());
                }
                Some(_) | None => ranges.push(*range),
            }
        }
        ranges
    }

    /// Returns whether intervals begin where a range begins and where it has ended.
    pub(crate) fn are_cut_at(&self, range: PortRange) -> bool {
        let starts = [Some(range.first()), range.last().checked_add(1)];
        starts.into_iter().flatten().all(|start| {
            let interval = self.intervals.get(self.of(start));
            interval.is_some_and(|interval| interval.first() == start)
        })
    }
}

/// The intervals into which rules and entries of snapshots cut the ports of a protocol, lowest ports first.
pub(crate) fn port_intervals<'s>(
    snapshots: impl IntoIterator<Item = &'s Snapshot>,
    transport: Transport,
) -> Vec<PortRange> {
    let mut starts = BTreeSet::from([0]);
    for snapshot in snapshots {
        cuts(snapshot, transport, &mut starts);
    }
    let ends = starts.iter().skip(1).map(|next| next.saturating_sub(1));
    starts
        .iter()
        .zip(ends.chain([u16::MAX]))
        .map(|(first, last)| PortRange::between(*first, last))
        .collect()
}

fn cuts(snapshot: &Snapshot, transport: Transport, starts: &mut BTreeSet<u16>) {
    let mut cut = |traffic: &Traffic| {
        let ports = match (traffic, transport) {
            (Traffic::Tcp(ports), Transport::Tcp) | (Traffic::Udp(ports), Transport::Udp) => ports,
            (_, _) => return,
        };
        if let Readable::Is(range) = ports {
            starts.insert(range.first());
            starts.extend(range.last().checked_add(1));
        }
    };
    for group in snapshot.groups.iter() {
        for direction in [Direction::Ingress, Direction::Egress] {
            group
                .group
                .rules(direction)
                .iter()
                .for_each(|rule| cut(&rule.traffic));
        }
    }
    for acl in snapshot.network_acls.iter() {
        let entries = acl.ingress.iter().chain(&acl.egress);
        entries.for_each(|entry| cut(&entry.traffic));
    }
}

/// A set of intervals, and what one can do with it.
pub(crate) fn has(words: &[u64], interval: usize) -> bool {
    words
        .get(interval / WORD)
        .is_some_and(|word| word >> (interval % WORD) & 1 == 1)
}

/// Adds an interval to a set.
pub(crate) fn add(words: &mut [u64], interval: usize) {
    if let Some(word) = words.get_mut(interval / WORD) {
        *word |= 1 << (interval % WORD);
    }
}

/// Visits the intervals of a set.
pub(crate) fn members(words: &[u64]) -> impl Iterator<Item = usize> + '_ {
    words.iter().enumerate().flat_map(|(place, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let lowest = rest.trailing_zeros();
            rest &= rest - 1;
            Some(place * WORD + crate::class::index(lowest))
        })
    })
}

/// Intervals of the TCP ports that a rule or an entry is about: for certain, and perhaps.
pub(crate) fn covered(traffic: &Traffic, ports: &Ports) -> (Vec<u64>, Vec<u64>) {
    let (mut sure, mut unsure) = (vec![0; ports.words()], vec![0; ports.words()]);
    for (interval, range) in ports.intervals().iter().enumerate() {
        let packet = crate::flow::FlowProtocol::Tcp {
            port: range.first(),
        };
        match traffic.matches(packet) {
            crate::snapshot::Match::Yes => add(&mut sure, interval),
            crate::snapshot::Match::Unsure => add(&mut unsure, interval),
            crate::snapshot::Match::No => {}
        }
    }
    (sure, unsure)
}
