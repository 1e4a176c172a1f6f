//! The report as Markdown, for a comment on a change or a ticket: the verdict first, then what it rests on.

use std::fmt::Write as _;

use reachproof_model::claim::JudgedClaim;
use reachproof_model::finding::Finding;
use reachproof_model::net::Printable;
use reachproof_model::words::counted;

use super::claims::{LAB, counts as claim_counts, is_of_lab, told as why_claim};
use super::human::{besides, compared, expected, kinds, since, titled, told, why};
use super::{Allowed, CauseRecord, Report};

/// Most causes that are written; the rest is counted.
const CAUSES_MAX: usize = 10;

/// Most contradictions that are written; the rest is counted.
const CONTRADICTIONS_MAX: usize = 50;

/// Writes verdict, causes with their commands, expectations and contradictions.
#[must_use]
pub(super) fn render(report: &Report, allowed: Allowed) -> String {
    let (conclusion, reasons) = why(report, allowed);
    let mut text = format!("## {}: {}\n", conclusion.as_str(), reasons.join(", "));
    causes(report, &mut text);
    expectations(report, &mut text);
    baseline(report, &mut text);
    contradictions(report, &mut text);
    if !report.claims.is_empty() {
        let _ = write!(text, "\n#{}", claims(&report.claims));
    }
    counts(report, &mut text);
    text
}

// Writing to a String cannot fail: what `writeln!` returns is not looked at.

fn causes(report: &Report, text: &mut String) {
    if report.causes.is_empty() {
        return;
    }
    text.push_str("\n### Causes\n");
    for cause in report.causes.iter().take(CAUSES_MAX) {
        cause_of(cause, text);
    }
    more(
        report.causes.len(),
        CAUSES_MAX,
        ("more cause", "more causes"),
        text,
    );
}

fn cause_of(cause: &CauseRecord, text: &mut String) {
    let why = cause.why.join("; ");
    let _ = writeln!(
        text,
        "\n**{}**: {} ({} of {} seen on the wire)",
        escaped(&cause.title),
        escaped(&why),
        cause.confirmed,
        cause.findings.len()
    );
    if let Some(none) = &cause.no_repair {
        let _ = writeln!(text, "\n{}", escaped(none));
    }
    if !cause.aws_cli.is_empty() {
        let commands: Vec<String> = cause
            .aws_cli
            .iter()
            .map(|one| Printable(one).to_string())
            .collect();
        let _ = writeln!(text, "\n```sh\n{}\n```", commands.join("\n"));
        let _ = writeln!(text, "\n{}", besides(cause));
    }
}

fn expectations(report: &Report, text: &mut String) {
    if report.expectations.is_empty() {
        return;
    }
    let heading = expected(report);
    let _ = write!(
        text,
        "\n### {heading}\n\n| expectation | state | flows |\n|---|---|---|\n"
    );
    for one in &report.expectations {
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            escaped(&titled(one)),
            one.state.as_str(),
            told(one)
        );
    }
}

fn baseline(report: &Report, text: &mut String) {
    let Some(baseline) = &report.baseline else {
        return;
    };
    let _ = writeln!(text, "\n### Since {}\n", escaped(&baseline.run));
    for line in since(baseline) {
        let _ = writeln!(text, "* {}", escaped(&line));
    }
}

fn contradictions(report: &Report, text: &mut String) {
    let found: Vec<&Finding> = report.contradictions().collect();
    if found.is_empty() {
        return;
    }
    text.push_str("\n### Contradictions\n\n");
    for finding in found.iter().take(CONTRADICTIONS_MAX) {
        let _ = writeln!(text, "* {}", escaped(&compared(report, finding)));
    }
    more(
        found.len(),
        CONTRADICTIONS_MAX,
        ("more contradiction", "more contradictions"),
        text,
    );
}

fn more(all: usize, most: usize, (one, several): (&str, &str), text: &mut String) {
    if all > most {
        let _ = writeln!(text, "\nand {}", counted(all - most, one, several));
    }
}

fn counts(report: &Report, text: &mut String) {
    let _ = writeln!(
        text,
        "\n{}: {}. Run {}, {}, scope {}.",
        counted(report.findings.len(), "flow", "flows"),
        escaped(&kinds(report)),
        escaped(&report.run.id),
        counted(report.agents.present.len(), "agent", "agents"),
        report.run.scope
    );
}

/// A table in Markdown, with the counts above it.
#[must_use]
pub fn claims(claims: &[JudgedClaim]) -> String {
    let mut text = format!("## Claims: {}\n", claim_counts(claims));
    if is_of_lab(claims) {
        let _ = writeln!(text, "\n{LAB}");
    }
    text.push_str("\n| id | verdict | claim | why |\n|---|---|---|---|\n");
    for claim in claims {
        let why = why_claim(claim).join("; ");
        let _ = writeln!(
            text,
            "| {} | {} | {} ({}, {}) | {} |",
            escaped(&claim.id),
            claim.verdict,
            escaped(&claim.says),
            escaped(&claim.source),
            escaped(&claim.date),
            escaped(&why)
        );
    }
    text
}

/// Text of the snapshot that is shown and never obeyed.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for one in Printable(text).to_string().chars() {
        if "\\`*_[]<>|~&#!".contains(one) {
            safe.push('\\');
        }
        safe.push(one);
    }
    safe
}
