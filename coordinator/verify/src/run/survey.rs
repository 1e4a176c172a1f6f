//! Which API servers can be asked, and through which pods of agents.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reachproof_model::dial::DialFailure;
use reachproof_model::id::NodeName;
use reachproof_model::observation::AgentName;
use reachproof_model::plan::{AgentKind, DialPod, Dialling, Roster, RosterAgent};
use reachproof_model::snapshot::Snapshot;
use tokio::task::JoinSet;

use super::Run;
use crate::control_plane::{ControlPlane, DialRequest, DialWay, PodAtAddress, PodNetwork};
use crate::error::RunError;
use crate::report::{ControlPlaneRecord, ServerRecord, ServerState};

/// How long an API server may take to say that it lives: a way to it that takes longer is none.
const ALIVE_LIMIT: Duration = Duration::from_secs(10);

/// Statuses from which on an answer says that the API server does not work.
const FAILED_FROM: u16 = 500;

/// What was found, and what is to be said of it.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) dialling: Dialling,
    pub(super) record: Option<ControlPlaneRecord>,
}

impl Run<'_> {
    /// Finds out which API servers can be asked, and hears agents meanwhile.
    pub(super) async fn survey(
        &mut self,
        snapshot: &Snapshot,
        roster: &Roster,
    ) -> Result<Survey, RunError> {
        let surveyed = survey(self.order.control_plane.as_ref(), snapshot, roster);
        self.inbox.meanwhile(surveyed).await
    }
}

/// Asks each API server whether it lives, and finds the pod of every agent.
///
/// Without a way to ask there is nothing to say.
async fn survey(
    control_plane: Option<&Arc<dyn ControlPlane>>,
    snapshot: &Snapshot,
    roster: &Roster,
) -> Survey {
    let Some(control_plane) = control_plane else {
        return Survey::default();
    };
    let mut notes = Vec::new();
    let pods = match control_plane.pods().await {
        Ok(pods) => of_agents(roster, &pods),
        Err(why) => {
            notes.push(format!("the pods of agents could not be found: {why}"));
            BTreeMap::new()
        }
    };
    let mut pods = granted(control_plane.as_ref(), pods, &mut notes).await;
    allow_logs(control_plane.as_ref(), roster, (&mut pods, &mut notes)).await;
    let servers = servers(control_plane, snapshot).await;
    let living = servers.iter();
    let living = living.filter(|server| server.state == ServerState::Asked);
    Survey {
        dialling: Dialling {
            servers: living.map(|server| server.address).collect(),
            pods,
        },
        record: Some(ControlPlaneRecord { servers, notes }),
    }
}

/// The pod of each agent: the one that has its address to itself, or on a node the one of its name.
fn of_agents(roster: &Roster, pods: &[PodAtAddress]) -> BTreeMap<AgentName, DialPod> {
    let pod_of = |agent: &RosterAgent| {
        let mut own = pods.iter().filter(|pod| {
            agent.addresses.contains(&pod.address)
                && (pod.network == PodNetwork::Own || pod.name == agent.name.as_str())
        });
        let pod = own.next()?;
        Some(DialPod {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            address: pod.address,
            log: false,
        })
    };
    let agents = roster.agents();
    agents
        .filter_map(|agent| Some((agent.name.clone(), pod_of(agent)?)))
        .collect()
}

/// The pods in namespaces in which the account may ask for connections; what it lacks elsewhere is noted.
async fn granted(
    control_plane: &dyn ControlPlane,
    mut pods: BTreeMap<AgentName, DialPod>,
    notes: &mut Vec<String>,
) -> BTreeMap<AgentName, DialPod> {
    let namespaces: BTreeSet<String> = pods.values().map(|pod| pod.namespace.clone()).collect();
    for namespace in namespaces {
        if let Some(grant) = control_plane.lacks(&namespace, DialWay::Proxy).await {
            pods.retain(|_, pod| pod.namespace != namespace);
            notes.push(grant);
        }
    }
    pods
}

/// Lets the logs of pods be asked for on nodes whose kubelets nothing else leads to, where the account may; what it lacks is
/// noted.
async fn allow_logs(
    control_plane: &dyn ControlPlane,
    roster: &Roster,
    (pods, notes): (&mut BTreeMap<AgentName, DialPod>, &mut Vec<String>),
) {
    let alone = on_nodes_alone(roster, pods);
    let mut may = BTreeMap::new();
    for name in alone {
        let Some(pod) = pods.get_mut(&name) else {
            continue;
        };
        if !may.contains_key(&pod.namespace) {
            let grant = control_plane.lacks(&pod.namespace, DialWay::Log).await;
            may.insert(pod.namespace.clone(), grant.is_none());
            notes.extend(grant);
        }
        pod.log = may.get(&pod.namespace).copied().unwrap_or_default();
    }
}

/// The agents that are pods on a node where none in the host network can be dialled.
fn on_nodes_alone(roster: &Roster, pods: &BTreeMap<AgentName, DialPod>) -> Vec<AgentName> {
    let of_kind = |kind| {
        let agents = roster.agents().filter(move |agent| agent.kind == kind);
        agents.filter(|agent| pods.contains_key(&agent.name))
    };
    let hosts = of_kind(AgentKind::Node).filter_map(|agent| agent.node.as_ref());
    let hosts: BTreeSet<&NodeName> = hosts.collect();
    let alone = of_kind(AgentKind::Pod).filter(|agent| {
        let node = agent.node.as_ref();
        node.is_some_and(|node| !hosts.contains(node))
    });
    alone.map(|agent| agent.name.clone()).collect()
}

/// Every API server that may be assumed to listen, and whether it answers.
async fn servers(control_plane: &Arc<dyn ControlPlane>, snapshot: &Snapshot) -> Vec<ServerRecord> {
    let mut asked = JoinSet::new();
    for address in reachproof_model::plan::api_servers(snapshot) {
        let control_plane = Arc::clone(control_plane);
        asked.spawn(async move { server(control_plane.as_ref(), address).await });
    }
    let mut servers = asked.join_all().await;
    servers.sort_by_key(|server| server.address);
    servers
}

/// Whether an API server answers; one that refuses to speak of its health does.
async fn server(control_plane: &dyn ControlPlane, address: IpAddr) -> ServerRecord {
    let answer = control_plane.ask(address, &DialRequest::Alive, ALIVE_LIMIT);
    let (state, failure) = match answer.await {
        Ok(answer) if answer.status < FAILED_FROM => (ServerState::Asked, None),
        Ok(_) => (ServerState::Unreachable, Some(DialFailure::ApiFailed)),
        Err(failure) => (ServerState::Unreachable, Some(failure)),
    };
    ServerRecord {
        address,
        state,
        failure,
        source_ports: BTreeSet::new(),
    }
}
