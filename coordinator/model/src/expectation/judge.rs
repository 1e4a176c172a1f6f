//! What becomes of an expectation, by the findings of its flows (F.3, "Expectations").

use std::collections::{BTreeSet, HashMap};

use super::members::NodeBasis;
use super::sign::signs;
use super::{Expectation, ExpectationName, ExpectationState, Requirement, Wanted};
use crate::class::{ClassId, Classes, Facts};
use crate::finding::{Finding, FindingKind, FindingReason};
use crate::flow::{Flow, FlowProtocol};
use crate::predict::translated_source;
use crate::prediction::Verdict;
use crate::snapshot::Snapshot;

/// What becomes of one flow of an expectation, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowState {
    /// Confirmed by a proven answer, or no group is on its way and it was answered.
    Met,
    /// Nobody tried it, but a flow between the same two classes is met, for the same reason.
    MetByClass,
    /// The model says as expected, and nobody in this run could try.
    Predicted,
    /// Nobody tried it, although an agent could.
    NotObserved,
    /// Somebody tried, and what was seen does not carry a verdict.
    Inconclusive,
    /// Model or network says otherwise.
    Broken,
}

impl FlowState {
    /// Returns the state of an expectation that has such a flow and none that is worse.
    #[must_use]
    pub fn of_expectation(self) -> ExpectationState {
        match self {
            Self::Met | Self::MetByClass => ExpectationState::Met,
            Self::Predicted => ExpectationState::Predicted,
            Self::NotObserved | Self::Inconclusive => ExpectationState::Unverified,
            Self::Broken => ExpectationState::Broken,
        }
    }
}

/// Judges the expectations of a snapshot by the findings of a whole report.
#[derive(Debug)]
pub struct Judge<'a> {
    snapshot: &'a Snapshot,
    findings: &'a [Finding],
    classes: Classes,
    measured: HashMap<ClassFlow, Vec<&'a Verdict>>,
}

/// Flows that the model cannot tell apart, as far as their ends and their protocol go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ClassFlow {
    /// A pod whose address nobody translates on this way is as its node (E.1).
    source: Facts,
    destination: ClassId,
    protocol: FlowProtocol,
}

impl<'a> Judge<'a> {
    /// A judge of these findings.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, findings: &'a [Finding]) -> Self {
        let mut judge = Self {
            snapshot,
            findings,
            classes: Classes::new(snapshot),
            measured: HashMap::new(),
        };
        let is_shown =
            |finding: &&Finding| meets(Wanted::Open, finding) || meets(Wanted::Closed, finding);
        for finding in findings.iter().filter(is_shown) {
            let Some(flow) = judge.class_flow(&finding.flow) else {
                continue;
            };
            let verdicts = judge.measured.entry(flow).or_default();
            if !verdicts.contains(&&finding.prediction.verdict) {
                verdicts.push(&finding.prediction.verdict);
            }
        }
        judge
    }

    /// Judges an expectation whose flows have their findings at `places` of the report.
    #[must_use]
    pub fn judge(
        &self,
        requirement: &Requirement,
        basis: NodeBasis,
        places: Vec<usize>,
    ) -> Expectation {
        let mut expectation = Expectation {
            name: requirement.name.clone(),
            subject: requirement
                .subject
                .as_ref()
                .map(|subject| on_ports(subject, requirement)),
            wanted: requirement.wanted,
            why: requirement.why.clone(),
            state: ExpectationState::Met,
            findings: places,
            met: 0,
            by_class: 0,
            predicted: 0,
            broken: 0,
            inconclusive: 0,
            not_observed: 0,
            left_out: requirement.left_out,
            node_basis: basis,
            signs: signs(
                self.snapshot,
                (&requirement.name, requirement.subject.as_deref()),
                &requirement.flows,
            ),
        };
        if expectation.findings.is_empty() || requirement.left_out > 0 {
            expectation.state = ExpectationState::Unverified;
        }
        let places = expectation.findings.iter();
        let states: Vec<FlowState> = places
            .filter_map(|place| self.findings.get(*place))
            .map(|finding| self.flow_state(requirement, finding))
            .collect();
        for state in states {
            expectation.count(state);
        }
        expectation
    }

    /// Judges one flow of an expectation by its finding.
    fn flow_state(&self, requirement: &Requirement, finding: &Finding) -> FlowState {
        if breaks(requirement.wanted, finding) {
            return FlowState::Broken;
        }
        if meets(requirement.wanted, finding) {
            return FlowState::Met;
        }
        if finding.reason != Some(FindingReason::NoVantagePoint) {
            return FlowState::Inconclusive;
        }
        if self.is_measured(finding) {
            return FlowState::MetByClass;
        }
        match (&finding.prediction.verdict, requirement.wanted) {
            (Verdict::Allow { .. } | Verdict::Bypass(_) | Verdict::Exempt(_), Wanted::Open)
            | (Verdict::Deny(_), Wanted::Closed) => {
                // Nobody is missed on a node that is about to go.
                let leaves = self.snapshot.leaving(&[finding.flow.source]).is_some();
                if leaves {
                    FlowState::Predicted
                } else {
                    untried(&requirement.name)
                }
            }
            (Verdict::Allow { .. } | Verdict::Bypass(_) | Verdict::Exempt(_), Wanted::Closed)
            | (Verdict::Deny(_), Wanted::Open)
            | (Verdict::Partial { .. } | Verdict::Unknown(_), _) => FlowState::NotObserved,
        }
    }

    /// Whether a flow between the same two classes is met, and the same rules decide about both.
    fn is_measured(&self, finding: &Finding) -> bool {
        self.class_flow(&finding.flow)
            .and_then(|flow| self.measured.get(&flow))
            .is_some_and(|verdicts| verdicts.contains(&&finding.prediction.verdict))
    }

    /// The classes of a flow's ends; absent where an end is of none.
    fn class_flow(&self, flow: &Flow) -> Option<ClassFlow> {
        let mut source = *self.classes.facts(self.classes.of(flow.source)?);
        if translated_source(self.snapshot, flow).is_none() {
            source.exit = Facts::NO_EXIT;
        }
        Some(ClassFlow {
            source,
            destination: self.classes.of(flow.destination)?,
            protocol: flow.protocol,
        })
    }
}

