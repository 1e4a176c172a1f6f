//! What a run exercised, for people.

use std::collections::BTreeSet;

use reachproof_model::coverage::{RelationCoverage, Share};
use reachproof_model::id::RuleId;
use reachproof_model::net::Printable;
use reachproof_model::observation::Presence;
use reachproof_model::words::counted;

use super::page::Page;
use super::verdict::flows;
use crate::report::Report;

/// What was exercised.
pub(super) fn coverage(report: &Report, page: &mut Page) {
    let coverage = &report.coverage;
    let rules = &coverage.rules;
    let total = rules.exercised.len() + rules.not_exercised.len();
    page.heading("Coverage");
    let mut text = format!(
        "{} tried, {} judged; {} of {} at their ends let a confirmed flow pass",
        flows(coverage.flows_planned),
        coverage.flows_judged,
        rules.exercised.len(),
        counted(total, "rule", "rules"),
    );
    if coverage.flows_left_out > 0 {
        text.push_str(&format!(
            "; limits kept {} out",
            flows(coverage.flows_left_out)
        ));
    }
    page.text(2, &text);
    relation(&coverage.relation, page);
    let lost: Vec<&str> = report
        .agents
        .present
        .iter()
        .filter(|agent| agent.presence == Presence::Lost)
        .map(|agent| agent.name.as_str())
        .collect();
    if !lost.is_empty() {
        page.text(2, &format!("lost before the end: {}", lost.join(", ")));
    }
    page.text(2, &format!("not modelled: {}", coverage.limits.join(", ")));
}

/// Most rules that are named one by one.
const RULES_NAMED_MAX: usize = 10;

/// What of the relation was shown, and which rules nothing can show.
fn relation(relation: &RelationCoverage, page: &mut Page) {
    let of = |share: Share| format!("{} of {}", share.shown, share.all);
    page.text(
        2,
        &format!(
            "between agents: {} decisive tuples and {} class pairs shown; {} of {} rules that decide; {} agents as source, {} as target",
            of(relation.tuples),
            of(relation.class_pairs),
            relation.rules.shown.len(),
            relation.rules.shown.len() + relation.rules.missing.len(),
            of(relation.sources),
            of(relation.targets),
        ),
    );
    let rules = &relation.rules;
    for (words, named) in [
        (
            "rules that decide, not shown by any judged flow",
            &rules.missing,
        ),
        (
            "rules that decide nothing that agents can try",
            &rules.cannot_decide,
        ),
    ] {
        if !named.is_empty() {
            page.text(2, &format!("{words}: {}", names(named)));
        }
    }
}

/// The first names of some rules, and how many there are beyond.
fn names(rules: &BTreeSet<RuleId>) -> String {
    let named = rules.iter().take(RULES_NAMED_MAX);
    let named: Vec<String> = named
        .map(|rule| Printable(rule.as_str()).to_string())
        .collect();
    match rules.len().saturating_sub(RULES_NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
