//! The findings of a report as JSON, one object a line, each as in the list `findings` of the whole report.

use std::io::Write;

use super::Report;
use super::json::{in_pieces, lines};

/// Writes one line for each finding, in the order of the report, safe for a terminal.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(report: &Report, out: &mut dyn Write) -> Result<(), serde_json::Error> {
    let mut findings = report.findings.iter();
    in_pieces(out, |out| {
        findings.try_for_each(|finding| lines(finding, 0, out))
    })
}
