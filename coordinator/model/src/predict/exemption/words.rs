//! Sentences about service addresses.

use std::net::IpAddr;

use crate::snapshot::Snapshot;

/// Most endpoints of a service that are named.
const ENDPOINTS_MAX: usize = 10;

/// Which service has an address, and whom to ask about instead.
pub(super) fn service(snapshot: &Snapshot, address: IpAddr) -> String {
    let Some(service) = snapshot.service_at(address) else {
        return format!(
            "{address} is in the range of service addresses, which kube-proxy translates: ask about the endpoints of the \
             service"
        );
    };
    let name = format!("{}/{}", service.namespace, service.name);
    let endpoints: Vec<String> = service
        .endpoints
        .iter()
        .take(ENDPOINTS_MAX)
        .map(ToString::to_string)
        .collect();
    let more = service.endpoints.len().saturating_sub(ENDPOINTS_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    if endpoints.is_empty() {
        return format!(
            "{address} is service {name}, which kube-proxy translates; the snapshot has no endpoint of it to ask about"
        );
    }
    format!(
        "{address} is service {name}, which kube-proxy translates: ask about its endpoints {}{more}",
        endpoints.join(", ")
    )
}
