//! What the Kubernetes API says: nodes, pods, services, endpoint slices, and that there is no network policy.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{Expansion, REGION, host_addresses, primary_address, primary_first};
use crate::world::WorldError;
use crate::world::host::{App, Fargate, Host, HostRole, IpFamily, Pod};

impl<'w> Expansion<'w> {
    pub(super) fn add_kubernetes(self, answers: &mut Map<String, Value>) -> Result<(), WorldError> {
        let mut add = |stem: &str, items: Vec<Value>| {
            answers.insert(
                stem.to_owned(),
                json!({"apiVersion": "v1", "kind": "List", "items": items}),
            );
        };
        add("nodes", self.nodes());
        add("pods", self.pods());
        let backends = self.backends()?;
        let services = self.services().into_iter();
        add("services", services.chain(backends.services).collect());
        let slices = self.endpoint_slices().into_iter();
        add("endpointslices", slices.chain(backends.slices).collect());
        add("networkpolicies", Vec::new());
        for (stem, callers) in [
            ("validatingwebhookconfigurations", backends.webhooks),
            ("customresourcedefinitions", backends.definitions),
            ("apiservices", backends.api_services),
        ] {
            if !callers.is_empty() {
                add(stem, callers);
            }
        }
        Ok(())
    }

    fn nodes(self) -> Vec<Value> {
        let mut nodes = Vec::new();
        for (name, host) in &self.world.hosts {
            if host.role == HostRole::Node {
                let zone = host
                    .interfaces
                    .first()
                    .map(|interface| self.zone(&interface.subnet));
                let addresses = host_addresses(host);
                let node_name = self.node_name(addresses.first().copied());
                let zone = zone.unwrap_or_default();
                let provider = format!("aws:///{zone}/i-{name}");
                let labels = json!({
                    "kubernetes.io/hostname": node_name,
                    "topology.kubernetes.io/zone": zone,
                    "eks.amazonaws.com/compute-type": "ec2",
                });
                nodes.push(node(&node_name, labels, &provider, &addresses));
            }
        }
        for pod in self.world.fargate.values() {
            let addresses = primary_first(&pod.addresses);
            let node_name = self.fargate_node_name(addresses.first().copied());
            let zone = self.zone(&pod.subnet);
            let provider = format!("aws:///{zone}/{node_name}");
            let labels = json!({
                "kubernetes.io/hostname": node_name,
                "topology.kubernetes.io/zone": zone,
                "eks.amazonaws.com/compute-type": "fargate",
            });
            nodes.push(node(&node_name, labels, &provider, &addresses));
        }
        nodes
    }

    fn zone(self, subnet: &str) -> String {
        let zone = self
            .subnet("", subnet)
            .ok()
            .map(|(_, subnet)| subnet.zone.to_string());
        format!("{REGION}{}", zone.unwrap_or_default())
    }

    fn pods(self) -> Vec<Value> {
        let mut pods = Vec::new();
        for host in self.world.hosts.values() {
            let addresses = host_addresses(host);
            let node_name = self.node_name(addresses.first().copied());
            for (name, pod) in &host.pods {
                pods.push(self.pod(name, pod, &node_name, host));
            }
        }
        for (name, pod) in &self.world.fargate {
            pods.push(self.fargate_pod(name, pod));
        }
        pods
    }

    fn pod(self, name: &str, pod: &Pod, node_name: &str, host: &Host) -> Value {
        let (namespace, labels) = match pod.app {
            App::Workload => ("default", json!({"app": name})),
            App::Coredns => ("kube-system", json!({"k8s-app": "kube-dns"})),
        };
        let mut metadata = json!({"name": name, "namespace": namespace, "labels": labels});
        if pod.branch.is_some() {
            let record = json!([{
                "eniId": format!("eni-{name}"),
                "privateIp": primary_address(&pod.addresses),
            }]);
            let annotations = json!({"vpc.amazonaws.com/pod-eni": record.to_string()});
            super::vpc::set(&mut metadata, "annotations", annotations);
        }
        let host_address = host_addresses(host).first().copied();
        pod_answer(
            metadata,
            node_name,
            host_address,
            &self.pod_addresses(&pod.addresses),
        )
    }

