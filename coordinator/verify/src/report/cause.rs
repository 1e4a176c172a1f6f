//! What breaks the flows that the cluster needs: each cause once, with what would mend it.

use std::collections::{BTreeMap, BTreeSet};

use reachproof_model::diagnosis::{Diagnosed, diagnose};
use reachproof_model::expectation::judge::is_broken;
use reachproof_model::expectation::{Expectation, Requirements, Wanted};
use reachproof_model::finding::Finding;
use reachproof_model::flow::Flow;
use reachproof_model::prediction::{Gate, Verdict};
use reachproof_model::snapshot::Snapshot;
use serde::{Deserialize, Serialize};

/// Most causes that a report keeps; whoever has more mends the first ones.
pub const CAUSES_MAX: usize = 100;

/// What several required flows share that stops them, as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseRecord {
    /// Who cannot reach whom; raw text.
    pub title: String,
    /// Why, gate by gate; raw text.
    pub why: Vec<String>,
    /// The gates, in the order of the walk.
    pub gates: Vec<Gate>,
    /// The findings of its flows, by their place in the report.
    pub findings: Vec<usize>,
    /// How many of them the network was seen to agree with, confirmed deny for deny.
    pub confirmed: usize,
    /// What would open them: commands of the AWS CLI; empty where there is none.
    pub aws_cli: Vec<String>,
    /// The same as Terraform.
    pub terraform: Vec<String>,
    /// Pairs of classes that these changes open besides, as far as it was compared.
    pub opens_besides: usize,
    /// Whether a bound left some of them out.
    pub is_bounded: bool,
    /// Why some of the flows are not known to pass even with the changes; absent where all pass.
    pub not_known: Option<String>,
    /// Why nothing of its own is proposed; absent where something is.
    pub no_repair: Option<String>,
}

/// Finds the causes of the required flows that the model denies.
pub(super) fn found(
    snapshot: &Snapshot,
    requirements: &Requirements,
    expectations: &[Expectation],
    findings: &[Finding],
) -> Vec<CauseRecord> {
    let places: BTreeSet<usize> = expectations
        .iter()
        .filter(|expectation| expectation.wanted == Wanted::Open)
        .flat_map(|expectation| expectation.findings.iter().copied())
        .collect();
    let broken: BTreeMap<&Flow, usize> = places
        .into_iter()
        .filter_map(|place| {
            let finding = findings.get(place)?;
            let denied = matches!(
                finding.prediction.verdict,
                Verdict::Deny(_) | Verdict::Partial { .. }
            );
            (denied && is_broken(finding)).then_some((&finding.flow, place))
        })
        .collect();
    if broken.is_empty() {
        return Vec::new();
    }
    let flows: Vec<Flow> = broken.keys().map(|flow| (*flow).clone()).collect();
    let wanted: Vec<Flow> = requirements
        .requirements
        .iter()
        .filter(|requirement| requirement.wanted == Wanted::Open)
        .flat_map(|requirement| requirement.flows.iter().cloned())
        .collect();
    let diagnosis = diagnose(snapshot, &flows, &wanted);
    diagnosis
        .causes
        .iter()
        .take(CAUSES_MAX)
        .map(|found| record(snapshot, found, &broken, findings))
        .collect()
}

fn record(
    snapshot: &Snapshot,
    found: &Diagnosed,
    broken: &BTreeMap<&Flow, usize>,
    findings: &[Finding],
) -> CauseRecord {
    let cause = &found.cause;
    let own: Vec<usize> = cause
        .flows
        .iter()
        .filter_map(|flow| broken.get(flow).copied())
        .collect();
    let confirmed = own
        .iter()
        .filter_map(|place| findings.get(*place))
        .filter(|finding| finding.kind.is_confirmed())
        .count();
    let repair = found.remedy.repair();
    let changes = repair.map_or(&[][..], |repair| &repair.changes);
    CauseRecord {
        title: cause.title(),
        why: cause.why(snapshot),
        gates: cause.gates(),
        findings: own,
        confirmed,
        aws_cli: changes.iter().map(|change| change.aws_cli()).collect(),
        terraform: changes.iter().map(|change| change.terraform()).collect(),
        opens_besides: repair.map_or(0, |repair| repair.besides.len()),
        is_bounded: repair.is_some_and(|repair| repair.is_bounded),
        not_known: repair.and_then(|repair| repair.not_known.map(str::to_owned)),
        no_repair: found.remedy.why_none(),
    }
}
