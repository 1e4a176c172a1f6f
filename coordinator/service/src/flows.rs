//! What a report says of each kind of flow: of all flows between two classes of endpoints.

use std::collections::BTreeMap;

use reachproof_model::finding::{Finding, FindingKind};
use reachproof_verify::Report;

/// What is said of each kind of flow, by its key.
pub type Flows = BTreeMap<String, FlowState>;

/// What a run says of a kind of flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowState {
    /// Class of the source; raw text.
    pub source: String,
    /// Class of the destination; raw text.
    pub destination: String,
    /// Protocol and port.
    pub packets: String,
    /// The finding: of several the one that needs attention first.
    pub kind: FindingKind,
}

/// What `report` says of each kind of flow.
///
/// Keys are made of ids, subnets and ports, not of addresses: a node that took the place of another is the same kind of
/// endpoint. One that the report has no key for is its address.
#[must_use]
pub fn flows_of(report: &Report) -> Flows {
    let mut flows = Flows::new();
    for finding in &report.findings {
        let (key, state) = flow_of(report, finding);
        flows
            .entry(key)
            .and_modify(|known| known.kind = worse(known.kind, state.kind))
            .or_insert(state);
    }
    flows
}

fn flow_of(report: &Report, finding: &Finding) -> (String, FlowState) {
    let flow = &finding.flow;
    let ends = [flow.source, flow.destination].map(|address| {
        let label = report.endpoints.get(&address);
        label.map_or_else(
            || (address.to_string(), address.to_string()),
            |label| (label.key.clone(), label.class.clone()),
        )
    });
    let [(source_key, source), (destination_key, destination)] = ends;
    let packets = flow.protocol.to_string();
    let key = format!(
        "{source_key} -> {destination_key} {packets} {}",
        flow.source_kind.as_str()
    );
    let state = FlowState {
        source,
        destination,
        packets,
        kind: finding.kind,
    };
    (key, state)
}

/// Of two findings the one that needs attention first; one that decides nothing counts less than one that does.
fn worse(one: FindingKind, other: FindingKind) -> FindingKind {
    let rank = |kind: FindingKind| (!kind.is_contradiction(), !kind.is_decided(), kind);
    if rank(other) < rank(one) { other } else { one }
}
