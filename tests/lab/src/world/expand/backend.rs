//! Services that API servers call: behind webhooks and aggregated APIs (G.1).

use std::net::IpAddr;

use serde_json::{Value, json};

use super::kubernetes::{endpoint, slice};
use super::{Expansion, dangling};
use crate::world::WorldError;
use crate::world::host::Backend;

/// Namespace of every backend.
const NAMESPACE: &str = "default";

/// What the Kubernetes API says of the backends of a world.
#[derive(Debug, Default)]
pub(super) struct Backends {
    pub(super) services: Vec<Value>,
    pub(super) slices: Vec<Value>,
    pub(super) webhooks: Vec<Value>,
    pub(super) definitions: Vec<Value>,
    pub(super) api_services: Vec<Value>,
}

impl Expansion<'_> {
    /// Every backend with its service, its endpoints, and whoever calls it.
    pub(super) fn backends(self) -> Result<Backends, WorldError> {
        let mut found = Backends::default();
        for (name, backend) in &self.world.cluster.backends {
            found.services.push(service(name, backend));
            let addresses = self.addresses_of(name, backend)?;
            let endpoints: Vec<Value> = addresses.iter().map(endpoint).collect();
            let ports = json!([{"name": "https", "port": backend.port, "protocol": "TCP"}]);
            let owner = (NAMESPACE, name.as_str());
            found.slices.push(slice(owner, "IPv4", &ports, &endpoints));
            match (&backend.api, &backend.converts) {
                (None, None) => found.webhooks.push(webhook(name)),
                (api, converts) => {
                    let apis = api.iter().map(|api| api_service(name, api));
                    found.api_services.extend(apis);
                    let kinds = converts.iter().map(|kind| definition(name, kind));
                    found.definitions.extend(kinds);
                }
            }
        }
        Ok(found)
    }

    /// The first address of each place at which a backend listens.
    fn addresses_of(self, name: &str, backend: &Backend) -> Result<Vec<IpAddr>, WorldError> {
        let endpoints = self.endpoints();
        let address = |place: &String| {
            let found = endpoints.iter().find(|known| known.name == *place);
            let address = found.and_then(|known| known.addresses.first().copied());
            address.ok_or_else(|| dangling(&format!("backend `{name}`"), "host or pod", place))
        };
        backend.at.iter().map(address).collect()
    }
}

fn service(name: &str, backend: &Backend) -> Value {
    let port = json!({"name": "https", "protocol": "TCP", "port": 443, "targetPort": backend.port});
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"type": "ClusterIP", "ports": [port]},
    })
}

fn webhook(name: &str) -> Value {
    let service = json!({"name": name, "namespace": NAMESPACE, "port": 443});
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": format!("{name}.example.com"),
            "clientConfig": {"service": service},
            "failurePolicy": "Fail",
            "timeoutSeconds": 10,
        }],
    })
}

/// `kind` is the plural and the group of what is converted, as a definition is called.
fn definition(name: &str, kind: &str) -> Value {
    let service = json!({"name": name, "namespace": NAMESPACE, "port": 443});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind},
        "spec": {"conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"service": service}}}},
    })
}

/// `api` is its version and its group, as an `APIService` is called.
fn api_service(name: &str, api: &str) -> Value {
    let (version, group) = api.split_once('.').unwrap_or((api, ""));
    json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": api},
        "spec": {
            "group": group,
            "version": version,
            "service": {"name": name, "namespace": NAMESPACE, "port": 443},
        },
    })
}
