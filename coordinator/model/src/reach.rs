//! The ports that one end reaches at another, by protocol.

use crate::flow::{Flow, Transport};
use crate::matrix::port_intervals;
use crate::net::PortRange;
use crate::predict::verdict;
use crate::prediction::Verdict;
use crate::snapshot::Snapshot;

/// Ports of one protocol at which one verdict holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The ports, both ends inclusive.
    pub ports: PortRange,
    /// What the model says of a flow to each of them.
    pub verdict: Verdict,
}

/// Returns what the model says of every port of a protocol, between the ends of a flow whose own protocol does not
/// matter: lowest ports first, neighbours with one verdict in one range.
///
/// Asks about one port of each interval that no rule and no entry tells apart.
#[must_use]
pub fn reach(snapshot: &Snapshot, flow: &Flow, transport: Transport) -> Vec<Reach> {
    let mut found: Vec<Reach> = Vec::new();
    for ports in port_intervals([snapshot], transport) {
        let flow = Flow {
            protocol: transport.to_port(ports.first()),
            ..flow.clone()
        };
        let verdict = verdict(snapshot, &flow);
        match found.last_mut() {
            Some(last) if last.verdict == verdict => {
                last.ports = PortRange::between(last.ports.first(), ports.last());
            }
            Some(_) | None => found.push(Reach { ports, verdict }),
        }
    }
    found
}
