//! The ports that one end reaches at another agree with the predictions of single flows.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test reads a file and fails by panicking"
)]

use common::{D, NODE_A, NODE_B, World};
use reachproof_model::flow::{Flow, Transport};
use reachproof_model::predict::verdict;
use reachproof_model::reach::reach;
use serde_json::json;

#[allow(dead_code, reason = "shared with other tests")]
mod common;

#[test]
fn every_port_is_in_one_range_and_has_the_verdict_of_its_own_flow() {
    let permissions = json!([
        {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]},
        {"IpProtocol": "tcp", "FromPort": 8000, "ToPort": 8010, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]},
        {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]},
    ]);
    let snapshot = World::base().ingress(D, permissions).decoded().snapshot;
    let flow = Flow::tcp(NODE_A.parse().unwrap(), NODE_B.parse().unwrap(), 0);
    for (transport, admitted) in [
        (Transport::Tcp, vec!["443", "8000-8010"]),
        (Transport::Udp, vec!["53"]),
    ] {
        let found = reach(&snapshot, &flow, transport);
        let open = found.iter().filter(|it| it.verdict.as_str() == "allow");
        let open: Vec<String> = open.map(|it| it.ports.to_string()).collect();
        assert_eq!(open, admitted);
        let mut next = Some(0);
        for part in &found {
            assert_eq!(Some(part.ports.first()), next);
            next = part.ports.last().checked_add(1);
            for port in [part.ports.first(), part.ports.last()] {
                let flow = Flow {
                    protocol: transport.to_port(port),
                    ..flow.clone()
                };
                assert_eq!(verdict(&snapshot, &flow), part.verdict);
            }
        }
        assert_eq!(next, None);
    }
}
