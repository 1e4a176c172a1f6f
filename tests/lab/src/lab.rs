//! A lab that is up.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use ipnet::IpNet;

use crate::authority::{Authority, endpoint_host};
use crate::blueprint::{Blueprint, Link};
use crate::cloud::Cloud;
use crate::error::LabError;
use crate::isolate::{enter_hint, is_inside};
use crate::kubelet::{self, Kubelets};
use crate::layout::layout;
use crate::listener::{API_SERVER, Listener, Listeners, Service};
use crate::management::{self, COORDINATOR};
use crate::namespace;
use crate::plan::{Endpoint, EndpointKind, LabPlan, Management};
use crate::topology;
use reachproof_start::find;

/// Labs of one program so far: each has a prefix of its own, so that names never meet.
static LABS: AtomicU32 = AtomicU32::new(0);

/// A network that is up until this is dropped.
///
/// Processes that the caller started in it are the caller's to end; they keep their namespace alive until then.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    names: Vec<String>,
    links: Vec<Link>,
    endpoints: Vec<Endpoint>,
    // What the interface of each wire owns, and the name of the wire's namespace.
    wires: Vec<(IpNet, String)>,
    // Dropped with the lab: the listeners end then.
    listeners: Option<Listeners>,
    kubelets: Option<Listeners>,
}

impl Lab {
    /// Builds the network of `plan`: every interface of the snapshot with its wire, subnet and host.
    ///
    /// Interfaces of the control plane get a listener on 443 on each of their addresses: TLS if the plan has an authority.
    ///
    /// # Errors
    /// [`LabError::NotIsolated`] outside [`isolate`](crate::isolate()); what the plan lacks or contradicts; what the
    /// kernel, `ip` or `nft` refuse. What was built until then is taken down.
    pub fn up(plan: &LabPlan) -> Result<Self, LabError> {
        if !is_inside() {
            return Err(LabError::NotIsolated);
        }
        let (blueprint, endpoints) = draw(plan)?;
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = if number == 0 {
            String::new()
        } else {
            format!("lab{number}.")
        };
        let mut names = Names {
            names: blueprint
                .namespaces
                .keys()
                .map(|name| format!("{prefix}{name}"))
                .collect(),
        };
        namespace::build(&blueprint, &prefix)?;
        let service = service(plan, &endpoints)?;
        let mut listeners = Vec::new();
        for endpoint in control_plane(&endpoints) {
            for address in &endpoint.addresses {
                let namespace = format!("{prefix}{}", endpoint.name);
                let socket = (*address, API_SERVER);
                listeners.push(Listener::open(&namespace, &endpoint.name, socket)?);
            }
        }
        let listeners = Listeners::serve(listeners, service)?;
        Ok(Self {
            wires: wires(plan)?,
            prefix,
            names: std::mem::take(&mut names.names),
            links: blueprint.links,
            endpoints,
            listeners: Some(listeners),
            kubelets: None,
        })
    }

    /// Lets subnets and wires do from now on what `plan` says: its security groups, network ACLs and routes. Who is there
    /// stays as it was built, connections that were let through live on, and filters that somebody laid there by hand go.
    ///
    /// # Errors
    /// [`LabError::Cables`] if `plan` has other subnets or interfaces, or a route towards somewhere that no cable of its
    /// subnet leads to; what the plan lacks or contradicts; what the kernel, `ip` or `nft` refuse.
    pub fn enforce(&self, plan: &LabPlan) -> Result<(), LabError> {
        let (blueprint, _) = draw(plan)?;
        for name in filters(plan)? {
            let built = format!("{}{name}", self.prefix);
            let is_laid = |link: &Link| self.links.iter().any(|laid| laid.leads_as(link));
            let mut links = blueprint.links.iter();
            let is_cabled = links.all(|link| !link.begins_at(&name) || is_laid(link));
            match blueprint.namespaces.get(&name) {
                Some(namespace) if is_cabled && self.names.contains(&built) => {
                    let refill = || namespace::refill(&built, namespace, topology::ROUTES);
                    namespace::within(&built, refill)??;
                }
                Some(_) | None => return Err(LabError::Cables { name }),
            }
        }
        Ok(())
    }

