//! Every format in which a report is written: one row for each, and nothing about them is written anywhere else.

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
    render: fn(&Report, &View) -> Result<String, FormatError>,
}

/// All formats, that for people first.
pub const FORMATS: [Format; 6] = [
    Format {
        name: "table",
        about: "For people",
        render: |report, view| Ok(human::render(report, view)),
    },
    Format {
        name: "json",
        about: "For programs, as one object with everything",
        render: |report, _| Ok(json::render(report)?),
    },
    Format {
        name: "ndjson",
        about: "For programs, each finding as an object in a line of its own",
        render: |report, _| Ok(ndjson::render(report)?),
    },
    Format {
        name: "csv",
        about: "For spreadsheets, each finding as a row",
        render: |report, _| csv::render(report),
    },
    Format {
        name: "markdown",
        about: "For comments and tickets: verdict, causes with commands, expectations, contradictions",
        render: |report, view| Ok(markdown::render(report, view.allowed)),
    },
    Format {
        name: "junit",
        about: "For pipelines, expectations and contradictions as test cases",
        render: |report, view| Ok(junit::render(report, view.allowed)?),
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
    Csv(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A text is none of XML.
    #[error("cannot write the report as XML of JUnit")]
    Junit(#[from] quick_junit::SerializeError),
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
    /// [`FormatError`] for a value that the format cannot hold.
    pub fn render(&self, report: &Report, view: &View) -> Result<String, FormatError> {
        (self.render)(report, view)
    }
}
