//! The report as a table for people.

use crate::report::Report;

/// How much may be printed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Width in columns.
    pub width: u16,
    /// Whether it shows colours.
    pub colour: Colour,
}

/// Whether escape sequences for colours may be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Colours, on a terminal.
    Shown,
    /// None: a file, a pipe, `NO_COLOR`.
    Plain,
}

/// Writes `report` for people: contradictions and broken expectations first.
pub fn render(report: &Report, terminal: Terminal) -> String {
    let mut text = String::new();
    for (kind, count) in &report.summary {
        if text.len() < usize::from(terminal.width) {
            text.push_str(&format!("{kind}: {count}\n"));
        }
    }
    text
}
