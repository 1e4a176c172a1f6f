//! A world that is up: its lab, its snapshot on disk, and the place where the coordinator listens.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use reachproof_lab::kubernetes::{ControlPlane, Front, Program, Settings};
use reachproof_lab::world::{Expanded, World};
use reachproof_lab::{Authority, EndpointKind, Lab, LabError};
use reachproof_model::describe::Described;
use reachproof_model::expectation::members::core_dns;
use reachproof_model::snapshot::Snapshot;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::error::RunnerError;
use crate::resolver::Resolvers;

/// Port of the control server (ARCHITECTURE, "Agents and ports").
pub const CONTROL_PORT: u16 = 7443;

/// Longest wait until the agents listen for each other.
const LISTENING_MAX: Duration = Duration::from_secs(60);

/// Time between two looks at their sockets.
const STEP: Duration = Duration::from_millis(50);

/// The first peer port, as `/proc/net/tcp` writes it, in state LISTEN.
const LISTENING: &str = ":1D4C 00000000:0000 0A";

/// File system that the lab's isolation makes for itself in memory: what is in there goes when the program ends, also
/// when it is killed.
const PRIVATE: &str = "/run/netns";

/// Which pods of a world its control plane knows from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pods {
    /// All of them.
    All,
    /// Those at whose places no agent runs: manifests bring the agents, and their pods take these places.
    WithoutAgents,
}

/// What is brought up.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The network, its snapshot and its agents; the authority is made when it is brought up.
    pub expanded: Expanded,
    /// Host at which the coordinator listens; absent: in the lab's root namespace, at the end of the management links.
    pub coordinator: Option<String>,
    /// Ranges towards which agents may probe: those of all VPCs.
    pub ranges: Vec<IpNet>,
}

impl Scene {
    /// Expands a world.
    ///
    /// # Errors
    /// [`RunnerError::World`] for a name that leads nowhere.
    pub fn of(world: &World) -> Result<Self, RunnerError> {
        let vpcs = world.vpcs.values();
        Ok(Self {
            expanded: world.expand()?,
            coordinator: world.coordinator.clone(),
            ranges: vpcs.flat_map(|vpc| vpc.cidrs.iter().copied()).collect(),
        })
    }
}

/// A world that is up until this is dropped. Directory and network go with it.
#[derive(Debug)]
pub struct Stage {
    // Dropped before the network that it stands in.
    kubernetes: Option<ControlPlane>,
    // Dropped before the network as well.
    _resolvers: Resolvers,
    /// The network.
    pub lab: Lab,
    /// What the world expanded to.
    pub expanded: Expanded,
    /// Host at which the coordinator listens; absent: in the lab's root namespace, at the end of the management links.
    coordinator: Option<String>,
    directory: TempDir,
}

impl Stage {
    /// Brings `world` up, as [`Stage::set`] does.
    ///
    /// # Errors
    /// [`RunnerError`] if the world does not expand, and as [`Stage::set`].
    pub fn up(world: &World) -> Result<Self, RunnerError> {
        Self::set(Scene::of(world)?)
    }

    /// Builds the network of `scene`, starts a resolver in each of its CoreDNS pods, and writes its snapshot as one file, and
    /// the policy of its agents. The snapshot has the authority of the lab in the place of its own.
    ///
    /// # Errors
    /// [`RunnerError`] if the lab cannot be built or the file not written.
    pub fn set(scene: Scene) -> Result<Self, RunnerError> {
        let mut expanded = scene.expanded;
        let authority = Authority::make().map_err(LabError::from)?;
        authority.publish(&mut expanded.plan.snapshot);
        expanded.plan.authority = Some(authority);
        let directory = tempfile::Builder::new()
            .prefix(".reachproof-")
            .tempdir_in(PRIVATE)
            .map_err(|source| RunnerError::Directory { source })?;
        let lab = Lab::up(&expanded.plan)?;
        let stage = Stage {
            kubernetes: None,
            _resolvers: Resolvers::start(&lab, &resolver_addresses(&expanded)?)?,
            lab,
            expanded,
            coordinator: scene.coordinator,
            directory,
        };
        let snapshot = Value::Object(stage.expanded.plan.snapshot.clone());
        let policy = json!({ "allow": scene.ranges });
        write(stage.snapshot(), &snapshot)?;
        write(stage.policy(), &policy)?;
        Ok(stage)
    }

    /// Lets the wire do from now on what `expanded` says, and writes its snapshot over the one that was there. Everybody who
    /// is there stays.
    ///
    /// # Errors
    /// [`RunnerError`] if the lab cannot enforce it, or the file not be written.
    pub fn change(&self, expanded: &Expanded) -> Result<(), RunnerError> {
        self.follow(expanded)?;
        self.describe(expanded)
    }

