//! Services and the slices of their endpoints. What cannot be read is left out: a prediction never rests on them, only the
//! advice whom to ask about.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::Decoder;
use super::kubernetes::{metadata, namespaced_name, ready_addresses, text_map};
use crate::describe::{Fault, Node};
use crate::snapshot::{Consequence, Service};

/// Label of a slice with the name of its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Namespace and name of a service.
type Name = (String, String);
/// Endpoints of every service.
type Endpoints = BTreeMap<Name, BTreeSet<SocketAddr>>;

impl Decoder<'_> {
    pub(super) fn services(&mut self) {
        let mut endpoints = Endpoints::new();
        for object in self.objects("endpointslices") {
            if let Ok((service, found)) = slice(&object) {
                endpoints.entry(service).or_default().extend(found);
            }
        }
        let mut services = Vec::new();
        for object in self.objects("services") {
            let service = self.read(service(&object), Consequence::None);
            services.extend(service.flatten());
        }
        for service in &mut services {
            let key = (service.namespace.clone(), service.name.clone());
            service.endpoints = endpoints.remove(&key).unwrap_or_default();
        }
        services.sort_by(|one, other| {
            (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name))
        });
        self.snapshot.services = services;
    }
}

/// A service; nothing of one without a specification.
fn service(object: &Node<'_>) -> Result<Option<Service>, Fault> {
    let (namespace, name) = namespaced_name(object)?;
    let Some(spec) = object.field("spec") else {
        return Ok(None);
    };
    let mut words: Vec<&str> = spec.text("clusterIP")?.into_iter().collect();
    for item in spec.list("clusterIPs")? {
        words.push(item.as_text()?);
    }
    // `None` is the address of a headless service, which has none.
    let mut addresses: Vec<IpAddr> = words.iter().filter_map(|word| word.parse().ok()).collect();
    addresses.sort();
    addresses.dedup();
    Ok(Some(Service {
        namespace,
        name,
        addresses,
        endpoints: BTreeSet::new(),
    }))
}

/// The service of a slice, and its ready endpoints with every port.
fn slice(object: &Node<'_>) -> Result<(Name, Vec<SocketAddr>), Fault> {
    let (namespace, name) = namespaced_name(object)?;
    let labels = text_map(&metadata(object)?, "labels")?;
    let service = labels.get(SERVICE_NAME).cloned().unwrap_or(name);
    let mut ports = Vec::new();
    for port in object.list("ports")? {
        let number = port
            .integer("port")?
            .and_then(|port| u16::try_from(port).ok());
        ports.extend(number);
    }
    let mut found = Vec::new();
    for item in ready_addresses(object)? {
        if let Ok(address) = item.as_text()?.parse::<IpAddr>() {
            found.extend(ports.iter().map(|port| SocketAddr::new(address, *port)));
        }
    }
    Ok(((namespace, service), found))
}
