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

/// A snapshot, or the cluster to read.
#[derive(Debug, Clone, Args)]
pub(crate) struct SourceArguments {
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
    /// A saved snapshot was named, and an API server that nobody asks for it.
    #[error("--kubeconfig beside --snapshot is for `verify`, which asks API servers to connect")]
    Unasked,
    /// Neither was named.
    #[error("nothing to read: pass --snapshot")]
    Unnamed,
}

impl SourceArguments {
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

    /// Whether the world is a saved one, which does not change.
    pub(crate) fn is_saved(&self) -> bool {
        self.snapshot.is_some()
    }
}

/// A world that can be read only once and is kept.
struct Kept(Described);

impl WorldSource for Kept {
    fn read(&self) -> Result<WorldReading, WorldError> {
        Ok(WorldReading::saved(self.0.clone()))
    }
}

impl fmt::Display for SourceArguments {
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
