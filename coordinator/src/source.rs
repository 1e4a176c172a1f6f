//! Where a world comes from: a saved snapshot, or a cluster by its name.
//!
//! The readers of AWS and Kubernetes do not know each other (STYLE 1); this is where their answers are joined.

#[cfg(feature = "live")]
pub(crate) mod live;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use reachproof_kube::Entry;
use reachproof_model::describe::Described;
use reachproof_verify::source::{self, SourceError, WorldSource};
use thiserror::Error;

/// A snapshot, or the cluster to read.
#[derive(Debug, Clone, Args)]
pub(crate) struct SourceArguments {
    /// Snapshot: a directory of answers (STEM.json), or one JSON file with the stems as keys
    #[arg(long, value_name = "PATH")]
    #[cfg_attr(
        feature = "live",
        arg(required_unless_present = "cluster", conflicts_with = "cluster")
    )]
    #[cfg_attr(not(feature = "live"), arg(required = true))]
    snapshot: Option<PathBuf>,
    /// Cluster to read instead of a snapshot, by its name
    #[cfg(feature = "live")]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    #[cfg(feature = "live")]
    #[command(flatten)]
    access: live::Access,
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
    /// Neither was named.
    #[error("nothing to read: pass --snapshot")]
    Unnamed,
}

impl SourceArguments {
    /// The saved snapshot at `path`.
    pub(crate) fn saved(path: &Path) -> Self {
        Self {
            snapshot: Some(path.to_owned()),
            #[cfg(feature = "live")]
            cluster: None,
            #[cfg(feature = "live")]
            access: live::Access::default(),
        }
    }

    /// Reads the world; what a cluster did not tell is told on standard error.
    ///
    /// # Errors
    /// [`WorldFailure`] when there is no whole world to be had.
    pub(crate) fn described(&self) -> Result<Described, WorldFailure> {
        if let Some(path) = &self.snapshot {
            return Ok(source::read(path)?);
        }
        #[cfg(feature = "live")]
        if let Some(cluster) = &self.cluster {
            return Ok(Described::from(live::read(cluster, &self.access)?.answers));
        }
        Err(WorldFailure::Unnamed)
    }

    /// The world as a run reads it, several times.
    ///
    /// # Errors
    /// [`WorldFailure::Unnamed`].
    pub(crate) fn world(&self) -> Result<Arc<dyn WorldSource>, WorldFailure> {
        if let Some(path) = &self.snapshot {
            return Ok(Arc::new(path.clone()));
        }
        #[cfg(feature = "live")]
        if let Some(cluster) = &self.cluster {
            let world = live::Watched::new(cluster.clone(), self.access.clone());
            return Ok(Arc::new(world));
        }
        Err(WorldFailure::Unnamed)
    }

    /// The API server that is read, which can review tokens as well.
    pub(crate) fn api_server(&self) -> Option<Entry> {
        #[cfg(feature = "live")]
        if self.cluster.is_some() {
            return self.access.entry();
        }
        None
    }

    /// Whether the world is a saved one, which does not change.
    pub(crate) fn is_saved(&self) -> bool {
        self.snapshot.is_some()
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
