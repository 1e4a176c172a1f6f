//! Backends of webhooks and of aggregated APIs, with the ports that are dialled.
//!
//! What cannot be read is left out with a gap: no prediction rests on it, only the list of what a cluster needs.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::Decoder;
use super::health::condition;
use super::kubernetes::{metadata, namespaced_name, text_map};
use crate::describe::{Fault, Node};
use crate::snapshot::{Backend, BackendCaller, Consequence, Pod, PodPhase, Targets};

/// Label of a slice with the name of its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Port of a service to which webhooks and aggregated APIs are, unless they say otherwise (G.1).
const PORT_DEFAULT: u16 = 443;

/// Strategy of a definition whose objects a webhook converts (G.1).
const BY_WEBHOOK: &str = "Webhook";

/// A port of a service.
struct ServicePort {
    name: String,
    port: u16,
    /// The port of the pods, where it is a number.
    target: Option<u16>,
}

/// A service with what finds its pods.
struct Service {
    namespace: String,
    name: String,
    ports: Vec<ServicePort>,
    selector: Vec<(String, String)>,
}

/// A slice of a service's endpoints.
struct Slice {
    namespace: String,
    service: String,
    ports: Vec<(String, u16)>,
    addresses: Vec<IpAddr>,
}

impl Decoder<'_> {
    /// Webhooks and API services, after pods.
    pub(super) fn backends(&mut self) {
        let mut backends = BTreeSet::new();
        for stem in [
            "validatingwebhookconfigurations",
            "mutatingwebhookconfigurations",
        ] {
            for object in self.objects(stem) {
                let found = self.read(webhooks(&object), Consequence::None);
                backends.extend(found.unwrap_or_default());
            }
        }
        for object in self.objects("customresourcedefinitions") {
            let found = self.read(conversion(&object), Consequence::None);
            backends.extend(found.flatten());
        }
        for object in self.objects("apiservices") {
            let found = self.read(api_service(&object), Consequence::None);
            backends.extend(found.flatten());
        }
        if backends.is_empty() {
            return;
        }
        let services: Vec<Service> = self
            .objects("services")
            .iter()
            .filter_map(|object| service(object).ok())
            .collect();
        let slices = self.objects.contains_key("endpointslices").then(|| {
            let objects = self.objects("endpointslices");
            objects
                .iter()
                .filter_map(|object| slice(object).ok())
                .collect::<Vec<_>>()
        });
        let pods = self
            .objects
            .contains_key("pods")
            .then_some(&self.snapshot.pods);
        let mut found: Vec<Backend> = backends.into_iter().collect();
        for backend in &mut found {
            let is_it = |service: &&Service| {
                service.namespace == backend.namespace && service.name == backend.service
            };
            let service = services.iter().find(is_it);
            backend.targets = targets(backend, service, slices.as_deref(), pods.map(Vec::as_slice));
        }
        self.snapshot.backends = found;
    }
}

/// Where a backend leads: by the slices of its service, else by the pods that it selects.
fn targets(
    backend: &Backend,
    service: Option<&Service>,
    slices: Option<&[Slice]>,
    pods: Option<&[Pod]>,
) -> Targets {
    let ports = service.map_or(&[][..], |service| service.ports.as_slice());
    let port = ports.iter().find(|port| port.port == backend.port);
    let own: Vec<&Slice> = slices
        .unwrap_or_default()
        .iter()
        .filter(|slice| slice.namespace == backend.namespace && slice.service == backend.service)
        .collect();
    if !own.is_empty() {
        return of_slices(&own, port);
    }
    match (service, port.and_then(|port| port.target), pods) {
        (Some(service), Some(target), Some(pods)) if !service.selector.is_empty() => {
            Targets::Known(selected(service, target, pods))
        }
        (_, _, _) => Targets::Unknown,
    }
}

/// Every address of the slices with the port of that name; the only port where the service is not in the snapshot.
fn of_slices(slices: &[&Slice], port: Option<&ServicePort>) -> Targets {
    let mut found = BTreeSet::new();
    for slice in slices {
        let number = match (port, slice.ports.as_slice()) {
            (_, [(_, only)]) => Some(*only),
            (Some(port), several) => {
                let named = several.iter().find(|(name, _)| *name == port.name);
                named.map(|(_, number)| *number)
            }
            (None, _) => None,
        };
        let Some(number) = number else {
            return Targets::Unknown;
        };
        let addresses = slice.addresses.iter();
        found.extend(addresses.map(|address| SocketAddr::new(*address, number)));
    }
    Targets::Known(found)
}

/// The pods of a service.
fn selected(service: &Service, port: u16, pods: &[Pod]) -> BTreeSet<SocketAddr> {
    let is_selected = |pod: &&Pod| {
        pod.namespace == service.namespace
            && pod.phase == PodPhase::Live
            && service
                .selector
                .iter()
                .all(|(key, value)| pod.labels.get(key) == Some(value))
    };
    let pods = pods.iter().filter(is_selected);
    pods.flat_map(|pod| &pod.addresses)
        .map(|address| SocketAddr::new(*address, port))
        .collect()
}

