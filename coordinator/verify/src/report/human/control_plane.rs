//! What kept the control plane from being asked to connect.

use reachproof_model::net::Printable;

use super::page::Page;
use crate::report::{Report, ServerState};

/// API servers that could not be asked, and what to grant; nothing where all were asked for everything.
pub(super) fn control_plane(report: &Report, page: &mut Page) {
    let Some(record) = &report.control_plane else {
        return;
    };
    let (asked, all) = (record.asked(), record.servers.len());
    if asked == all && record.notes.is_empty() {
        return;
    }
    page.heading(&format!(
        "Connections from the control plane: {asked} of {all} API servers could be asked"
    ));
    for server in &record.servers {
        if server.state == ServerState::Unreachable {
            let reason = server.failure.map_or("", |failure| failure.as_str());
            let address = server.address;
            page.text(
                2,
                &format!("no way to the API server at {address} ({reason}): what it reaches is by the model alone"),
            );
        }
    }
    for note in &record.notes {
        page.text(2, &Printable(note).to_string());
    }
}
