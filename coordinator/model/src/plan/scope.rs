//! How much a plan holds.

use crate::words::named;

/// Most flows that one agent tries: at 20 attempts a second (security.md, "Limits of probing") silence on all of them
/// takes 5 minutes.
pub const FLOWS_PER_AGENT_MAX: usize = 2_000;

/// Most flows that any run may have (security.md, "Limits of probing").
pub const FLOWS_PER_RUN_MAX: usize = 200_000;

/// Whether an optional file is in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// It is.
    Read,
    /// It is not.
    Absent,
}

/// What a plan depends on beside snapshot and roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Whether `networkpolicies` was read.
    pub network_policies: FileState,
    /// Most flows of the run; above [`FLOWS_PER_RUN_MAX`] it counts as that. With many agents each gets its share.
    pub flows_max: usize,
    /// How much of the relation is tried.
    pub depth: Depth,
    /// Decides the order of the flows, what the limits keep out, and which control probe is chosen.
    pub seed: u64,
}

/// How much of the relation a run tries (ARCHITECTURE, "Sampling").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// What the cluster needs: control plane and CoreDNS.
    Required,
    /// Every decisive tuple and both sides of every edge of a rule, each with what shows that its ends can talk otherwise,
    /// and each agent once a port in both roles. Which members of a class are tried, the seed decides.
    #[default]
    Rules,
    /// Every agent to every other.
    Mesh,
}

/// Most agents whose pairs are all tried when nobody says how much: a thousand pairs.
pub const WHOLE_MESH_MAX: usize = 32;

impl Depth {
    /// Every one, the least first.
    pub const ALL: [Self; 3] = [Self::Required, Self::Rules, Self::Mesh];

    /// Returns the one that `word` names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        named(&Self::ALL, |depth| depth.as_str(), word)
    }

    /// Returns how much is tried with so many agents when nobody says it: the rules, and in a small fleet every pair,
    /// since that is cheap and shows more.
    #[must_use]
    pub fn fitting(agents: usize) -> Self {
        if agents > WHOLE_MESH_MAX {
            Self::Rules
        } else {
            Self::Mesh
        }
    }

    /// Returns its word, as in reports and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Rules => "rules",
            Self::Mesh => "mesh",
        }
    }
}
