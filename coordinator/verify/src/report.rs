//! What a run found, for people and for programs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use reachproof_model::claim::{JudgedClaim, Wire};
use reachproof_model::cluster_endpoint::{EndpointPath, EndpointResolution};
use reachproof_model::diagnosis::Conclusion;
use reachproof_model::expectation::{Expectation, ExpectationState};
use reachproof_model::finding::{Finding, FindingKind};
use reachproof_model::flow::Flow;
use reachproof_model::observation::{AgentName, ClockOffset, Implausible, Presence};
use reachproof_model::plan::{AddressConflict, AgentKind};
use reachproof_model::selector::EndName;
use reachproof_model::snapshot::Gap;
use reachproof_model::stability::{Stability, StabilityState};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::inventory::{GoneAgent, MissingAgent};
use crate::refused::RefusedAgents;

pub use baseline::{Baseline, SinceState};
pub use cause::{CAUSES_MAX, CauseRecord};
pub use control_plane::{ControlPlaneRecord, ServerRecord, ServerState};
pub use coverage::{Coverage, LIMITS, RuleCoverage};
pub use followed::Followed;
pub use format::{FORMATS, Format, FormatError};

pub mod baseline;
pub(crate) mod build;
mod cause;
pub mod claims;
mod control_plane;
mod coverage;
mod csv;
pub mod document;
mod followed;
mod format;
mod github;
mod html;
pub mod human;
pub mod json;
mod junit;
pub mod kept;
pub mod markdown;
mod ndjson;
pub mod packed;

/// Name and version of the report's shape (ARCHITECTURE, "Report").
pub const REPORT_SCHEMA: &str = "reachproof.report/v1";

/// What one run found. JSON: ARCHITECTURE, "Report"; the schema is `deploy/schemas/report.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_SCHEMA`].
    pub schema: Cow<'static, str>,
    /// When and how it was run.
    pub run: RunRecord,
    /// Count of the findings of each kind, zero included.
    pub summary: BTreeMap<Cow<'static, str>, usize>,
    /// What the cluster needs, and whether it has it.
    pub expectations: Vec<Expectation>,
    /// Expectations that are not judged, and why, a line each; raw text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// What breaks flows that the cluster needs: that of most flows first, at most [`CAUSES_MAX`].
    pub causes: Vec<CauseRecord>,
    /// One for each flow: those that need attention first.
    pub findings: Vec<Finding>,
    /// What was exercised, and what not.
    pub coverage: Coverage,
    /// What the snapshot does not say.
    pub gaps: Vec<Gap>,
    /// Whether the world stood still.
    pub stability: StabilityRecord,
    /// Who took part, and who did not.
    pub agents: Agents,
    /// Which API servers were asked to connect; absent where nobody could ask any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ControlPlaneRecord>,
    /// The world that the predictions come from.
    pub snapshot: SnapshotRecord,
    /// What people call the addresses of the findings.
    #[serde(default)]
    pub endpoints: BTreeMap<IpAddr, EndpointLabel>,
    /// Sentences about security groups of EKS, judged by this run; empty where nobody asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<JudgedClaim>,
    /// What changed since an earlier report; absent where none was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
}

fn is_network(wire: &Wire) -> bool {
    *wire == Wire::Network
}

/// Whether the world stood still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StabilityRecord {
    /// What happened.
    pub state: StabilityState,
    /// Files that differ before and after the probes, sorted.
    pub changed: BTreeSet<String>,
    /// Files that changed within the settle time before the probes, or that tell of an update in progress in a node
    /// group; sorted.
    pub settling: BTreeSet<String>,
    /// Objects that were seen to come and go, as `pods default/web`; sorted.
    pub passed: BTreeSet<String>,
    /// How many flows of the plan a change could touch.
    pub flows_touched: usize,
}

impl From<Stability> for StabilityRecord {
    fn from(stability: Stability) -> Self {
        Self {
            state: stability.state,
            changed: stability.changed,
            settling: stability.settling,
            passed: stability.passed,
            flows_touched: stability.touched.len(),
        }
    }
}