    /// Lets the wire do from now on what `expanded` says, whatever the snapshot does.
    ///
    /// # Errors
    /// [`RunnerError`] if the lab cannot enforce it.
    pub fn follow(&self, expanded: &Expanded) -> Result<(), RunnerError> {
        Ok(self.lab.enforce(&expanded.plan)?)
    }

    /// Writes the snapshot of `expanded` over the one that was there; the wire stays as it is.
    ///
    /// # Errors
    /// [`RunnerError`] if the file cannot be written.
    pub fn describe(&self, expanded: &Expanded) -> Result<(), RunnerError> {
        let mut snapshot = expanded.plan.snapshot.clone();
        if let Some(authority) = &self.expanded.plan.authority {
            authority.publish(&mut snapshot);
        }
        write(self.snapshot(), &Value::Object(snapshot))
    }

    /// Starts an API server behind each interface of the control plane, and creates the world's objects.
    ///
    /// # Errors
    /// [`RunnerError::Kubernetes`] if it cannot be started, or refuses an object.
    pub fn start_kubernetes(&mut self, program: Program, pods: Pods) -> Result<(), RunnerError> {
        self.start_kubernetes_with(program, pods, &[])
    }

    /// The same with further `flags` of every API server.
    ///
    /// # Errors
    /// As [`Stage::start_kubernetes`].
    pub fn start_kubernetes_with(
        &mut self,
        program: Program,
        pods: Pods,
        flags: &[&str],
    ) -> Result<(), RunnerError> {
        let authority = match &self.expanded.plan.authority {
            Some(authority) => authority.clone(),
            None => Authority::make().map_err(LabError::from)?,
        };
        let snapshot = &self.expanded.plan.snapshot;
        let settings = Settings {
            authority: Some(authority.clone()),
            api_server_flags: flags.iter().copied().map(str::to_owned).collect(),
            ..Settings::of(snapshot)
        };
        let fronts = Front::all_in(&self.lab, &settings)?;
        self.lab.close_listeners();
        let kubelets = self.kubelets();
        self.lab
            .start_kubelets(&kubelets, &authority, self.directory.path())?;
        let folder = self.directory.path().join("kubernetes");
        let plane = ControlPlane::start(program, &folder, fronts, settings)?;
        plane.populate(&match pods {
            Pods::All => snapshot.clone(),
            Pods::WithoutAgents => self.without_agents(),
        })?;
        self.kubernetes = Some(plane);
        Ok(())
    }

    /// The places that are nodes of the cluster: instances and Fargate pods that a Node has the address of.
    fn kubelets(&self) -> Vec<String> {
        let nodes = self.expanded.plan.snapshot.get("nodes");
        let nodes = nodes.and_then(|nodes| nodes.get("items")?.as_array());
        let addresses: Vec<IpAddr> = nodes
            .into_iter()
            .flatten()
            .filter_map(|node| node.pointer("/status/addresses")?.as_array())
            .flatten()
            .filter_map(|address| address.get("address")?.as_str()?.parse().ok())
            .collect();
        let places = self
            .lab
            .endpoints()
            .iter()
            .filter(|place| match place.kind {
                EndpointKind::Node | EndpointKind::Fargate => true,
                EndpointKind::Pod | EndpointKind::ControlPlane => false,
            });
        places
            .filter(|place| {
                place
                    .addresses
                    .first()
                    .is_some_and(|own| addresses.contains(own))
            })
            .map(|place| place.name.clone())
            .collect()
    }

    /// The snapshot without the pods at whose places agents run.
    fn without_agents(&self) -> Map<String, Value> {
        let mut snapshot = self.expanded.plan.snapshot.clone();
        let taken: Vec<String> = self
            .expanded
            .agents
            .iter()
            .flat_map(|agent| agent.addresses.iter().map(ToString::to_string))
            .collect();
        let pods = snapshot
            .get_mut("pods")
            .and_then(|pods| pods.get_mut("items")?.as_array_mut());
        if let Some(pods) = pods {
            pods.retain(|pod| {
                let address = pod.pointer("/status/podIP").and_then(Value::as_str);
                !address.is_some_and(|address| taken.iter().any(|taken| taken == address))
            });
        }
        snapshot
    }

    /// The control plane, if there is one.
    #[must_use]
    pub fn kubernetes(&self) -> Option<&ControlPlane> {
        self.kubernetes.as_ref()
    }

    /// The snapshot: one file with the stems as keys (ARCHITECTURE, "Snapshot").
    #[must_use]
    pub fn snapshot(&self) -> PathBuf {
        self.directory.path().join("snapshot.json")
    }

    /// Directory for the credentials of runs; it exists once somebody made some.
    #[must_use]
    pub fn credentials(&self) -> PathBuf {
        self.directory.path().join("credentials")
    }

    /// The policy of every agent: the ranges of all VPCs of the world.
    #[must_use]
    pub fn policy(&self) -> PathBuf {
        self.directory.path().join("policy.json")
    }

