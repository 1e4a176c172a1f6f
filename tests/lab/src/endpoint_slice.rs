//! The `endpointslices` that a cluster of this world would have: where the API server listens (D.1).

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::cloud::Cloud;
use crate::error::LabError;
use crate::listener::API_SERVER;

/// The stem of the answer.
const STEM: &str = "endpointslices";

/// Adds the slices of the service `default/kubernetes` to a snapshot, in the shape of `kubectl get -o json`.
///
/// They hold the addresses of the control plane's interfaces, one slice a family; slices of other services stay.
///
/// # Errors
/// [`LabError::MissingAnswer`] and [`LabError::Decode`] if the snapshot cannot be read.
pub fn add_endpoint_slices(snapshot: &mut Map<String, Value>) -> Result<(), LabError> {
    let cloud = Cloud::read(snapshot)?;
    let addresses: Vec<IpAddr> = cloud
        .interfaces
        .iter()
        .filter(|interface| cloud.is_control_plane(interface))
        .flat_map(|interface| interface.addresses())
        .collect();
    let mut items: Vec<Value> = snapshot
        .get(STEM)
        .and_then(|answer| answer.get("items"))
        .and_then(Value::as_array)
        .map(|items| {
            items
                .iter()
                .filter(|item| !is_kubernetes(item))
                .cloned()
                .collect()
        })
        .unwrap_or_default();
    for (name, family) in [("kubernetes", "IPv4"), ("kubernetes-ipv6", "IPv6")] {
        let own: Vec<&IpAddr> = addresses
            .iter()
            .filter(|address| address.is_ipv4() == (family == "IPv4"))
            .collect();
        if !own.is_empty() {
            items.push(slice(name, family, &own));
        }
    }
    snapshot.insert(
        STEM.to_owned(),
        json!({ "apiVersion": "v1", "kind": "List", "items": items }),
    );
    Ok(())
}

fn is_kubernetes(item: &Value) -> bool {
    let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str);
    text("/metadata/namespace") == Some("default")
        && text("/metadata/labels/kubernetes.io~1service-name") == Some("kubernetes")
}

fn slice(name: &str, family: &str, addresses: &[&IpAddr]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({ "addresses": [address.to_string()], "conditions": { "ready": true } }))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": { "kubernetes.io/service-name": "kubernetes" },
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{ "name": "https", "port": API_SERVER, "protocol": "TCP" }],
    })
}