/// When and how a run was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRecord {
    /// Names the run.
    pub id: String,
    /// Name of the cluster; absent where the snapshot names none, and in reports of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Where it was run.
    #[serde(default, skip_serializing_if = "is_network")]
    pub wire: Wire,
    /// Start by the coordinator's clock, milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// From start to report, in milliseconds.
    pub duration_ms: u64,
    /// What reading the world cost, before the probes and after them; the second is absent if it failed.
    pub readings: Vec<ReadingRecord>,
    /// Version of this program.
    pub version: Cow<'static, str>,
    /// How much of the relation was tried: `required`, `rules` or `mesh`.
    pub scope: Cow<'static, str>,
    /// Seed of the plan.
    pub seed: u64,
    /// Most attempts of a probe.
    pub attempts: u32,
    /// How long an attempt waited, in milliseconds.
    pub deadline_ms: u32,
    /// Time between the starts of two attempts, in milliseconds.
    pub interval_ms: u32,
}

/// What one reading of the world cost. Never part of a snapshot, so that the same world gives the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadingRecord {
    /// Calls made to AWS and to the API server; none for a saved snapshot.
    pub calls: usize,
    /// Pages received in answer to them.
    pub pages: usize,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Who took part, and who did not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Agents {
    /// How many were expected.
    pub expected: usize,
    /// Those that took part, by name.
    pub present: Vec<PresentAgent>,
    /// Those that reported what cannot be: nothing of them counts.
    pub void: Vec<VoidAgent>,
    /// Those that were expected and never came.
    pub missing: Vec<MissingAgent>,
    /// Nodes without an agent that are about to go: nobody is missed there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<GoneAgent>,
    /// Those that were left out, because another one claims their address.
    pub conflicts: Vec<AddressConflict>,
    /// Those that were not let in.
    pub refused: RefusedAgents,
}

/// One agent that took part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PresentAgent {
    /// Its name.
    pub name: AgentName,
    /// Where it runs.
    pub kind: AgentKind,
    /// Its addresses in the measured network.
    pub addresses: Vec<IpAddr>,
    /// Its version.
    pub version: String,
    /// Whether it was heard to the end.
    pub presence: Presence,
    /// Results that did not arrive.
    pub results_lost: u64,
    /// Ports that it could not listen on.
    pub ports_refused: Vec<u16>,
    /// Connections that the kernel dropped in its network namespace during the run because a queue of accepted connections
    /// was full; null where nobody can tell.
    pub accept_queue_drops: Option<u64>,
    /// What the kernel dropped at each of its listening sockets, as far as that can be told.
    pub listen_drops: BTreeMap<SocketAddr, u64>,
    /// How its clock stands to the coordinator's; null where that is not known.
    pub clock: Option<ClockOffset>,
    /// Signs of life that came over its stream while the run probed.
    pub heartbeats: usize,
    /// Longest that one of its loops was late in that time, in microseconds; null where it was not measured.
    pub late_max_us: Option<u64>,
    /// What its host resolves the cluster endpoint to; null where it was given no name.
    pub endpoint: Option<ResolvedEndpoint>,
}

/// One agent of which nothing counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VoidAgent {
    /// Its name.
    pub name: AgentName,
    /// Why.
    #[serde(flatten)]
    pub reason: Implausible,
}

/// What an agent's host resolves the cluster endpoint to, and where that leads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResolvedEndpoint {
    /// What it resolves to.
    #[serde(flatten)]
    pub resolution: EndpointResolution,
    /// Where that leads.
    pub leads_to: EndpointPath,
}

/// The world that the predictions come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// SHA-256 of `content` as compact JSON, in hexadecimal.
    pub sha256: String,
    /// The world as one JSON object with the stems as keys; absent if it was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
}

/// What people call an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EndpointLabel {
    /// Agent, pod, node or interface; raw text.
    pub name: String,
    /// What the model cannot tell apart from it: its role and the names of its security groups; raw text.
    pub class: String,
    /// The same by ids, with subnet and address family: equal keys of two runs are endpoints of one kind, though a node was
    /// replaced.
    pub key: String,
    /// Every name by which it can be selected; raw text.
    pub names: Vec<EndName>,
}

impl Report {
    /// How many findings there are of `kind`.
    pub fn count(&self, kind: FindingKind) -> usize {
        self.summary.get(kind.as_str()).copied().unwrap_or(0)
    }

