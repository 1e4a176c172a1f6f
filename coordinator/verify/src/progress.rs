//! What a run says while it goes on, for people who watch.

use std::fmt;
use std::time::Duration;

use reachproof_model::net::Printable;
use reachproof_model::words::counted;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// One more answer about the cluster came; told by whoever reads, not by the run.
    Reading {
        /// How many there are.
        answers: usize,
    },
    /// The snapshot was read and decoded.
    Decoded {
        /// Network interfaces in it.
        interfaces: usize,
        /// What it does not say.
        gaps: usize,
    },
    /// Agents may dial in.
    Gathering {
        /// How many are waited for.
        expected: usize,
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
    /// Agents are here; the world is awaited to stand still.
    Settling {
        /// For so long.
        wait: Duration,
    },
    /// The plan is made and the predictions are sealed.
    Planned {
        /// Flows to try.
        flows: usize,
        /// Probes for them.
        probes: usize,
        /// Agents that take part.
        agents: usize,
        /// Longest time that the probes take if nothing answers, at the pace of agents and targets.
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

impl fmt::Display for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reading { answers } => {
                write!(formatter, "read {}", counted(*answers, "answer", "answers"))
            }
            Self::Decoded { interfaces, gaps } => {
                write!(
                    formatter,
                    "snapshot: {}, {}",
                    counted(*interfaces, "interface", "interfaces"),
                    counted(*gaps, "gap", "gaps")
                )
            }
            Self::Gathering { expected, wait } => write!(
                formatter,
                "waiting for {}, at most {} s",
                counted(*expected, "agent", "agents"),
                wait.as_secs()
            ),
            Self::AgentArrived { name, present } => {
                write!(formatter, "agent {} is here ({present})", Printable(name))
            }
            Self::Settling { wait } => write!(
                formatter,
                "waiting {} s to see whether the cluster changes",
                wait.as_secs()
            ),
            Self::Planned {
                flows,
                probes,
                agents,
                silence,
            } => write!(
                formatter,
                "{} {} {} with {}, silence takes at most {} s",
                counted(*agents, "agent", "agents"),
                if *agents == 1 { "tries" } else { "try" },
                counted(*flows, "flow", "flows"),
                counted(*probes, "probe", "probes"),
                silence.as_secs()
            ),
            Self::Probing { finished, total } => {
                let total = counted(*total, "probe", "probes");
                write!(formatter, "{finished} of {total}")
            }
            Self::Comparing => formatter.write_str("comparing"),
        }
    }
}
