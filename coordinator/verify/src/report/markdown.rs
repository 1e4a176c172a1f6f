//! The report as Markdown, for a comment on a change or a ticket: the verdict first, then what it rests on.

use std::fmt::Write as _;

use reachproof_model::claim::JudgedClaim;
use reachproof_model::expectation::ExpectationState;
use reachproof_model::finding::Finding;
use reachproof_model::net::Printable;
use reachproof_model::words::counted;

use super::claims::{LAB, counts as claim_counts, is_of_lab, told as why_claim};
use super::human::{besides, compared, expected, kinds, since, titled, told, why};
use super::{Allowed, CauseRecord, Report};

/// How much is written; of each list the rest is counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    /// Most bytes: what does not fit is left out, and that is said.
    bytes: usize,
    /// Most causes.
    causes: usize,
    /// Most expectations.
    expectations: usize,
    /// Most contradictions.
    contradictions: usize,
}

/// For a job summary: GitHub takes 1 MiB a step.
pub(super) const SUMMARY: Length = Length {
    bytes: 900 << 10,
    causes: 10,
    expectations: 2_000,
    contradictions: 50,
};

/// For a comment: GitHub takes 65,536 characters.
pub(super) const COMMENT: Length = Length {
    bytes: 60 << 10,
    causes: 3,
    expectations: 20,
    contradictions: 10,
};

/// Writes verdict, causes with their commands, expectations and contradictions, as long as `length` says. Each part is there
/// whole or is named among those that were left out.
#[must_use]
pub(super) fn render(report: &Report, allowed: Allowed, length: Length) -> String {
    let (conclusion, reasons) = why(report, allowed);
    let reasons = reasons.join(", ");
    let mut text = format!("## {}: {}\n", conclusion.as_str(), shortened(&reasons));
    let claimed = if report.claims.is_empty() {
        String::new()
    } else {
        format!("\n#{}", claims(&report.claims))
    };
    let parts: [(&str, String); 5] = [
        ("causes", causes(report, length)),
        ("expectations", expectations(report, length)),
        ("what changed", baseline(report)),
        ("contradictions", contradictions(report, length)),
        ("claims", claimed),
    ];
    let end = counts(report);
    let mut left_out = Vec::new();
    for (name, part) in parts {
        if text.len() + part.len() + end.len() + NOTE_BYTES <= length.bytes {
            text.push_str(&part);
        } else {
            left_out.push(name);
        }
    }
    if !left_out.is_empty() {
        let _ = writeln!(
            text,
            "\nLeft out for want of room: {}.",
            left_out.join(", ")
        );
    }
    text.push_str(&end);
    text
}

/// Room for what says that something was left out.
const NOTE_BYTES: usize = 200;

/// Most characters of the first line.
const FIRST_LINE_MAX: usize = 2_000;

/// The text, or its beginning.
fn shortened(text: &str) -> String {
    if text.chars().count() <= FIRST_LINE_MAX {
        return text.to_owned();
    }
    let begin: String = text.chars().take(FIRST_LINE_MAX).collect();
    format!("{begin}…")
}

// Writing to a String cannot fail: what `writeln!` returns is not looked at.

fn causes(report: &Report, length: Length) -> String {
    if report.causes.is_empty() {
        return String::new();
    }
    let mut text = "\n### Causes\n".to_owned();
    for cause in report.causes.iter().take(length.causes) {
        cause_of(cause, &mut text);
    }
    let words = ("more cause", "more causes");
    more(report.causes.len(), length.causes, words, &mut text);
    text
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

fn expectations(report: &Report, length: Length) -> String {
    if report.expectations.is_empty() {
        return String::new();
    }
    let heading = expected(report);
    let mut text = format!("\n### {heading}\n\n| expectation | state | flows |\n|---|---|---|\n");
    let mut all: Vec<_> = report.expectations.iter().collect();
    all.sort_by_key(|one| one.state != ExpectationState::Broken);
    for one in all.iter().take(length.expectations) {
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            escaped(&titled(one)),
            one.state.as_str(),
            told(one)
        );
    }
    let words = ("more expectation", "more expectations");
    more(all.len(), length.expectations, words, &mut text);
    text
}

fn baseline(report: &Report) -> String {
    let Some(baseline) = &report.baseline else {
        return String::new();
    };
    let mut text = format!("\n### Since {}\n\n", escaped(&baseline.run));
    for line in since(baseline) {
        let _ = writeln!(text, "* {}", escaped(&line));
    }
    text
}

fn contradictions(report: &Report, length: Length) -> String {
    let found: Vec<&Finding> = report.contradictions().collect();
    if found.is_empty() {
        return String::new();
    }
    let mut text = "\n### Contradictions\n\n".to_owned();
    for finding in found.iter().take(length.contradictions) {
        let _ = writeln!(text, "* {}", escaped(&compared(report, finding)));
    }
    let words = ("more contradiction", "more contradictions");
    more(found.len(), length.contradictions, words, &mut text);
    text
}

fn more(all: usize, most: usize, (one, several): (&str, &str), text: &mut String) {
    if all > most {
        let _ = writeln!(text, "\nand {}", counted(all - most, one, several));
    }
}

fn counts(report: &Report) -> String {
    format!(
        "\n{}: {}. Run {}, {}, scope {}.\n",
        counted(report.findings.len(), "flow", "flows"),
        escaped(&kinds(report)),
        escaped(&report.run.id),
        counted(report.agents.present.len(), "agent", "agents"),
        report.run.scope
    )
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
