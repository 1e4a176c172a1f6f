//! The findings of a report as JSON, one object a line, each as in the list `findings` of the whole report.

use reachproof_model::net::escaped_json;

use super::Report;

/// Writes one line for each finding, in the order of the report, safe for a terminal.
///
/// # Errors
/// When a value cannot be written as JSON.
pub(super) fn render(report: &Report) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    for finding in &report.findings {
        text.push_str(&escaped_json(&serde_json::to_string(finding)?));
        text.push('\n');
    }
    Ok(text)
}
