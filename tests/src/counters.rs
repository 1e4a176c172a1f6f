//! Connections that API servers open, counted by the kernel at both ends, whatever anybody reports.
//!
//! What is counted is pairs of sockets: a SYN that is sent again is the same connection.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::IpAddr;
use std::process::Command;

use reachproof_lab::EndpointKind;
use serde_json::Value;

use crate::play::firewall;
use crate::stage::Stage;

/// Connections by source, target and port.
pub type Counts = BTreeMap<(IpAddr, IpAddr, u16), usize>;

/// What the kernel counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// Connections whose SYN left an interface of the control plane.
    pub begun: Counts,
    /// Those whose SYN came to a node or pod.
    pub arrived: Counts,
}

/// Lets every host, pod and interface of the control plane count from now on.
///
/// # Errors
/// What `nft` refuses.
pub fn count(stage: &Stage) -> Result<(), Box<dyn Error>> {
    let is_one = |kind| kind == EndpointKind::ControlPlane;
    let endpoints = || stage.lab.endpoints().iter();
    let servers: Vec<IpAddr> = endpoints()
        .filter(|endpoint| is_one(endpoint.kind))
        .flat_map(|endpoint| endpoint.addresses.clone())
        .collect();
    for endpoint in endpoints() {
        let hook = if is_one(endpoint.kind) {
            "output"
        } else {
            "input"
        };
        firewall(stage, &endpoint.name, &rules(hook, &servers))?;
    }
    Ok(())
}

/// Reads what was counted so far.
///
/// # Errors
/// What `nft` says; an answer that is not its JSON.
pub fn counted(stage: &Stage) -> Result<Counted, Box<dyn Error>> {
    let mut counted = Counted::default();
    for endpoint in stage.lab.endpoints() {
        let list = || {
            let words = ["-j", "list", "table", "inet", "counted"];
            Command::new("nft").args(words).output()
        };
        let output = stage.lab.within(&endpoint.name, list)??;
        let counts = match endpoint.kind {
            EndpointKind::ControlPlane => &mut counted.begun,
            EndpointKind::Node | EndpointKind::Pod | EndpointKind::Fargate => &mut counted.arrived,
        };
        add(&serde_json::from_slice(&output.stdout)?, counts)?;
    }
    Ok(counted)
}

/// Remembers the ends of every connection that `servers` open, as it passes `hook`.
fn rules(hook: &str, servers: &[IpAddr]) -> String {
    let mut rules = format!(
        "add table inet counted
add set inet counted four {{ type ipv4_addr . inet_service . ipv4_addr . inet_service; size 65535; flags dynamic; }}
add set inet counted six {{ type ipv6_addr . inet_service . ipv6_addr . inet_service; size 65535; flags dynamic; }}
add chain inet counted c {{ type filter hook {hook} priority -30; }}
"
    );
    for server in servers {
        let (family, set) = match server {
            IpAddr::V4(_) => ("ip", "four"),
            IpAddr::V6(_) => ("ip6", "six"),
        };
        rules.push_str(&format!(
            "add rule inet counted c {family} saddr {server} tcp flags & (syn | ack) == syn \
             add @{set} {{ {family} saddr . tcp sport . {family} daddr . tcp dport }}\n"
        ));
    }
    rules
}

/// Adds the connections of one namespace to `counts`.
fn add(listed: &Value, counts: &mut Counts) -> Result<(), Box<dyn Error>> {
    let objects = listed.get("nftables").and_then(Value::as_array);
    let objects = objects.ok_or("nft lists nothing")?;
    let sets = objects
        .iter()
        .filter_map(|object| object.pointer("/set/elem")?.as_array());
    for element in sets.flatten() {
        let element = element.pointer("/elem/val").unwrap_or(element);
        let ends = element.get("concat").and_then(Value::as_array);
        let Some([source, _port, target, port]) = ends.map(Vec::as_slice) else {
            return Err(format!("no connection: {element}").into());
        };
        let address = |end: &Value| end.as_str().unwrap_or_default().parse::<IpAddr>();
        let port = u16::try_from(port.as_u64().unwrap_or_default())?;
        let connection = (address(source)?, address(target)?, port);
        *counts.entry(connection).or_default() += 1;
    }
    Ok(())
}