impl Expectation {
    /// Takes one more flow into account: the worst decides.
    fn count(&mut self, state: FlowState) {
        self.state = self.state.max(state.of_expectation());
        let counter = match state {
            FlowState::Met => &mut self.met,
            FlowState::MetByClass => &mut self.by_class,
            FlowState::Predicted => &mut self.predicted,
            FlowState::NotObserved => &mut self.not_observed,
            FlowState::Inconclusive => &mut self.inconclusive,
            FlowState::Broken => &mut self.broken,
        };
        *counter += 1;
    }

    /// Returns how many flows are neither as expected nor otherwise; an expectation without any flow counts as one.
    #[must_use]
    pub fn unverified(&self) -> usize {
        let flows = self.inconclusive + self.not_observed + self.left_out;
        match self.state {
            ExpectationState::Unverified => flows.max(1),
            ExpectationState::Met | ExpectationState::Predicted | ExpectationState::Broken => flows,
        }
    }
}

/// A subject with the target ports of its flows.
fn on_ports(subject: &str, requirement: &Requirement) -> String {
    let flows = requirement.flows.iter();
    let ports: BTreeSet<u16> = flows.filter_map(|flow| flow.protocol.port()).collect();
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    format!("{subject} → {}", ports.join(", "))
}

/// What becomes of a flow that nobody tried and of which the model says as expected. The control plane connects only for
/// whoever may ask it to, and only to agents: where nobody asked, or no agent is, there is no vantage point.
fn untried(name: &ExpectationName) -> FlowState {
    match name {
        ExpectationName::NodeToControlPlane
        | ExpectationName::PodToControlPlane
        | ExpectationName::PodToCoreDns => FlowState::NotObserved,
        ExpectationName::ControlPlaneToKubelet
        | ExpectationName::NodeToCoreDns
        | ExpectationName::ControlPlaneToWebhook
        | ExpectationName::ControlPlaneToApiService
        | ExpectationName::MetricsToKubelet
        | ExpectationName::Own(_) => FlowState::Predicted,
    }
}

/// Whether a flow is shown to be as expected: open by a proven answer or because no group filters it, closed by silence that
/// counts.
fn meets(wanted: Wanted, finding: &Finding) -> bool {
    match wanted {
        Wanted::Open => finding.is_proven() || finding.kind == FindingKind::Bypass,
        Wanted::Closed => finding.kind == FindingKind::ConfirmedDeny,
    }
}

/// Whether model or network says that a flow is not as expected.
///
/// Of a flow that should be closed, every answer is too many: one that the model allows, from some source ports alone or
/// because no group filters it, and one that somebody gave although the model denies.
#[must_use]
pub fn breaks(wanted: Wanted, finding: &Finding) -> bool {
    match wanted {
        Wanted::Open => is_broken(finding),
        Wanted::Closed if finding.reason == Some(FindingReason::Unstable) => false,
        Wanted::Closed => match &finding.prediction.verdict {
            Verdict::Allow { .. }
            | Verdict::Partial { .. }
            | Verdict::Bypass(_)
            | Verdict::Exempt(_) => true,
            Verdict::Deny(_) | Verdict::Unknown(_) => {
                finding.kind == FindingKind::ContradictionOpen
            }
        },
    }
}

/// Whether model or network says that a flow does not work that should.
///
/// A partial verdict counts: connections from some source ports fail, and a client cannot choose. Where the world
/// changed, neither word is worth anything.
#[must_use]
pub fn is_broken(finding: &Finding) -> bool {
    if finding.reason == Some(FindingReason::Unstable) {
        return false;
    }
    match &finding.prediction.verdict {
        Verdict::Deny(_) | Verdict::Partial { .. } => true,
        Verdict::Allow { .. } | Verdict::Unknown(_) | Verdict::Bypass(_) | Verdict::Exempt(_) => {
            finding.kind.is_contradiction()
        }
    }
}
