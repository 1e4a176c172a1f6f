//! The report in a few lines: what needs attention by what it shares, and counts of all else.

use std::collections::{BTreeMap, HashSet};

use reachproof_model::finding::{Finding, FindingKind};
use reachproof_model::net::Printable;
use reachproof_model::snapshot::{Consequence, folded};
use reachproof_model::words::counted;

use super::baseline::baseline;
use super::finding::{admitted, dropped, dropped_by, line, met_as, silence};
use super::page::Page;
use super::verdict::flows;
use super::{BrokenFlows, by_reason, expectations};
use super::{absent, cluster_endpoint, control_plane, gone_agents, refused_agents, void_agents};
use crate::report::Report;

/// Most groups of one heading; the rest is counted.
const GROUPS_MAX: usize = 5;

/// Most lines of gaps.
const GAPS_MAX: usize = 3;

/// Everything but the verdict.
pub(super) fn summary(report: &Report, page: &mut Page) {
    contradictions(report, page);
    expectations(report, BrokenFlows::AtTheEnd, page);
    baseline(report, page);
    partly_open(report, page);
    one_family(report, page);
    translated(report, page);
    inconclusive(report, page);
    agents(report, page);
    control_plane(report, page);
    cluster_endpoint(report, page);
    coverage(report, page);
    gaps(report, page);
}

/// Contradictions by kind and by what the model says: an example of each.
fn contradictions(report: &Report, page: &mut Page) {
    let mut groups: BTreeMap<(FindingKind, String), Vec<&Finding>> = BTreeMap::new();
    let found = report.findings.iter();
    for finding in found.filter(|finding| finding.kind.is_contradiction()) {
        let verdict = finding.prediction.verdict.to_string();
        let group = groups.entry((finding.kind, verdict)).or_default();
        group.push(finding);
    }
    if groups.is_empty() {
        return;
    }
    let count: usize = groups.values().map(Vec::len).sum();
    page.heading(&format!("Contradictions ({count})"));
    for ((kind, verdict), findings) in groups.iter().take(GROUPS_MAX) {
        let what = if *kind == FindingKind::ContradictionOpen {
            "OPEN though the model says closed"
        } else {
            "CLOSED though the model says open"
        };
        let count = flows(findings.len());
        page.kind(
            *kind,
            &format!("{what}: {count}, model {}", Printable(verdict)),
        );
        page.text(4, &example(report, findings));
        if let Some(finding) = findings.first() {
            let silence = silence(finding).map(|text| format!("silence {text}"));
            let because = dropped(finding).into_iter().chain(silence);
            because.for_each(|text| page.text(6, &text));
        }
    }
    more(groups.len(), GROUPS_MAX, ("more kind", "more kinds"), page);
}

/// Flows that connect from some source ports and not from others, by what drops the others.
fn partly_open(report: &Report, page: &mut Page) {
    let mut groups: BTreeMap<Option<String>, Vec<&Finding>> = BTreeMap::new();
    let found = report.findings.iter();
    for finding in found.filter(|finding| finding.kind == FindingKind::ConfirmedPartial) {
        groups.entry(dropped(finding)).or_default().push(finding);
    }
    if groups.is_empty() {
        return;
    }
    let count = report.count(FindingKind::ConfirmedPartial);
    page.heading(&format!(
        "Open for some source ports only ({count}): such connections hang by chance"
    ));
    listed(report, &groups, page);
}

/// Flows that are open over one address family and closed over the other, by what drops them there.
fn one_family(report: &Report, page: &mut Page) {
    let ends = |finding: &Finding| {
        let name = |address| Some(report.endpoints.get(&address)?.name.as_str());
        let flow = &finding.flow;
        Some((name(flow.source)?, name(flow.destination)?, flow.protocol))
    };
    let of = |kind| report.findings.iter().filter(move |one| one.kind == kind);
    let open: HashSet<_> = of(FindingKind::ConfirmedAllow)
        .filter_map(|finding| Some((ends(finding)?, finding.flow.source.is_ipv4())))
        .collect();
    let mut groups: BTreeMap<_, Vec<&Finding>> = BTreeMap::new();
    for finding in of(FindingKind::ConfirmedDeny) {
        let other = ends(finding).map(|ends| (ends, !finding.flow.source.is_ipv4()));
        if other.is_some_and(|other| open.contains(&other)) {
            let key = (dropped_by(finding), finding.flow.protocol);
            groups.entry(key).or_default().push(finding);
        }
    }
    if groups.is_empty() {
        return;
    }
    let count: usize = groups.values().map(Vec::len).sum();
    page.heading(&format!(
        "Open over one address family alone ({count}): clients that prefer the other wait, then fall back"
    ));
    listed(report, &groups, page);
}

