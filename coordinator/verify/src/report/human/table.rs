//! What is confirmed, summed up by class: the model cannot tell the members of a class apart.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use reachproof_model::finding::{Finding, FindingKind};
use reachproof_model::net::Printable;

use super::page::Page;
use crate::report::Report;

/// Most ports that are named in one row; more are counted.
const PORTS_LISTED_MAX: usize = 6;

/// Source class, destination class and kind.
type Row = (String, String, FindingKind);

/// Writes one row for each pair of classes and kind.
pub(super) fn confirmed(report: &Report, page: &mut Page) {
    let mut rows: BTreeMap<Row, (usize, BTreeSet<String>)> = BTreeMap::new();
    for finding in &report.findings {
        if !is_summed_up(finding.kind) {
            continue;
        }
        let row = rows.entry(row(report, finding)).or_default();
        row.0 += 1;
        row.1.insert(finding.flow.protocol.to_string());
    }
    if rows.is_empty() {
        return;
    }
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(page.width()).unwrap_or(u16::MAX))
        .set_header(["from", "to", "finding", "flows", "ports"]);
    for ((source, destination, kind), (count, ports)) in rows {
        let count = count.to_string();
        table.add_row([
            source,
            destination,
            kind.as_str().to_owned(),
            count,
            listed(&ports),
        ]);
    }
    page.heading("Confirmed, bypassed and not observed, by class");
    for line in table.lines() {
        page.raw(&format!(" {line}"));
    }
}

/// Whether findings of this kind need no attention one by one.
fn is_summed_up(kind: FindingKind) -> bool {
    match kind {
        FindingKind::ConfirmedDeny
        | FindingKind::ConfirmedPartial
        | FindingKind::ConfirmedAllow
        | FindingKind::Bypass
        | FindingKind::NotObserved => true,
        FindingKind::ContradictionOpen
        | FindingKind::ContradictionClosed
        | FindingKind::Inconclusive => false,
    }
}

/// Where a finding belongs.
fn row(report: &Report, finding: &Finding) -> Row {
    let class = |address| {
        let label = report.endpoints.get(&address);
        label.map_or_else(String::new, |label| Printable(&label.class).to_string())
    };
    (
        class(finding.flow.source),
        class(finding.flow.destination),
        finding.kind,
    )
}

/// The ports of a row.
fn listed(ports: &BTreeSet<String>) -> String {
    let mut listed: Vec<String> = ports.iter().take(PORTS_LISTED_MAX).cloned().collect();
    if ports.len() > PORTS_LISTED_MAX {
        listed.push(format!("{} more", ports.len() - PORTS_LISTED_MAX));
    }
    listed.join(" ")
}
