//! API servers that connect when they are asked: what the Kubernetes client does, as a run wants it.
//!
//! The client of Kubernetes and a run do not know each other (ARCHITECTURE, "Floors"); this is where they are joined.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reachproof_kube::dial::{ApiServers, Dial, PodAddress, dial_right, log_right};
use reachproof_kube::{ConnectError, Entry, Limits};
use reachproof_model::dial::DialFailure;
use reachproof_verify::control_plane::{
    Awaited, ControlPlane, DialAnswer, DialRequest, DialWay, PodAtAddress, PodNetwork,
};

/// Connects to the API servers of the cluster at `entry`.
///
/// # Errors
/// [`ConnectError`] when the one of the configuration cannot be reached.
pub(crate) async fn control_plane(entry: &Entry) -> Result<Arc<dyn ControlPlane>, ConnectError> {
    // The Kubernetes client takes the process's provider; a second installation changes nothing.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let servers = ApiServers::connect(entry, Limits::default()).await?;
    Ok(Arc::new(Servers(servers)))
}

/// The API servers of a cluster.
struct Servers(ApiServers);

impl ControlPlane for Servers {
    fn pods(&self) -> Awaited<'_, Result<Vec<PodAtAddress>, String>> {
        Box::pin(async {
            let pods = self.0.pods().await;
            let pods = pods.map_err(|error| error.to_string())?;
            Ok(pods.into_iter().map(pod).collect())
        })
    }

    fn lacks<'a>(&'a self, namespace: &'a str, way: DialWay) -> Awaited<'a, Option<String>> {
        let right = match way {
            DialWay::Proxy => dial_right(namespace),
            DialWay::Log => log_right(namespace),
        };
        Box::pin(async move {
            let holds = self.0.holds(&right).await;
            (!holds).then(|| format!("add {}", right.rule()))
        })
    }

    fn ask<'a>(
        &'a self,
        server: IpAddr,
        request: &'a DialRequest,
        limit: Duration,
    ) -> Awaited<'a, Result<DialAnswer, DialFailure>> {
        Box::pin(async move {
            let answer = self.0.exchange(server, &dial(request), limit).await?;
            Ok(DialAnswer {
                status: answer.status,
                body: answer.body,
            })
        })
    }
}

fn dial(request: &DialRequest) -> Dial<'_> {
    match request {
        DialRequest::Alive => Dial::Alive,
        DialRequest::Pod {
            namespace,
            name,
            port,
            path,
        } => Dial::Pod {
            namespace,
            name,
            port: *port,
            path,
        },
        DialRequest::Log {
            namespace,
            name,
            word,
        } => Dial::Log {
            namespace,
            name,
            word,
        },
    }
}

fn pod(pod: PodAddress) -> PodAtAddress {
    PodAtAddress {
        namespace: pod.namespace,
        name: pod.name,
        address: pod.address,
        network: if pod.host_network {
            PodNetwork::Node
        } else {
            PodNetwork::Own
        },
    }
}