/// The backends of a webhook configuration; one at a URL has none.
fn webhooks(object: &Node<'_>) -> Result<Vec<Backend>, Fault> {
    let name = metadata(object)?.required("name")?.to_owned();
    let mut found = Vec::new();
    for webhook in object.list("webhooks")? {
        let config = webhook.field("clientConfig");
        if let Some(service) = config.as_ref().and_then(|config| config.field("service")) {
            found.push(backend(BackendCaller::Webhook(name.clone()), &service)?);
        }
    }
    Ok(found)
}

/// The backend of a definition's conversion webhook; one at a URL has none, nor has a definition that converts nothing.
fn conversion(object: &Node<'_>) -> Result<Option<Backend>, Fault> {
    let name = metadata(object)?.required("name")?.to_owned();
    let conversion = object
        .field("spec")
        .and_then(|spec| spec.field("conversion"));
    let Some(conversion) = conversion else {
        return Ok(None);
    };
    if conversion.text("strategy")? != Some(BY_WEBHOOK) {
        return Ok(None);
    }
    let webhook = conversion.field("webhook");
    let config = webhook.and_then(|webhook| webhook.field("clientConfig"));
    let service = config.and_then(|config| config.field("service"));
    service
        .map(|service| backend(BackendCaller::Conversion(name), &service))
        .transpose()
}

/// The backend of an aggregated API; the API server's own have none.
fn api_service(object: &Node<'_>) -> Result<Option<Backend>, Fault> {
    let name = metadata(object)?.required("name")?.to_owned();
    let Some(spec) = object.field("spec") else {
        return Ok(None);
    };
    let group = spec.text("group")?.unwrap_or_default().to_owned();
    let Some(service) = spec
        .field("service")
        .filter(|service| service.value().is_object())
    else {
        return Ok(None);
    };
    Ok(Some(Backend {
        available: condition(object, "Available"),
        ..backend(BackendCaller::ApiService { name, group }, &service)?
    }))
}

fn backend(caller: BackendCaller, service: &Node<'_>) -> Result<Backend, Fault> {
    Ok(Backend {
        caller,
        namespace: service.required("namespace")?.to_owned(),
        service: service.required("name")?.to_owned(),
        port: port(service, "port")?.unwrap_or(PORT_DEFAULT),
        targets: Targets::Unknown,
        available: None,
    })
}

fn port(node: &Node<'_>, field: &str) -> Result<Option<u16>, Fault> {
    let number = node.integer(field)?;
    Ok(number.and_then(|number| u16::try_from(number).ok()))
}

fn service(object: &Node<'_>) -> Result<Service, Fault> {
    let (namespace, name) = namespaced_name(object)?;
    let (mut ports, mut selector) = (Vec::new(), Vec::new());
    if let Some(spec) = object.field("spec") {
        for item in spec.list("ports")? {
            let Some(number) = port(&item, "port")? else {
                continue;
            };
            // The target is a number, or the name of a container's port, which the snapshot does not have.
            let target = match item.field("targetPort") {
                Some(field) if field.value().is_string() => None,
                Some(_) => port(&item, "targetPort")?,
                None => Some(number),
            };
            ports.push(ServicePort {
                name: item.text("name")?.unwrap_or_default().to_owned(),
                port: number,
                target,
            });
        }
        if spec.field("selector").is_some() {
            selector = text_map(&spec, "selector")?.into_iter().collect();
        }
    }
    Ok(Service {
        namespace,
        name,
        ports,
        selector,
    })
}

/// A slice with all addresses that are not going away: one that is not ready is dialled once it is, and may be not ready for
/// want of the very flow that is asked about.
fn slice(object: &Node<'_>) -> Result<Slice, Fault> {
    let (namespace, name) = namespaced_name(object)?;
    let labels = text_map(&metadata(object)?, "labels")?;
    let mut ports = Vec::new();
    for item in object.list("ports")? {
        if let Some(number) = port(&item, "port")? {
            ports.push((item.text("name")?.unwrap_or_default().to_owned(), number));
        }
    }
    let mut addresses = Vec::new();
    for endpoint in object.list("endpoints")? {
        let terminating = match endpoint.field("conditions") {
            Some(conditions) => conditions.flag("terminating")?,
            None => None,
        };
        if terminating == Some(true) {
            continue;
        }
        for item in endpoint.list("addresses")? {
            addresses.extend(item.as_text()?.parse::<IpAddr>());
        }
    }
    Ok(Slice {
        namespace,
        service: labels.get(SERVICE_NAME).cloned().unwrap_or(name),
        ports,
        addresses,
    })
}
