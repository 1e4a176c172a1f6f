//! Kubernetes services: addresses that no interface owns, and who answers for them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::Snapshot;

/// A Kubernetes service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its addresses (`spec.clusterIPs`); none of a headless one.
    pub addresses: Vec<IpAddr>,
    /// Where kube-proxy sends its connections, by its EndpointSlices; empty where the snapshot has none.
    pub endpoints: BTreeSet<SocketAddr>,
}

impl Snapshot {
    /// Returns whether an address is in a range of service addresses of the cluster (K.1 "Service addresses").
    #[must_use]
    pub fn is_service_address(&self, address: IpAddr) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| {
            let mut networks = cluster.service_networks.iter();
            networks.any(|network| network.contains(&address))
        })
    }

    /// Returns the services, sorted by namespace and name.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Returns the service that has an address.
    #[must_use]
    pub fn service_at(&self, address: IpAddr) -> Option<&Service> {
        let mut services = self.services.iter();
        services.find(|service| service.addresses.contains(&address))
    }
}
