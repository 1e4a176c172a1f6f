//! Where the name of the API server leads, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use reachproof_model::cluster_endpoint::EndpointPath;

use super::page::Page;
use super::{LISTED_MAX, more};
use crate::report::Report;

/// Where the name of the API server leads, by what the agents' hosts resolve it to.
pub(super) fn cluster_endpoint(report: &Report, page: &mut Page) {
    let mut groups: BTreeMap<(EndpointPath, &BTreeSet<IpAddr>), Vec<&str>> = BTreeMap::new();
    for agent in &report.agents.present {
        if let Some(endpoint) = &agent.endpoint {
            groups
                .entry((endpoint.leads_to, &endpoint.resolution.addresses))
                .or_default()
                .push(agent.name.as_str());
        }
    }
    if groups.is_empty() {
        return;
    }
    page.heading("Where the name of the API server leads");
    for ((path, addresses), agents) in groups.iter().take(LISTED_MAX) {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let shown = if addresses.is_empty() {
            String::new()
        } else {
            format!(" ({})", addresses.join(", "))
        };
        page.text(
            2,
            &format!("{}{shown}: {}", path.as_words(), listed(agents)),
        );
    }
    more(groups.len(), LISTED_MAX, page);
}

/// The first names of a list, and how many more there are.
fn listed(names: &[&str]) -> String {
    let mut text = names
        .iter()
        .take(LISTED_MAX)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > LISTED_MAX {
        text.push_str(&format!(" and {} more", names.len() - LISTED_MAX));
    }
    text
}
