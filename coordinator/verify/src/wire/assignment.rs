//! What a plan asks of one agent, as it goes over the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use reachproof_model::flow::FlowProtocol;
use reachproof_model::net::PortRange;
use reachproof_model::plan::{
    ATTEMPT_DEADLINE, ATTEMPTS, PULSE_DEADLINE, PlannedFlow, PlannedProbe, PlannedPulse, ProbeId,
    ProbeKind, SourcePorts, Stage, Until,
};
use reachproof_proto::net::{Nonce, ProofKey, address_to_wire};
use reachproof_proto::v1;

/// Writes one stage of a probe of `flow`; `nonce` is sent only where the probe asks something.
///
/// Absent for what agents do not try: any protocol but TCP, and UDP where nothing is asked.
#[must_use]
pub fn probe(
    flow: &PlannedFlow,
    probe: &PlannedProbe,
    stage: Stage,
    nonce: &Nonce,
) -> Option<v1::Probe> {
    let port = flow.flow.protocol.port()?;
    let (kind, nonce) = match (probe.kind, flow.flow.protocol) {
        (ProbeKind::Connect, FlowProtocol::Tcp { .. }) => (v1::ProbeKind::TcpConnect, Vec::new()),
        (ProbeKind::Identify, FlowProtocol::Tcp { .. }) => (v1::ProbeKind::Peer, nonce.to_vec()),
        (ProbeKind::Certify, FlowProtocol::Tcp { .. }) => (v1::ProbeKind::Tls, Vec::new()),
        (ProbeKind::Resolve, FlowProtocol::Tcp { .. }) => (v1::ProbeKind::DnsTcp, nonce.to_vec()),
        (ProbeKind::Resolve, FlowProtocol::Udp { .. }) => (v1::ProbeKind::DnsUdp, nonce.to_vec()),
        // API servers are asked for these, and for ports that nobody chooses.
        (ProbeKind::Kubelet | ProbeKind::KubeletLog, _) => return None,
        (
            ProbeKind::Connect | ProbeKind::Identify | ProbeKind::Certify | ProbeKind::Resolve,
            FlowProtocol::Udp { .. }
            | FlowProtocol::Icmp { .. }
            | FlowProtocol::IcmpV6 { .. }
            | FlowProtocol::Other(_),
        ) => return None,
    };
    let ProbeId(id) = probe.id;
    let (source_ports, source_port_ranges) = match probe.source_ports {
        SourcePorts::Spread => (
            Vec::new(),
            ranges(stage.spread().ranges(flow.flow.ephemeral_ports)),
        ),
        SourcePorts::Fixed(port) => ((0..ATTEMPTS).map(|_| u32::from(port)).collect(), Vec::new()),
        SourcePorts::Unchosen => return None,
    };
    Some(v1::Probe {
        id,
        target: address_to_wire(flow.flow.destination),
        port: u32::from(port),
        source: address_to_wire(flow.flow.source),
        kind: kind.into(),
        attempts: ATTEMPTS,
        deadline_ms: milliseconds(ATTEMPT_DEADLINE),
        interval_ms: milliseconds(stage.interval()),
        source_ports,
        nonce,
        source_port_ranges,
        first_attempt: stage.first_attempt(),
        every: makes_all(probe, stage),
        beside: false,
    })
}

/// Whether a stage goes on after an answer.
#[must_use]
pub fn makes_all(probe: &PlannedProbe, stage: Stage) -> bool {
    match (probe.source_ports, stage) {
        (SourcePorts::Fixed(_) | SourcePorts::Unchosen, _)
        | (SourcePorts::Spread, Stage::Replacement(_)) => true,
        (SourcePorts::Spread, Stage::First) => probe.until == Until::Last,
        (SourcePorts::Spread, Stage::Second) => false,
    }
}

/// Writes `attempts` calls of a pulse from the one numbered `first_attempt` on.
#[must_use]
pub fn pulse(pulse: &PlannedPulse, first_attempt: u32, attempts: u32, nonce: &Nonce) -> v1::Probe {
    let ProbeId(id) = pulse.id;
    let (kind, nonce) = match pulse.kind {
        ProbeKind::Identify => (v1::ProbeKind::Peer, nonce.to_vec()),
        ProbeKind::Certify => (v1::ProbeKind::Tls, Vec::new()),
        ProbeKind::Connect | ProbeKind::Resolve | ProbeKind::Kubelet | ProbeKind::KubeletLog => {
            (v1::ProbeKind::TcpConnect, Vec::new())
        }
    };
    v1::Probe {
        id,
        target: address_to_wire(pulse.target.ip()),
        port: u32::from(pulse.target.port()),
        source: address_to_wire(pulse.source),
        kind: kind.into(),
        attempts,
        deadline_ms: milliseconds(PULSE_DEADLINE),
        interval_ms: milliseconds(pulse.interval),
        nonce,
        first_attempt,
        every: true,
        beside: true,
        source_port_ranges: ranges(pulse.source_ports.into_iter().collect()),
        ..v1::Probe::default()
    }
}

/// Writes ranges of source ports.
fn ranges(ranges: Vec<PortRange>) -> Vec<v1::PortRange> {
    let ranges = ranges.into_iter();
    ranges
        .map(|range| v1::PortRange {
            first: range.first().into(),
            last: range.last().into(),
        })
        .collect()
}

/// Writes the ports to listen on.
pub fn listens(keys: &BTreeMap<u16, ProofKey>) -> Vec<v1::Listen> {
    keys.iter()
        .map(|(port, key)| v1::Listen {
            port: u32::from(*port),
            proof_key: key.to_vec(),
        })
        .collect()
}

/// Whole milliseconds; more than the field holds is the most that it holds.
pub fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
