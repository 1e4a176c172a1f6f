//! The report as one JSON object.

use reachproof_model::net::escaped_json;

use crate::report::Report;

/// Writes `report` as one pretty-printed JSON object with a line feed at the end, safe for a terminal.
///
/// # Errors
/// When a value cannot be written as JSON.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
    let mut text = escaped_json(&serde_json::to_string_pretty(report)?);
    text.push('\n');
    Ok(text)
}
