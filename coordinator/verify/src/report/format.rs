//! Every format in which a report is written: one row for each, and nothing about them is written anywhere else.

use std::io::{self, Write};

use thiserror::Error;

use super::human::View;
use super::{Report, csv, human, json, junit, markdown, ndjson};

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
pub const FORMATS: [Format; 6] = [
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
        about: "For comments and tickets: verdict, causes with commands, expectations, contradictions",
        write: |report, view, out| {
            Ok(out.write_all(markdown::render(report, view.allowed).as_bytes())?)
        },
    },
    Format {
        name: "junit",
        about: "For pipelines, expectations and contradictions as test cases",
        write: |report, view, out| {
            Ok(out.write_all(junit::render(report, view.allowed)?.as_bytes())?)
        },
    },
];

/// A report that cannot be written.
#[derive(Debug, Error)]
pub enum FormatError {
    /// A value is none of JSON.
    #[error("cannot write the report as JSON")]
    Json(#[from] serde_json::Error),
    /// A row cannot be written.
    #[error("cannot write the report as CSV")]
    Csv(#[source] ::csv::Error),
    /// A text is none of XML.
    #[error("cannot write the report as XML of JUnit")]
    Junit(#[from] quick_junit::SerializeError),
    /// It cannot be written where it goes.
    #[error("cannot write the report")]
    Output(#[from] io::Error),
}

impl FormatError {
    /// Whether nobody reads on: whoever reads the first lines and leaves has what he wanted.
    #[must_use]
    pub fn is_left(&self) -> bool {
        let kind = match self {
            Self::Json(error) => error.io_error_kind(),
            Self::Csv(error) => {
                if let ::csv::ErrorKind::Io(error) = error.kind() {
                    Some(error.kind())
                } else {
                    None
                }
            }
            Self::Junit(_) => None,
            Self::Output(error) => Some(error.kind()),
        };
        kind == Some(io::ErrorKind::BrokenPipe)
    }
}

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
