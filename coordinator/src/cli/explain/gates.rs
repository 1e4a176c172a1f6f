//! One flow gate by gate: the answer, the way, and what each gate says.

use reachproof_model::net::Printable;
use reachproof_model::prediction::{Gate, Place, Prediction, Step, StepOutcome};
use reachproof_model::snapshot::Snapshot;

use crate::cli::table;

/// The answer, the way as a chain, and every gate with what decided there.
pub(super) fn explanation(snapshot: &Snapshot, prediction: &Prediction) -> String {
    let mut text = format!(
        "{}: {}\n",
        prediction.flow,
        prediction.verdict.as_str().to_uppercase()
    );
    let decision = table::decision(snapshot, &prediction.verdict);
    if !decision.is_empty() {
        text.push_str(&indented(&decision));
    }
    let ways = ways(snapshot, prediction);
    if !ways.is_empty() {
        text.push('\n');
        text.push_str(&ways);
    }
    text.push('\n');
    let rows = prediction.steps.iter().map(|step| {
        [
            step.gate.to_string(),
            step.outcome.as_str().to_owned(),
            Printable(&step.detail).to_string(),
        ]
    });
    let steps = table::aligned(["gate", "says", "because"], rows);
    text.push_str(&steps);
    text.push('\n');
    text
}

fn indented(line: &str) -> String {
    format!("  {line}\n")
}

/// The way there as `eni -> sg -> subnet -> nacl -> …` and the way back, a line each; where it ends, `X` follows.
fn ways(snapshot: &Snapshot, prediction: &Prediction) -> String {
    let mut there: Vec<String> = Vec::new();
    let mut back: Vec<String> = Vec::new();
    for step in &prediction.steps {
        let way = match step.gate {
            Gate::NaclReturnOut | Gate::NaclReturnIn | Gate::ReturnRoute => &mut back,
            Gate::Endpoints
            | Gate::SourceDestCheck
            | Gate::SgEgress
            | Gate::Route
            | Gate::NaclOut
            | Gate::NaclIn
            | Gate::SgIngress
            | Gate::NetworkPolicy => &mut there,
        };
        way.extend(links(snapshot, step));
    }
    let mut text = String::new();
    for (name, way) in [("there", there), ("back", back)] {
        if !way.is_empty() {
            text.push_str(&indented(&format!("{name}: {}", way.join(" -> "))));
        }
    }
    text
}

/// What one gate adds to its way.
fn links(snapshot: &Snapshot, step: &Step) -> Vec<String> {
    let mut links = match &step.place {
        Place::Flow => Vec::new(),
        Place::NetworkInterface { interface, groups } => {
            let carried: Vec<_> = groups
                .iter()
                .map(|group| table::group(snapshot, group))
                .collect();
            let groups = (!carried.is_empty()).then(|| carried.join(" + "));
            let interface = table::interface(snapshot, interface);
            ends(step, interface, groups)
        }
        Place::NetworkAcl { subnet, acl } => {
            let list = acl.as_ref().map_or("no ACL", |acl| acl.as_str());
            let list = Printable(list).to_string();
            let is_entry = step.gate == Gate::NaclIn && step.outcome != StepOutcome::Drop;
            let subnet = is_entry.then(|| table::subnet(snapshot, subnet));
            [Some(list), subnet].into_iter().flatten().collect()
        }
        Place::RouteTable { subnet, table } => {
            let is_exit = step.gate == Gate::Route;
            let subnet = is_exit.then(|| table::subnet(snapshot, subnet));
            let table = table
                .as_ref()
                .map(|table| Printable(table.as_str()).to_string());
            [subnet, table].into_iter().flatten().collect()
        }
    };
    if step.outcome == StepOutcome::Drop {
        links.push("X".to_owned());
    }
    links
}

/// Interface and groups in the order in which a packet meets them; one that is dropped never meets the interface.
fn ends(step: &Step, interface: String, groups: Option<String>) -> Vec<String> {
    let met = match (step.gate, &step.outcome) {
        (Gate::SgIngress, StepOutcome::Drop) => [groups.or(Some(interface)), None],
        (Gate::SgIngress, _) => [groups, Some(interface)],
        (_, _) => [Some(interface), groups],
    };
    met.into_iter().flatten().collect()
}