    /// Everything that can be entered: the endpoints of the plan, then the hosts and branch pods that it did not name.
    ///
    /// Those are called by their instance's or interface's id.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The endpoint that has `address`: a pod before the host behind which it stands.
    pub fn endpoint_at(&self, address: IpAddr) -> Option<&Endpoint> {
        let has = |endpoint: &&Endpoint| endpoint.addresses.contains(&address);
        let mut pods = self
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.kind == EndpointKind::Pod);
        pods.find(has).or_else(|| self.endpoints.iter().find(has))
    }

    /// A command that runs `program` inside the namespace of `endpoint`, in place: its process id is the program's.
    ///
    /// # Errors
    /// [`LabError::UnknownEndpoint`].
    pub fn command(&self, endpoint: &str, program: &OsStr) -> Result<Command, LabError> {
        let name = self.namespace(endpoint)?;
        let mut net = std::ffi::OsString::from("--net=");
        net.push(namespace::path(&name));
        let mut command = Command::new(find("nsenter").unwrap_or_else(|| PathBuf::from("nsenter")));
        command.arg(net).arg("--").arg(program);
        Ok(command)
    }

    /// Runs `work` on a thread of its own inside the namespace of `endpoint` and waits for it.
    ///
    /// Sockets that it opens belong to that namespace for ever, on whatever thread they are used later.
    ///
    /// # Errors
    /// [`LabError::UnknownEndpoint`], [`LabError::Namespace`], [`LabError::Thread`].
    pub fn within<T: Send>(
        &self,
        endpoint: &str,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, LabError> {
        namespace::within(&self.namespace(endpoint)?, work)
    }

    /// Runs `work` as [`Lab::within`] does, but on the wire of the interface that owns `address`.
    ///
    /// What is done there no host can see or undo: it is the network itself that changes.
    ///
    /// # Errors
    /// [`LabError::UnownedAddress`] if no interface owns it; [`LabError::Namespace`], [`LabError::Thread`].
    pub fn within_wire<T: Send>(
        &self,
        address: IpAddr,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, LabError> {
        let mut owning = self
            .wires
            .iter()
            .filter(|(network, _)| network.contains(&address));
        let (_, wire) = owning.next().ok_or_else(|| LabError::UnownedAddress {
            endpoint: "the wire".to_owned(),
            address,
        })?;
        namespace::within(&format!("{}{wire}", self.prefix), work)
    }

    /// The completed handshakes of TLS at each interface of the control plane, by its endpoint's name, in their order.
    ///
    /// The last 100,000 are known; none at all once the listeners were closed.
    pub fn handshakes(&self) -> BTreeMap<String, Vec<Instant>> {
        let listeners = self.listeners.as_ref();
        listeners.map(Listeners::handshakes).unwrap_or_default()
    }

    /// Lets kubelets listen on 10250 at the first address of each of `endpoints`, by name: with certificates of `authority`,
    /// whose API servers may read the log of each pod, `NAME.log` in the folder `logs`, and ask for its ports, where
    /// `NAME.place` says in which endpoint's network it is.
    ///
    /// # Errors
    /// [`LabError::UnknownEndpoint`], [`LabError::Authority`], and what the kernel refuses.
    pub fn start_kubelets(
        &mut self,
        endpoints: &[String],
        authority: &Authority,
        logs: &Path,
    ) -> Result<(), LabError> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for name in endpoints {
            let namespace = self.namespace(name)?;
            let endpoint = self.endpoints.iter().find(|known| known.name == *name);
            let address = endpoint.and_then(|endpoint| endpoint.addresses.first());
            if let Some(address) = address {
                listeners.push(Listener::open(&namespace, name, (*address, kubelet::PORT))?);
                addresses.push(*address);
            }
        }
        let kubelets = Kubelets {
            config: authority.kubelets(&addresses)?,
            logs: logs.to_owned(),
            prefix: self.prefix.clone(),
        };
        let service = Service::Kubelets(Arc::new(kubelets));
        self.kubelets = Some(Listeners::serve(listeners, service)?);
        Ok(())
    }

    /// Ends the kubelets.
    pub fn stop_kubelets(&mut self) {
        self.kubelets = None;
    }

    /// Ends the listeners on the control plane's interfaces, so that API servers can take their port.
    pub fn close_listeners(&mut self) {
        self.listeners = None;
    }

    /// Where the coordinator listens so that endpoints reach it over their management links.
    ///
    /// It is an address of the root namespace, in which the program itself runs; only with [`Management::Links`].
    pub fn management_address(&self) -> IpAddr {
        COORDINATOR
    }

    /// The command with which a person enters `endpoint` from another terminal, as root or as the user who runs the lab.
    ///
    /// # Errors
    /// [`LabError::UnknownEndpoint`].
    pub fn enter_hint(&self, endpoint: &str) -> Result<String, LabError> {
        Ok(enter_hint(&self.namespace(endpoint)?))
    }

    fn namespace(&self, endpoint: &str) -> Result<String, LabError> {
        self.endpoints
            .iter()
            .find(|known| known.name == endpoint)
            .map(|known| format!("{}{}", self.prefix, known.name))
            .ok_or_else(|| LabError::UnknownEndpoint {
                name: endpoint.to_owned(),
            })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.names.iter().for_each(|name| namespace::forget(name));
    }
}

