//! The relation as a grid: who sends in rows, who receives in columns, what cannot be told apart in one of them.

use std::collections::{BTreeMap, BTreeSet};

use super::listing::{Ends, ListedEntry};
use super::ports::WORD;
use super::relation::{Cells, Filter};
use super::{Matrix, VerdictKind};
use crate::class::{Class, ClassId};
use crate::flow::{Flow, Transport};
use crate::net::PortRange;
use crate::reach::reach;
use crate::snapshot::IpFamily;

pub use names::GridEnd;

mod names;

/// Most pairs of classes that are laid out: whoever has more asks about some of them.
pub const GRID_PAIRS_MAX: usize = 200_000;

/// What a grid is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridQuestion {
    /// Which classes and which ports.
    pub filter: Filter,
    /// Endpoints that are meant, where somebody names them.
    pub ends: Ends,
    /// Protocol of the ports.
    pub transport: Transport,
}

/// What is said of the ports that are asked about, between two ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GridCell {
    /// Nothing: no two endpoints are there that could meet.
    Absent,
    /// The same of all ports.
    Every(VerdictKind),
    /// Another thing of some ports than of others.
    Some {
        /// Ports with a verdict that lets packets pass, of some source ports at least.
        open: Vec<PortRange>,
        /// Ports of which nobody can tell.
        unknown: Vec<PortRange>,
    },
}

/// The relation of one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// The family.
    pub family: IpFamily,
    /// Who sends and reaches somebody, or may.
    pub rows: Vec<GridEnd>,
    /// Who receives and is reached by somebody, or may be.
    pub columns: Vec<GridEnd>,
    /// What holds for each row and column.
    pub cells: Vec<Vec<GridCell>>,
    /// Who sends and reaches nobody.
    pub closed_rows: Vec<GridEnd>,
    /// Who receives and is reached by nobody.
    pub closed_columns: Vec<GridEnd>,
}

impl GridCell {
    /// Returns whether something passes, or may.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self {
            Self::Absent | Self::Every(VerdictKind::Deny) => false,
            Self::Every(
                VerdictKind::Allow
                | VerdictKind::Partial
                | VerdictKind::Unknown
                | VerdictKind::Bypass
                | VerdictKind::Exempt,
            )
            | Self::Some { .. } => true,
        }
    }

    /// Whether another cell may stand in its place: it speaks of one host alone, or of nobody.
    fn is_of_one_host(&self) -> bool {
        match self {
            Self::Absent | Self::Every(VerdictKind::Bypass) => true,
            Self::Every(
                VerdictKind::Allow
                | VerdictKind::Deny
                | VerdictKind::Partial
                | VerdictKind::Unknown
                | VerdictKind::Exempt,
            )
            | Self::Some { .. } => false,
        }
    }

    /// Sums up what is said of ports, lowest first.
    fn of(said: impl IntoIterator<Item = (PortRange, VerdictKind)>) -> Self {
        let said: Vec<(PortRange, VerdictKind)> = said.into_iter().collect();
        let kinds: BTreeSet<VerdictKind> = said.iter().map(|(_, kind)| *kind).collect();
        let mut kinds = kinds.into_iter();
        match (kinds.next(), kinds.next()) {
            (None, _) => Self::Absent,
            (Some(kind), None) => Self::Every(kind),
            (Some(_), Some(_)) => {
                let with = |is_wanted: fn(VerdictKind) -> bool| {
                    let found = said.iter().filter(|(_, kind)| is_wanted(*kind));
                    joined(found.map(|(ports, _)| *ports))
                };
                Self::Some {
                    open: with(|kind| !matches!(kind, VerdictKind::Deny | VerdictKind::Unknown)),
                    unknown: with(|kind| kind == VerdictKind::Unknown),
                }
            }
        }
    }
}

/// Ranges with neighbours in one.
fn joined(ranges: impl Iterator<Item = PortRange>) -> Vec<PortRange> {
    let mut all: Vec<PortRange> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if last.last().checked_add(1) == Some(range.first()) => {
                *last = PortRange::between(last.first(), range.last());
            }
            Some(_) | None => all.push(range),
        }
    }
    all
}

/// A line of cells, of one class or of several that are alike.
struct Line {
    classes: Vec<ClassId>,
    cells: Vec<GridCell>,
}