    fn fargate_pod(self, name: &str, pod: &Fargate) -> Value {
        let addresses = self.pod_addresses(&pod.addresses);
        let node_name = self.fargate_node_name(primary_address(&pod.addresses));
        let mut metadata = json!({
            "name": name,
            "namespace": "fargate",
            "labels": {"app": name, "eks.amazonaws.com/fargate-profile": "fargate"},
        });
        if let Some(groups) = &pod.groups {
            let ids: Vec<String> = groups.iter().map(|group| format!("sg-{group}")).collect();
            let annotations = json!({"fargate.amazonaws.com/pod-sg": ids.join(",")});
            super::vpc::set(&mut metadata, "annotations", annotations);
        }
        pod_answer(
            metadata,
            &node_name,
            primary_address(&pod.addresses),
            &addresses,
        )
    }

    /// Addresses of a pod, the one of the cluster's family first: it is `podIP`.
    fn pod_addresses(self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let mut ordered = primary_first(addresses);
        if self.world.cluster.ip_family == IpFamily::Ipv6 {
            ordered.sort_by_key(IpAddr::is_ipv4);
        }
        ordered
    }

    fn services(self) -> Vec<Value> {
        let mut services = vec![json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"type": "ClusterIP", "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 443}]},
        })];
        if !self.coredns().is_empty() {
            services.push(json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
                "spec": {
                    "type": "ClusterIP",
                    "selector": {"k8s-app": "kube-dns"},
                    "ports": [
                        {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53},
                        {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": 53},
                    ],
                },
            }));
        }
        services
    }

    /// CoreDNS pods with their names.
    fn coredns(self) -> Vec<(&'w String, &'w Pod)> {
        let pods = self.world.hosts.values().flat_map(|host| &host.pods);
        pods.filter(|(_, pod)| pod.app == App::Coredns).collect()
    }

    /// The `kubernetes` slice lists the control plane's interfaces on 443 [D.1], `kube-dns` the CoreDNS pods.
    fn endpoint_slices(self) -> Vec<Value> {
        let addresses = |family: fn(&IpAddr) -> bool| -> Vec<IpAddr> {
            let interfaces = self.world.cluster.control_plane.values();
            interfaces
                .flat_map(|interface| &interface.addresses)
                .copied()
                .filter(family)
                .collect()
        };
        let https = json!([{"name": "https", "port": 443, "protocol": "TCP"}]);
        let mut slices = Vec::new();
        for (kind, addresses) in [
            ("IPv4", addresses(IpAddr::is_ipv4)),
            ("IPv6", addresses(IpAddr::is_ipv6)),
        ] {
            if !addresses.is_empty() {
                let endpoints: Vec<Value> = addresses.iter().map(endpoint).collect();
                slices.push(slice(("default", "kubernetes"), kind, &https, &endpoints));
            }
        }
        let dns = json!([
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ]);
        let pods = self.coredns();
        let endpoints: Vec<Value> = pods
            .iter()
            .filter_map(|(name, pod)| {
                let address = self.pod_addresses(&pod.addresses).into_iter().next()?;
                let mut endpoint = endpoint(&address);
                let target = json!({"kind": "Pod", "namespace": "kube-system", "name": name});
                super::vpc::set(&mut endpoint, "targetRef", target);
                Some(endpoint)
            })
            .collect();
        if !endpoints.is_empty() {
            let kind = match self.world.cluster.ip_family {
                IpFamily::Ipv4 => "IPv4",
                IpFamily::Ipv6 => "IPv6",
            };
            slices.push(slice(("kube-system", "kube-dns"), kind, &dns, &endpoints));
        }
        slices
    }
}

fn node(name: &str, labels: Value, provider: &str, addresses: &[IpAddr]) -> Value {
    let mut listed: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"type": "InternalIP", "address": address}))
        .collect();
    listed.push(json!({"type": "Hostname", "address": name}));
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"providerID": provider},
        "status": {"addresses": listed, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn pod_answer(metadata: Value, node: &str, host: Option<IpAddr>, addresses: &[IpAddr]) -> Value {
    let all: Value = addresses
        .iter()
        .map(|address| json!({"ip": address}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "example.com/main:1"}]},
        "status": {"phase": "Running", "hostIP": host, "podIP": addresses.first(), "podIPs": all},
    })
}

pub(super) fn endpoint(address: &IpAddr) -> Value {
    json!({"addresses": [address], "conditions": {"ready": true}})
}

/// `owner` is namespace and name of the service.
pub(super) fn slice(
    owner: (&str, &str),
    family: &str,
    ports: &Value,
    endpoints: &[Value],
) -> Value {
    let (namespace, service) = owner;
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": service,
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    })
}
