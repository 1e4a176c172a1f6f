//! Claims: what the last run says of each sentence of the catalogue.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use reachproof_model::claim::{ClaimVerdict, JudgedClaim};
use reachproof_model::net::Printable;

use super::{cluster, shown, stored};
use crate::store::RunState;
use crate::web::{Refusal, View};

/// Pieces of evidence of one claim; the report has all.
const EVIDENCE_SHOWN: usize = 20;

/// A claim, as the page shows it.
struct ClaimLine {
    id: String,
    says: String,
    verdict: &'static str,
    class: String,
    reason: String,
    incomplete: String,
    evidence: Vec<String>,
    source: String,
    /// It is what a reader looks for first.
    is_open: bool,
}

#[derive(Template)]
#[template(path = "claims.html")]
struct ClaimsPage {
    cluster: String,
    summary: String,
    claims: Vec<ClaimLine>,
}

pub(super) async fn claims(State(view): State<View>) -> Result<Response, Refusal> {
    let runs = view.store.runs(super::RUNS_SHOWN).await?;
    let last = runs.iter().find(|run| run.state == RunState::Done);
    let judged = match last {
        Some(run) => stored(&view, &run.id).await?.claims,
        None => Vec::new(),
    };
    shown(&ClaimsPage {
        cluster: cluster(&view),
        summary: summary(&judged),
        claims: judged.iter().map(line).collect(),
    })
}

/// How many claims have each verdict.
fn summary(judged: &[JudgedClaim]) -> String {
    if judged.is_empty() {
        return "no run has judged any: `claims: true` in the settings".to_owned();
    }
    let counts = ClaimVerdict::ALL.map(|verdict| {
        let count = judged.iter().filter(|claim| claim.verdict == verdict);
        format!("{} {verdict}", count.count())
    });
    counts.join(", ")
}

fn line(claim: &JudgedClaim) -> ClaimLine {
    let printed = |text: &str| Printable(text).to_string();
    let evidence = claim.evidence.iter().take(EVIDENCE_SHOWN);
    ClaimLine {
        id: printed(&claim.id),
        says: printed(&claim.says),
        verdict: claim.verdict.as_str(),
        class: claim.verdict.as_str().replace(' ', "-"),
        reason: printed(&claim.reason),
        incomplete: claim.incomplete.as_deref().map(printed).unwrap_or_default(),
        evidence: evidence
            .map(|one| format!("{}: {}", one.kind.as_str(), Printable(&one.text)))
            .collect(),
        source: printed(&format!("{}, {}", claim.source, claim.date)),
        is_open: claim.verdict == ClaimVerdict::Fails,
    }
}