    /// The flows that were tried, whatever came of it.
    pub fn tried(&self) -> Vec<Flow> {
        let findings = self.findings.iter();
        let tried = findings.filter(|finding| !finding.observation.attempts.is_empty());
        tried.map(|finding| finding.flow.clone()).collect()
    }

    /// Visits the contradictions.
    pub fn contradictions(&self) -> impl Iterator<Item = &Finding> {
        let findings = self.findings.iter();
        findings.filter(|finding| finding.kind.is_contradiction())
    }

    /// How many flows that the cluster needs stayed unverified.
    pub fn unverified(&self) -> usize {
        self.expectations.iter().map(Expectation::unverified).sum()
    }

    /// Compares the report with an earlier one, and keeps what changed.
    pub fn compare_with(&mut self, earlier: &Self) {
        self.baseline = Some(Baseline::new(earlier, self));
    }

    /// Places of the findings for which the run fails, where one is a contradiction or breaks an expectation.
    pub(crate) fn failing(&self, fail_on: FailOn) -> Failing {
        match (fail_on, &self.baseline) {
            (FailOn::New, Some(baseline)) => Failing::Only(baseline.new_problems()),
            (FailOn::Any, _) | (FailOn::New, None) => Failing::All,
            (FailOn::Expectation, _) => Failing::Expectations,
        }
    }

    /// Whether there is something that the run is to fail for.
    fn is_failure(&self, fail_on: FailOn) -> bool {
        let broken = || {
            let mut states = self
                .expectations
                .iter()
                .map(|expectation| expectation.state);
            states.any(|state| state == ExpectationState::Broken)
        };
        match (fail_on, &self.baseline) {
            (FailOn::New, Some(baseline)) => baseline.problems(SinceState::New) > 0,
            (FailOn::Any, _) | (FailOn::New, None) => {
                self.contradictions().next().is_some() || broken()
            }
            (FailOn::Expectation, _) => broken(),
        }
    }

    /// What the run says in one word (F.3): FAIL for what [`Allowed::fail_on`] names; UNSURE when more flows that
    /// the cluster needs stayed unverified, or more agents did not come, than `allowed`, or when no answer proved
    /// anything; else PASS.
    pub fn conclusion(&self, allowed: Allowed) -> Conclusion {
        if self.is_failure(allowed.fail_on) {
            return Conclusion::Fail;
        }
        let proven = self.findings.iter().any(Finding::is_proven);
        let complete = self.unverified() <= allowed.unverified_max
            && self.agents.absent() <= allowed.missing_max;
        if proven && complete {
            Conclusion::Pass
        } else {
            Conclusion::Unsure
        }
    }

    /// The exit code of the process: that of [`Report::conclusion`].
    pub fn exit_code(&self, allowed: Allowed) -> u8 {
        self.conclusion(allowed).exit_code()
    }
}

impl Agents {
    /// How many of the expected agents did not come: where a number was expected, more than can be named.
    pub fn absent(&self) -> usize {
        let short = self.expected.saturating_sub(self.present.len());
        short.max(self.missing.len())
    }
}

/// What a run fails for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailOn {
    /// Every contradiction and every broken expectation.
    #[default]
    Any,
    /// Those of them that the earlier report does not have; all where there is none.
    New,
    /// Broken expectations alone.
    Expectation,
}

/// Which problems make a run fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failing {
    /// All.
    All,
    /// Those at these places of the findings.
    Only(BTreeSet<usize>),
    /// Broken expectations.
    Expectations,
}

impl Failing {
    /// Whether the run fails for a contradiction at this place.
    pub(crate) fn contradiction(&self, place: usize) -> bool {
        match self {
            Self::All => true,
            Self::Only(places) => places.contains(&place),
            Self::Expectations => false,
        }
    }

    /// Whether the run fails for an expectation that these places break.
    pub(crate) fn any(&self, findings: &[usize]) -> bool {
        match self {
            Self::All | Self::Expectations => true,
            Self::Only(places) => findings.iter().any(|place| places.contains(place)),
        }
    }
}

/// What a run may have before it counts as failed or unverified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowed {
    /// What it fails for.
    pub fail_on: FailOn,
    /// Most flows that the cluster needs and that stayed unverified.
    pub unverified_max: usize,
    /// Most agents that were expected and did not come.
    pub missing_max: usize,
}
