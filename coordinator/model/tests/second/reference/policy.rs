//! NetworkPolicies: only whether one selects a pod (K.1 "NetworkPolicy").

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::world::{list, text};

pub struct Pod {
    namespace: String,
    labels: Map<String, Value>,
    addresses: Vec<IpAddr>,
    /// Neither on the host's network, nor finished, nor on Fargate.
    selectable: bool,
}

pub struct Policy {
    namespace: String,
    selector: Value,
}

fn objects<'a>(json: &'a Map<String, Value>, stem: &str) -> &'a [Value] {
    json.get(stem).map_or(&[], |file| list(file, "items"))
}

pub fn pods(json: &Map<String, Value>) -> Vec<Pod> {
    let fargate_nodes: Vec<String> = objects(json, "nodes")
        .iter()
        .filter(|node| node["metadata"]["labels"]["eks.amazonaws.com/compute-type"] == "fargate")
        .filter_map(|node| text(&node["metadata"], "name"))
        .collect();
    objects(json, "pods")
        .iter()
        .map(|pod| {
            let labels = pod["metadata"]["labels"].as_object().cloned();
            let labels = labels.unwrap_or_default();
            let node = text(&pod["spec"], "nodeName").unwrap_or_default();
            let fargate = labels.contains_key("eks.amazonaws.com/fargate-profile")
                || node.starts_with("fargate-")
                || fargate_nodes.contains(&node);
            let phase = text(&pod["status"], "phase").unwrap_or_default();
            let mut addresses: Vec<String> = text(&pod["status"], "podIP").into_iter().collect();
            addresses.extend(super::world::texts(&pod["status"], "podIPs", "ip"));
            Pod {
                namespace: text(&pod["metadata"], "namespace").unwrap(),
                labels,
                addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
                selectable: pod["spec"]["hostNetwork"] != true
                    && phase != "Succeeded"
                    && phase != "Failed"
                    && !fargate,
            }
        })
        .collect()
}

pub fn policies(json: &Map<String, Value>) -> Vec<Policy> {
    objects(json, "networkpolicies")
        .iter()
        .map(|policy| Policy {
            namespace: text(&policy["metadata"], "namespace").unwrap(),
            selector: policy["spec"]["podSelector"].clone(),
        })
        .collect()
}

/// Whether a policy selects a pod with this address.
pub fn selected(pods: &[Pod], policies: &[Policy], address: IpAddr) -> bool {
    pods.iter()
        .filter(|pod| pod.selectable && pod.addresses.contains(&address))
        .any(|pod| {
            policies
                .iter()
                .any(|policy| policy.namespace == pod.namespace && matches(&policy.selector, pod))
        })
}

fn matches(selector: &Value, pod: &Pod) -> bool {
    let labels = selector["matchLabels"].as_object().cloned();
    let all_labels = labels
        .unwrap_or_default()
        .iter()
        .all(|(key, value)| pod.labels.get(key) == Some(value));
    all_labels
        && list(selector, "matchExpressions").iter().all(|term| {
            let value = pod.labels.get(term["key"].as_str().unwrap());
            let among = |value: &Value| list(term, "values").contains(value);
            match term["operator"].as_str().unwrap() {
                "In" => value.is_some_and(among),
                "NotIn" => !value.is_some_and(among),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                other => panic!("operator {other}"),
            }
        })
}
