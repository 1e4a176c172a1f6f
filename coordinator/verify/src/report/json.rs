//! The report as one JSON object.

use crate::report::Report;

/// Writes `report` as one pretty-printed JSON object with a line feed at the end.
///
/// # Errors
/// When a value cannot be written as JSON.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(text)
}
