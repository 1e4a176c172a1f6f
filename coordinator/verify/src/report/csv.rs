//! The findings of a report as CSV (RFC 4180), one row each.

use std::io::Write;
use std::net::IpAddr;

use reachproof_model::net::Printable;

use super::format::FormatError;
use super::{Report, SinceState};

/// Names of the columns.
const COLUMNS: [&str; 13] = [
    "kind",
    "reason",
    "source",
    "source_name",
    "source_class",
    "destination",
    "destination_name",
    "destination_class",
    "protocol",
    "port",
    "verdict",
    "strength",
    "since_baseline",
];

/// Characters with which a spreadsheet takes the text of a cell for a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Writes a row of names and one row for each finding, in the order of the report. What is absent is empty.
///
/// # Errors
/// [`FormatError::Csv`] where a row cannot be written.
pub(super) fn write(report: &Report, out: &mut dyn Write) -> Result<(), FormatError> {
    let mut rows = csv::Writer::from_writer(out);
    let failed = |error: csv::Error| FormatError::Csv(error);
    rows.write_record(COLUMNS).map_err(failed)?;
    let since = since(report);
    for (place, finding) in report.findings.iter().enumerate() {
        let flow = &finding.flow;
        let [source, source_class] = label(report, flow.source);
        let [destination, destination_class] = label(report, flow.destination);
        let port = flow.protocol.port();
        rows.write_record([
            finding.kind.as_str(),
            finding.reason.as_ref().map_or("", |reason| reason.as_str()),
            &flow.source.to_string(),
            &source,
            &source_class,
            &flow.destination.to_string(),
            &destination,
            &destination_class,
            &flow.protocol.word(),
            &port.map_or_else(String::new, |port| port.to_string()),
            finding.prediction.verdict.as_str(),
            finding.strength.map_or("", |strength| strength.as_str()),
            since.get(place).copied().unwrap_or_default(),
        ])
        .map_err(failed)?;
    }
    Ok(rows.flush()?)
}

/// What became of each finding since the earlier report, by its place; nothing where there is none.
fn since(report: &Report) -> Vec<&'static str> {
    let Some(baseline) = &report.baseline else {
        return Vec::new();
    };
    let mut states = vec![SinceState::Unchanged.as_str(); report.findings.len()];
    for since in &baseline.findings {
        let state = since.finding.and_then(|place| states.get_mut(place));
        if let Some(state) = state {
            *state = since.state.as_str();
        }
    }
    states
}

/// Name and class of an address; empty where there is none.
fn label(report: &Report, address: IpAddr) -> [String; 2] {
    report.endpoints.get(&address).map_or_else(
        || [String::new(), String::new()],
        |label| [cell(&label.name), cell(&label.class)],
    )
}

/// Text of the snapshot that neither a terminal nor a spreadsheet obeys.
fn cell(text: &str) -> String {
    let text = Printable(text).to_string();
    if text.starts_with(FORMULA) {
        format!("'{text}")
    } else {
        text
    }
}