/// Names given so far, so that they are taken away if the rest fails.
struct Names {
    names: Vec<String>,
}

impl Drop for Names {
    fn drop(&mut self) {
        self.names.iter().for_each(|name| namespace::forget(name));
    }
}

/// What the interfaces of `plan` own, with the names of their wires.
fn wires(plan: &LabPlan) -> Result<Vec<(IpNet, String)>, LabError> {
    let world = Cloud::read(&plan.snapshot)?;
    let wires = world.interfaces.iter().flat_map(|interface| {
        let wire = namespace::wire_name(&interface.network_interface_id);
        let networks = interface.networks();
        networks
            .into_iter()
            .map(move |network| (network, wire.clone()))
    });
    Ok(wires.collect())
}

/// Names of the namespaces that filter and route: subnets and wires.
fn filters(plan: &LabPlan) -> Result<Vec<String>, LabError> {
    let world = Cloud::read(&plan.snapshot)?;
    let subnets = world.subnets.iter().map(|subnet| subnet.subnet_id.clone());
    let interfaces = world.interfaces.iter();
    let wires = interfaces.map(|one| namespace::wire_name(&one.network_interface_id));
    Ok(subnets.chain(wires).collect())
}

fn control_plane(endpoints: &[Endpoint]) -> impl Iterator<Item = &Endpoint> {
    let is_one = |endpoint: &&Endpoint| endpoint.kind == EndpointKind::ControlPlane;
    endpoints.iter().filter(is_one)
}

/// What the interfaces of the control plane serve.
fn service(plan: &LabPlan, endpoints: &[Endpoint]) -> Result<Service, LabError> {
    let Some(authority) = &plan.authority else {
        return Ok(Service::Silent);
    };
    let hosts: Vec<String> = endpoint_host(&plan.snapshot).into_iter().collect();
    let addresses = control_plane(endpoints).flat_map(|endpoint| endpoint.addresses.clone());
    let addresses: Vec<IpAddr> = addresses.collect();
    Ok(Service::Tls(authority.server(&hosts, &addresses)?))
}

/// Draws the blueprint of `plan`, and lists what can be entered.
pub(crate) fn draw(plan: &LabPlan) -> Result<(Blueprint, Vec<Endpoint>), LabError> {
    let world = Cloud::read(&plan.snapshot)?;
    let enforced = plan.enforced.as_ref().map(Cloud::read).transpose()?;
    let layout = layout(&world, &plan.endpoints)?;
    let mut blueprint = topology::draw(&world, enforced.as_ref().unwrap_or(&world), &layout)?;
    match plan.management {
        Management::None => {}
        Management::Links => management::draw(&mut blueprint, &layout.endpoints)?,
    }
    Ok((blueprint, layout.endpoints))
}
