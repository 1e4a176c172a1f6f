//! Several flows at once: one for each pair of classes, then the gates of one and the causes of all.

use reachproof_model::diagnosis::{Conclusion, Diagnosis, diagnose};
use reachproof_model::flow::Flow;
use reachproof_model::predict::predict;
use reachproof_model::prediction::{Prediction, Verdict};
use reachproof_model::selector::EndPair;

use super::Asked;
use super::gates::explanation;
use crate::cli::{diagnosis, table};

/// The answers to several flows; the last lines are the verdict.
pub(super) fn text(asked: &Asked<'_>, flows: &[(&EndPair, Flow)]) -> String {
    let snapshot = asked.snapshot;
    let predictions: Vec<Prediction> = flows
        .iter()
        .map(|(_, flow)| predict(snapshot, flow))
        .collect();
    asked.tell_gaps(&predictions);
    let own: Vec<Flow> = flows.iter().map(|(_, flow)| flow.clone()).collect();
    let diagnosis = diagnose(snapshot, &own, &own);
    let mut text = format!(
        "{}: each line stands for ends that the model cannot tell apart\n\n",
        asked.title()
    );
    text.push_str(&overview(asked, flows, &predictions));
    text.push_str(&asked.left_out());
    if let Some(example) = predictions.iter().find(|it| is_stopped(&it.verdict)) {
        text.push('\n');
        text.push_str(&explanation(snapshot, example));
    }
    text.push_str(&diagnosis::details(snapshot, &diagnosis, &|_| Vec::new()));
    text.push_str(&closing(asked, &diagnosis));
    text
}

fn is_stopped(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Deny(_) | Verdict::Partial { .. } => true,
        Verdict::Allow { .. } | Verdict::Bypass(_) | Verdict::Exempt(_) | Verdict::Unknown(_) => {
            false
        }
    }
}

/// A line for each flow.
fn overview(asked: &Asked<'_>, flows: &[(&EndPair, Flow)], predictions: &[Prediction]) -> String {
    let snapshot = asked.snapshot;
    let rows = flows.iter().zip(predictions).map(|((pair, flow), it)| {
        [
            asked.end(pair.source, pair.sources),
            asked.end(pair.destination, pair.destinations),
            flow.protocol.to_string(),
            it.verdict.as_str().to_owned(),
            table::decision(snapshot, &it.verdict),
        ]
    });
    let header = ["source", "destination", "packets", "verdict", "because"];
    format!("{}\n", table::aligned(header, rows))
}

/// The last lines.
fn closing(asked: &Asked<'_>, diagnosis: &Diagnosis) -> String {
    let now = diagnosis.now;
    let conclusion = now.conclusion();
    let all = diagnosis::flows(now.total(), "");
    let summary = match conclusion {
        Conclusion::Pass => format!("{}: the model lets {all} pass", asked.title()),
        Conclusion::Fail => format!("{}: {}", asked.title(), diagnosis::broken(diagnosis, "")),
        Conclusion::Unsure => format!(
            "{}: of {} of {all} nobody can tell",
            asked.title(),
            now.unknown
        ),
    };
    diagnosis::closing(asked.snapshot, diagnosis, (conclusion, 0), &summary)
}
