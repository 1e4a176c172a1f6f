//! Which API servers were asked to connect, and what is to be said of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use reachproof_model::dial::DialFailure;
use reachproof_model::finding::Finding;
use serde::{Deserialize, Serialize};

/// The API servers of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlPlaneRecord {
    /// Every API server that may be assumed to listen, by its interface's address.
    pub servers: Vec<ServerRecord>,
    /// What kept some connections from being asked for, and what to grant; raw text.
    pub notes: Vec<String>,
}

/// One API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRecord {
    /// Address of its interface.
    pub address: IpAddr,
    /// Whether it could be asked.
    pub state: ServerState,
    /// Why it could not.
    pub failure: Option<DialFailure>,
    /// Source ports of its connections, as listeners saw them: which it takes is published nowhere (SEMANTICS G.2b).
    pub source_ports: BTreeSet<u16>,
}

/// Whether an API server could be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// It answers at its interface.
    Asked,
    /// There is no way to it, or it does not work: what the model says is all there is.
    Unreachable,
}

impl ControlPlaneRecord {
    /// Adds the source ports that the findings show.
    pub(crate) fn with_ports(mut self, findings: &[Finding]) -> Self {
        for server in &mut self.servers {
            let own = findings.iter();
            let own = own.filter(|finding| finding.source.control_plane() == Some(server.address));
            let attempts = own.flat_map(|finding| &finding.observation.attempts);
            let sockets = attempts.filter_map(|attempt| attempt.local);
            server.source_ports = sockets.map(|socket| socket.port()).collect();
        }
        self
    }

    /// How many API servers could be asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        let servers = self.servers.iter();
        servers
            .filter(|server| server.state == ServerState::Asked)
            .count()
    }
}
