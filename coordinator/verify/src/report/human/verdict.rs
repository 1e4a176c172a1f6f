//! The last lines: PASS, FAIL or UNSURE, why, and what to type next.

use reachproof_model::diagnosis::Conclusion;
use reachproof_model::expectation::ExpectationState;
use reachproof_model::finding::{Finding, FindingKind};
use reachproof_model::net::Printable;
use reachproof_model::words::counted;

use super::Ink;
use super::page::Page;
use super::stability::unrest;
use crate::report::{Allowed, CauseRecord, FailOn, Report, SinceState};

/// Most causes in the last lines.
const CAUSES_LISTED_MAX: usize = 3;

/// Most changes of one cause there.
const CHANGES_LISTED_MAX: usize = 4;

/// Why flows may be closed that the model says are open, likeliest first, with what tells it apart.
///
/// Sources: stale references A.3 of SEMANTICS and `DescribeStaleSecurityGroups`; a host's own rules and policy engines F.1.
const CLOSED: [(&str, &str); 5] = [
    (
        "a rule is not yet in force",
        "reachproof verify --settle 120s",
    ),
    (
        "a rule refers to a group that is gone",
        "aws ec2 describe-stale-security-groups --vpc-id VPC",
    ),
    (
        "a firewall on one of the hosts drops it",
        "nft list ruleset",
    ),
    (
        "a policy engine drops it",
        "kubectl get networkpolicies --all-namespaces",
    ),
    ("something changed that the snapshot does not show", DRIFT),
];

/// Why flows may be open that the model says are closed.
const OPEN: [(&str, &str); 2] = [
    ("a rule was added that the snapshot does not show", DRIFT),
    (
        "the packets took another way than the model knows",
        "--details shows who answered, and every gate",
    ),
];

/// What shows a change since the snapshot was read.
const DRIFT: &str = "reachproof snapshot --cluster NAME --output NOW && reachproof diff BEFORE NOW";

/// Writes the counts, and then the verdict with its reasons and the exit code.
pub(super) fn verdict(report: &Report, allowed: Allowed, hint: Option<&str>, page: &mut Page) {
    page.heading("Result");
    if let Some(unrest) = unrest(&report.stability) {
        page.text(2, unrest);
    }
    page.text(2, &kinds(report));
    let seconds = report.run.duration_ms / 1_000;
    page.text(
        2,
        &format!(
            "{}, {}, {seconds} s, scope {}, seed {}",
            counted(report.agents.present.len(), "agent", "agents"),
            flows(report.findings.len()),
            report.run.scope,
            report.run.seed
        ),
    );
    page.blank();
    let (conclusion, why) = why(report, allowed);
    page.ends(
        conclusion.as_str(),
        &why.join(", "),
        &format!("exit {}", conclusion.exit_code()),
        Ink::of(conclusion),
    );
    causes(report, page);
    contradictions(report, page);
    if let Some(hint) = hint {
        page.text(2, hint);
    }
}

/// How many findings there are of each kind; none that there are not.
pub(in crate::report) fn kinds(report: &Report) -> String {
    let counts: Vec<String> = FindingKind::ALL
        .into_iter()
        .filter(|kind| report.count(*kind) > 0)
        .map(|kind| format!("{} {}", report.count(kind), kind.as_str()))
        .collect();
    counts.join(", ")
}

/// What the run says in one word, and why, a few words each.
pub fn why(report: &Report, allowed: Allowed) -> (Conclusion, Vec<String>) {
    let conclusion = report.conclusion(allowed);
    let why = match conclusion {
        Conclusion::Pass => passed(report),
        Conclusion::Fail => failed(report, allowed.fail_on),
        Conclusion::Unsure => unsure(report, allowed),
    };
    (conclusion, why)
}

/// Each cause with what mends it. Commands are not wrapped: they are to be pasted.
fn causes(report: &Report, page: &mut Page) {
    for cause in report.causes.iter().take(CAUSES_LISTED_MAX) {
        let why = cause.why.join("; ");
        let told = format!("{}: {why}", cause.title);
        page.text(2, &Printable(&told).to_string());
        for command in cause.aws_cli.iter().take(CHANGES_LISTED_MAX) {
            page.raw(&format!("  add:  {}", Printable(command)));
        }
        if cause.aws_cli.len() > CHANGES_LISTED_MAX {
            let more = cause.aws_cli.len() - CHANGES_LISTED_MAX;
            page.text(
                2,
                &format!(
                    "and {}: -o json",
                    counted(more, "more change", "more changes")
                ),
            );
        }
        effect(cause, page);
        let all = cause.findings.len();
        let seen = match cause.confirmed {
            0 => format!("seen: none of {} was tried and judged", flows(all)),
            some => format!(
                "seen: {some} of {} confirmed, model and network agree",
                flows(all)
            ),
        };
        page.text(2, &seen);
    }
    if report.causes.len() > CAUSES_LISTED_MAX {
        let more = report.causes.len() - CAUSES_LISTED_MAX;
        page.text(
            2,
            &format!(
                "and {}: -o json",
                counted(more, "more cause", "more causes")
            ),
        );
    }
}

