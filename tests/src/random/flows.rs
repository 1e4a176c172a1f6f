//! Questions about a random world.

use std::net::IpAddr;

use reachproof_lab::{Endpoint, EndpointKind};

use super::Draw;
use super::groups::PORTS;

/// A connection to ask model and kernel about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RandomFlow {
    /// Name of the endpoint that sends.
    pub source: String,
    /// Address that it sends from.
    pub source_address: IpAddr,
    /// Whether that is a pod's network namespace on an EC2 node, so that CNI source NAT applies.
    pub from_pod: bool,
    /// Name of the endpoint that is asked.
    pub destination: String,
    /// Address that is asked.
    pub destination_address: IpAddr,
    /// What is sent.
    pub traffic: RandomTraffic,
}

/// What a flow sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RandomTraffic {
    /// TCP to this port.
    Tcp(u16),
    /// UDP to this port.
    Udp(u16),
    /// An echo request of the addresses' family.
    Echo,
}

/// Draws `count` flows between different endpoints, none twice.
pub(super) fn draw_flows(endpoints: &[Endpoint], count: usize, draw: &mut Draw) -> Vec<RandomFlow> {
    let mut flows: Vec<RandomFlow> = Vec::new();
    // A small world has far more flows than are asked for; the bound keeps a mistake from looping for ever.
    for _ in 0..count.saturating_mul(50) {
        if flows.len() == count {
            break;
        }
        if let Some(flow) = draw_flow(endpoints, draw)
            && !flows.contains(&flow)
        {
            flows.push(flow);
        }
    }
    flows
}

/// One flow; `None` where the draw does not make one: same endpoint, no common family, a sender that does not connect.
fn draw_flow(endpoints: &[Endpoint], draw: &mut Draw) -> Option<RandomFlow> {
    let source = draw.pick(endpoints)?;
    let destination = draw.pick(endpoints)?;
    if source.name == destination.name {
        return None;
    }
    let source_address = *draw.pick(&source.addresses)?;
    let destination_address = *draw.pick(&destination.addresses)?;
    if source_address.is_ipv4() != destination_address.is_ipv4() {
        return None;
    }
    let port = draw
        .pick(&PORTS)
        .copied()?
        .saturating_add(u16::from(draw.chance(20)));
    let traffic = match draw.number(0..10) {
        0..7 => RandomTraffic::Tcp(port),
        7 | 8 => RandomTraffic::Udp(port),
        _ => RandomTraffic::Echo,
    };
    Some(RandomFlow {
        source: source.name.clone(),
        source_address,
        from_pod: source.kind == EndpointKind::Pod,
        destination: destination.name.clone(),
        destination_address,
        traffic,
    })
}
