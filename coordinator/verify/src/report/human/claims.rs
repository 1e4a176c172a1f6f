//! Claims about security groups, for people: those that fail, and the counts.

use reachproof_model::claim::ClaimVerdict;
use reachproof_model::net::Printable;

use super::Details;
use super::page::Page;
use crate::report::Report;
use crate::report::claims::{LAB, counts, is_of_lab, told};

/// Writes what became of claims, where some were judged: those that fail, or each with what it rests on.
pub(super) fn claims(report: &Report, details: &Details, page: &mut Page) {
    if report.claims.is_empty() {
        return;
    }
    page.heading(&format!("Claims: {}", counts(&report.claims)));
    let is_whole = *details == Details::All;
    for claim in &report.claims {
        if is_whole || claim.verdict == ClaimVerdict::Fails {
            let (id, says) = (Printable(&claim.id), Printable(&claim.says));
            page.text(2, &format!("{id} {}: {says}", claim.verdict));
            for line in told(claim) {
                page.text(6, &Printable(&line).to_string());
            }
        }
    }
    if is_of_lab(&report.claims) {
        page.text(2, LAB);
    }
    if !is_whole {
        page.text(
            2,
            "each with what it rests on: --details, or `reachproof claims --report FILE`",
        );
    }
}
