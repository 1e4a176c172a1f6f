//! What agents say, as far as it matters to a run.

use std::net::IpAddr;

use reachproof_model::cluster_endpoint::EndpointResolution;
use reachproof_model::observation::{Accept, AgentName};

use crate::wire::observations::ReportedAttempt;
use crate::wire::signs::{Beat, Drops};

/// What a message means for the run.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// An agent dialled in for the first time.
    Arrived(AgentName),
    /// An agent came back over a new stream; it is the same process.
    Resumed(AgentName),
    /// An agent came back as a new process: what the old one held is lost.
    Restarted(AgentName),
    /// An agent lives.
    Heard(AgentName),
    /// An agent gave a sign of life.
    Beat {
        /// Who.
        agent: AgentName,
        /// Address that its stream comes from.
        from: Option<IpAddr>,
        /// What it said.
        beat: Beat,
    },
    /// New attempts.
    Attempts {
        /// Who made them.
        agent: AgentName,
        /// Run that they belong to.
        run: String,
        /// The attempts.
        attempts: Vec<ReportedAttempt>,
    },
    /// New connections at an agent's listeners.
    Accepts {
        /// Whose listeners.
        agent: AgentName,
        /// Run that they belong to.
        run: String,
        /// The connections.
        accepts: Vec<Accept>,
        /// How many more there were.
        dropped: u64,
    },
    /// An agent listens.
    Listening {
        /// Who.
        agent: AgentName,
        /// Run that it listens for.
        run: String,
        /// Ports that it could not open, with errno.
        failures: Vec<(u16, u32)>,
    },
    /// An agent has reported everything up to a fence.
    Fenced {
        /// Who.
        agent: AgentName,
        /// Run that the fence is of.
        run: String,
        /// Number of the fence.
        number: u32,
        /// What its kernel dropped.
        drops: Drops,
    },
    /// An agent says what its host resolves the cluster endpoint to.
    Endpoint {
        /// Who.
        agent: AgentName,
        /// Run that it did so for.
        run: String,
        /// What it resolves to.
        resolution: EndpointResolution,
    },
}

impl News {
    /// Name of the run that it is for; absent if every run is to hear of it.
    pub fn run(&self) -> Option<&str> {
        match self {
            Self::Arrived(_)
            | Self::Resumed(_)
            | Self::Restarted(_)
            | Self::Heard(_)
            | Self::Beat { .. } => None,
            Self::Attempts { run, .. }
            | Self::Accepts { run, .. }
            | Self::Listening { run, .. }
            | Self::Fenced { run, .. }
            | Self::Endpoint { run, .. } => Some(run),
        }
    }
}