impl Line {
    /// Whether two lines say the same wherever both say something of two hosts.
    fn is_like(&self, other: &Self) -> bool {
        let mut cells = self.cells.iter().zip(&other.cells);
        cells.all(|(one, other)| one == other || one.is_of_one_host() || other.is_of_one_host())
    }

    fn join(&mut self, other: Self) {
        self.classes.extend(other.classes);
        for (own, other) in self.cells.iter_mut().zip(other.cells) {
            if *own == GridCell::Absent || (own.is_of_one_host() && !other.is_of_one_host()) {
                *own = other;
            }
        }
    }
}

impl Matrix<'_> {
    /// Lays out what is asked, a grid for each address family that has classes of both sides.
    ///
    /// Classes of one holder that are alike are one row or column: what a cell says is true of every two of their members
    /// on two hosts. Members on one host meet no gate as a rule; a cell speaks of them where there are no others.
    #[must_use]
    pub fn grids(&self, question: &GridQuestion) -> Vec<Grid> {
        let cells = self.cells(question);
        let families = [IpFamily::V4, IpFamily::V6].into_iter();
        families
            .filter_map(|family| self.grid(question, family, &cells))
            .collect()
    }

    /// How many pairs of classes a filter means.
    #[must_use]
    pub fn pairs_of(&self, filter: &Filter) -> usize {
        let count =
            |list: &Option<Vec<ClassId>>| list.as_ref().map_or(self.classes.len(), Vec::len);
        count(&filter.sources).saturating_mul(count(&filter.destinations))
    }

    /// What is said of every pair of classes: of two hosts where there are two.
    fn cells(&self, question: &GridQuestion) -> BTreeMap<(ClassId, ClassId), GridCell> {
        let wanted = question.filter.ports.unwrap_or(PortRange::ALL);
        // One port shows which two endpoints there are; rows know the others.
        let filter = Filter {
            ports: Some(PortRange::between(wanted.first(), wanted.first())),
            ..question.filter.clone()
        };
        let mut shown: BTreeMap<(ClassId, ClassId), ListedEntry> = BTreeMap::new();
        for entry in self.listing(&filter, question.ends) {
            let pair = (entry.entry.source, entry.entry.destination);
            let is_better = |known: &ListedEntry| known.on_one_host && !entry.on_one_host;
            if entry.source != entry.destination && shown.get(&pair).is_none_or(is_better) {
                shown.insert(pair, entry);
            }
        }
        let cells = shown
            .into_iter()
            .map(|(pair, entry)| (pair, self.grid_cell(question, wanted, &entry)));
        cells.collect()
    }

    /// What holds between the two endpoints of a line, at all ports that are wanted.
    fn grid_cell(
        &self,
        question: &GridQuestion,
        wanted: PortRange,
        shown: &ListedEntry,
    ) -> GridCell {
        let (source, destination) = (shown.entry.source, shown.entry.destination);
        match question.transport {
            Transport::Tcp if !shown.on_one_host => {
                let kinds = self.interval_kinds(source, destination);
                let said = self.port_intervals().iter().zip(kinds);
                GridCell::of(
                    said.filter_map(|(ports, kind)| Some((ports.intersection(wanted)?, kind))),
                )
            }
            transport @ (Transport::Tcp | Transport::Udp) => {
                let flow = Flow {
                    source_kind: self.classes.class(source).source_kind,
                    ..Flow::tcp(shown.source, shown.destination, 0)
                };
                let said = reach(self.snapshot, &flow, transport).into_iter();
                GridCell::of(said.filter_map(|it| {
                    let ports = it.ports.intersection(wanted)?;
                    Some((ports, VerdictKind::from(&it.verdict)))
                }))
            }
        }
    }

    /// The verdicts between two classes on two hosts, interval after interval.
    fn interval_kinds(&self, source: ClassId, destination: ClassId) -> Vec<VerdictKind> {
        let cells = self.cells_between(source, destination);
        let words = cells.iter().flat_map(Cells::kinds);
        let kinds = words.flat_map(|(possible, sure, is_partial)| {
            (0..WORD).map(move |bit| match (possible >> bit & 1, sure >> bit & 1) {
                (0, _) => VerdictKind::Deny,
                (_, 0) => VerdictKind::Unknown,
                (_, _) if is_partial => VerdictKind::Partial,
                (_, _) => VerdictKind::Allow,
            })
        });
        kinds.collect()
    }

    /// The grid of one family; absent where one side has no class of it.
    fn grid(
        &self,
        question: &GridQuestion,
        family: IpFamily,
        cells: &BTreeMap<(ClassId, ClassId), GridCell>,
    ) -> Option<Grid> {
        let of_family = |wanted: &Option<Vec<ClassId>>| -> Vec<ClassId> {
            let is_wanted = |(id, class): &(ClassId, &Class)| {
                let is_meant = wanted.as_ref().is_none_or(|wanted| wanted.contains(id));
                is_meant && IpFamily::of(class.example) == family
            };
            let found = self.classes.iter().filter(is_wanted);
            found.map(|(id, _)| id).collect()
        };
        let sources = of_family(&question.filter.sources);
        let destinations = of_family(&question.filter.destinations);
        let cell = |from: ClassId, to: ClassId| cells.get(&(from, to)).cloned();
        let rows = sources.iter().map(|from| Line {
            classes: vec![*from],
            cells: destinations
                .iter()
                .map(|to| cell(*from, *to).unwrap_or(GridCell::Absent))
                .collect(),
        });
        let rows = self.alike(rows.collect());
        let columns = destinations.iter().enumerate().map(|(place, to)| Line {
            classes: vec![*to],
            cells: column(&rows, place),
        });
        // Over rows that are joined already, so that a whole block of cells is alike.
        let columns = self.alike(columns.collect());
        let is_empty = rows.is_empty() || columns.is_empty();
        (!is_empty).then(|| self.laid_out(family, &rows, &columns))
    }

    /// Joins lines of one holder that are alike, each to the first that it is like.
    fn alike(&self, lines: Vec<Line>) -> Vec<Line> {
        let mut by_holder: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut joined: Vec<Line> = Vec::new();
        for line in lines {
            let holder = line.classes.first().map(|id| self.classes.class(*id));
            let holder = holder.map(|class| class.holder_name(self.snapshot));
            let known = by_holder.entry(holder.unwrap_or_default()).or_default();
            let place = known.iter().copied();
            let place = place
                .into_iter()
                .find(|place| joined.get(*place).is_some_and(|it| it.is_like(&line)));
            match place.and_then(|place| joined.get_mut(place)) {
                Some(found) => found.join(line),
                None => {
                    known.push(joined.len());
                    joined.push(line);
                }
            }
        }
        joined
    }

    /// The grid of joined lines, without rows and columns in which nothing passes.
    fn laid_out(&self, family: IpFamily, rows: &[Line], columns: &[Line]) -> Grid {
        let row_names = self.grid_ends(rows.iter().map(|line| line.classes.as_slice()));
        let column_names = self.grid_ends(columns.iter().map(|line| line.classes.as_slice()));
        let is_open = |cells: &[GridCell]| cells.iter().any(GridCell::is_open);
        let open_rows: Vec<bool> = (0..rows.len())
            .map(|place| is_open(&column(columns, place)))
            .collect();
        let open_columns: Vec<bool> = columns.iter().map(|it| is_open(&it.cells)).collect();
        let cells = open_places(&open_rows).map(|row| {
            let cells = columns.iter().zip(&open_columns);
            let cells = cells.filter(|(_, is_open)| **is_open);
            let cells = cells.map(|(column, _)| column.cells.get(row).cloned());
            cells.map(|cell| cell.unwrap_or(GridCell::Absent)).collect()
        });
        let cells = cells.collect();
        let (rows, closed_rows) = parted(row_names, &open_rows);
        let (columns, closed_columns) = parted(column_names, &open_columns);
        Grid {
            family,
            rows,
            columns,
            cells,
            closed_rows,
            closed_columns,
        }
    }
}

/// The cells of all lines at one place.
fn column(lines: &[Line], place: usize) -> Vec<GridCell> {
    let cells = lines.iter().map(|line| line.cells.get(place).cloned());
    cells.map(|cell| cell.unwrap_or(GridCell::Absent)).collect()
}

fn open_places(are_open: &[bool]) -> impl Iterator<Item = usize> {
    let places = are_open.iter().enumerate();
    places
        .filter(|(_, is_open)| **is_open)
        .map(|(place, _)| place)
}

/// The open ones and the closed ones.
fn parted(ends: Vec<GridEnd>, are_open: &[bool]) -> (Vec<GridEnd>, Vec<GridEnd>) {
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    for (end, is_open) in ends.into_iter().zip(are_open) {
        if *is_open {
            open.push(end);
        } else {
            closed.push(end);
        }
    }
    (open, closed)
}
