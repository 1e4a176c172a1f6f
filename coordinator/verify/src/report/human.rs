//! The report as text for people: what needs attention first, what is confirmed in one table, then what was not seen.
//!
//! Names come from the snapshot and are somebody else's text: control characters never reach the terminal.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use reachproof_model::expectation::judge::breaks;
use reachproof_model::expectation::members::NodeBasis;
use reachproof_model::expectation::sign::{Sign, Speaks};
use reachproof_model::expectation::{Expectation, ExpectationName, ExpectationState, Wanted};
use reachproof_model::finding::{Finding, FindingKind};
use reachproof_model::net::Printable;
use reachproof_model::observation::Implausible;
use reachproof_model::snapshot::{Consequence, folded};
use reachproof_model::words::counted;

use crate::inventory::{Explanation, GoneAgent, MissingAgent};
use crate::refused::{RefusedAgents, RefusedTimes};
use crate::report::{Allowed, Report, VoidAgent};

use claims::claims;
use control_plane::control_plane;
use coverage::coverage;
use endpoint::cluster_endpoint;
use finding::{block, dropped, line, silence};
use matching::matching;
use page::Page;
use table::confirmed;
use verdict::verdict;

pub use page::wrapped;
pub use verdict::why;

pub(super) use baseline::lines as since;
pub(super) use finding::{attempted, gate, line as compared};
pub(super) use verdict::{besides, kinds};

mod baseline;
mod claims;
mod colour;
mod control_plane;
mod coverage;
mod endpoint;
mod finding;
mod matching;
mod page;
mod stability;
mod summary;
mod table;
mod verdict;

pub use colour::{Colour, ColourWhen, Ink, InvalidColourWhen};

/// How much may be printed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Width in columns; fewer than 60 count as 60.
    pub width: u16,
    /// Whether it shows colours.
    pub colour: Colour,
}

/// Most findings of one reason that are listed one by one; the rest is counted.
pub const LISTED_MAX: usize = 10;

/// Most contradictions that are explained gate by gate; the rest gets a line each.
pub const EXPLAINED_MAX: usize = 20;

/// Most flows that are listed under a broken expectation, each with the gate that breaks it; the rest is counted.
pub const BROKEN_LISTED_MAX: usize = 4;

/// Most lines of gaps that are listed, equal gaps in one; the rest is counted.
pub const GAPS_LISTED_MAX: usize = 10;

/// Which findings are shown with their whole evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Details {
    /// None: what needs attention is summed up by what it shares.
    Summary,
    /// All that the report lists.
    All,
    /// Those whose line holds every one of these words, like `10.0.1.20 tcp/443`, or whose ends are called so.
    Flows(String),
}

impl Details {
    /// What the argument `--details [WORDS]` asks for.
    #[must_use]
    pub fn asked(argument: Option<Option<String>>) -> Self {
        match argument {
            None => Self::Summary,
            Some(None) => Self::All,
            Some(Some(words)) => Self::Flows(words),
        }
    }
}

/// What of a report is written, and how.
#[derive(Debug, Clone)]
pub struct View {
    /// Where it is shown.
    pub terminal: Terminal,
    /// How much of it.
    pub details: Details,
    /// What may be missing before the verdict is UNSURE.
    pub allowed: Allowed,
}

/// Writes `report` for people; the last lines are the verdict.
pub fn render(report: &Report, view: &View) -> String {
    let mut page = Page::new(view.terminal);
    let hint = match &view.details {
        Details::Summary => {
            summary::summary(report, &mut page);
            Some("evidence: --details, of some flows --details 'ADDRESS tcp/443', or -o json")
        }
        Details::All => {
            everything(report, &mut page);
            None
        }
        Details::Flows(words) => {
            matching(report, words, &mut page);
            None
        }
    };
    claims(report, &view.details, &mut page);
    verdict(report, view.allowed, hint, &mut page);
    page.finish()
}

