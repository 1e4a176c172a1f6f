//! A cluster of so many nodes that all reach each other.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use reachproof_lab::world::World;
use serde_json::Value;

use crate::bench::Measured;

/// Everything but the hosts.
const BEGIN: &str = "about: Many nodes with the cluster security group alone.
lesson: Everybody reaches everybody.
expect: {exit: 0, kinds: [confirmed_allow]}
vpcs:
  main:
    cidrs: [10.0.0.0/16]
    subnets:
      a: {cidrs: [10.0.0.0/17], zone: a}
      b: {cidrs: [10.0.128.0/17], zone: b}
security-groups:
  cluster:
    ingress: [all from cluster]
    egress: [all to 0.0.0.0/0]
cluster:
  name: demo
  security-group: cluster
  subnets: [a, b]
  control-plane:
    x-eni-a: {subnet: a, addresses: [10.0.0.10]}
    x-eni-b: {subnet: b, addresses: [10.0.128.10]}
hosts:
";

/// The name of a node, and of its agent.
pub(super) fn name(number: u16) -> String {
    format!("node-{number}")
}

/// The address of a node: every other one is in each subnet.
pub(super) fn address(number: u16) -> Ipv4Addr {
    let place = 256 + u32::from(number / 2);
    let subnet = if number.is_multiple_of(2) {
        0
    } else {
        128 << 8
    };
    Ipv4Addr::from(0x0a00_0000 + subnet + place)
}

/// Writes the world as a snapshot.
pub(super) fn write(path: &Path, nodes: u16) -> Measured<()> {
    let mut text = BEGIN.to_owned();
    for number in 0..nodes {
        let (name, address) = (name(number), address(number));
        let subnet = if number.is_multiple_of(2) { "a" } else { "b" };
        writeln!(
            text,
            "  {name}: {{interfaces: [{{subnet: {subnet}, addresses: [{address}]}}]}}"
        )?;
    }
    let snapshot = World::parse("fleet.yaml", &text)?.expand()?.plan.snapshot;
    Ok(fs::write(path, Value::Object(snapshot).to_string())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_has_a_node_for_each_agent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("world.json");
        write(&path, 300).unwrap();
        let world: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let nodes = world.get("nodes").and_then(|nodes| nodes.get("items"));
        assert_eq!(nodes.and_then(Value::as_array).map(Vec::len), Some(300));
    }
}