/// Flows whose source the target meets under another address, by the rule that admits that one.
fn translated(report: &Report, page: &mut Page) {
    let mut groups: BTreeMap<_, Vec<&Finding>> = BTreeMap::new();
    let found = report.findings.iter();
    for finding in found.filter(|finding| met_as(finding).is_some()) {
        let rule = admitted(finding).map(|(rule, _)| rule);
        groups.entry(rule).or_default().push(finding);
    }
    if groups.is_empty() {
        return;
    }
    let count: usize = groups.values().map(Vec::len).sum();
    page.heading(&format!(
        "Met under another address ({count}): the VPC CNI translates the source of pods, whose groups count no more"
    ));
    for findings in groups.values().take(GROUPS_MAX) {
        let met = findings.first().and_then(|finding| met_as(finding));
        let met = met.map_or_else(String::new, |met| format!(", met as {met}"));
        let (count, example) = (flows(findings.len()), example(report, findings));
        page.text(2, &format!("{count}, {example}{met}"));
        let admitted = findings.first().and_then(|finding| admitted(finding));
        admitted.iter().for_each(|(_, text)| page.text(4, text));
    }
    more(groups.len(), GROUPS_MAX, ("more rule", "more rules"), page);
}

/// Each group with its number, an example, and what the gate says that drops it.
fn listed<K>(report: &Report, groups: &BTreeMap<K, Vec<&Finding>>, page: &mut Page) {
    for findings in groups.values().take(GROUPS_MAX) {
        let (count, example) = (flows(findings.len()), example(report, findings));
        page.text(2, &format!("{count}, {example}"));
        let dropped = findings.first().and_then(|finding| dropped(finding));
        dropped.iter().for_each(|text| page.text(4, text));
    }
    more(
        groups.len(),
        GROUPS_MAX,
        ("more cause", "more causes"),
        page,
    );
}

/// Inconclusive findings by reason: how many, and one of them.
fn inconclusive(report: &Report, page: &mut Page) {
    let groups = by_reason(report);
    if groups.is_empty() {
        return;
    }
    let count = report.count(FindingKind::Inconclusive);
    page.heading(&format!(
        "Inconclusive ({count}): docs/evidence.md says what helps"
    ));
    for (reason, findings) in groups.iter().take(GROUPS_MAX) {
        let example = example(report, findings);
        page.text(2, &format!("{reason} ({}), {example}", findings.len()));
    }
    more(
        groups.len(),
        GROUPS_MAX,
        ("more reason", "more reasons"),
        page,
    );
}

/// The first of some findings, as the one that stands for all.
fn example(report: &Report, findings: &[&Finding]) -> String {
    let first = findings.first().map(|finding| line(report, finding));
    first.map_or_else(String::new, |line| format!("as {line}"))
}

/// Agents that did not take part.
fn agents(report: &Report, page: &mut Page) {
    let agents = &report.agents;
    void_agents(&agents.void, page);
    refused_agents(&agents.refused, page);
    gone_agents(&agents.gone, GROUPS_MAX, page);
    if agents.absent() == 0 && agents.conflicts.is_empty() {
        return;
    }
    page.heading(&format!(
        "Agents that did not take part ({} of {})",
        agents.absent(),
        agents.expected
    ));
    absent(&agents.missing, GROUPS_MAX, page);
    for conflict in agents.conflicts.iter().take(GROUPS_MAX) {
        let (out, kept, address) = (&conflict.left_out, &conflict.kept, conflict.address);
        page.text(
            2,
            &format!("{out}: left out, {kept} claims {address} as well"),
        );
    }
}

/// How much of the relation was shown.
fn coverage(report: &Report, page: &mut Page) {
    let coverage = &report.coverage;
    let relation = &coverage.relation;
    page.heading("Coverage");
    page.text(
        2,
        &format!(
            "{} tried, {} judged; between agents {} of {} class pairs and {} of {} tuples of rules that decide are shown",
            flows(coverage.flows_planned),
            coverage.flows_judged,
            relation.class_pairs.shown,
            relation.class_pairs.all,
            relation.tuples.shown,
            relation.tuples.all,
        ),
    );
    if coverage.flows_left_out > 0 {
        let out = flows(coverage.flows_left_out);
        page.text(2, &format!("limits kept {out} out"));
    }
}

/// What the snapshot does not say and the model needs.
fn gaps(report: &Report, page: &mut Page) {
    let touching = report
        .gaps
        .iter()
        .filter(|gap| gap.consequence != Consequence::None);
    let lines = folded(touching);
    if lines.is_empty() {
        return;
    }
    page.heading("What the snapshot does not say");
    for line in lines.iter().take(GAPS_MAX) {
        page.text(2, &line.to_string());
    }
    more(lines.len(), GAPS_MAX, ("more gap", "more gaps"), page);
}

/// Says how many of `count` were not listed, where `listed` are.
fn more(count: usize, listed: usize, (one, several): (&str, &str), page: &mut Page) {
    if count > listed {
        let rest = counted(count - listed, one, several);
        page.text(2, &format!("and {rest}: --details"));
    }
}
