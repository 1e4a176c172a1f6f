//! Room for the pods of agents on nodes where the world has none.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use reachproof_lab::world::{AgentPresence, App, Host, HostRole, Pod, World};

/// Gives each node without a pod in which an agent runs such a pod, with a free address of its primary interface's subnet.
///
/// On a cluster the VPC CNI asks EC2 for a further address; a world lists addresses by hand. Only IPv4; a subnet without
/// a free address gets none.
pub fn make_room(world: &mut World) {
    let mut used = used(world);
    let subnets: Vec<(String, Vec<IpNet>)> = world
        .vpcs
        .values()
        .flat_map(|vpc| &vpc.subnets)
        .map(|(name, subnet)| (name.clone(), subnet.cidrs.clone()))
        .collect();
    let nodes = world
        .hosts
        .iter_mut()
        .filter(|(_, host)| host.role == HostRole::Node && !has_room(host));
    for (name, host) in nodes {
        let Some(interface) = host.interfaces.first_mut() else {
            continue;
        };
        let subnet = subnets.iter().find(|(name, _)| *name == interface.subnet);
        let networks = subnet.map(|(_, networks)| networks.as_slice());
        if let Some(address) = free(networks.unwrap_or_default(), &used) {
            used.insert(address);
            interface.addresses.push(address);
            let pod = Pod {
                addresses: vec![address],
                branch: None,
                app: App::Workload,
                agent: AgentPresence::Running,
            };
            host.pods.insert(format!("agent-{name}"), pod);
        }
    }
}

fn has_room(host: &Host) -> bool {
    host.pods
        .values()
        .any(|pod| pod.agent == AgentPresence::Running)
}

/// The last free IPv4 address: worlds count from the first.
fn free(networks: &[IpNet], used: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    networks.iter().find_map(|network| match network {
        IpNet::V4(network) => network
            .hosts()
            .rev()
            .map(IpAddr::V4)
            .find(|address| !used.contains(address)),
        IpNet::V6(_) => None,
    })
}

fn used(world: &World) -> BTreeSet<IpAddr> {
    let hosts = world.hosts.values();
    let interfaces = hosts.flat_map(|host| host.interfaces.iter());
    let of_interfaces = interfaces.flat_map(|interface| &interface.addresses);
    let branches = world.hosts.values().flat_map(|host| host.pods.values());
    let of_pods = branches.flat_map(|pod| &pod.addresses);
    let of_fargate = world.fargate.values().flat_map(|pod| &pod.addresses);
    let control_plane = world.cluster.control_plane.values();
    let of_control_plane = control_plane.flat_map(|interface| &interface.addresses);
    of_interfaces
        .chain(of_pods)
        .chain(of_fargate)
        .chain(of_control_plane)
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn a_node_without_a_pod_for_an_agent_gets_one_and_the_others_stay_as_they_are() {
        let before = World::builtin("default").unwrap();
        let mut world = before.clone();
        make_room(&mut world);
        let pods = |world: &World, host: &str| -> Vec<String> {
            world
                .hosts
                .get(host)
                .unwrap()
                .pods
                .keys()
                .cloned()
                .collect()
        };
        assert_eq!(pods(&world, "node-1"), ["web"]);
        assert_eq!(pods(&world, "node-2"), ["agent-node-2", "coredns"]);
        assert_eq!(pods(&world, "outsider-a"), Vec::<String>::new());
        let address: IpAddr = "10.0.2.254".parse().unwrap();
        let node = world.hosts.get("node-2").unwrap();
        assert!(
            node.interfaces
                .first()
                .unwrap()
                .addresses
                .contains(&address)
        );
        assert_eq!(world.fargate, before.fargate);
        world.expand().unwrap();
    }
}
