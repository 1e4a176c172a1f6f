//! Cluster, nodes, pods and other hosts of a random world.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use reachproof_lab::world::{
    AgentPresence, App, Branch, Cluster, ClusterEndpoint, Cni, ControlPlaneInterface,
    EnforcingMode, Fargate, Host, HostRole, Interface, InterfaceKind, IpFamily, NodeGroup, Pod,
    World,
};

use super::groups::{FAR_GROUPS, MAIN_GROUPS};
use super::{Draw, Features, cidr, v6};

/// The cluster: two control-plane interfaces in two subnets.
pub(super) fn cluster(features: &Features) -> Cluster {
    let interface = |subnet: &str, place: u8| ControlPlaneInterface {
        subnet: subnet.to_owned(),
        addresses: addresses(0, place, 10, features),
    };
    Cluster {
        name: "random".to_owned(),
        security_group: "cluster".to_owned(),
        additional_groups: vec!["extra".to_owned()],
        subnets: vec!["a".to_owned(), "b".to_owned()],
        control_plane: BTreeMap::from([
            ("x-eni-a".to_owned(), interface("a", 1)),
            ("x-eni-b".to_owned(), interface("b", 2)),
        ]),
        node_groups: BTreeMap::from([("workers".to_owned(), NodeGroup::default())]),
        backends: BTreeMap::new(),
        ip_family: IpFamily::Ipv4,
        endpoint: ClusterEndpoint::Described,
    }
}

/// Settings of the CNI.
pub(super) fn cni(features: &Features, draw: &mut Draw) -> Cni {
    let excluded = draw
        .chance(25)
        .then(|| cidr(Ipv4Addr::new(10, 1, 1, 0).into(), 25));
    Cni {
        external_snat: draw.chance(25),
        exclude_snat_cidrs: excluded.into_iter().collect(),
        pod_security_groups: if draw.chance(70) {
            EnforcingMode::Strict
        } else {
            EnforcingMode::Standard
        },
        custom_networking: features.custom_networking,
    }
}

/// Adds two nodes with pods, an outsider, a Fargate pod, and a host in the peered VPC.
pub(super) fn add_hosts(world: &mut World, features: &Features, draw: &mut Draw) {
    if draw.chance(50) {
        let group = NodeGroup {
            launch_template_groups: Some(vec!["node".to_owned()]),
        };
        world
            .cluster
            .node_groups
            .insert("workers".to_owned(), group);
    }
    for (name, place) in [("node-1", 1), ("node-2", 2)] {
        world
            .hosts
            .insert(name.to_owned(), node(name, place, features, draw));
    }
    let outsider = instance(
        some_groups(&MAIN_GROUPS, draw),
        "c",
        addresses(0, 3, 60, features),
    );
    world.hosts.insert("outsider".to_owned(), outsider);
    let neighbour = instance(
        some_groups(&MAIN_GROUPS, draw),
        "a",
        addresses(0, 1, 61, features),
    );
    world.hosts.insert("neighbour".to_owned(), neighbour);
    if features.peered {
        let far = instance(
            some_groups(&FAR_GROUPS, draw),
            "f",
            addresses(1, 1, 20, features),
        );
        world.hosts.insert("far-host".to_owned(), far);
    }
    let fargate = Fargate {
        subnet: "b".to_owned(),
        addresses: addresses(0, 2, 50, features),
        groups: draw.chance(30).then(|| vec!["pods".to_owned()]),
        agent: AgentPresence::None,
    };
    world.fargate.insert("fargate".to_owned(), fargate);
}

fn node(name: &str, place: u8, features: &Features, draw: &mut Draw) -> Host {
    let subnet = if place == 1 { "a" } else { "b" };
    let mut primary = interface(subnet, None, addresses(0, place, 20, features));
    let mut second = interface(subnet, None, vec![v4(place, 30)]);
    let mut pods = BTreeMap::new();
    let owner = if features.custom_networking {
        second.groups = Some(vec!["pods".to_owned()]);
        &mut second
    } else if draw.chance(50) {
        &mut primary
    } else {
        &mut second
    };
    owner.addresses.push(v4(place, 31));
    pods.insert(format!("pod-{place}"), pod(vec![v4(place, 31)], None));
    if draw.chance(50) {
        owner.prefixes.push(cidr(v4(place, 64), 28));
        pods.insert(
            format!("prefix-pod-{place}"),
            pod(vec![v4(place, 70)], None),
        );
    }
    if features.branch && name == "node-1" {
        second.kind = InterfaceKind::Trunk;
        let branch = Branch {
            subnet: subnet.to_owned(),
            groups: some_groups(&MAIN_GROUPS, draw),
        };
        pods.insert(
            "branch-pod".to_owned(),
            pod(vec![v4(place, 90)], Some(branch)),
        );
    }
    Host {
        role: HostRole::Node,
        node_group: None,
        interfaces: vec![primary, second],
        pods,
        agent: AgentPresence::None,
    }
}

fn instance(groups: Vec<String>, subnet: &str, addresses: Vec<IpAddr>) -> Host {
    Host {
        role: HostRole::Instance,
        node_group: None,
        interfaces: vec![interface(subnet, Some(groups), addresses)],
        pods: BTreeMap::new(),
        agent: AgentPresence::None,
    }
}

fn interface(subnet: &str, groups: Option<Vec<String>>, addresses: Vec<IpAddr>) -> Interface {
    Interface {
        subnet: subnet.to_owned(),
        groups,
        addresses,
        prefixes: Vec::new(),
        kind: InterfaceKind::Interface,
    }
}

fn pod(addresses: Vec<IpAddr>, branch: Option<Branch>) -> Pod {
    Pod {
        addresses,
        branch,
        app: App::Workload,
        agent: AgentPresence::None,
    }
}

/// One or two of `names`.
fn some_groups(names: &[&str], draw: &mut Draw) -> Vec<String> {
    let mut chosen: Vec<String> = Vec::new();
    for _ in 0..draw.number(1..3) {
        let name = draw.pick(names).map(|name| (*name).to_owned());
        chosen.extend(name.filter(|name| !chosen.contains(name)));
    }
    chosen
}

fn v4(place: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, place, host).into()
}

fn addresses(vpc: u8, place: u8, host: u8, features: &Features) -> Vec<IpAddr> {
    let mut addresses = vec![Ipv4Addr::new(10, vpc, place, host).into()];
    if features.dual_stack {
        addresses.push(v6(vpc, place, u16::from(host)));
    }
    addresses
}
