//! Where a world comes from: a saved snapshot, or a cluster by its name.
//!
//! The readers of AWS and Kubernetes do not know each other (ARCHITECTURE, "Floors"); this is where their answers are
//! joined.

#[cfg(feature = "live")]
pub(crate) mod live;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use reachproof_kube::Entry;
use reachproof_model::describe::Described;
use reachproof_verify::source::{Saved, SourceError, WorldError, WorldReading, WorldSource};
use thiserror::Error;

#[cfg(all(feature = "serve", not(feature = "live")))]
use crate::entry;
#[cfg(feature = "serve")]
use crate::installed::Purpose;
#[cfg(feature = "serve")]
use crate::remote::{Remote, RemoteArguments, RemoteError};
#[cfg(feature = "serve")]
use reachproof_verify::Report;

/// Arguments that name a world in place of a snapshot.
pub(crate) const ELSEWHERE: &[&str] = &[
    #[cfg(feature = "live")]
    "cluster",
    #[cfg(feature = "serve")]
    "coordinator",
    #[cfg(feature = "serve")]
    "kubernetes",
];

/// A snapshot, or the cluster to read.
#[derive(Debug, Clone, Args)]
pub(crate) struct NamedSource {
    /// Snapshot: a directory of answers (STEM.json), one JSON file with the stems as keys, or - for standard input
    #[arg(long, value_name = "PATH")]
    #[cfg_attr(feature = "live", arg(required_unless_present = "cluster"))]
    #[cfg_attr(not(feature = "live"), arg(required = true))]
    snapshot: Option<PathBuf>,
    /// Cluster to read, by its name; with --snapshot the one that is meant, where the snapshot has several
    #[cfg(feature = "live")]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Cluster that is meant, where the snapshot has several
    #[cfg(not(feature = "live"))]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    #[cfg(feature = "live")]
    #[command(flatten)]
    access: live::Access,
    /// Kubeconfig of the API servers that are asked to connect and to review tokens
    #[cfg(not(feature = "live"))]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// The same, or a coordinator that read the cluster.
#[derive(Debug, Clone, Args)]
#[command(mut_arg("snapshot", |argument| argument
    .required(ELSEWHERE.is_empty())
    .required_unless_present_any(ELSEWHERE)))]
pub(crate) struct SourceArguments {
    #[command(flatten)]
    named: NamedSource,
    #[cfg(feature = "serve")]
    #[command(flatten)]
    remote: RemoteArguments,
}

