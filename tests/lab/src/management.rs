//! Links beside the network under test, from each endpoint to the lab's root namespace.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};

use ipnet::IpNet;

use crate::blueprint::{Blueprint, Table};
use crate::error::LabError;
use crate::host::TABLE_PODS;
use crate::plan::{Endpoint, EndpointKind};

/// Where the coordinator listens: in 198.18.0.0/15, which RFC 2544 keeps for benchmarks.
pub(crate) const COORDINATOR: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
/// The address before the first endpoint's.
const BASE: u32 = u32::from_be_bytes([198, 18, 0, 1]);
/// How many endpoints one program can link, over all of its labs: the rest of 198.18.0.0/16.
const ENDPOINTS_MAX: u32 = 65_000;

/// Numbers given so far: labs of one program share the root namespace, so they share the numbers.
static GIVEN: AtomicU32 = AtomicU32::new(0);

/// Links every endpoint to the root.
///
/// # Errors
/// [`LabError::TooManyEndpoints`].
pub(crate) fn draw(blueprint: &mut Blueprint, endpoints: &[Endpoint]) -> Result<(), LabError> {
    blueprint.root.address(COORDINATOR, "lo");
    for endpoint in endpoints {
        let number = GIVEN.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if number > ENDPOINTS_MAX {
            return Err(LabError::TooManyEndpoints { max: ENDPOINTS_MAX });
        }
        let address = IpAddr::V4(Ipv4Addr::from(BASE.saturating_add(number)));
        let device = format!("m{number}");
        blueprint.link((None, &device), (Some(&endpoint.name), "mgmt"));
        blueprint
            .root
            .route(IpNet::from(address), &device, Table::Main);
        if let Some(namespace) = blueprint.namespaces.get_mut(&endpoint.name) {
            namespace.address(address, "mgmt");
            namespace
                .lines
                .push(format!("route add {COORDINATOR}/32 dev mgmt src {address}"));
        }
        if endpoint.kind == EndpointKind::ControlPlane {
            lead_to_api_server(blueprint, endpoint, &device);
        }
    }
    Ok(())
}

/// Leads the root to an interface of the control plane by its own addresses, and back: whoever asks an API server from there
/// passes none of the wires under test. Of labs with the same addresses the last one has them.
fn lead_to_api_server(blueprint: &mut Blueprint, endpoint: &Endpoint, device: &str) {
    let addresses = endpoint.addresses.iter();
    for address in addresses.filter(|address| address.is_ipv4()) {
        blueprint.root.lines.push(format!(
            "route replace {address}/32 dev {device} src {COORDINATOR}"
        ));
    }
    if let Some(namespace) = blueprint.namespaces.get_mut(&endpoint.name) {
        // Before the table of the interface, which leads everything to the wire.
        let back = format!("route replace {COORDINATOR}/32 dev mgmt table {TABLE_PODS}");
        namespace.lines.push(back);
    }
}