/// Everything but the verdict: contradictions and broken expectations first.
fn everything(report: &Report, page: &mut Page) {
    contradictions(report, page);
    expectations(report, BrokenFlows::Here, page);
    baseline::baseline(report, page);
    inconclusive(report, page);
    confirmed(report, page);
    examples(report, page);
    agents(report, page);
    control_plane(report, page);
    cluster_endpoint(report, page);
    coverage(report, page);
    gaps(report, page);
}

/// Every contradiction, the first ones with their gates and their evidence.
fn contradictions(report: &Report, page: &mut Page) {
    let found: Vec<&Finding> = report.contradictions().collect();
    if found.is_empty() {
        return;
    }
    page.heading(&format!("Contradictions ({})", found.len()));
    for finding in found.iter().take(EXPLAINED_MAX) {
        block(report, finding, page);
    }
    for finding in found.iter().skip(EXPLAINED_MAX) {
        page.kind(finding.kind, &line(report, finding));
    }
}

/// Where the flows that break an expectation are said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BrokenFlows {
    /// Below it.
    Here,
    /// By their causes, in the last lines.
    AtTheEnd,
}

/// The expectations, broken ones first.
fn expectations(report: &Report, flows: BrokenFlows, page: &mut Page) {
    if report.expectations.is_empty() && report.remarks.is_empty() {
        return;
    }
    page.heading(expected(report));
    let mut sorted: Vec<&Expectation> = report.expectations.iter().collect();
    sorted.sort_by_key(|expectation| (std::cmp::Reverse(expectation.state), &expectation.name));
    for expectation in sorted {
        page.mark(expectation.state, &expectation_line(expectation));
        for sign in told_signs(expectation) {
            page.text(
                4,
                &format!("the cluster says: {}", Printable(&sign.to_string())),
            );
        }
        if flows == BrokenFlows::Here && expectation.state == ExpectationState::Broken {
            broken_flows(report, expectation, page);
        }
    }
    for remark in &report.remarks {
        page.text(2, &Printable(remark).to_string());
    }
    if report
        .expectations
        .iter()
        .any(|expectation| expectation.node_basis == NodeBasis::EveryInstance)
    {
        page.text(
            2,
            "Nothing in the snapshot says which instances are nodes: every running instance in the cluster's VPC counts.",
        );
    }
}

/// What the cluster says by itself: all of it where an expectation is not met, else what speaks against.
fn told_signs(expectation: &Expectation) -> impl Iterator<Item = &Sign> {
    let is_met = expectation.state == ExpectationState::Met;
    let signs = expectation.signs.iter();
    signs.filter(move |sign| !is_met || sign.speaks == Speaks::Against)
}

/// What the section of the expectations is called.
pub(super) fn expected(report: &Report) -> &'static str {
    let mut names = report.expectations.iter().map(|one| &one.name);
    if names.any(|name| matches!(name, ExpectationName::Own(_))) {
        "What the cluster needs, and what you expect"
    } else {
        "What the cluster needs"
    }
}

/// One line for one expectation.
fn expectation_line(expectation: &Expectation) -> String {
    let why = expectation.why.as_deref();
    let why = why.map_or_else(String::new, |why| format!(": {}", Printable(why)));
    format!(
        "{}: {} ({}){why}",
        expectation.state.as_str(),
        titled(expectation),
        told(expectation)
    )
}

/// What an expectation is called, with what is expected where that is not that flows arrive; safe to print.
pub(super) fn titled(expectation: &Expectation) -> String {
    let subject = expectation.subject.as_ref();
    let subject = subject.map_or_else(String::new, |subject| format!(", {}", Printable(subject)));
    let name = format!("{}{subject}", Printable(expectation.name.as_str()));
    match expectation.wanted {
        Wanted::Open => name,
        Wanted::Closed => format!("{name}, closed"),
    }
}

