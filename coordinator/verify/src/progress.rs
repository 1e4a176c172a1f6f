//! What a run says while it goes on, for people who watch.

use std::time::Duration;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The snapshot was read and decoded.
    Decoded {
        /// Network interfaces in it.
        interfaces: usize,
        /// What it does not say.
        gaps: usize,
    },
    /// Agents may dial in.
    Gathering {
        /// How many are waited for, where that is known.
        expected: Option<usize>,
        /// Longest wait.
        wait: Duration,
    },
    /// An agent dialled in.
    AgentArrived {
        /// Its name.
        name: String,
        /// How many there are now.
        present: usize,
    },
    /// The plan is made and the predictions are sealed.
    Planned {
        /// Flows to try.
        flows: usize,
        /// Agents that take part.
        agents: usize,
        /// Shortest time that the probes take if nothing answers.
        silence: Duration,
    },
    /// More probes ended.
    Probing {
        /// Probes that ended.
        finished: usize,
        /// Probes in all.
        total: usize,
    },
    /// All probes ended or ran out of time; results are compared.
    Comparing,
}
