//! NetworkPolicies: only whether one selects a pod (K.1 "NetworkPolicy").

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::net::Net;
use super::world::{World, list, text};

pub struct Pod {
    /// Neither succeeded nor failed.
    live: bool,
    namespace: String,
    labels: Map<String, Value>,
    addresses: Vec<IpAddr>,
    /// Neither on the host's network, nor finished, nor on Fargate.
    selectable: bool,
}

pub struct Policy {
    /// Absent: of the whole cluster.
    namespace: Option<String>,
    selector: Value,
    /// Pods that it lists by address.
    listed: Vec<IpAddr>,
    /// It lists pods and selects none.
    lists_only: bool,
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
                live: phase != "Succeeded" && phase != "Failed",
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
    let mut found = Vec::new();
    for stem in ["networkpolicies", "applicationnetworkpolicies"] {
        found.extend(objects(json, stem).iter().map(|policy| Policy {
            namespace: text(&policy["metadata"], "namespace"),
            selector: policy["spec"]["podSelector"].clone(),
            listed: Vec::new(),
            lists_only: false,
        }));
    }
    for stem in ["clusternetworkpolicies", "adminnetworkpolicies"] {
        found.extend(objects(json, stem).iter().map(|policy| Policy {
            namespace: None,
            selector: policy["spec"]["subject"]["pods"]["podSelector"].clone(),
            listed: Vec::new(),
            lists_only: false,
        }));
    }
    found.extend(objects(json, "policyendpoints").iter().map(|policy| {
        let listed = super::world::texts(&policy["spec"], "podSelectorEndpoints", "podIP");
        Policy {
            namespace: text(&policy["metadata"], "namespace"),
            selector: policy["spec"]["podSelector"].clone(),
            lists_only: policy["spec"].get("podSelector").is_none() && !listed.is_empty(),
            listed: listed.iter().map(|it| it.parse().unwrap()).collect(),
        }
    }));
    found.extend(
        objects(json, "ciliumclusterwidenetworkpolicies")
            .iter()
            .map(|_| Policy {
                namespace: None,
                selector: Value::Null,
                listed: Vec::new(),
                lists_only: false,
            }),
    );
    found
}

/// Whether the VPC CNI drops everything of pods that no policy selects.
fn denies_by_default(world: &World) -> bool {
    let mode = world.cni.get("NETWORK_POLICY_ENFORCING_MODE");
    mode.is_some_and(|mode| mode == "strict")
}

/// Whether an address is one of a pod that is denied because no policy selects it.
pub fn denied_by_default(world: &World, address: IpAddr) -> bool {
    let is_policed = |pod: &Pod| pod.selectable && pod.addresses.contains(&address);
    denies_by_default(world) && world.pods.iter().any(is_policed)
}

/// Whether an address could be that of a pod of which nothing is known: no running pod claims it, and the VPC CNI gives
/// such addresses to pods.
pub fn unknown_pod(world: &World, address: IpAddr) -> bool {
    if (world.policies.is_empty() && !denies_by_default(world))
        || world
            .pods
            .iter()
            .any(|pod| pod.live && pod.addresses.contains(&address))
    {
        return false;
    }
    world.owners(address).iter().any(|eni| {
        if eni.branch {
            return true;
        }
        let secondary = address.is_ipv4()
            && eni.primary != Some(address)
            && eni.owned.contains(&Net::host(address));
        let listed = eni.owned.contains(&Net::host(address));
        let delegated = !listed && eni.prefixes.iter().any(|net| net.contains(address));
        (secondary || delegated)
            && world
                .instance_of(eni)
                .is_some_and(|instance| is_node(world, &instance))
    })
}

/// Whether a Node names an instance, where there is a file of nodes.
fn is_node(world: &World, instance: &str) -> bool {
    if !world.json.contains_key("nodes") {
        return true;
    }
    objects(&world.json, "nodes").iter().any(|node| {
        let provider = text(&node["spec"], "providerID").unwrap_or_default();
        let addresses: Vec<IpAddr> = list(&node["status"], "addresses")
            .iter()
            .filter(|it| it["type"] == "InternalIP")
            .filter_map(|it| text(it, "address")?.parse().ok())
            .collect();
        let owned = world.enis.iter().any(|eni| {
            !eni.branch
                && world.instance_of(eni).as_deref() == Some(instance)
                && addresses
                    .iter()
                    .any(|it| eni.owned.contains(&Net::host(*it)))
        });
        provider.ends_with(&format!("/{instance}")) || owned
    })
}

/// Whether a policy selects a pod with this address.
pub fn selected(pods: &[Pod], policies: &[Policy], address: IpAddr) -> bool {
    if policies.iter().any(|it| it.listed.contains(&address)) {
        return true;
    }
    pods.iter()
        .filter(|pod| pod.selectable && pod.addresses.contains(&address))
        .any(|pod| {
            policies.iter().any(|policy| {
                let there = policy
                    .namespace
                    .as_ref()
                    .is_none_or(|it| *it == pod.namespace);
                let about = there && !policy.lists_only && matches(&policy.selector, pod);
                about || pod.addresses.iter().any(|it| policy.listed.contains(it))
            })
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
