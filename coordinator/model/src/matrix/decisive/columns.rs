//! What the rows say at some ports, close together: the pass over all pairs of classes reads nothing else.

use super::super::row::RowId;
use super::super::{Brief, Matrix};
use super::{Layer, Seen};
use crate::class::{Facts, Policed, index};
use crate::predict::{Fixed, Gates, walk};
use crate::snapshot::{Direction, Match};

/// Nobody can tell, in a column.
const UNSURE: u32 = u32::MAX - 1;
/// No rule admits, in a column.
const NOBODY: u32 = u32::MAX;

/// Some intervals of all rows: what is asked of one row lies together.
pub(super) struct Columns {
    pub(super) intervals: Vec<usize>,
    groups: Vec<u32>,
    acls: Vec<u32>,
}

impl Matrix<'_> {
    /// The rows of all sets and lists at these ports.
    pub(super) fn columns(&self, ports: &[u16], seen: &Seen) -> Columns {
        let intervals: Vec<usize> = ports.iter().map(|port| self.ports.of(*port)).collect();
        let group = |row: RowId, interval| match self.groups.answer(row, interval) {
            Match::Yes => self
                .groups
                .deciding(row, interval)
                .and_then(|rule| seen.parts.get(index(rule)).copied())
                .unwrap_or(UNSURE),
            Match::Unsure => UNSURE,
            Match::No => NOBODY,
        };
        let list = |row: u32, interval| match self.acls.answer(row, interval) {
            Match::Yes => 0,
            Match::Unsure => UNSURE,
            Match::No => self.acls.deciding(row, interval),
        };
        let each = |row: u32| intervals.iter().map(move |interval| (row, *interval));
        let (rows, lists) = ((0..).take(self.groups.len()), (0..).take(self.acls.len()));
        Columns {
            groups: rows
                .flat_map(each)
                .map(|(row, at)| group(row, at))
                .collect(),
            acls: lists
                .flat_map(each)
                .map(|(row, at)| list(row, at))
                .collect(),
            intervals,
        }
    }
}

impl Columns {
    /// The rows of a pair of classes, at all intervals that are asked for.
    pub(super) fn rows(&self, (egress, ingress): (RowId, RowId), brief: &Brief) -> PairRows<'_> {
        let stretch = |row: u32| {
            let start = index(row) * self.intervals.len();
            start..start + self.intervals.len()
        };
        let group = |row| self.groups.get(stretch(row)).unwrap_or_default();
        let list = |row| {
            let within = brief.is_same_subnet;
            self.acls
                .get(stretch(row))
                .filter(|_| !within)
                .unwrap_or_default()
        };
        PairRows {
            egress: group(egress),
            ingress: group(ingress),
            out: list(brief.acls.0),
            back: list(brief.acls.1),
        }
    }
}

/// The rows of a pair of classes; those of lists are empty inside a subnet.
pub(super) struct PairRows<'c> {
    egress: &'c [u32],
    ingress: &'c [u32],
    out: &'c [u32],
    back: &'c [u32],
}

/// What settles a cell on a plain way.
pub(super) enum Settled {
    /// Two rules, by the number of their pair in [`Seen`].
    Admitted(u32),
    /// Something else.
    Otherwise(Layer),
    /// Nobody can tell.
    Unknown,
}

impl PairRows<'_> {
    /// What settles the flows between two classes at a port, where nothing on the way but rules and entries decides.
    #[inline]
    pub(super) fn settled(&self, ends: (&Facts, &Facts), port: usize) -> Settled {
        let mut column = Column {
            rows: self,
            ends,
            port,
            admitted: 0,
            is_known: true,
        };
        match walk(&mut column) {
            Err(layer) => Settled::Otherwise(layer),
            Ok(()) if column.is_known => Settled::Admitted(column.admitted),
            Ok(()) => Settled::Unknown,
        }
    }
}

/// One port of a pair on a plain way through the gates.
struct Column<'c, 'f> {
    rows: &'c PairRows<'c>,
    ends: (&'f Facts, &'f Facts),
    port: usize,
    /// Number of the pair of rules that admit.
    admitted: u32,
    is_known: bool,
}

impl Gates for Column<'_, '_> {
    type End = Layer;

    #[inline]
    fn fixed(&mut self, gate: Fixed) -> Result<(), Layer> {
        if gate == Fixed::NetworkPolicy {
            self.is_known &= self.ends.0.policed.max(self.ends.1.policed) == Policed::No;
        }
        Ok(())
    }

    #[inline]
    fn rules(&mut self, direction: Direction) -> Result<(), Layer> {
        let (row, own) = match direction {
            Direction::Egress => (self.rows.egress, self.ends.0),
            Direction::Ingress => (self.rows.ingress, self.ends.1),
        };
        match row.get(self.port).copied().unwrap_or(UNSURE) {
            NOBODY => return Err(Layer::Refused(direction, own.set)),
            UNSURE => self.is_known = false,
            part => self.admitted += part,
        }
        Ok(())
    }

    #[inline]
    fn entries(&mut self, direction: Direction) -> Result<(), Layer> {
        let (row, own) = match direction {
            Direction::Egress => (self.rows.out, self.ends.0),
            Direction::Ingress => (self.rows.back, self.ends.1),
        };
        match row.get(self.port).copied().unwrap_or(0) {
            0 => {}
            UNSURE => self.is_known = false,
            number => return Err(Layer::Entry(direction, own.acl, number)),
        }
        Ok(())
    }
}
