//! A report read back from its JSON form.
//!
//! A report is the document that every format is written from: one that comes fresh from a run and one that was saved
//! give the same bytes in each. Reports of older versions lack what came later; what the snapshot in them tells is made
//! from it.

use std::io::{self, BufReader, Seek};
use std::path::Path;

use reachproof_model::describe::Described;
use reachproof_model::flow::EPHEMERAL_PORTS_DEFAULT;
use reachproof_model::plan::{Roster, RosterAgent};
use reachproof_model::snapshot::Snapshot;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::build::endpoints;
use super::{PresentAgent, REPORT_SCHEMA, Report};
use crate::source::{opened, read_text, text_of};

mod lines;

/// Size of the pieces in which a file is read, in bytes: large enough that calls of the kernel do not count.
const BUFFER: usize = 1 << 20;

/// Text that is no report.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// The file cannot be read.
    #[error("cannot read the report")]
    Read(#[from] io::Error),
    /// It is no JSON object.
    #[error(
        "not a report: it is no JSON object, write one with `reachproof verify --report json=FILE`"
    )]
    NoObject,
    /// It is no JSON, or JSON of another shape.
    #[error("not a report, write one with `reachproof verify --report json=FILE`")]
    NoReport(#[source] serde_json::Error),
    /// It says that it is something else.
    #[error("not a report: its schema is `{found}`, needs `{REPORT_SCHEMA}`")]
    OtherSchema {
        /// What it says.
        found: String,
    },
    /// It is a report with a part that this version cannot read.
    #[error("cannot read this report of version {version}, this is {}", env!("CARGO_PKG_VERSION"))]
    Part {
        /// Version that wrote it.
        version: String,
        /// What cannot be read, with line and column.
        #[source]
        source: serde_json::Error,
    },
}

/// As much of a report as says what it is.
#[derive(Deserialize)]
struct Head {
    schema: String,
    run: Option<HeadRun>,
}

#[derive(Deserialize)]
struct HeadRun {
    version: Option<String>,
}

impl Report {
    /// Reads a report from its JSON form.
    ///
    /// # Errors
    /// [`DocumentError`] for anything else, with line and column of what is wrong.
    pub fn from_json(text: &str) -> Result<Self, DocumentError> {
        let mut report: Self = serde_json::from_str(text).map_err(|error| why(text, error))?;
        if report.schema != REPORT_SCHEMA {
            let found = report.schema.into_owned();
            return Err(DocumentError::OtherSchema { found });
        }
        report.complete();
        Ok(report)
    }

    /// Reads a report from a file, without holding its text in memory where it is plain UTF-8.
    ///
    /// # Errors
    /// [`DocumentError`] for a file that cannot be read, and for anything but a report.
    pub fn open(path: &Path) -> Result<Self, DocumentError> {
        let mut file = BufReader::with_capacity(BUFFER, opened(path)?);
        let mut report = lines::read(&mut file)?;
        if report.is_none() {
            file.rewind()?;
            report = serde_json::from_reader(file).ok();
        }
        match report {
            Some(mut report) if report.schema == REPORT_SCHEMA => {
                report.complete();
                Ok(report)
            }
            // Compressed, in another encoding, or no report: the whole text says more.
            Some(_) | None => Self::from_json(&read_text(path)?),
        }
    }

    /// Reads a report from the bytes of its JSON form, which gzip may have compressed.
    ///
    /// # Errors
    /// [`DocumentError`] for anything else.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, DocumentError> {
        Self::from_json(&text_of(bytes)?)
    }

    /// The world that the predictions come from, where the report carries it and it can be decoded.
    #[must_use]
    pub fn world(&self) -> Option<Snapshot> {
        self.described_world().map(|(_, snapshot)| snapshot)
    }

    /// The same with the answers of the APIs.
    #[must_use]
    pub fn described_world(&self) -> Option<(Described, Snapshot)> {
        let Value::Object(content) = self.snapshot.content.as_ref()? else {
            return None;
        };
        let described = Described::from(content.clone());
        let decoded = Snapshot::decode(&described).ok()?;
        Some((described, decoded.snapshot))
    }

    /// Makes what older versions did not write.
    fn complete(&mut self) {
        if !self.endpoints.is_empty() && self.run.cluster.is_some() {
            return;
        }
        let Some(snapshot) = self.world() else {
            return;
        };
        if self.endpoints.is_empty() {
            let roster = Roster::new(self.agents.present.iter().filter_map(roster_agent));
            self.endpoints = endpoints(&snapshot, &roster, &self.findings);
        }
        let name = snapshot.cluster().map(|cluster| cluster.name.clone());
        self.run.cluster = name.filter(|name| !name.is_empty());
    }
}

/// An agent of a report as one of a roster, for its name, kind and addresses; absent where it has none.
fn roster_agent(agent: &PresentAgent) -> Option<RosterAgent> {
    (!agent.addresses.is_empty()).then(|| RosterAgent {
        name: agent.name.clone(),
        node: None,
        kind: agent.kind,
        addresses: agent.addresses.clone(),
        ephemeral_ports: EPHEMERAL_PORTS_DEFAULT,
        stream_address: None,
    })
}

/// Says what a text is that cannot be read as a report.
fn why(text: &str, source: serde_json::Error) -> DocumentError {
    if !text.trim_start().starts_with('{') {
        return DocumentError::NoObject;
    }
    match serde_json::from_str::<Head>(text) {
        Err(_) => DocumentError::NoReport(source),
        Ok(head) if head.schema != REPORT_SCHEMA => {
            DocumentError::OtherSchema { found: head.schema }
        }
        Ok(head) => DocumentError::Part {
            version: head.run.and_then(|run| run.version).unwrap_or_default(),
            source,
        },
    }
}