/// What the changes of a cause do besides, or why there are none.
fn effect(cause: &CauseRecord, page: &mut Page) {
    if let Some(none) = &cause.no_repair {
        page.text(2, &Printable(none).to_string());
        return;
    }
    page.text(2, &besides(cause));
    if let Some(reason) = &cause.not_known {
        let told = format!("nothing that is known stops it then; not known even so: {reason}");
        page.text(2, &told);
    }
}

/// What the changes of a cause open that nobody asked for.
pub(in crate::report) fn besides(cause: &CauseRecord) -> String {
    let at_least = if cause.is_bounded { "at least " } else { "" };
    match (cause.opens_besides, cause.is_bounded) {
        (0, false) => "opens nothing else that the model can see".to_owned(),
        (1, _) => format!("opens besides: {at_least}1 pair of classes (reachproof check names it)"),
        (count, _) => format!(
            "opens besides: {at_least}{count} pairs of classes (reachproof check names them)"
        ),
    }
}

/// What is likely where the network does not do as the model says, with the command that tells it apart.
fn contradictions(report: &Report, page: &mut Page) {
    let closed = report.count(FindingKind::ContradictionClosed) > 0;
    let open = report.count(FindingKind::ContradictionOpen) > 0;
    let likely = [(closed, &CLOSED[..]), (open, &OPEN[..])];
    for (cause, command) in likely
        .iter()
        .filter(|(found, _)| *found)
        .flat_map(|(_, causes)| causes.iter())
    {
        page.text(2, &format!("perhaps {cause}: {command}"));
    }
}

/// What was shown.
fn passed(report: &Report) -> Vec<String> {
    let judged = report
        .findings
        .iter()
        .filter(|finding| finding.kind.is_confirmed())
        .count();
    let needs = report.expectations.len();
    let count = |state| {
        let of = report.expectations.iter();
        of.filter(|expectation| expectation.state == state).count()
    };
    let predicted = count(ExpectationState::Predicted);
    let held = count(ExpectationState::Met) + predicted;
    let mut why = vec![format!(
        "{judged} of {} as predicted",
        flows(report.findings.len())
    )];
    why.extend(tolerated(report));
    if needs > 0 {
        let mut held = format!("{held} of {needs} needs hold");
        if predicted > 0 {
            held.push_str(&format!(" ({predicted} by the model alone)"));
        }
        why.push(held);
    }
    why
}

/// Problems for which the run does not fail.
fn tolerated(report: &Report) -> Option<String> {
    let contradictions = report.contradictions().count();
    let broken: usize = report.expectations.iter().map(|one| one.broken).sum();
    let counts = [
        (contradictions, "against the model"),
        (broken, "required and broken"),
    ];
    let told = counts.into_iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told
        .map(|(count, what)| format!("{} {what}", flows(count)))
        .collect();
    (!told.is_empty()).then(|| format!("{} and no failure", told.join(" and ")))
}

/// What is wrong.
fn failed(report: &Report, fail_on: FailOn) -> Vec<String> {
    if let (FailOn::New, Some(baseline)) = (fail_on, &report.baseline) {
        let [new, known] = [SinceState::New, SinceState::Known].map(|it| baseline.problems(it));
        let new = counted(new, "new problem", "new problems");
        return vec![
            format!("{new} since {}", Printable(&baseline.run)),
            format!("{known} known"),
        ];
    }
    let count = |kind| report.count(kind);
    let broken: usize = report
        .expectations
        .iter()
        .map(|expectation| expectation.broken)
        .sum();
    let mut why = Vec::new();
    let causes = report.causes.len();
    if broken > 0 && causes > 0 {
        let verb = if causes == 1 {
            "cause breaks"
        } else {
            "causes break"
        };
        why.push(format!(
            "{causes} {verb} {broken} required {}",
            noun(broken)
        ));
    } else if broken > 0 {
        why.push(format!("{broken} required {} broken", noun(broken)));
    }
    for (count, what) in [
        (
            count(FindingKind::ContradictionClosed),
            "closed against the model",
        ),
        (
            count(FindingKind::ContradictionOpen),
            "open against the model",
        ),
    ] {
        if count > 0 {
            why.push(format!("{} {what}", flows(count)));
        }
    }
    why
}

/// What was not shown.
fn unsure(report: &Report, allowed: Allowed) -> Vec<String> {
    let mut why = Vec::new();
    let unverified = report.unverified();
    if unverified > allowed.unverified_max {
        why.push(format!(
            "{unverified} required {} unverified",
            noun(unverified)
        ));
    }
    let absent = report.agents.absent();
    if absent > allowed.missing_max {
        let agents = if absent == 1 { "agent" } else { "agents" };
        why.push(format!("{absent} {agents} missing"));
    }
    if !report.findings.iter().any(Finding::is_proven) {
        why.push("nobody who answered proved who it is".to_owned());
    }
    why
}

/// A number of flows.
pub(super) fn flows(count: usize) -> String {
    counted(count, "flow", "flows")
}

fn noun(count: usize) -> &'static str {
    if count == 1 { "flow" } else { "flows" }
}
