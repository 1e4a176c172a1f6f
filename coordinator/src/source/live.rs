//! A cluster read from AWS and from its API server, as one world.

mod watched;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::Args;
use reachproof_aws::{Connection, Settings};
use reachproof_kube::{ApiServer, Entry, Limits};
use reachproof_model::words::counted;
use reachproof_verify::Progress;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::console;
use crate::entry::entry;

pub(crate) use watched::Watched;

/// How AWS and the API server are reached.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Access {
    /// Region of the cluster [default: that of the environment or the profile]
    #[arg(long, value_name = "REGION", requires = "cluster")]
    region: Option<String>,
    /// Profile of the AWS configuration
    #[arg(long, value_name = "PROFILE", requires = "cluster")]
    profile: Option<String>,
    /// Kubeconfig that leads to the cluster [default: KUBECONFIG, the pod's own account, or ~/.kube/config]; beside
    /// --snapshot for `verify` alone, which asks API servers to connect
    #[arg(long, value_name = "FILE", conflicts_with = "no_kubernetes")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", conflicts_with = "no_kubernetes")]
    context: Option<String>,
    /// Leaves Kubernetes out: settings of the CNI, pods and policies are then unknown
    #[arg(long, requires = "cluster")]
    no_kubernetes: bool,
}

/// A cluster as both sides tell it.
#[derive(Debug)]
pub(crate) struct LiveReading {
    /// Stems to answers of both sides, sorted.
    pub(crate) answers: Map<String, Value>,
    /// The Kubernetes side by itself, from which it can be followed; absent where it was left out.
    pub(crate) kubernetes: Option<reachproof_kube::Reading>,
    /// What could not be read, in words.
    pub(crate) gaps: Vec<String>,
    /// Calls made and pages received, of both sides.
    pub(crate) cost: Cost,
}

/// What a reading cost; never part of a snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Lists and single answers.
    pub(crate) calls: usize,
    /// Pages of all lists.
    pub(crate) pages: usize,
}

