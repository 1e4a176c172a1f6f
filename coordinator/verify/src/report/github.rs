//! The report as annotations of GitHub Actions: workflow commands, one a line, as a step prints them.
//!
//! GitHub shows ten errors and ten warnings of a step: causes come first, then broken expectations, then contradictions, then
//! claims that fail, which no run fails for.

use reachproof_model::claim::ClaimVerdict;
use reachproof_model::expectation::ExpectationState;
use reachproof_model::finding::Finding;
use reachproof_model::net::Printable;

use super::claims::told as why_claim;
use super::human::{compared, titled, told, why};
use super::{Allowed, Failing, Report};

/// Most annotations: so many of a step are shown.
const ANNOTATIONS_MAX: usize = 10;

/// Writes a notice with the verdict, and the first problems: errors for what the run fails for, else warnings.
#[must_use]
pub(super) fn render(report: &Report, allowed: Allowed) -> String {
    let (conclusion, reasons) = why(report, allowed);
    let mut lines = vec![annotation(
        "notice",
        &format!("reachproof: {}", conclusion.as_str()),
        &reasons.join(", "),
    )];
    let problems = problems(report, &report.failing(allowed.fail_on));
    lines.extend(problems.iter().take(ANNOTATIONS_MAX).cloned());
    let more = problems.len().saturating_sub(ANNOTATIONS_MAX);
    if more > 0 {
        lines.push(annotation(
            "notice",
            "reachproof",
            &format!("and {more} more"),
        ));
    }
    lines.concat()
}

/// Every problem, what the run fails for first.
fn problems(report: &Report, failing: &Failing) -> Vec<String> {
    let causes = report.causes.iter().map(|cause| {
        let commands = cause.aws_cli.iter().map(|command| format!("\n{command}"));
        let why = cause.why.join("; ") + &commands.collect::<String>();
        (failing.any(&cause.findings), cause.title.clone(), why)
    });
    let broken = report.expectations.iter();
    let broken = broken.filter(|one| one.state == ExpectationState::Broken);
    let broken = broken.map(|one| {
        let title = format!("broken: {}", titled(one));
        (failing.any(&one.findings), title, told(one))
    });
    let found = report.findings.iter().enumerate();
    let found = found.filter(|(_, finding)| finding.kind.is_contradiction());
    let contradictions = found.map(|(place, finding): (usize, &Finding)| {
        let title = finding.kind.as_str().to_owned();
        (
            failing.contradiction(place),
            title,
            compared(report, finding),
        )
    });
    let failed = report.claims.iter();
    let failed = failed.filter(|claim| claim.verdict == ClaimVerdict::Fails);
    let claims = failed.map(|claim| {
        let title = format!("claim {} fails", claim.id);
        let why = why_claim(claim).join("; ");
        (false, title, format!("{}: {why}", claim.says))
    });
    let problems = causes.chain(broken).chain(contradictions);
    let mut all: Vec<_> = problems.chain(claims).collect();
    all.sort_by_key(|(is_failure, _, _)| !is_failure);
    all.iter()
        .map(|(is_failure, title, text)| {
            let command = if *is_failure { "error" } else { "warning" };
            annotation(command, title, text)
        })
        .collect()
}

/// A workflow command in a line of its own. What would end the line, or the title, is written as the runner reads it back:
/// `%` with two digits.
fn annotation(command: &str, title: &str, text: &str) -> String {
    let title = escaped(title).replace(':', "%3A").replace(',', "%2C");
    format!("::{command} title={title}::{}\n", escaped(text))
}

fn escaped(text: &str) -> String {
    let lines = text.split('\n').map(|line| Printable(line).to_string());
    let lines: Vec<String> = lines.map(|line| line.replace('%', "%25")).collect();
    lines.join("%0A")
}
