//! Claims about security groups of EKS, judged by a report, and how they are written.
//!
//! Text of the snapshot and of users' files is shown and never obeyed.

use std::fmt::Write as _;

use askama::Template;
use reachproof_model::claim::judge::judge;
use reachproof_model::claim::{Claim, ClaimVerdict, EvidenceKind, JudgedClaim, World};
use reachproof_model::net::Printable;
use serde::{Deserialize, Serialize};

use super::Report;

/// What the JSON form says that it is.
pub const CLAIMS_SCHEMA: &str = "reachproof.claims/v1";

/// Claims with what became of them, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimsDocument {
    /// [`CLAIMS_SCHEMA`].
    pub schema: String,
    /// The claims, in the order of the catalogue.
    pub claims: Vec<JudgedClaim>,
}

impl ClaimsDocument {
    /// Wraps judged claims.
    #[must_use]
    pub fn new(claims: Vec<JudgedClaim>) -> Self {
        Self {
            schema: CLAIMS_SCHEMA.to_owned(),
            claims,
        }
    }
}

impl Report {
    /// Judges `claims` by the findings and the world of the report. Without the world nothing is judged, and `false` is
    /// returned.
    pub fn judge(&mut self, claims: &[Claim]) -> bool {
        if claims.is_empty() {
            return true;
        }
        let Some((described, snapshot)) = self.described_world() else {
            return false;
        };
        let world = World {
            snapshot: &snapshot,
            described: &described,
            findings: &self.findings,
            wire: self.run.wire,
        };
        self.claims = judge(claims, &world);
        true
    }
}

/// What is said where evidence comes from a lab.
pub(super) const LAB: &str =
    "seen in a lab, which does what its authors believe: this is no evidence about AWS";

/// Width of ids and of verdicts.
const ID: usize = 6;
const VERDICT: usize = 14;

// Writing to a String cannot fail: what `writeln!` returns is not looked at.

/// A line for each claim with its verdict, what it rests on below, and the counts at the end.
#[must_use]
pub fn table(claims: &[JudgedClaim]) -> String {
    let mut text = String::new();
    for claim in claims {
        let (id, says) = (Printable(&claim.id).to_string(), Printable(&claim.says));
        let _ = writeln!(text, "{id:<ID$} {:<VERDICT$} {says}", claim.verdict);
        for line in told(claim) {
            let _ = writeln!(text, "{:ID$} {:VERDICT$} {}", "", "", Printable(&line));
        }
    }
    let _ = writeln!(text, "\n{}", counts(claims));
    if is_of_lab(claims) {
        let _ = writeln!(text, "{LAB}");
    }
    text
}

/// Each claim in full: the sentence, what was looked at, what was found, the source.
#[must_use]
pub fn full(claims: &[JudgedClaim]) -> String {
    let mut text = String::new();
    for claim in claims {
        let show = |text: &str| Printable(text).to_string();
        let _ = writeln!(text, "{}: {}", show(&claim.id), show(&claim.says));
        let _ = writeln!(
            text,
            "  source:  {}, {}",
            show(&claim.source),
            show(&claim.date)
        );
        let _ = writeln!(text, "  verdict: {}", claim.verdict);
        for line in told(claim) {
            let _ = writeln!(text, "    {}", show(&line));
        }
        if !claim.evidence.is_empty() {
            text.push_str("  evidence:\n");
        }
        for evidence in &claim.evidence {
            let _ = writeln!(
                text,
                "    {}: {}",
                evidence.kind.as_str(),
                show(&evidence.text)
            );
        }
        text.push('\n');
    }
    if is_of_lab(claims) {
        let _ = writeln!(text, "{LAB}");
    }
    text
}

/// Why, and what is left out.
pub(super) fn told(claim: &JudgedClaim) -> Vec<String> {
    let why = (!claim.reason.is_empty()).then(|| claim.reason.clone());
    let incomplete = claim.incomplete.as_ref();
    let incomplete = incomplete.map(|text| format!("incomplete: {text}"));
    let assumption = claim
        .assumption
        .as_ref()
        .map(|text| format!("assumed: {text}"));
    why.into_iter()
        .chain(incomplete)
        .chain(assumption)
        .collect()
}

/// How many claims have each verdict.
#[must_use]
pub fn counts(claims: &[JudgedClaim]) -> String {
    let of = |verdict| {
        claims
            .iter()
            .filter(|claim| claim.verdict == verdict)
            .count()
    };
    let incomplete = claims
        .iter()
        .filter(|claim| claim.incomplete.is_some())
        .count();
    let parts = ClaimVerdict::ALL.map(|verdict| {
        let count = of(verdict);
        match verdict {
            ClaimVerdict::Holds if count == 1 => format!("1 holds ({incomplete} incomplete)"),
            ClaimVerdict::Holds => format!("{count} hold ({incomplete} incomplete)"),
            ClaimVerdict::Fails if count == 1 => "1 fails".to_owned(),
            ClaimVerdict::Fails => format!("{count} fail"),
            ClaimVerdict::NotApplicable | ClaimVerdict::Untested => format!("{count} {verdict}"),
        }
    });
    parts.join(", ")
}

pub(super) fn is_of_lab(claims: &[JudgedClaim]) -> bool {
    let mut all = claims.iter().flat_map(|claim| &claim.evidence);
    all.any(|evidence| evidence.kind == EvidenceKind::Lab)
}

#[derive(Template)]
#[template(path = "claims.html")]
struct Page {
    counts: String,
    lab: Option<&'static str>,
    claims: Vec<Row>,
}

/// A claim as pages show it, safe to print.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) verdict: &'static str,
    pub(super) says: String,
    pub(super) source: String,
    pub(super) why: Vec<String>,
    pub(super) evidence: Vec<String>,
}

/// One HTML file that asks nobody for anything and runs no script.
///
/// # Errors
/// When the template cannot be filled.
pub fn html(claims: &[JudgedClaim]) -> Result<String, askama::Error> {
    let page = Page {
        counts: counts(claims),
        lab: is_of_lab(claims).then_some(LAB),
        claims: rows(claims),
    };
    page.render()
}

/// The claims, one row each.
pub(super) fn rows(claims: &[JudgedClaim]) -> Vec<Row> {
    let show = |text: &str| Printable(text).to_string();
    let rows = claims.iter().map(|claim| Row {
        id: show(&claim.id),
        verdict: claim.verdict.as_str(),
        says: show(&claim.says),
        source: format!("{}, {}", show(&claim.source), show(&claim.date)),
        why: told(claim).iter().map(|line| show(line)).collect(),
        evidence: claim
            .evidence
            .iter()
            .map(|one| format!("{}: {}", one.kind.as_str(), show(&one.text)))
            .collect(),
    });
    rows.collect()
}