/// The cluster could not be read.
#[derive(Debug, Error)]
pub(crate) enum LiveError {
    /// AWS could not be read whole.
    #[error(transparent)]
    Aws(#[from] reachproof_aws::ReadError),
    /// The API server could not be reached.
    #[error(transparent)]
    Connect(#[from] reachproof_kube::ConnectError),
    /// The API server could not be read whole.
    #[error("cannot read the API server; --no-kubernetes leaves it out")]
    Kubernetes(#[from] reachproof_kube::ReadError),
    /// The kubeconfig leads to another cluster.
    #[error("{0}; {OTHER_CLUSTER_REMEDY}")]
    OtherCluster(OtherCluster),
    /// The runtime could not be started.
    #[error("cannot start the runtime")]
    Runtime(#[from] io::Error),
}

/// A kubeconfig that leads to another EKS cluster than the one that is named.
#[derive(Debug, Error)]
#[error("the kubeconfig leads to `{server}`, but the endpoint of the cluster is `{endpoint}`")]
pub(crate) struct OtherCluster {
    /// Address of the kubeconfig.
    server: String,
    /// Address that EKS names.
    endpoint: String,
}

/// What to do about a kubeconfig of another cluster.
pub(crate) const OTHER_CLUSTER_REMEDY: &str = "pass --context or --kubeconfig";

impl Access {
    /// What the reader of AWS is told.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            region: self.region.clone(),
            profile: self.profile.clone(),
            ..Settings::default()
        }
    }

    /// The API server whose kubeconfig or context is named.
    pub(crate) fn named(&self) -> Option<Entry> {
        let is_named = self.kubeconfig.is_some() || self.context.is_some();
        is_named.then(|| Entry::Kubeconfig {
            path: self.kubeconfig.clone(),
            context: self.context.clone(),
        })
    }

    /// Where the API server is to be found; `None` when Kubernetes is left out.
    pub(crate) fn entry(&self) -> Option<Entry> {
        if self.no_kubernetes {
            return None;
        }
        Some(self.any())
    }

    /// Where the API server is to be found, whether Kubernetes is read or not.
    pub(crate) fn any(&self) -> Entry {
        entry(self.kubeconfig.as_ref(), self.context.as_ref())
    }
}

/// Reads `cluster`, telling how far it is, gaps, and what the reading cost.
///
/// Must not be called from an asynchronous task: it runs a runtime of its own.
///
/// # Errors
/// [`LiveError`] when one of the two sides cannot be read whole.
pub(crate) fn read(cluster: &str, access: &Access) -> Result<LiveReading, LiveError> {
    let begun = Instant::now();
    let status = console::status();
    let counter = Counter::default();
    let reading = runtime()?.block_on(read_both(cluster, access, &|call| counter.note(call)));
    status.end();
    let reading = reading?;
    for gap in &reading.gaps {
        status.say(&format!("gap: {gap}"));
    }
    status.remark(&format!(
        "read `{cluster}`: {}, {}, {:.1} s, {}",
        counted(reading.cost.calls, "call", "calls"),
        counted(reading.cost.pages, "page", "pages"),
        begun.elapsed().as_secs_f64(),
        counted(reading.gaps.len(), "gap", "gaps"),
    ));
    Ok(reading)
}

/// Starts a runtime for readers.
pub(crate) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    // The Kubernetes client takes the process's provider; a second installation changes nothing.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Is told of each call as it ends.
type Told<'a> = dyn Fn(&dyn fmt::Display) + Send + Sync + 'a;

/// Reads `cluster` on the runtime of the caller, telling `told` of each call; gaps are in the reading and told to nobody.
///
/// # Errors
/// [`LiveError`] when one of the two sides cannot be read whole.
pub(crate) async fn read_both(
    cluster: &str,
    access: &Access,
    told: &Told<'_>,
) -> Result<LiveReading, LiveError> {
    let connection = Connection::open(&access.settings()).await?;
    let reading = reachproof_aws::read(&connection, cluster, &|call| told(call)).await?;
    let mut answers = reading.answers;
    let mut gaps: Vec<String> = reading.gaps.iter().map(ToString::to_string).collect();
    let mut cost = Cost {
        calls: reading.calls.len(),
        pages: reading.calls.iter().map(|call| call.pages).sum(),
    };
    let mut followed = None;
    if let Some(entry) = access.entry() {
        let connected = ApiServer::connect(&entry, Limits::default()).await;
        let url = match &connected {
            Ok(server) => Some(server.url()),
            Err(error) => error.url(),
        };
        let endpoint = answers
            .get("describe-cluster")
            .and_then(|file| file.pointer("/cluster/endpoint"))
            .and_then(Value::as_str);
        // The other cluster is the cause, whether it answers or not.
        same_cluster(&entry, url, endpoint).map_err(LiveError::OtherCluster)?;
        let server = connected?;
        let kubernetes = reachproof_kube::read(&server, |call| told(call)).await?;
        gaps.extend(kubernetes.gaps.iter().map(ToString::to_string));
        cost.calls += kubernetes.calls.len();
        cost.pages += kubernetes
            .calls
            .iter()
            .map(|call| call.pages)
            .sum::<usize>();
        answers.extend(kubernetes.answers.clone());
        answers.sort_keys();
        followed = Some(kubernetes);
    }
    Ok(LiveReading {
        answers,
        kubernetes: followed,
        gaps,
        cost,
    })
}

/// Refuses a kubeconfig of another EKS cluster; an address that is no EKS endpoint may be a tunnel to this one.
pub(crate) fn same_cluster(
    entry: &Entry,
    server: Option<&str>,
    endpoint: Option<&str>,
) -> Result<(), OtherCluster> {
    let name = |url: &str| url.trim_end_matches('/').to_ascii_lowercase();
    let (Entry::Kubeconfig { .. }, Some(server), Some(endpoint)) = (entry, server, endpoint) else {
        return Ok(());
    };
    let is_eks = name(server).contains(".eks.amazonaws.com") || name(server).contains(".api.aws");
    if is_eks && !endpoint.is_empty() && name(server) != name(endpoint) {
        return Err(OtherCluster {
            server: server.to_owned(),
            endpoint: endpoint.to_owned(),
        });
    }
    Ok(())
}

/// Counts the answers of one reading, and tells each to whoever wants to know.
#[derive(Debug, Default)]
struct Counter {
    answers: AtomicUsize,
}

impl Counter {
    fn note(&self, call: &dyn fmt::Display) {
        let answers = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        console::status().detail(&call.to_string());
        console::status().note(&Progress::Reading { answers });
    }
}