/// How many flows of an expectation are in which state; none that are not.
pub(super) fn told(expectation: &Expectation) -> String {
    let mut parts = Vec::new();
    for (count, word) in [
        (expectation.broken, "broken"),
        (expectation.met, "met"),
        (expectation.by_class, "measured by class"),
        (expectation.predicted, "by the model alone"),
        (expectation.inconclusive, "inconclusive"),
        (expectation.not_observed, "not observed"),
        (expectation.left_out, "left out by limits"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    if parts.is_empty() {
        parts.push("no such flow in the snapshot".to_owned());
    }
    parts.join(", ")
}

/// The flows that break an expectation: what decides, and what was seen.
fn broken_flows(report: &Report, expectation: &Expectation, page: &mut Page) {
    let broken: Vec<&Finding> = expectation
        .findings
        .iter()
        .filter_map(|place| report.findings.get(*place))
        .filter(|finding| breaks(expectation.wanted, finding))
        .collect();
    for finding in broken.iter().take(BROKEN_LISTED_MAX) {
        page.text(4, &line(report, finding));
        if let Some(dropped) = dropped(finding) {
            page.text(6, &dropped);
        }
    }
    more(broken.len(), BROKEN_LISTED_MAX, page);
}

/// Inconclusive findings by their reason.
fn by_reason(report: &Report) -> BTreeMap<&'static str, Vec<&Finding>> {
    let mut groups: BTreeMap<&'static str, Vec<&Finding>> = BTreeMap::new();
    for finding in &report.findings {
        if let (FindingKind::Inconclusive, Some(reason)) = (finding.kind, &finding.reason) {
            groups.entry(reason.as_str()).or_default().push(finding);
        }
    }
    groups
}

/// Inconclusive findings, grouped by their reason.
fn inconclusive(report: &Report, page: &mut Page) {
    let groups = by_reason(report);
    if groups.is_empty() {
        return;
    }
    page.heading(&format!(
        "Inconclusive ({})",
        report.count(FindingKind::Inconclusive)
    ));
    for (reason, findings) in groups {
        page.text(2, &format!("{reason} ({})", findings.len()));
        for finding in findings.iter().take(LISTED_MAX) {
            page.text(4, &line(report, finding));
            if let Some(silence) = silence(finding) {
                page.text(6, &format!("silence {silence}"));
            }
        }
        more(findings.len(), LISTED_MAX, page);
    }
}

/// Says how many of `count` were not listed, where `listed` are.
fn more(count: usize, listed: usize, page: &mut Page) {
    if count > listed {
        page.text(4, &format!("and {} more", count - listed));
    }
}

/// The whole evidence of one finding of each kind that the table only counts.
fn examples(report: &Report, page: &mut Page) {
    let kinds = [
        FindingKind::ConfirmedDeny,
        FindingKind::ConfirmedPartial,
        FindingKind::ConfirmedAllow,
    ];
    let found: Vec<&Finding> = kinds
        .iter()
        .filter_map(|kind| report.findings.iter().find(|finding| finding.kind == *kind))
        .collect();
    if found.is_empty() {
        return;
    }
    page.heading("What they rest on: one of each (the JSON report has all)");
    for finding in found {
        block(report, finding, page);
    }
}

/// Agents that did not come, were lost, or claim an address twice.
fn agents(report: &Report, page: &mut Page) {
    let agents = &report.agents;
    void_agents(&agents.void, page);
    refused_agents(&agents.refused, page);
    gone_agents(&agents.gone, LISTED_MAX, page);
    if agents.absent() == 0 && agents.conflicts.is_empty() {
        return;
    }
    page.heading("Agents that did not take part");
    if agents.absent() > 0 {
        let (absent, expected) = (agents.absent(), agents.expected);
        page.text(
            2,
            &format!("{absent} of {expected} expected agents did not come"),
        );
    }
    absent(&agents.missing, LISTED_MAX, page);
    for conflict in &agents.conflicts {
        let (out, kept, address) = (&conflict.left_out, &conflict.kept, conflict.address);
        let line = format!("{out}: left out, {kept} claims {address} as well");
        page.text(2, &line);
    }
}

/// Nodes without an agent that are about to go.
fn gone_agents(gone: &[GoneAgent], listed_max: usize, page: &mut Page) {
    if gone.is_empty() {
        return;
    }
    page.heading("Nodes that are about to go, and have no agent");
    for node in gone.iter().take(listed_max) {
        page.text(2, &format!("{}: {}", Printable(&node.name), node.leaving));
    }
    more(gone.len(), listed_max, page);
}

/// A time in milliseconds.
fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// Agents that reported what cannot be.
fn void_agents(void: &[VoidAgent], page: &mut Page) {
    if void.is_empty() {
        return;
    }
    page.heading("Agents that reported what cannot be");
    for agent in void {
        let Implausible::TooSoon { number, by, .. } = agent.reason;
        let line = format!(
            "{}: nothing that it reported counts: a result of attempt {} came {} sooner than it can have been made",
            agent.name,
            number.saturating_add(1),
            milliseconds(by)
        );
        page.text(2, &line);
    }
}

/// Agents that were not let in.
fn refused_agents(refused: &RefusedAgents, page: &mut Page) {
    if refused.listed.is_empty() {
        return;
    }
    page.heading("Agents that were refused");
    for RefusedTimes { refused, times } in &refused.listed {
        let name = refused.name.as_ref().map(ToString::to_string);
        let name = name.unwrap_or_else(|| "somebody without a name".to_owned());
        let from = refused.from.map(|from| format!(" from {from}"));
        let (from, reason) = (from.unwrap_or_default(), Printable(&refused.reason));
        let times = if *times == 1 {
            "once".to_owned()
        } else {
            format!("{times} times")
        };
        page.text(2, &format!("{}{from}, {times}: {reason}", Printable(&name)));
    }
    if refused.more > 0 {
        page.text(
            2,
            &format!(
                "and {}",
                counted(
                    usize::try_from(refused.more).unwrap_or(usize::MAX),
                    "more refusal",
                    "more refusals"
                )
            ),
        );
    }
}

/// Writes why each of `missing` did not come, as far as the model can tell: for a run that nobody took part in.
pub fn render_missing(missing: &[MissingAgent], terminal: Terminal) -> String {
    let mut page = Page::new(terminal);
    absent(missing, LISTED_MAX, &mut page);
    page.finish()
}

/// One line for each agent that did not come, for `listed` of them.
fn absent(missing: &[MissingAgent], listed: usize, page: &mut Page) {
    for missing in missing.iter().take(listed) {
        let name = Printable(&missing.name);
        page.text(2, &format!("{name}: {}", explanation(&missing.explanation)));
    }
    more(missing.len(), listed, page);
}

/// Why an agent did not come.
fn explanation(explanation: &Explanation) -> String {
    match explanation {
        Explanation::Predicted {
            coordinator,
            prediction,
        } => format!(
            "its way to the coordinator at {coordinator}: the model says {}",
            Printable(&prediction.verdict.to_string())
        ),
        Explanation::CoordinatorOutsideModel { coordinator } => format!(
            "the coordinator at {coordinator} is outside the snapshot, so the model cannot tell whether the way is open"
        ),
        Explanation::NotInSnapshot => {
            "the snapshot has no address for it from which the coordinator could be reached"
                .to_owned()
        }
    }
}

/// What the snapshot does not say.
fn gaps(report: &Report, page: &mut Page) {
    if report.gaps.is_empty() {
        return;
    }
    page.heading(&format!(
        "What the snapshot does not say ({})",
        report.gaps.len()
    ));
    let mut lines = folded(&report.gaps);
    if lines.len() > GAPS_LISTED_MAX {
        // What can change a prediction is not to be cut off.
        lines.sort_by_key(|line| line.consequence == Consequence::None);
    }
    for line in lines.iter().take(GAPS_LISTED_MAX) {
        page.text(2, &line.to_string());
    }
    if lines.len() > GAPS_LISTED_MAX {
        page.text(2, &format!("and {} more", lines.len() - GAPS_LISTED_MAX));
    }
}

/// What people call an address, safe to print.
fn called(report: &Report, address: IpAddr) -> String {
    match report.endpoints.get(&address) {
        Some(label) => format!("{} ({address})", Printable(&label.name)),
        None => address.to_string(),
    }
}
