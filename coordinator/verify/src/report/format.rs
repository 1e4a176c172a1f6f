//! Every format in which a report is written: one row for each, and nothing about them is written anywhere else.

use std::io::Write;

use super::human::View;
use super::{Report, csv, github, html, human, json, junit, markdown, ndjson};

pub use error::FormatError;

mod error;

/// A format of reports.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// What it is called in arguments.
    pub name: &'static str,
    /// What it is for, in a few words.
    pub about: &'static str,
    write: fn(&Report, &View, &mut dyn Write) -> Result<(), FormatError>,
}

/// All formats, that for people first.
pub const FORMATS: [Format; 9] = [
    Format {
        name: "table",
        about: "For people",
        write: |report, view, out| Ok(out.write_all(human::render(report, view).as_bytes())?),
    },
    Format {
        name: "json",
        about: "For programs, as one object with everything",
        write: |report, _, out| Ok(json::write(report, out)?),
    },
    Format {
        name: "ndjson",
        about: "For programs, each finding as an object in a line of its own",
        write: |report, _, out| Ok(ndjson::write(report, out)?),
    },
    Format {
        name: "csv",
        about: "For spreadsheets, each finding as a row",
        write: |report, _, out| csv::write(report, out),
    },
    Format {
        name: "markdown",
        about: "For job summaries and tickets: verdict, causes with commands, expectations, contradictions",
        write: |report, view, out| {
            let text = markdown::render(report, view.allowed, markdown::SUMMARY);
            Ok(out.write_all(text.as_bytes())?)
        },
    },
    Format {
        name: "markdown-short",
        about: "For a comment, the same in 60 KiB at most",
        write: |report, view, out| {
            let text = markdown::render(report, view.allowed, markdown::COMMENT);
            Ok(out.write_all(text.as_bytes())?)
        },
    },
    Format {
        name: "github",
        about: "For GitHub Actions, the first problems as annotations",
        write: |report, view, out| {
            Ok(out.write_all(github::render(report, view.allowed).as_bytes())?)
        },
    },
    Format {
        name: "junit",
        about: "For pipelines, expectations and contradictions as test cases",
        write: |report, view, out| {
            Ok(out.write_all(junit::render(report, view.allowed)?.as_bytes())?)
        },
    },
    Format {
        name: "html",
        about: "For a browser, as one file: verdict, causes, and a matrix with the evidence of its pairs",
        write: |report, view, out| html::write(report, view.allowed, out),
    },
];

impl Format {
    /// Returns the format of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.name == name)
    }

    /// Writes `report`, as `view` can show it; it ends with a line feed.
    ///
    /// # Errors
    /// [`FormatError`] for a value that the format cannot hold, and where nothing can be written.
    pub fn write(
        &self,
        report: &Report,
        view: &View,
        out: &mut dyn Write,
    ) -> Result<(), FormatError> {
        (self.write)(report, view, out)
    }
}
