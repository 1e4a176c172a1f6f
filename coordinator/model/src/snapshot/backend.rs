//! What the API server dials beside kubelets: backends of webhooks and of aggregated APIs (G.1).

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use super::Snapshot;

/// A service behind webhooks or an aggregated API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// What makes the API server dial it.
    pub caller: BackendCaller,
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub service: String,
    /// Port of the service, which is not what is dialled.
    pub port: u16,
    /// What is dialled: addresses of pods, or of nodes for pods of the host network, with the target port (D.4).
    pub targets: Targets,
}

/// What makes the API server dial a backend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackendCaller {
    /// A webhook configuration, by its name.
    Webhook(String),
    /// An `APIService`, by its name, with its API group.
    ApiService {
        /// Its name.
        name: String,
        /// Its API group; empty where the answer does not say.
        group: String,
    },
}

/// Where a service leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Targets {
    /// Here; nowhere where the service has no endpoint.
    Known(BTreeSet<SocketAddr>),
    /// The snapshot does not say: the service, its endpoints or their port are not in it.
    Unknown,
}

impl Backend {
    /// Returns whether it serves an API group.
    #[must_use]
    pub fn is_of_group(&self, wanted: &str) -> bool {
        match &self.caller {
            BackendCaller::Webhook(_) => false,
            BackendCaller::ApiService { group, .. } => group == wanted,
        }
    }
}

impl fmt::Display for Backend {
    /// Writes what calls it and the service, raw text of the snapshot.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.caller {
            BackendCaller::Webhook(name) => write!(formatter, "webhook {name}")?,
            BackendCaller::ApiService { name, .. } => write!(formatter, "APIService {name}")?,
        }
        write!(formatter, " (service {}/{})", self.namespace, self.service)
    }
}

impl Snapshot {
    /// Returns what the API server dials for webhooks and aggregated APIs, sorted; those at a URL are not among them.
    #[must_use]
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }
}
