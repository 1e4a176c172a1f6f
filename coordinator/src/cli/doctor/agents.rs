//! Whether agents can reach this machine, as far as that is to be known without one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use reachproof_model::describe::Described;
use reachproof_model::net::Printable;
use reachproof_model::snapshot::{Decoded, Snapshot};
use reachproof_model::words::chain;
use reachproof_verify::inventory::{Explanation, MissingAgent, Ways, ways};

use super::{Line, State};
use crate::source::live::{Access, read_both};

/// What the line about the port is called.
pub(super) const PORT: &str = "control port";

/// What the line about the way is called.
pub(super) const WAY: &str = "agents reachable";

/// Port of the socket that asks the kernel for a source address (discard); nothing is sent there.
const DISCARD_PORT: u16 = 9;

/// Whether the port can be listened on.
pub(super) fn port(listen: SocketAddr) -> Line {
    match TcpListener::bind(listen).and_then(|listener| listener.local_addr()) {
        Ok(address) => Line::new(State::Ok, PORT, format!("{address} is free"), ""),
        Err(error) => Line {
            evidence: error.to_string(),
            ..Line::new(
                State::Missing,
                PORT,
                format!("cannot listen on {listen}"),
                "free the port, or pass another one to --listen, here and to verify",
            )
        },
    }
}

/// Whether the model lets agents come to this machine from nodes and Fargate pods.
///
/// Reads the whole cluster. Only agents that dial in prove their way; a closed firewall of this machine is not seen.
pub(super) async fn way_of(cluster: &str, access: &Access, listen: SocketAddr) -> Line {
    match world(cluster, access).await {
        Ok(snapshot) => way(&snapshot, coordinator(&snapshot, listen)),
        Err(reason) => Line::new(State::Unknown, WAY, reason, ""),
    }
}

/// The cluster as it is now, or why there is none.
async fn world(cluster: &str, access: &Access) -> Result<Snapshot, String> {
    let reading = read_both(cluster, access, &|_| {})
        .await
        .map_err(|error| format!("the cluster cannot be read: {}", chain(&error)))?;
    let Decoded { snapshot, .. } = Snapshot::decode(&Described::from(reading.answers))
        .map_err(|error| format!("the cluster cannot be judged: {}", chain(&error)))?;
    Ok(snapshot)
}

/// Where agents would dial: the address that is listened on, or for a wildcard the one from which this machine would
/// talk to the cluster's interfaces.
fn coordinator(snapshot: &Snapshot, listen: SocketAddr) -> SocketAddr {
    let ip = listen.ip();
    let ip = if ip.is_unspecified() {
        snapshot
            .network_interfaces()
            .flat_map(|interface| interface.addresses.iter().copied())
            .find(|address| address.is_ipv4() == ip.is_ipv4())
            .and_then(own_address)
            .unwrap_or(ip)
    } else {
        ip
    };
    SocketAddr::new(ip, listen.port())
}

/// The source address that this machine's kernel uses towards `target`; sends nothing.
pub(super) fn own_address(target: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match target {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((target, DISCARD_PORT)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// What the model says about the ways of all agents together.
fn way(snapshot: &Snapshot, coordinator: SocketAddr) -> Line {
    let Ways {
        open,
        stopped,
        unsaid,
    } = ways(snapshot, coordinator);
    let all = open.len() + stopped.len() + unsaid.len();
    if let Some(first) = stopped.first() {
        let detail = format!(
            "{} of {all} nodes and Fargate pods cannot reach {coordinator}: {}",
            stopped.len(),
            why(first)
        );
        let question = format!(
            "reachproof explain NODE {} {}",
            coordinator.ip(),
            coordinator.port()
        );
        return Line::new(
            State::Missing,
            WAY,
            detail,
            format!("open that way; `{question}` tells more"),
        );
    }
    if let Some(first) = unsaid.first() {
        let detail = format!(
            "nothing is known of {} of {all} nodes and Fargate pods: {}",
            unsaid.len(),
            why(first)
        );
        return Line::new(State::Unknown, WAY, detail, "start an agent and see");
    }
    if open.is_empty() {
        let detail = "the cluster has no nodes and no Fargate pods";
        return Line::new(State::Unknown, WAY, detail, "start an agent and see");
    }
    let detail = format!("the model lets all {all} nodes and Fargate pods reach {coordinator}");
    Line::new(State::Ok, WAY, detail, "")
}

/// Why the way of one agent is not open.
fn why(agent: &MissingAgent) -> String {
    let name = Printable(&agent.name);
    match &agent.explanation {
        Explanation::Predicted { prediction, .. } => format!("{name}: {}", prediction.verdict),
        Explanation::CoordinatorOutsideModel { coordinator } => {
            format!(
                "{} is no address of the cluster's network",
                coordinator.ip()
            )
        }
        Explanation::NotInSnapshot => format!("{name} has no address of that family"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use reachproof_model::describe::parse;
    use serde_json::Value;

    use super::*;

    /// The base world of SEMANTICS J.
    fn snapshot() -> Snapshot {
        let Value::Object(mut vector) =
            parse(include_str!("../../../../tests/vectors/A01.json")).unwrap()
        else {
            panic!("a vector is an object");
        };
        let Some(Value::Object(answers)) = vector.remove("snapshot") else {
            panic!("a vector has a snapshot");
        };
        Snapshot::decode(&answers.into()).unwrap().snapshot
    }

    #[test]
    fn a_node_that_the_model_stops_is_named_with_what_stops_it() {
        let line = way(&snapshot(), "10.0.1.20:7443".parse().unwrap());
        assert_eq!(line.state, State::Missing);
        assert!(line.detail.contains("sg-egress"), "{}", line.detail);
        assert!(line.remedy.contains("10.0.1.20 7443"), "{}", line.remedy);
    }

    #[test]
    fn an_address_outside_the_cluster_is_unknown_and_not_missing() {
        let line = way(&snapshot(), "192.0.2.1:7443".parse().unwrap());
        assert_eq!(line.state, State::Unknown);
        assert!(line.detail.contains("192.0.2.1"), "{}", line.detail);
    }

    #[test]
    fn a_wildcard_stands_for_the_address_that_the_kernel_would_use() {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(own_address(loopback), Some(loopback));
        let named = "10.9.9.9:7443".parse().unwrap();
        assert_eq!(coordinator(&snapshot(), named), named);
    }
}
