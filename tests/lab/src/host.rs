//! A host: its interfaces with policy routing by source, its pods, and the CNI's source translation (E.1, E.3).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::blueprint::{Blueprint, Forwarding, Namespace, Table};
use crate::cloud::Cloud;
use crate::cni::SourceTranslation;
use crate::error::LabError;
use crate::exempt;
use crate::layout::{Host, Pod};
use crate::namespace::wire_name;

/// The table with the pods of this host; it is looked up before anything else (CNI-P: rule 512, "to pod").
pub(crate) const TABLE_PODS: u32 = 99;
/// The first table of the interfaces.
const TABLE_PORTS: u32 = 100;
/// The main table, by its number.
const TABLE_MAIN: u32 = 254;

/// Marks connections that pods begin and whose source is going to be translated, as the CNI does
/// (`AWS_VPC_K8S_CNI_CONNMARK`).
const MARK: &str = "0x80";

/// Draws a host, its pods, and the near ends of its wires.
///
/// # Errors
/// [`LabError::InvalidName`], [`LabError::DuplicateName`].
pub(crate) fn draw(blueprint: &mut Blueprint, world: &Cloud, host: &Host) -> Result<(), LabError> {
    let name = host.name.as_str();
    let forwarding = if host.pods.is_empty() {
        Forwarding::Off
    } else {
        Forwarding::On
    };
    blueprint.add(name, forwarding)?;
    for (place, port) in host.ports.iter().enumerate() {
        let wire = wire_name(&port.interface);
        blueprint.add(&wire, Forwarding::On)?.nft = exempt::silence(world, None);
        blueprint.link((Some(name), &format!("eth{place}")), (Some(&wire), "host"));
    }
    for (place, pod) in host.pods.iter().enumerate() {
        draw_pod(blueprint, pod, (name, &format!("pod{place}")))?;
    }
    if let Some(namespace) = blueprint.namespaces.get_mut(name) {
        ports(namespace, world, host);
        pods(namespace, host);
        namespace.nft.push_str(&isolation());
        namespace.nft.push_str(&translation(world, host));
    }
    Ok(())
}

fn draw_pod(
    blueprint: &mut Blueprint,
    pod: &Pod,
    (host, device): (&str, &str),
) -> Result<(), LabError> {
    blueprint.add(&pod.name, Forwarding::Off)?;
    blueprint.link((Some(&pod.name), "eth0"), (Some(host), device));
    if let Some(namespace) = blueprint.namespaces.get_mut(&pod.name) {
        for (address, _) in &pod.addresses {
            namespace.address(*address, "eth0");
        }
        namespace.route_rest("eth0", Table::Main);
    }
    Ok(())
}

/// Addresses of the interfaces; what leaves from an address takes the interface that owns it.
fn ports(namespace: &mut Namespace, world: &Cloud, host: &Host) {
    for (number, (place, port)) in (TABLE_PORTS..).zip(host.ports.iter().enumerate()) {
        let device = format!("eth{place}");
        namespace.route_rest(&device, Table::Numbered(number));
        for address in &port.addresses {
            namespace.address(*address, &device);
            namespace.rule_from(1536, *address, number);
        }
        let prefixes = world
            .interface(&port.interface)
            .map(|interface| interface.prefixes());
        for prefix in prefixes.unwrap_or_default() {
            namespace.blackhole(prefix, Table::Numbered(TABLE_PODS));
        }
    }
    let with_ipv6 = host
        .ports
        .iter()
        .position(|port| port.addresses.iter().any(IpAddr::is_ipv6))
        .unwrap_or(0);
    namespace.rule(512, "from all", TABLE_PODS);
    namespace.rule(1024, &format!("fwmark {MARK}/{MARK}"), TABLE_MAIN);
    namespace.route(IpNet::V4(ipnet::Ipv4Net::default()), "eth0", Table::Main);
    namespace.route(
        IpNet::V6(ipnet::Ipv6Net::default()),
        &format!("eth{with_ipv6}"),
        Table::Main,
    );
}

/// Routes to and from the pods: to a pod directly; from it by the interface that owns its address, unless it began the
/// connection and the source is going to be translated. So replies leave by the interface by which the connection came
/// (amazon-vpc-cni-k8s #1475).
fn pods(namespace: &mut Namespace, host: &Host) {
    for (place, pod) in host.pods.iter().enumerate() {
        for (address, owner) in &pod.addresses {
            namespace.route(
                IpNet::from(*address),
                &format!("pod{place}"),
                Table::Numbered(TABLE_PODS),
            );
            let number = (TABLE_PORTS..)
                .zip(0..=*owner)
                .last()
                .map_or(TABLE_PORTS, |(number, _)| number);
            namespace.rule_from(1536, *address, number);
        }
    }
}

/// The IPv4 destinations towards which pods keep their address; `None` if they always keep it.
fn untranslated(world: &Cloud, host: &Host) -> Option<Vec<IpNet>> {
    let SourceTranslation::Node { excluded } = &world.cni.translation else {
        return None;
    };
    let primary = host.ports.first().filter(|port| port.primary)?;
    let vpc = world
        .interface(&primary.interface)
        .and_then(|interface| world.vpc(&interface.vpc_id))?;
    let own = vpc
        .networks()
        .into_iter()
        .filter(|network| network.addr().is_ipv4());
    Some(
        own.chain(excluded.iter().map(|network| IpNet::V4(network.trunc())))
            .collect(),
    )
}

/// The CNI's translation: to the primary address of the primary interface, with a random source port (E.1, B).
fn translation(world: &Cloud, host: &Host) -> String {
    let Some(networks) = untranslated(world, host) else {
        return String::new();
    };
    let pods: Vec<IpNet> = host
        .pods
        .iter()
        .flat_map(|pod| pod.addresses.iter())
        .filter(|(address, _)| address.is_ipv4())
        .map(|(address, _)| IpNet::from(*address))
        .collect();
    let primary = host
        .ports
        .first()
        .and_then(|port| port.addresses.iter().find(|address| address.is_ipv4()));
    let (Some(primary), false) = (primary, pods.is_empty()) else {
        return String::new();
    };
    let (from, to) = (
        crate::nft::set(&IpNet::aggregate(&pods)),
        crate::nft::set(&IpNet::aggregate(&networks)),
    );
    format!(
        "table ip cni {{\n  chain begun {{\n    type filter hook prerouting priority mangle;\n    \
         iifname \"pod*\" ip saddr {from} ip daddr != {to} ct state new ct mark set {MARK}\n    \
         iifname \"pod*\" meta mark set ct mark\n  }}\n  \
         chain translate {{\n    type nat hook postrouting priority srcnat;\n    \
         ip saddr {from} ip daddr != {to} oifname \"eth0\" snat to {primary} fully-random\n  }}\n}}\n"
    )
}

/// Keeps the management link from becoming a way between pods, hosts and the network under test.
fn isolation() -> String {
    "table inet management {\n  chain transit {\n    type filter hook forward priority 0; policy accept;\n    \
     iifname \"mgmt\" drop\n    oifname \"mgmt\" drop\n  }\n}\n"
        .to_owned()
}
