//! The relation as a grid for people: sources in rows, destinations in columns, words in cells.

use std::collections::BTreeSet;

use reachproof_model::flow::Transport;
use reachproof_model::matrix::{Grid, GridCell, GridEnd, VerdictKind};
use reachproof_model::net::{PortRange, Printable};
use reachproof_model::snapshot::IpFamily;
use reachproof_model::words::counted;

use crate::cli::table;

/// Width of a grid that does not go to a terminal, in columns.
pub(super) const WIDTH: usize = 80;
/// Longest list of ports that stands in a cell.
const PORTS_MAX: usize = 11;
/// Fewest columns of a line that a column of the grid takes: a number and the space before it.
const COLUMN_MIN: usize = 3;
/// Columns of a line before the names that it lists.
const INDENT: usize = 4;

/// What a grid is about, and how wide it may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub(super) transport: Transport,
    /// Ports that are asked about; absent for every one.
    pub(super) ports: Option<PortRange>,
    /// Most columns of a line; absent for as many as there are.
    pub(super) width: Option<usize>,
}

/// Writes grids, one below the other.
pub(super) fn text(grids: &[Grid], page: Page) -> String {
    let is_of_two_families = grids.len() > 1;
    let parts = grids.iter().map(|grid| {
        let family = match grid.family {
            IpFamily::V4 => ", IPv4",
            IpFamily::V6 => ", IPv6",
        };
        one(grid, page, if is_of_two_families { family } else { "" })
    });
    parts.collect::<Vec<_>>().join("\n")
}

/// A grid with its title, who stands for a number, and what its words mean.
fn one(grid: &Grid, page: Page, family: &str) -> String {
    let ports = match page.ports {
        Some(ports) => format!("{}/{ports}", page.transport),
        None => format!("any port of {}", page.transport),
    };
    let width = page.width.unwrap_or(usize::MAX);
    let title = format!("{ports}{family}: who sends in rows, who receives in columns");
    let mut text = String::new();
    wrapped(&mut text, &title, width);
    text.push('\n');
    let laid_out = Table::within(grid, width);
    if !grid.rows.is_empty() {
        text.push_str(&format!("{}\n\n", laid_out.text));
    }
    if laid_out.rows == RowLabels::Numbered {
        for (place, end) in grid.rows.iter().enumerate() {
            let line = format!("{} {}", letters(place), name(end));
            wrapped(&mut text, &line, width);
        }
        text.push('\n');
    }
    for (place, end) in grid.columns.iter().take(laid_out.shown).enumerate() {
        wrapped(&mut text, &format!("{} {}", place + 1, name(end)), width);
    }
    let left_out = grid.columns.len() - laid_out.shown;
    if left_out > 0 {
        let more = counted(left_out, "destination does", "destinations do");
        let line = format!("{more} not fit: --wide, or --destination; --list has all");
        wrapped(&mut text, &line, width);
    }
    text.push_str(&folded(grid, width));
    let meanings = meanings(grid, laid_out.shown);
    if !meanings.is_empty() {
        text.push('\n');
    }
    for meaning in &meanings {
        wrapped(&mut text, meaning, width);
    }
    text
}

/// How rows are called in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowLabels {
    /// By their names.
    Named,
    /// By letters, which are explained below.
    Numbered,
}

/// A table of the first columns.
struct Table {
    text: String,
    shown: usize,
    rows: RowLabels,
}

impl Table {
    fn new(grid: &Grid, shown: usize, rows: RowLabels) -> Self {
        let numbers = (1..=shown).map(|number| number.to_string());
        let header = std::iter::once("from".to_owned()).chain(numbers).collect();
        let lines = grid.rows.iter().zip(&grid.cells).enumerate();
        let lines = lines.map(|(place, (end, cells))| {
            let first = match rows {
                RowLabels::Named => name(end),
                RowLabels::Numbered => letters(place),
            };
            let words = cells.iter().take(shown).map(word);
            std::iter::once(first).chain(words).collect()
        });
        Self {
            text: table::columns(header, lines),
            shown,
            rows,
        }
    }

    fn fits(&self, width: usize) -> bool {
        let mut lines = self.text.lines();
        lines.all(|line| line.chars().count() <= width)
    }

