//! Objects that came and went between two readings, and which flows that could touch.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::flow::Flow;
use crate::snapshot::{PodNetwork, Snapshot};

/// A Kubernetes object that somebody saw change more often than two readings can show.
///
/// Objects of other kinds than those that decide flows (pods, nodes, NetworkPolicies, the API servers' own endpoint
/// slice) touch no flow: interfaces, groups and routes are told by EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passing {
    /// Stem of the file that it belongs to, like `pods`.
    pub file: String,
    /// Its namespace; empty where it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How it looked after each change, as the file would show it; before the change where it is gone.
    pub states: Vec<Value>,
}

impl Passing {
    /// Whether the object could make a difference to `flow`.
    pub(super) fn could_touch(&self, snapshot: &Snapshot, flow: &Flow) -> bool {
        let ends = [flow.source, flow.destination];
        match self.file.as_str() {
            "pods" => self.names(&ends, pod_addresses),
            "nodes" => self.names(&ends, |node| listed(node, "/status/addresses", "address")),
            // The API servers' own slice lists the control plane's interfaces (D.1).
            "endpointslices" if self.namespace == "default" && self.name == "kubernetes" => {
                self.names(&ends, slice_addresses)
            }
            // A policy selects pods of its own namespace (E.5).
            "networkpolicies" => ends.iter().any(|end| {
                snapshot
                    .pods_at(*end)
                    .any(|pod| pod.network == PodNetwork::Pod && pod.namespace == self.namespace)
            }),
            _ => false,
        }
    }

    /// Whether one of `ends` is among the addresses that `of` finds in any state.
    fn names(&self, ends: &[IpAddr], of: impl Fn(&Value) -> BTreeSet<IpAddr>) -> bool {
        let mut states = self.states.iter();
        states.any(|state| {
            let addresses = of(state);
            ends.iter().any(|end| addresses.contains(end))
        })
    }
}

/// The addresses of a pod with a network namespace of its own: others come and go without a change to the address.
fn pod_addresses(pod: &Value) -> BTreeSet<IpAddr> {
    if pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true) {
        return BTreeSet::new();
    }
    let mut addresses = listed(pod, "/status/podIPs", "ip");
    addresses.extend(pod.pointer("/status/podIP").and_then(address));
    addresses
}

/// The addresses under `key` of each item of the list at `pointer`.
fn listed(object: &Value, pointer: &str, key: &str) -> BTreeSet<IpAddr> {
    let items = object.pointer(pointer).and_then(Value::as_array);
    let fields = items.into_iter().flatten().filter_map(|item| item.get(key));
    fields.filter_map(address).collect()
}

/// The addresses of all endpoints of a slice.
fn slice_addresses(slice: &Value) -> BTreeSet<IpAddr> {
    let endpoints = slice.get("endpoints").and_then(Value::as_array);
    let lists = endpoints
        .into_iter()
        .flatten()
        .filter_map(|endpoint| endpoint.get("addresses").and_then(Value::as_array));
    lists.flatten().filter_map(address).collect()
}

fn address(text: &Value) -> Option<IpAddr> {
    text.as_str()?.parse().ok()
}