    /// A directory of its own for a pod; whoever starts it makes it.
    pub(crate) fn pod_directory(&self, pod: &str) -> PathBuf {
        self.directory.path().join("pods").join(pod)
    }

    /// Where the output of an agent goes.
    #[must_use]
    pub fn log(&self, agent: &str) -> PathBuf {
        self.directory.path().join(format!("{agent}.log"))
    }

    /// Lets kubelets know in the network of which endpoint a pod is, so that its ports can be asked for.
    ///
    /// # Errors
    /// [`RunnerError::Write`].
    pub(crate) fn tell_place(&self, pod: &str, endpoint: &str) -> Result<(), RunnerError> {
        let path = self.directory.path().join(format!("{pod}.place"));
        let written = fs::write(&path, endpoint);
        written.map_err(|source| RunnerError::Write { path, source })
    }

    /// Host at which the coordinator listens; absent: in the lab's root namespace.
    pub(crate) fn coordinator_host(&self) -> Option<&str> {
        self.coordinator.as_deref()
    }

    /// Where the coordinator listens, as agents dial it.
    ///
    /// # Errors
    /// [`RunnerError::NoCoordinator`] if the world names a host that has no address.
    pub fn control_address(&self) -> Result<SocketAddr, RunnerError> {
        Ok(SocketAddr::new(self.coordinator_address()?, CONTROL_PORT))
    }

    fn coordinator_address(&self) -> Result<IpAddr, RunnerError> {
        let Some(name) = &self.coordinator else {
            return Ok(self.lab.management_address());
        };
        let endpoint = self
            .lab
            .endpoints()
            .iter()
            .find(|endpoint| endpoint.name == *name);
        endpoint
            .and_then(|endpoint| endpoint.addresses.first().copied())
            .ok_or_else(|| RunnerError::NoCoordinator { name: name.clone() })
    }

    /// Waits until every agent of the world listens on its peer port: from then on the probes are under way.
    ///
    /// # Errors
    /// [`RunnerError::NotListening`] names one that does not; [`RunnerError::Lab`].
    pub fn await_listeners(&self) -> Result<(), RunnerError> {
        let end = Instant::now() + LISTENING_MAX;
        for place in &self.expanded.agents {
            let sockets = || fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
            while !self
                .lab
                .within(&place.endpoint, sockets)?
                .contains(LISTENING)
            {
                if Instant::now() > end {
                    let agent = place.endpoint.clone();
                    return Err(RunnerError::NotListening { agent });
                }
                std::thread::sleep(STEP);
            }
        }
        Ok(())
    }

    /// Whether somebody listens where the coordinator belongs.
    pub(crate) fn is_control_open(&self) -> bool {
        let sockets = || {
            ["tcp", "tcp6"].into_iter().any(|family| {
                let sockets = fs::read_to_string(format!("/proc/thread-self/net/{family}"));
                sockets.unwrap_or_default().lines().any(is_control_socket)
            })
        };
        match &self.coordinator {
            None => sockets(),
            Some(name) => self.lab.within(name, sockets).unwrap_or(false),
        }
    }

    /// Opens the coordinator's socket, in the namespace where the world wants it.
    ///
    /// # Errors
    /// [`RunnerError::Listen`] if the address cannot be listened on.
    pub fn listener(&self) -> Result<TcpListener, RunnerError> {
        let address = self.control_address()?;
        let bound = match &self.coordinator {
            None => TcpListener::bind(address),
            Some(name) => self.lab.within(name, || TcpListener::bind(address))?,
        };
        let listener = bound.map_err(|source| RunnerError::Listen { address, source })?;
        listener
            .set_nonblocking(true)
            .map_err(|source| RunnerError::Listen { address, source })?;
        Ok(listener)
    }
}

fn write(path: PathBuf, content: &Value) -> Result<(), RunnerError> {
    let written = fs::write(&path, content.to_string());
    written.map_err(|source| RunnerError::Write { path, source })
}

/// Whether a line of `/proc/net/tcp` is a socket that listens on [`CONTROL_PORT`].
fn is_control_socket(line: &str) -> bool {
    let mut words = line.split_whitespace().skip(1);
    let (local, state) = (words.next(), words.nth(1));
    let port = format!(":{CONTROL_PORT:04X}");
    local.is_some_and(|local| local.ends_with(&port)) && state == Some("0A")
}

/// Addresses of the world's CoreDNS pods.
fn resolver_addresses(expanded: &Expanded) -> Result<Vec<IpAddr>, RunnerError> {
    let mut described = Described::default();
    for (stem, answer) in &expanded.plan.snapshot {
        described.insert(stem.clone(), answer.clone());
    }
    let decoded =
        Snapshot::decode(&described).map_err(|source| RunnerError::Snapshot { source })?;
    Ok(core_dns(&decoded.snapshot))
}
