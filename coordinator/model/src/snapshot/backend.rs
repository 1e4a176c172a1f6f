//! What the API server dials beside kubelets: backends of webhooks and of aggregated APIs (G.1).

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use super::{Snapshot, StatusCondition};

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
    /// Whether an API server says that it reaches it: the condition Available of an `APIService`; absent for webhooks, of
    /// which nobody says so, and where the answer does not.
    pub available: Option<StatusCondition>,
}

/// What makes the API server dial a backend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackendCaller {
    /// A webhook configuration, by its name.
    Webhook(String),
    /// The conversion webhook of a CustomResourceDefinition, by the definition's name: objects of that kind are neither read nor
    /// written in other versions without it.
    Conversion(String),
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
            BackendCaller::Webhook(_) | BackendCaller::Conversion(_) => false,
            BackendCaller::ApiService { group, .. } => group == wanted,
        }
    }
}

impl fmt::Display for Backend {
    /// Writes what calls it and the service, raw text of the snapshot.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.caller {
            BackendCaller::Webhook(name) => write!(formatter, "webhook {name}")?,
            BackendCaller::Conversion(name) => write!(formatter, "conversion webhook of {name}")?,
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
