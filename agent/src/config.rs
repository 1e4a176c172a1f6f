//! What the agent is told when it starts.

use std::{net::IpAddr, path::PathBuf, str::FromStr};

use http::Uri;
use reachproof_proto::v1::AgentKind;
use thiserror::Error;

use reachproof_proto::endpoint::EndpointName;

use crate::{limits::Limits, policy::Policy};

/// Port of the coordinator where its URL has none (ARCHITECTURE, "Agents and ports").
const CONTROL_PORT: u16 = 7443;

/// Everything that the agent needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the coordinator is.
    pub coordinator: Coordinator,
    /// Certificates in PEM that the coordinator's certificate must come from; read again for each dial.
    pub ca: PathBuf,
    /// File with the token; read again for each dial.
    pub token_file: PathBuf,
    /// Name that the coordinator's certificate must have.
    pub server_name: String,
    /// Name of the agent, 1 to 253 bytes, unique in the cluster.
    pub name: String,
    /// Kubernetes node name; empty outside Kubernetes.
    pub node: String,
    /// Where the agent runs.
    pub kind: Kind,
    /// Addresses that take part in the measured network, primary first; at least one.
    pub addresses: Vec<IpAddr>,
    /// What the agent takes at once, before it is cut to the host's limits.
    pub limits: Limits,
    /// What it may connect to, whatever the coordinator says.
    pub policy: Policy,
    /// Name of the cluster's API server, to report what it resolves to; none: not reported.
    pub cluster_endpoint: Option<EndpointName>,
}

/// Where an agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// In a host's network namespace.
    Node,
    /// In a pod's network namespace on an EC2 node.
    Pod,
    /// In a Fargate micro-VM.
    Fargate,
}

impl From<Kind> for AgentKind {
    fn from(kind: Kind) -> AgentKind {
        match kind {
            Kind::Node => AgentKind::Node,
            Kind::Pod => AgentKind::Pod,
            Kind::Fargate => AgentKind::Fargate,
        }
    }
}

/// Host and port of the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coordinator {
    /// Name or address, the latter without brackets.
    pub host: String,
    /// Port, 1 to 65535.
    pub port: u16,
}

impl std::fmt::Display for Coordinator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(address)) => write!(formatter, "[{address}]:{}", self.port),
            Ok(IpAddr::V4(_)) | Err(_) => write!(formatter, "{}:{}", self.host, self.port),
        }
    }
}

/// A text that is not the URL of a coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not the URL of a coordinator, needs https://HOST or https://HOST:PORT")]
pub struct InvalidCoordinator {
    /// The text.
    pub text: String,
}

impl FromStr for Coordinator {
    type Err = InvalidCoordinator;

    /// Reads `https://HOST[:PORT]`; anything that would not be used, such as a path, is refused.
    fn from_str(text: &str) -> Result<Coordinator, InvalidCoordinator> {
        let invalid = || InvalidCoordinator {
            text: text.to_owned(),
        };
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let authority = uri.authority().ok_or_else(invalid)?;
        let plain = uri.path() == "/" && uri.query().is_none() && !authority.as_str().contains('@');
        if uri.scheme_str() != Some("https") || !plain || authority.host().is_empty() {
            return Err(invalid());
        }
        // To `http` a port that is too large is none at all: it must not become the default.
        let port = match authority
            .as_str()
            .strip_prefix(authority.host())
            .ok_or_else(invalid)?
        {
            "" => CONTROL_PORT,
            rest => rest
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .ok_or_else(invalid)?,
        };
        if port == 0 {
            return Err(invalid());
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Ok(Coordinator { host, port })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_coordinator_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("https://10.0.0.1:7500", "10.0.0.1", 7500),
            (
                "https://coordinator.reachproof.svc",
                "coordinator.reachproof.svc",
                7443,
            ),
            ("https://[2001:db8::1]:443/", "2001:db8::1", 443),
        ] {
            let read: Coordinator = text.parse().unwrap();
            assert_eq!((read.host.as_str(), read.port), (host, port), "{text}");
        }
    }

    #[test]
    fn a_coordinator_prints_as_an_address_that_can_be_dialled() {
        let read: Coordinator = "https://[2001:db8::1]".parse().unwrap();
        assert_eq!(read.to_string(), "[2001:db8::1]:7443");
    }

    #[test]
    fn anything_but_an_https_origin_is_refused() {
        for text in [
            "",
            "10.0.0.1:7443",
            "http://10.0.0.1:7443",
            "https://",
            "https://a:0",
            "https://a:65979",
            "https://a:x",
            "https://a/path",
            "https://a/?q",
            "https://user@a",
        ] {
            assert!(text.parse::<Coordinator>().is_err(), "{text}");
        }
    }
}
