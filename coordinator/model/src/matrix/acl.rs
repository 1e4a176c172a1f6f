//! Rows of network ACLs: for a list and a kind of remote address, which ports pass and by which entry.

use std::collections::HashMap;
use std::net::IpAddr;

use super::atom::examples;
use super::ports::{Ports, WORD, add};
use crate::class::{Classes, ZoneId, index, number};
use crate::flow::FlowProtocol;
use crate::predict::{AclAnswer, ask};
use crate::snapshot::{Direction, Match, NetworkAcl, Readable, Snapshot, Traffic};

/// Number of a row.
pub(super) type AclRowId = u32;

/// The rows of all lists.
#[derive(Debug)]
pub(super) struct AclRows {
    words: usize,
    intervals: usize,
    zones: usize,
    /// Words of the intervals that pass and of those that nobody can tell, row after row.
    bits: Vec<u64>,
    /// The entry that decides, interval after interval, row after row; 0 where nobody can tell.
    decide: Vec<u32>,
    /// By list, direction and zone.
    table: Vec<AclRowId>,
}

/// Row of a subnet without a list: nobody can tell.
const NO_LIST: AclRowId = 0;

fn direction_number(direction: Direction) -> usize {
    match direction {
        Direction::Ingress => 0,
        Direction::Egress => 1,
    }
}

impl AclRows {
    pub(super) fn new(snapshot: &Snapshot, classes: &Classes, ports: &Ports) -> Self {
        let mut rows = Self {
            words: ports.words(),
            intervals: ports.len(),
            zones: classes.zones.len(),
            bits: Vec::new(),
            decide: Vec::new(),
            table: Vec::new(),
        };
        rows.push(&vec![AclAnswer::Unsure; ports.len()]);
        // The first list is none.
        rows.table = vec![NO_LIST; 2 * rows.zones];
        let examples = examples(classes);
        for (_, acl) in snapshot.network_acls.entries() {
            for direction in [Direction::Ingress, Direction::Egress] {
                rows.add_list((acl, direction), &examples, ports);
            }
        }
        rows
    }

    fn add_list(
        &mut self,
        (acl, direction): (&NetworkAcl, Direction),
        examples: &[Option<IpAddr>],
        ports: &Ports,
    ) {
        let mut known: HashMap<(bool, Vec<bool>), AclRowId> = HashMap::new();
        for example in examples {
            let Some(remote) = example else {
                self.table.push(NO_LIST);
                continue;
            };
            let matching = acl
                .entries(direction)
                .iter()
                .map(|entry| match entry.remote {
                    Readable::Is(network) => network.contains(remote),
                    Readable::Unread => true,
                });
            let kind = (remote.is_ipv4(), matching.collect());
            let row = match known.get(&kind) {
                Some(row) => *row,
                None => {
                    let row = self.push(&answers((acl, direction), *remote, ports));
                    known.insert(kind, row);
                    row
                }
            };
            self.table.push(row);
        }
    }

    fn push(&mut self, answers: &[AclAnswer]) -> AclRowId {
        let row = number(self.bits.len() / (2 * self.words.max(1)));
        let (mut passing, mut unsure) = (vec![0; self.words], vec![0; self.words]);
        for (interval, answer) in answers.iter().enumerate() {
            let number = match answer {
                AclAnswer::Allow(number) => {
                    add(&mut passing, interval);
                    *number
                }
                AclAnswer::Deny(number) => *number,
                AclAnswer::Unsure => {
                    add(&mut unsure, interval);
                    0
                }
            };
            self.decide.push(number);
        }
        self.bits.extend(passing);
        self.bits.extend(unsure);
        row
    }

    /// Returns how many rows there are.
    pub(super) fn len(&self) -> usize {
        self.bits.len() / (2 * self.words.max(1))
    }

    /// Returns the row of a list for remote addresses of a zone; `acl` is [`crate::class::Facts::acl`].
    pub(super) fn row(&self, acl: u32, direction: Direction, remote: ZoneId) -> AclRowId {
        let list = 2 * index(acl) + direction_number(direction);
        let row = self.table.get(list * self.zones + index(remote));
        row.copied().unwrap_or(NO_LIST)
    }

    /// Returns the words of the intervals that pass and of those that nobody can tell.
    pub(super) fn bits(&self, row: AclRowId) -> (&[u64], &[u64]) {
        let start = 2 * self.words * index(row);
        let words = self
            .bits
            .get(start..start + 2 * self.words)
            .unwrap_or_default();
        words.split_at_checked(self.words).unwrap_or_default()
    }

    /// Returns what a row says of one interval.
    pub(super) fn answer(&self, row: AclRowId, interval: usize) -> Match {
        match self.lanes(row, interval) {
            (1, _) => Match::Yes,
            (_, 0) => Match::No,
            (_, _) => Match::Unsure,
        }
    }

    /// Returns whether an interval is admitted for certain, and whether it may be: 1 or 0, to be joined without branches.
    pub(super) fn lanes(&self, row: AclRowId, interval: usize) -> (u64, u64) {
        let sure = 2 * self.words * index(row) + interval / WORD;
        let bit = |place: usize| {
            self.bits
                .get(place)
                .map_or(0, |word| word >> (interval % WORD) & 1)
        };
        let (sure, unsure) = (bit(sure), bit(sure + self.words));
        (sure, sure | unsure)
    }

    /// Returns the number of the entry that decides an interval; 0 where nobody can tell.
    pub(super) fn deciding(&self, row: AclRowId, interval: usize) -> u32 {
        self.decide
            .get(index(row) * self.intervals + interval)
            .copied()
            .unwrap_or(0)
    }
}

/// Asks a list about every interval; between its own cuts the answer stays.
fn answers(
    (acl, direction): (&NetworkAcl, Direction),
    remote: IpAddr,
    ports: &Ports,
) -> Vec<AclAnswer> {
    let mut answer = None;
    let entries = acl.entries(direction);
    let starts_here = |port: u16| {
        entries.iter().any(|entry| match &entry.traffic {
            Traffic::Tcp(Readable::Is(range)) => {
                range.first() == port || range.last().checked_add(1) == Some(port)
            }
            Traffic::All
            | Traffic::Tcp(Readable::Unread)
            | Traffic::Udp(_)
            | Traffic::Icmp(_)
            | Traffic::IcmpV6(_)
            | Traffic::Protocol(_)
            | Traffic::Unread => false,
        })
    };
    ports
        .intervals()
        .iter()
        .map(|interval| {
            let port = interval.first();
            let known = answer.filter(|_| !starts_here(port));
            let asked = known
                .unwrap_or_else(|| ask(Some(acl), direction, FlowProtocol::Tcp { port }, remote));
            answer = Some(asked);
            asked
        })
        .collect()
}
