//! What a plan asks of one agent, as it goes over the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use reachproof_model::flow::FlowProtocol;
use reachproof_model::plan::{
    ATTEMPT_DEADLINE, ATTEMPT_INTERVAL, ATTEMPTS, PlannedFlow, PlannedProbe, ProbeId, ProbeKind,
    SourcePorts,
};
use reachproof_proto::net::{Nonce, ProofKey, address_to_wire};
use reachproof_proto::v1;

/// Writes one probe of `flow`; `nonce` is sent only where the probe asks something.
///
/// Absent for what agents do not try: any protocol but TCP, and UDP where nothing is asked.
pub fn probe(flow: &PlannedFlow, probe: &PlannedProbe, nonce: &Nonce) -> Option<v1::Probe> {
    let port = flow.flow.protocol.port()?;
    let (kind, nonce) = match (probe.kind, flow.flow.protocol) {
        (ProbeKind::Connect, FlowProtocol::Tcp { .. }) => (v1::ProbeKind::TcpConnect, Vec::new()),
        (ProbeKind::Identify, FlowProtocol::Tcp { .. }) => (v1::ProbeKind::Peer, nonce.to_vec()),
        (ProbeKind::Resolve, FlowProtocol::Tcp { .. }) => (v1::ProbeKind::DnsTcp, nonce.to_vec()),
        (ProbeKind::Certify, FlowProtocol::Tcp { .. }) => (v1::ProbeKind::Tls, Vec::new()),
        (ProbeKind::Resolve, FlowProtocol::Udp { .. }) => (v1::ProbeKind::DnsUdp, nonce.to_vec()),
        (
            ProbeKind::Connect | ProbeKind::Identify | ProbeKind::Resolve | ProbeKind::Certify,
            FlowProtocol::Udp { .. }
            | FlowProtocol::Icmp { .. }
            | FlowProtocol::IcmpV6 { .. }
            | FlowProtocol::Other(_),
        ) => return None,
    };
    let ProbeId(id) = probe.id;
    Some(v1::Probe {
        id,
        target: address_to_wire(flow.flow.destination),
        port: u32::from(port),
        source: address_to_wire(flow.flow.source),
        kind: kind.into(),
        attempts: ATTEMPTS,
        deadline_ms: milliseconds(ATTEMPT_DEADLINE),
        interval_ms: milliseconds(ATTEMPT_INTERVAL),
        source_ports: source_ports(probe.source_ports),
        nonce,
        ..v1::Probe::default()
    })
}

/// Writes the source ports: one for each attempt, or none for random ones.
fn source_ports(ports: SourcePorts) -> Vec<u32> {
    match ports {
        SourcePorts::Spread => Vec::new(),
        SourcePorts::Fixed(port) => (0..ATTEMPTS).map(|_| u32::from(port)).collect(),
    }
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
