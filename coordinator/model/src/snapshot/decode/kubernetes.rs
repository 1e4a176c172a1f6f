//! Kubernetes objects.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

use super::Decoder;
use super::health::condition;
use crate::describe::{Fault, Node};
use crate::id::{InstanceId, NodeName};
use crate::snapshot::{
    Completeness, Consequence, LabelSelector, Leaving, Node as KubernetesNode, Platform, Pod,
    PodNetwork, PodPhase, SelectorTerm,
};

/// Label of a node and its value on Fargate [E.6].
const COMPUTE_TYPE: &str = "eks.amazonaws.com/compute-type";
/// Label of a pod that a Fargate profile took [E.6].
const FARGATE_PROFILE: &str = "eks.amazonaws.com/fargate-profile";
/// Start of the name of a Fargate node (UNSOURCED pattern, E.6).
const FARGATE_NODE: &str = "fargate-";

/// Names of the containers that service meshes put into pods, and that take over connections there (F.2 "Answers"): Istio,
/// Linkerd, Consul, Kuma, App Mesh. INFERRED: another name is not found; a pod with `kubectl get pod -o json` settles it.
const RELAYS: [&str; 5] = [
    "istio-proxy",
    "linkerd-proxy",
    "consul-dataplane",
    "kuma-sidecar",
    "envoy",
];

/// Keys of taints that say that a node is about to go, or their beginnings.
///
/// | whose | source |
/// |---|---|
/// | Karpenter, v1 and before | Karpenter, "Disruption" |
/// | Cluster Autoscaler | Cluster Autoscaler, "FAQ" |
/// | AWS Node Termination Handler | its README |
/// | Kubernetes | Kubernetes, "Well-Known Labels, Annotations and Taints" |
const LEAVING_TAINTS: [&str; 7] = [
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
    "ToBeDeletedByClusterAutoscaler",
    "aws-node-termination-handler/",
    "node.cloudprovider.kubernetes.io/shutdown",
    "node.kubernetes.io/out-of-service",
    "node.kubernetes.io/unschedulable",
];

impl<'a> Decoder<'a> {
    pub(super) fn kubernetes(&mut self) {
        for object in self.objects("nodes") {
            match self.read(node(&object), Consequence::NoKubernetes) {
                Some((node, faults)) => {
                    self.snapshot.nodes.push(node);
                    self.note_all(faults);
                }
                None => self.nodes_read = Completeness::Incomplete,
            }
        }
        for object in self.objects("pods") {
            if let Some((pod, faults)) = self.read(pod(&object), Consequence::NoKubernetes) {
                self.snapshot.pods.push(pod);
                self.note_all(faults);
            }
        }
        self.leases();
        self.api_endpoints();
        self.sort_objects();
    }

    /// Addresses that could not be read: the object stays with the others.
    fn note_all(&mut self, faults: Vec<Fault>) {
        for fault in faults {
            self.note(fault, Consequence::AddressUnread);
        }
    }

    /// Addresses in the slices of Service `default/kubernetes` that are ready (D.1).
    fn api_endpoints(&mut self) {
        let mut addresses = None;
        for object in self.objects("endpointslices") {
            let found = self.read(api_addresses(&object), Consequence::NoKubernetes);
            if let Some(found) = found.flatten() {
                addresses.get_or_insert_with(BTreeSet::new).extend(found);
            }
        }
        self.snapshot.api_endpoints = addresses;
    }

    fn sort_objects(&mut self) {
        let snapshot = &mut self.snapshot;
        snapshot
            .nodes
            .sort_by(|one, other| one.name.cmp(&other.name));
        for (place, node) in snapshot.nodes.iter().enumerate() {
            if let Some(instance) = &node.instance {
                snapshot.nodes_by_instance.insert(instance.clone(), place);
            }
            for address in &node.addresses {
                snapshot.nodes_by_address.insert(*address, place);
            }
        }
        let fargate: BTreeSet<_> = snapshot
            .nodes
            .iter()
            .filter(|node| node.platform == Platform::Fargate)
            .map(|node| node.name.clone())
            .collect();
        for pod in &mut snapshot.pods {
            if pod.node.as_ref().is_some_and(|node| fargate.contains(node)) {
                pod.platform = Platform::Fargate;
            }
        }
        snapshot.pods.sort_by(|one, other| {
            (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name))
        });
        for (place, pod) in snapshot.pods.iter().enumerate() {
            for address in &pod.addresses {
                snapshot
                    .pods_by_address
                    .entry(*address)
                    .or_default()
                    .push(place);
            }
        }
    }
}

