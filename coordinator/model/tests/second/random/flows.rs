//! Flows to ask about.

use serde_json::{Value, json};

use super::{Dice, World};

const ELSEWHERE: [&str; 12] = [
    "10.0.1.200",
    "10.0.2.201",
    "10.1.1.200",
    "10.9.0.5",
    "203.0.113.9",
    "52.216.1.1",
    "169.254.168.5",
    "192.0.2.7",
    "10.2.1.99",
    "172.20.0.10",
    "2600:1f14:abc:1::dead",
    "2001:db8::1",
];

const EXEMPT: [&str; 5] = [
    "169.254.169.254",
    "10.0.0.2",
    "169.254.169.123",
    "fd00:ec2::253",
    "10.1.0.2",
];

/// A flow that makes sense in a world, as JSON.
pub fn flow(dice: &mut Dice, world: &World) -> Value {
    let (source, destination) = ends(dice, world);
    let v4 = !source.contains(':');
    let mut flow = json!({
        "source": source, "destination": destination,
        "source_kind": if dice.chance(30) { "pod" } else { "host" },
    });
    match dice.below(20) {
        0..14 => flow["protocol"] = json!("tcp"),
        14 | 15 => flow["protocol"] = json!("udp"),
        16 | 17 => flow["protocol"] = json!(if v4 { "icmp" } else { "icmpv6" }),
        18 => flow["protocol"] = json!(50),
        _ => flow["protocol"] = json!("6"),
    }
    if flow["protocol"] == "icmp" || flow["protocol"] == "icmpv6" {
        if dice.chance(60) {
            let (kind, code) = *dice.pick(&[(8, 0), (3, 4), (3, 1), (128, 0), (13, 0)]);
            flow["icmp_type"] = json!(kind);
            flow["icmp_code"] = json!(code);
        }
    } else {
        flow["port"] = json!(port(dice));
    }
    if dice.chance(25) {
        let (first, last) = *dice.pick(&[
            (49152, 65535),
            (1024, 65535),
            (40000, 40000),
            (32768, 45000),
            (50001, 60999),
        ]);
        flow["ephemeral_ports"] = json!([first, last]);
    }
    match dice.below(40) {
        0 => flow["source_interface"] = json!("eni-nowhere"),
        1 | 2 => {
            let interface = dice.pick(&world.interfaces);
            flow["source_interface"] = json!(interface);
        }
        _ => {}
    }
    flow
}

/// A port at or beside an edge that rules have.
fn port(dice: &mut Dice) -> u16 {
    let (first, last) = *dice.pick(&super::groups::RANGES);
    match dice.below(8) {
        0 => first.saturating_sub(1),
        1 => last.saturating_add(1),
        2 => last,
        _ => first,
    }
}

fn ends(dice: &mut Dice, world: &World) -> (String, String) {
    loop {
        let source = match dice.below(50) {
            0 => (*dice.pick(&ELSEWHERE)).to_owned(),
            1 => "127.0.0.1".to_owned(),
            _ => dice.pick(&world.addresses).clone(),
        };
        let destination = match dice.below(25) {
            0 | 1 => (*dice.pick(&ELSEWHERE)).to_owned(),
            2 => (*dice.pick(&EXEMPT)).to_owned(),
            _ => dice.pick(&world.addresses).clone(),
        };
        if source.contains(':') == destination.contains(':') {
            return (source, destination);
        }
    }
}