    /// With all columns, if they fit; else with letters for rows; else with as many columns as fit beside those.
    fn within(grid: &Grid, width: usize) -> Self {
        let all = grid.columns.len();
        let named = Self::new(grid, all, RowLabels::Named);
        if named.fits(width) {
            return named;
        }
        let most = all.min((width / COLUMN_MIN).max(1));
        let mut numbered = Self::new(grid, most, RowLabels::Numbered);
        while !numbered.fits(width) && numbered.shown > 1 {
            numbered = Self::new(grid, numbered.shown - 1, RowLabels::Numbered);
        }
        numbered
    }
}

/// `A` to `Z`, then `AA`, `AB` and so on.
fn letters(place: usize) -> String {
    let mut text = String::new();
    let mut rest = place;
    loop {
        let letter = ('A'..='Z').nth(rest % 26);
        text.extend(letter);
        match (rest / 26).checked_sub(1) {
            Some(next) => rest = next,
            None => return text.chars().rev().collect(),
        }
    }
}

/// A row or column with the number of its interfaces.
fn name(end: &GridEnd) -> String {
    let name = Printable(&end.name);
    match end.interfaces {
        1 => name.to_string(),
        count => format!("{name} ({count})"),
    }
}

/// What is said in a cell.
fn word(cell: &GridCell) -> String {
    match cell {
        GridCell::Absent => "-".to_owned(),
        GridCell::Every(VerdictKind::Partial) => "part".to_owned(),
        GridCell::Every(kind) => kind.as_str().to_owned(),
        GridCell::Some { open, unknown } => {
            let (open, unknown) = (ports(open), ports(unknown));
            match (open.as_str(), unknown.as_str()) {
                (open, "") => open.to_owned(),
                ("", unknown) => format!("{unknown}?"),
                (_, _) => "some?".to_owned(),
            }
        }
    }
}

/// Ports in few letters.
fn ports(ranges: &[PortRange]) -> String {
    let all: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    let all = all.join(",");
    if all.len() > PORTS_MAX {
        "some".to_owned()
    } else {
        all
    }
}

/// Lines about who reaches nobody, and whom nobody reaches.
fn folded(grid: &Grid, width: usize) -> String {
    let mut text = String::new();
    for (what, ends) in [
        ("deny to every destination, from", &grid.closed_rows),
        ("deny from every source, to", &grid.closed_columns),
    ] {
        if ends.is_empty() {
            continue;
        }
        let names: Vec<String> = ends.iter().map(name).collect();
        wrapped(&mut text, &format!("{what}: {}", names.join("; ")), width);
    }
    text
}

/// What the words mean that are in a grid and do not speak for themselves.
fn meanings(grid: &Grid, shown: usize) -> Vec<String> {
    let cells = grid.cells.iter().flat_map(|cells| cells.iter().take(shown));
    let words: BTreeSet<String> = cells.map(word).collect();
    let has = |wanted: &str| words.contains(wanted);
    let is_of_ports = |word: &&String| {
        word.starts_with(|first: char| first.is_ascii_digit()) && !word.ends_with('?')
    };
    let ports = words.iter().find(is_of_ports);
    let ports = ports.map(|ports| format!("{ports}: at no port but these"));
    let is_unsure = words.iter().any(|word| word.ends_with('?'));
    let known = [
        (
            has("some") || has("some?"),
            "some: some of the ports, --list names them",
        ),
        (is_unsure, "?: nobody can tell of some ports"),
        (
            has("part"),
            "part: only from some source ports, connections hang by chance",
        ),
        (has("bypass"), "bypass: on one host, where no group filters"),
        (has("-"), "-: one endpoint alone"),
    ];
    let known = known.into_iter().filter(|(is_there, _)| *is_there);
    let known = known.map(|(_, meaning)| meaning.to_owned());
    ports.into_iter().chain(known).collect()
}

/// Adds a line, broken between words where it is too long.
fn wrapped(text: &mut String, line: &str, width: usize) {
    let mut length = 0;
    for word in line.split(' ') {
        let word_length = word.chars().count();
        if length > INDENT && length + 1 + word_length > width {
            text.push('\n');
            text.push_str(&" ".repeat(INDENT));
            length = INDENT;
        } else if length > 0 {
            text.push(' ');
            length += 1;
        }
        text.push_str(word);
        length += word_length;
    }
    text.push('\n');
}
