//! What a run and the service are given beside what they are asked: the world, who reviews tokens, who connects when it is
//! asked, and when to end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use reachproof_kube::Entry;
use reachproof_model::snapshot::Snapshot;
use reachproof_verify::audience::{Account, Installation};
use reachproof_verify::control_plane::ControlPlane;
use reachproof_verify::source::{WorldError, WorldReading, WorldSource};
use reachproof_verify::{Authenticator, RunError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::CliError;
use crate::source::SourceArguments;
use crate::{dial, review};

/// Opens the port for agents.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, CliError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| CliError::Listen { address, source })
}

/// Reads the world for the first time.
pub(super) async fn first_reading(world: &Arc<dyn WorldSource>) -> Result<WorldReading, RunError> {
    let world = Arc::clone(world);
    let read = tokio::task::spawn_blocking(move || world.read()).await;
    match read {
        Ok(reading) => Ok(reading?),
        // The reading panicked or the runtime ends: either was told already.
        Err(_) => Err(RunError::Interrupted),
    }
}

/// The API server that reviews tokens, if there is one.
pub(super) async fn reviewer(
    (source, kubeconfig): (&SourceArguments, Option<&Path>),
    agents: (&Installation, &[Account]),
    first: &WorldReading,
) -> Result<Option<Arc<dyn Authenticator>>, CliError> {
    let named = kubeconfig.map(|path| Entry::Kubeconfig {
        path: Some(path.to_owned()),
        context: None,
    });
    let Some(entry) = named.or_else(|| source.api_server()) else {
        return Ok(None);
    };
    let decoded = Snapshot::decode(&first.described).map_err(RunError::from)?;
    let cluster = decoded.snapshot.cluster().map(|cluster| &cluster.name);
    let cluster = cluster
        .filter(|name| !name.is_empty())
        .ok_or(CliError::NamelessCluster)?;
    let reviewer = review::reviewer(&entry, cluster, agents).await;
    Ok(Some(reviewer.map_err(CliError::Reviewer)?))
}

/// The API servers that connect when they are asked, if there is a way to them.
pub(super) async fn control_plane(
    source: &SourceArguments,
) -> Result<Option<Arc<dyn ControlPlane>>, CliError> {
    let Some(entry) = source.api_server() else {
        return Ok(None);
    };
    let control_plane = dial::control_plane(&entry).await;
    Ok(Some(control_plane.map_err(CliError::ControlPlane)?))
}

/// A world that was read once already: whoever reads it gets that reading first.
pub(super) struct Begun {
    first: Mutex<Option<WorldReading>>,
    world: Arc<dyn WorldSource>,
}

impl Begun {
    pub(super) fn new(first: WorldReading, world: Arc<dyn WorldSource>) -> Self {
        Self {
            first: Mutex::new(Some(first)),
            world,
        }
    }
}

impl WorldSource for Begun {
    fn read(&self) -> Result<WorldReading, WorldError> {
        let first = self.first.lock();
        let first = first.unwrap_or_else(PoisonError::into_inner).take();
        first.map_or_else(|| self.world.read(), Ok)
    }
}

/// Completes at Ctrl-C, or when a supervisor asks the process to end.
pub(super) async fn interrupted() {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        // Without a signal handler the process ends by itself.
        return std::future::pending().await;
    };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        Some(()) = terminated.recv() => {}
        else => std::future::pending().await,
    }
}
