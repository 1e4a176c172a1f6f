//! What a run is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reachproof_model::flow::Flow;
use reachproof_model::plan::{AgentKind, Depth};

use crate::control_plane::ControlPlane;
use crate::credentials::Credentials;
use crate::expectations::InForce;
use crate::identity::Authenticator;
use crate::random::Random;
use crate::source::WorldSource;
use crate::token::Clock;

/// Default of [`Order::resume_wait`]: a dead stream is noticed within 25 s, and the first dial after it comes within
/// the window of `Welcome`.
pub const RESUME_WAIT: Duration = Duration::from_secs(45);

/// Whom a run waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedAgents {
    /// Those of these kinds, wherever the snapshot shows a place: on every cluster node one in its host network and one in a pod,
    /// and one in every Fargate pod.
    Inventory(BTreeSet<AgentKind>),
    /// So many agents, whoever they are.
    Count(usize),
    /// Agents of these names.
    Names(BTreeSet<String>),
}

impl Default for ExpectedAgents {
    /// An agent in the host network of every node, and in every Fargate pod.
    fn default() -> Self {
        Self::Inventory(BTreeSet::from([AgentKind::Node, AgentKind::Fargate]))
    }
}

impl ExpectedAgents {
    /// Reads a number, or kinds as `pod,fargate`; nothing for whatever is neither, and for 0.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if let Ok(count) = text.parse() {
            return (count > 0).then_some(Self::Count(count));
        }
        let kind = |word: &str| AgentKind::ALL.into_iter().find(|it| it.as_str() == word);
        let kinds: Option<BTreeSet<AgentKind>> = text.split(',').map(kind).collect();
        kinds.map(Self::Inventory)
    }
}

/// Whether the report carries the world that the predictions come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotContent {
    /// The whole world, so that the report can be judged again elsewhere.
    Included,
    /// Only its digest.
    LeftOut,
}

/// Everything that the one-run entry is told; it reads no environment, no clock and no file beside these.
pub struct RunConfig {
    /// The world, read before and after the probes: a saved snapshot by its path (ARCHITECTURE, "Snapshot"), or a
    /// cluster.
    pub snapshot: Arc<dyn WorldSource>,
    /// CA, key of the tokens and server certificate.
    pub credentials: Credentials,
    /// Reviews service-account tokens; absent where nobody can.
    pub reviewer: Option<Arc<dyn Authenticator>>,
    /// Connections that one peer address may have at once; [`CONNECTIONS_PER_ADDRESS`] unless many agents dial in behind
    /// one address.
    ///
    /// [`CONNECTIONS_PER_ADDRESS`]: crate::door::CONNECTIONS_PER_ADDRESS
    pub connections_per_address: usize,
    /// What is asked of the run.
    pub order: Order,
}

impl RunConfig {
    /// The world, what the control server needs, and the order for the run.
    pub(crate) fn into_parts(self) -> (Arc<dyn WorldSource>, EntrySettings, Order) {
        let entry = EntrySettings {
            credentials: self.credentials,
            reviewer: self.reviewer,
            connections_per_address: self.connections_per_address,
            clock: Clock::starting(self.order.started_at),
        };
        (self.snapshot, entry, self.order)
    }
}

/// Who may come in, and how many.
pub struct EntrySettings {
    /// See [`RunConfig::credentials`].
    pub credentials: Credentials,
    /// See [`RunConfig::reviewer`].
    pub reviewer: Option<Arc<dyn Authenticator>>,
    /// See [`RunConfig::connections_per_address`].
    pub connections_per_address: usize,
    /// By which tokens end.
    pub clock: Clock,
}

/// What is asked of one run of a fleet.
pub struct Order {
    /// Names the run ([`crate::run::run_name`] draws one); absent: it is drawn.
    pub name: Option<String>,
    /// Whom to wait for.
    pub expected: ExpectedAgents,
    /// Longest wait for them.
    pub wait: Duration,
    /// How long the world must not have changed before the probes (ARCHITECTURE, "One run"): it is read once more so
    /// long after the first reading, and a change in between counts as one while the probes ran. Zero for a world that
    /// nothing enforces anew, such as a saved snapshot: then nobody waits.
    pub settle: Duration,
    /// How long a cut stream may take to come back before what its agent still holds counts as lost; [`RESUME_WAIT`]
    /// unless somebody knows better.
    pub resume_wait: Duration,
    /// How much of the relation is tried; absent: what [`Depth::fitting`] says of the fleet.
    pub depth: Option<Depth>,
    /// Decides every choice of the plan that chance may make; two runs with one seed, snapshot and roster plan the same.
    pub seed: u64,
    /// What users expect beside what the cluster needs.
    pub expectations: InForce,
    /// What an earlier run tried that this one is compared with ([`Report::tried`](crate::Report::tried)).
    pub earlier: Vec<Flow>,
    /// Whether the report carries the snapshot.
    pub content: SnapshotContent,
    /// Wall-clock time at the start, for the report only.
    pub started_at: SystemTime,
    /// Source of keys and nonces.
    pub random: Arc<dyn Random>,
    /// API servers that connect when they are asked; absent where nobody can ask them.
    pub control_plane: Option<Arc<dyn ControlPlane>>,
}