pub(super) fn metadata<'a>(object: &Node<'a>) -> Result<Node<'a>, Fault> {
    object
        .field("metadata")
        .ok_or_else(|| object.missing("metadata"))
}

pub(super) fn namespaced_name(object: &Node<'_>) -> Result<(String, String), Fault> {
    let metadata = metadata(object)?;
    let namespace = metadata.required("namespace")?;
    Ok((namespace.to_owned(), metadata.required("name")?.to_owned()))
}

pub(super) fn text_map(node: &Node<'_>, name: &str) -> Result<BTreeMap<String, String>, Fault> {
    let Some(field) = node.field(name) else {
        return Ok(BTreeMap::new());
    };
    let object = field
        .value()
        .as_object()
        .ok_or_else(|| field.malformed("an object"))?;
    object
        .iter()
        .map(|(key, value)| {
            let text = value
                .as_str()
                .ok_or_else(|| field.malformed("an object of texts"))?;
            Ok((key.clone(), text.to_owned()))
        })
        .collect()
}

pub(super) fn address(node: &Node<'_>) -> Result<IpAddr, Fault> {
    node.parse("an IP address", str::parse::<IpAddr>)
}

/// A node, with the addresses that could not be read.
fn node(object: &Node<'_>) -> Result<(KubernetesNode, Vec<Fault>), Fault> {
    let metadata = metadata(object)?;
    let name = metadata.required("name")?;
    let labels = text_map(&metadata, "labels")?;
    let provider = match object.field("spec") {
        Some(spec) => spec.text("providerID")?,
        None => None,
    };
    let (mut addresses, mut faults) = (Vec::new(), Vec::new());
    let listed = object
        .field("status")
        .map(|status| status.list("addresses"));
    match listed.transpose() {
        Ok(items) => {
            for item in items.unwrap_or_default() {
                match internal_address(&item) {
                    Ok(address) => addresses.extend(address),
                    Err(fault) => faults.push(fault),
                }
            }
        }
        Err(fault) => faults.push(fault),
    }
    let is_fargate = labels
        .get(COMPUTE_TYPE)
        .is_some_and(|value| value == "fargate")
        || name.starts_with(FARGATE_NODE);
    let node = KubernetesNode {
        name: NodeName::from(name),
        instance: provider
            .and_then(|provider| provider.rsplit('/').next())
            .filter(|last| last.starts_with("i-"))
            .map(InstanceId::from),
        addresses,
        platform: if is_fargate {
            Platform::Fargate
        } else {
            Platform::Ec2
        },
        ready: condition(object, "Ready"),
        lease: None,
        leaving: leaving(object),
    };
    Ok((node, faults))
}

/// What says that a node is about to go; what cannot be read says nothing.
fn leaving(object: &Node<'_>) -> Option<Leaving> {
    let at = |pointer| object.value().pointer(pointer);
    if at("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()) {
        return Some(Leaving::Deleted);
    }
    if at("/spec/unschedulable").and_then(Value::as_bool) == Some(true) {
        return Some(Leaving::Cordoned);
    }
    let taints = at("/spec/taints").and_then(Value::as_array);
    let mut keys = taints
        .into_iter()
        .flatten()
        .filter_map(|taint| taint.get("key").and_then(Value::as_str));
    let taint = keys.find(|key| {
        let is_it = |known: &&str| match known.strip_suffix('/') {
            Some(_) => key.starts_with(*known),
            None => key == known,
        };
        LEAVING_TAINTS.iter().any(is_it)
    })?;
    Some(Leaving::Tainted {
        taint: taint.to_owned(),
    })
}

/// The address of an item of `status.addresses` that is an internal one.
fn internal_address(item: &Node<'_>) -> Result<Option<IpAddr>, Fault> {
    match (item.text("type")?, item.field("address")) {
        (Some("InternalIP"), Some(field)) => address(&field).map(Some),
        (_, _) => Ok(None),
    }
}

