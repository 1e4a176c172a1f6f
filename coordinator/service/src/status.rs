//! What the service says of itself, for whoever looks.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// What the service does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Version of the program.
    pub version: &'static str,
    /// Name of the cluster, where the world names it.
    pub cluster: Option<String>,
    /// The run that goes on.
    pub running: Option<Running>,
    /// The next run of each schedule, the first one first.
    pub next: Vec<NextRun>,
    /// Why nothing goes on; absent where all is well. Raw text.
    pub fault: Option<String>,
    /// Counts the runs that ended, so that a page can tell whether it is old.
    pub ended: u64,
}

/// A run that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Running {
    /// Names it.
    pub id: String,
    /// What asked for it.
    pub cause: String,
    /// What it does, in words.
    pub progress: String,
}

/// When a schedule asks for a run, or looks whether one is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NextRun {
    /// When it does.
    #[serde(serialize_with = "as_text")]
    pub at: Timestamp,
    /// Name of the schedule.
    pub schedule: String,
}

impl Status {
    /// A service that has done nothing yet.
    #[must_use]
    pub fn starting(version: &'static str, cluster: Option<String>) -> Self {
        Self {
            version,
            cluster,
            running: None,
            next: Vec::new(),
            fault: None,
            ended: 0,
        }
    }
}

/// A time as RFC 3339 writes it.
fn as_text<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}