/// The world could not be read.
#[derive(Debug, Error)]
pub(crate) enum WorldFailure {
    /// The saved snapshot could not be read.
    #[error("cannot read the snapshot")]
    Saved(#[from] SourceError),
    /// The cluster could not be read.
    #[cfg(feature = "live")]
    #[error("cannot read the cluster")]
    Live(#[from] live::LiveError),
    /// The coordinator does not tell its world.
    #[cfg(feature = "serve")]
    #[error("cannot read the world of the coordinator's last run")]
    Remote(#[from] RemoteError),
    /// The coordinator's last report has no world.
    #[cfg(feature = "serve")]
    #[error("the coordinator's last report has no world")]
    RemoteWorld,
    /// A saved snapshot was named, and an API server that nobody asks for it.
    #[error("--kubeconfig beside --snapshot is for `verify`, which asks API servers to connect")]
    Unasked,
    /// Neither was named.
    #[error("nothing to read: pass --snapshot")]
    Unnamed,
}

impl NamedSource {
    /// The saved snapshot at `path`, of which one cluster may be meant.
    pub(crate) fn saved(path: &Path, cluster: Option<&str>) -> Self {
        Self {
            snapshot: Some(path.to_owned()),
            cluster: cluster.map(str::to_owned),
            #[cfg(feature = "live")]
            access: live::Access::default(),
            #[cfg(not(feature = "live"))]
            kubeconfig: None,
        }
    }

    /// Reads the world; what a cluster did not tell, and what is to be said about files, is told on standard error.
    ///
    /// # Errors
    /// [`WorldFailure`] when there is no whole world to be had.
    pub(crate) fn described(&self) -> Result<Described, WorldFailure> {
        if let Some(saved) = self.of_files() {
            if self.api_server().is_some() {
                return Err(WorldFailure::Unasked);
            }
            let opened = saved.open()?;
            for note in &opened.notes {
                eprintln!("note: {note}");
            }
            return Ok(opened.described);
        }
        #[cfg(feature = "live")]
        if let Some(cluster) = &self.cluster {
            return Ok(Described::from(live::read(cluster, &self.access)?.answers));
        }
        Err(WorldFailure::Unnamed)
    }

    /// The world as a run reads it, several times. Standard input is read once, here.
    ///
    /// # Errors
    /// [`WorldFailure`] when nothing was named, or standard input has no world.
    pub(crate) fn world(&self) -> Result<Arc<dyn WorldSource>, WorldFailure> {
        if let Some(saved) = self.of_files() {
            return Ok(if saved.is_stdin() {
                Arc::new(Kept(saved.open()?.described))
            } else {
                Arc::new(saved)
            });
        }
        #[cfg(feature = "live")]
        if let Some(cluster) = &self.cluster {
            let world = live::Watched::new(cluster.clone(), self.access.clone());
            return Ok(Arc::new(world));
        }
        Err(WorldFailure::Unnamed)
    }

    /// The saved snapshot that was named.
    fn of_files(&self) -> Option<Saved> {
        self.snapshot.as_ref().map(|path| Saved {
            path: path.clone(),
            cluster: self.cluster.clone(),
        })
    }

    /// The API server that is read, which can review tokens and connect as well; beside a saved snapshot the one whose
    /// kubeconfig is named.
    pub(crate) fn api_server(&self) -> Option<Entry> {
        #[cfg(feature = "live")]
        if self.snapshot.is_none() && self.cluster.is_some() {
            return self.access.entry();
        }
        self.named()
    }

    /// The API server whose kubeconfig is named.
    #[cfg(feature = "live")]
    fn named(&self) -> Option<Entry> {
        self.access.named()
    }

    /// The API server whose kubeconfig is named.
    #[cfg(not(feature = "live"))]
    fn named(&self) -> Option<Entry> {
        self.kubeconfig.clone().map(|path| Entry::Kubeconfig {
            path: Some(path),
            context: None,
        })
    }

    /// The API server that leads to an installed coordinator: that of the kubeconfig that is named, or that there is.
    #[cfg(feature = "serve")]
    fn entry(&self) -> Entry {
        #[cfg(feature = "live")]
        return self.access.any();
        #[cfg(not(feature = "live"))]
        entry::entry(self.kubeconfig.as_ref(), None)
    }

    /// Whether the world is a saved one, which does not change.
    pub(crate) fn is_saved(&self) -> bool {
        self.snapshot.is_some()
    }
}

/// The world that a report was made from.
///
/// # Errors
/// [`WorldFailure::RemoteWorld`] where it does not carry it.
#[cfg(feature = "serve")]
pub(crate) fn described_by(report: &Report) -> Result<Described, WorldFailure> {
    let world = report.described_world();
    let (described, _) = world.ok_or(WorldFailure::RemoteWorld)?;
    Ok(described)
}

/// A world that can be read only once and is kept.
struct Kept(Described);

impl WorldSource for Kept {
    fn read(&self) -> Result<WorldReading, WorldError> {
        Ok(WorldReading::saved(self.0.clone()))
    }
}

impl SourceArguments {
    /// The saved snapshot at `path`, of which one cluster may be meant.
    pub(crate) fn saved(path: &Path, cluster: Option<&str>) -> Self {
        Self {
            named: NamedSource::saved(path, cluster),
            #[cfg(feature = "serve")]
            remote: RemoteArguments::default(),
        }
    }

    /// Reads the world, as [`NamedSource::described`] does, or that of the coordinator's last run.
    ///
    /// # Errors
    /// [`WorldFailure`] when there is no whole world to be had.
    pub(crate) fn described(&self) -> Result<Described, WorldFailure> {
        #[cfg(feature = "serve")]
        if let Some(remote) = self.remote.remote(&self.named.entry(), Purpose::Read)? {
            return described_by(&remote.last_report()?);
        }
        self.named.described()
    }

    /// The world as a run reads it ([`NamedSource::world`]).
    ///
    /// # Errors
    /// As there.
    pub(crate) fn world(&self) -> Result<Arc<dyn WorldSource>, WorldFailure> {
        self.named.world()
    }

    /// The API server that is read or named ([`NamedSource::api_server`]).
    pub(crate) fn api_server(&self) -> Option<Entry> {
        self.named.api_server()
    }

    /// Whether the world is a saved one, which does not change.
    pub(crate) fn is_saved(&self) -> bool {
        self.named.is_saved()
    }

    /// The coordinator that is named, if one is, to start a run there.
    ///
    /// # Errors
    /// [`RemoteError`] for an address or a token that is none.
    #[cfg(feature = "serve")]
    pub(crate) fn coordinator(&self) -> Result<Option<Remote>, RemoteError> {
        self.remote.remote(&self.named.entry(), Purpose::Start)
    }
}

impl fmt::Display for SourceArguments {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(feature = "serve")]
        if self.remote.is_named() {
            return formatter.write_str("the coordinator's last run");
        }
        self.named.fmt(formatter)
    }
}

impl fmt::Display for NamedSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.snapshot {
            return write!(formatter, "{}", path.display());
        }
        #[cfg(feature = "live")]
        if let Some(cluster) = &self.cluster {
            return formatter.write_str(cluster);
        }
        Ok(())
    }
}