/// A pod, with the addresses that could not be read.
fn pod(object: &Node<'_>) -> Result<(Pod, Vec<Fault>), Fault> {
    let (namespace, name) = namespaced_name(object)?;
    let labels = text_map(&metadata(object)?, "labels")?;
    let mut pod = Pod {
        namespace,
        name,
        node: None,
        addresses: Vec::new(),
        platform: Platform::Ec2,
        labels,
        network: PodNetwork::Pod,
        phase: PodPhase::Live,
        relay: None,
    };
    if let Some(spec) = object.field("spec") {
        pod.node = spec.text("nodeName")?.map(NodeName::from);
        if spec.flag("hostNetwork")? == Some(true) {
            pod.network = PodNetwork::Host;
        }
        pod.relay = relay(&spec);
    }
    if pod.labels.contains_key(FARGATE_PROFILE)
        || pod
            .node
            .as_ref()
            .is_some_and(|node| node.as_str().starts_with(FARGATE_NODE))
    {
        pod.platform = Platform::Fargate;
    }
    if let Some(status) = object.field("status") {
        if matches!(status.text("phase")?, Some("Succeeded" | "Failed")) {
            pod.phase = PodPhase::Finished;
        }
        let (addresses, faults) = pod_addresses(&status);
        pod.addresses = addresses;
        return Ok((pod, faults));
    }
    Ok((pod, Vec::new()))
}

/// The container of a service mesh among those of a pod. What cannot be read is none: the note that hangs on it is no
/// condition.
fn relay(spec: &Node<'_>) -> Option<String> {
    ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| spec.list(list).unwrap_or_default())
        .filter_map(|container| container.text("name").ok().flatten())
        .find(|name| RELAYS.contains(name))
        .map(str::to_owned)
}

/// The addresses that can be read, and the faults of the others.
fn pod_addresses(status: &Node<'_>) -> (Vec<IpAddr>, Vec<Fault>) {
    let (mut addresses, mut faults) = (Vec::new(), Vec::new());
    let mut fields: Vec<Node<'_>> = status.field("podIP").into_iter().collect();
    match status.list("podIPs") {
        Ok(items) => fields.extend(items.iter().filter_map(|item| item.field("ip"))),
        Err(fault) => faults.push(fault),
    }
    for field in fields.iter().filter(|field| field.value() != "") {
        match address(field) {
            Ok(address) => addresses.push(address),
            Err(fault) => faults.push(fault),
        }
    }
    addresses.sort();
    addresses.dedup();
    (addresses, faults)
}

pub(super) fn label_selector(node: &Node<'_>) -> Result<LabelSelector, Fault> {
    if !node.value().is_object() {
        return Err(node.malformed("an object"));
    }
    let mut terms: Vec<_> = text_map(node, "matchLabels")?
        .into_iter()
        .map(|(key, value)| SelectorTerm::In(key, vec![value]))
        .collect();
    for expression in node.list("matchExpressions")? {
        let key = expression.required("key")?.to_owned();
        let values = expression
            .list("values")?
            .iter()
            .map(|value| value.as_text().map(str::to_owned))
            .collect::<Result<Vec<_>, _>>()?;
        terms.push(match expression.required("operator")? {
            "In" => SelectorTerm::In(key, values),
            "NotIn" => SelectorTerm::NotIn(key, values),
            "Exists" => SelectorTerm::Exists(key),
            "DoesNotExist" => SelectorTerm::DoesNotExist(key),
            _ => return Err(expression.malformed("an operator of a label selector")),
        });
    }
    Ok(LabelSelector { terms })
}

/// Addresses of a slice of `default/kubernetes`; nothing of any other slice.
fn api_addresses(object: &Node<'_>) -> Result<Option<Vec<IpAddr>>, Fault> {
    let metadata = metadata(object)?;
    let labels = text_map(&metadata, "labels")?;
    let is_service = match labels.get("kubernetes.io/service-name") {
        Some(service) => service == "kubernetes",
        None => metadata.text("name")? == Some("kubernetes"),
    };
    if !is_service || metadata.text("namespace")? != Some("default") {
        return Ok(None);
    }
    let ready = ready_addresses(object)?;
    ready
        .iter()
        .map(address)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The addresses of an EndpointSlice whose endpoints are ready, or do not say whether they are.
pub(super) fn ready_addresses<'a>(object: &Node<'a>) -> Result<Vec<Node<'a>>, Fault> {
    let mut addresses = Vec::new();
    for endpoint in object.list("endpoints")? {
        let ready = match endpoint.field("conditions") {
            Some(conditions) => conditions.flag("ready")?,
            None => None,
        };
        if ready != Some(false) {
            addresses.extend(endpoint.list("addresses")?);
        }
    }
    Ok(addresses)
}
