//! What changed since an earlier report: in the model, and finding by finding.
//!
//! Two findings are of one flow when their addresses, protocol and port are; where one of the two runs did not try that
//! flow, when the keys of their ends are: a node or pod that took the place of another is no change. Findings say the same
//! when kind, verdict and deciding gate are equal.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use reachproof_model::change::{Comparison, Concern, Coverage, Difference, ToldChange};
use reachproof_model::expectation::judge::breaks;
use reachproof_model::finding::{Finding, FindingKind};
use reachproof_model::flow::{Flow, FlowProtocol, SourceKind};
use reachproof_model::prediction::Gate;
use reachproof_model::snapshot::Snapshot;
use serde::{Deserialize, Serialize};

use super::{Followed, Report};

/// Most changes of the model that a report keeps; `reachproof diff` has all.
pub const CHANGES_KEPT_MAX: usize = 500;

/// What changed since an earlier report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Names the run of the earlier report.
    pub run: String,
    /// When that run started, milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// What the model says changed; null where one of the reports does not carry its world.
    pub model: Option<ModelChange>,
    /// How many findings are new, known, gone and unchanged.
    pub summary: BTreeMap<Cow<'static, str>, usize>,
    /// How many of the new, known and gone ones are problems.
    pub problems: BTreeMap<Cow<'static, str>, usize>,
    /// How the network followed where the verdict changed; absent in reports of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub followed: Option<Followed>,
    /// All but the unchanged ones: problems first, then in the order of the report.
    pub findings: Vec<Since>,
}

/// What became of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinceState {
    /// The earlier report does not say it.
    New,
    /// A problem that the earlier report has, too.
    Known,
    /// The earlier report alone says it.
    Gone,
    /// Both say it, and it is no problem.
    Unchanged,
}

impl SinceState {
    /// Every state, in the order of the report.
    pub const ALL: [Self; 4] = [Self::New, Self::Known, Self::Gone, Self::Unchanged];

    /// Returns the word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Known => "known",
            Self::Gone => "gone",
            Self::Unchanged => "unchanged",
        }
    }
}

/// One finding that is not as before, or a problem that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// What became of it.
    pub state: SinceState,
    /// Whether it is a contradiction, or breaks an expectation.
    pub is_problem: bool,
    /// What it says.
    pub kind: FindingKind,
    /// What the other report says of the flow; null where it did not try it.
    pub other: Option<FindingKind>,
    /// The flow.
    pub flow: Flow,
    /// What people call its source; raw text.
    pub source: String,
    /// What people call its destination; raw text.
    pub destination: String,
    /// Its place in the findings of this report; null for what is gone.
    pub finding: Option<usize>,
}

/// What the model says changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelChange {
    /// Whether any answer of the model changed, or may have where not all were compared.
    pub is_change: bool,
    /// Whether all answers were compared, and all that changed is listed.
    pub is_whole: bool,
    /// Answers that changed, what the cluster needs first; at most [`CHANGES_KEPT_MAX`].
    pub changes: Vec<ChangeRecord>,
    /// How many there are.
    pub changes_count: usize,
    /// Rules, entries, routes, settings and memberships that are written differently, `+` or `-` before each; at most
    /// [`CHANGES_KEPT_MAX`].
    pub lines: Vec<String>,
    /// Interfaces that are new or gone, and those that took the place of another.
    pub interfaces: InterfaceCounts,
}

/// An answer of the model that changed, in words; raw text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// `gained`, `lost`, `changed`, or towards outside `widened`, `narrowed`.
    pub change: Cow<'static, str>,
    /// Whether the cluster needs it.
    pub is_needed: bool,
    /// Who sends.
    pub source: String,
    /// Who receives.
    pub destination: String,
    /// Protocol and ports.
    pub packets: String,
    /// The verdict before and after.
    pub verdict: String,
    /// What is responsible.
    pub because: String,
}

/// How many interfaces came and went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InterfaceCounts {
    /// New ones.
    pub new: usize,
    /// Gone ones that nothing replaces.
    pub gone: usize,
    /// Gone ones and those that took their place.
    pub replaced: usize,
}

impl Baseline {
    /// Compares `now` with an earlier report.
    #[must_use]
    pub fn new(before: &Report, now: &Report) -> Self {
        let (earlier, present) = (Findings::new(before), Findings::new(now));
        let mut findings = Vec::new();
        let mut summary = counts();
        let mut problems = counts();
        problems.remove(SinceState::Unchanged.as_str());
        for (place, finding) in now.findings.iter().enumerate() {
            let said = earlier.about(finding, &present);
            let is_problem = present.is_problem(place);
            let state = match (said.contains(&signature(finding)), is_problem) {
                (false, _) => SinceState::New,
                (true, true) => SinceState::Known,
                (true, false) => SinceState::Unchanged,
            };
            count(&mut summary, state);
            if state != SinceState::Unchanged {
                findings.push(present.since((place, finding), state, &said));
            }
        }
        for (place, finding) in before.findings.iter().enumerate() {
            let said = present.about(finding, &earlier);
            if !said.contains(&signature(finding)) {
                count(&mut summary, SinceState::Gone);
                findings.push(earlier.since((place, finding), SinceState::Gone, &said));
            }
        }
        for since in findings.iter().filter(|since| since.is_problem) {
            count(&mut problems, since.state);
        }
        findings.sort_by_key(|since| (!since.is_problem, since.state));
        Self {
            run: before.run.id.clone(),
            started_at_unix_ms: before.run.started_at_unix_ms,
            model: model(before, now),
            summary,
            problems,
            followed: Some(earlier.followed(now)),
            findings,
        }
    }

    /// Places of the findings of this report that are problems and new.
    #[must_use]
    pub fn new_problems(&self) -> BTreeSet<usize> {
        let new = self.findings.iter();
        let new = new.filter(|since| since.is_problem && since.state == SinceState::New);
        new.filter_map(|since| since.finding).collect()
    }

    /// How many problems are in `state`.
    #[must_use]
    pub fn problems(&self, state: SinceState) -> usize {
        self.problems.get(state.as_str()).copied().unwrap_or(0)
    }

    /// How many findings are in `state`.
    #[must_use]
    pub fn count(&self, state: SinceState) -> usize {
        self.summary.get(state.as_str()).copied().unwrap_or(0)
    }
}

fn counts() -> BTreeMap<Cow<'static, str>, usize> {
    let states = SinceState::ALL.into_iter();
    states.map(|state| (state.as_str().into(), 0)).collect()
}

fn count(counts: &mut BTreeMap<Cow<'static, str>, usize>, state: SinceState) {
    if let Some(count) = counts.get_mut(state.as_str()) {
        *count += 1;
    }
}

/// What a finding says.
type Signature = (FindingKind, &'static str, Option<Gate>);

fn signature(finding: &Finding) -> Signature {
    let verdict = &finding.prediction.verdict;
    (finding.kind, verdict.as_str(), verdict.gate())
}

/// The findings of a report, by their flows.
struct Findings<'r> {
    report: &'r Report,
    /// Places of problems.
    problems: BTreeSet<usize>,
    exact: BTreeMap<(IpAddr, IpAddr, FlowProtocol, SourceKind), Signature>,
    alike: BTreeMap<(&'r str, &'r str, FlowProtocol, SourceKind), BTreeSet<Signature>>,
}

impl<'r> Findings<'r> {
    fn new(report: &'r Report) -> Self {
        let mut found = Self {
            report,
            problems: problems(report),
            exact: BTreeMap::new(),
            alike: BTreeMap::new(),
        };
        for finding in &report.findings {
            let flow = &finding.flow;
            let said = signature(finding);
            found.exact.insert(exact(flow), said);
            if let Some(alike) = found.key(flow) {
                found.alike.entry(alike).or_default().insert(said);
            }
        }
        found
    }

    /// The keys of both ends, where both have one.
    fn key(&self, flow: &Flow) -> Option<(&'r str, &'r str, FlowProtocol, SourceKind)> {
        let key = |address| Some(self.report.endpoints.get(&address)?.key.as_str());
        let (source, destination) = (key(flow.source)?, key(flow.destination)?);
        Some((source, destination, flow.protocol, flow.source_kind))
    }

    /// What these findings say of the flow of `finding`, which is one of `other`.
    fn about(&self, finding: &Finding, other: &Findings<'_>) -> BTreeSet<Signature> {
        if let Some(said) = self.exact.get(&exact(&finding.flow)) {
            return BTreeSet::from([*said]);
        }
        let alike = other
            .key(&finding.flow)
            .and_then(|key| self.alike.get(&key));
        alike.cloned().unwrap_or_default()
    }

    /// How the network followed in `now` where these findings have another verdict.
    fn followed(&self, now: &Report) -> Followed {
        let earlier = self.report.findings.iter();
        let earlier: BTreeMap<_, _> = earlier.map(|one| (exact(&one.flow), one)).collect();
        let mut followed = Followed::default();
        for finding in &now.findings {
            if let Some(before) = earlier.get(&exact(&finding.flow)) {
                followed.note(&before.prediction, finding);
            }
        }
        followed
    }

    fn is_problem(&self, place: usize) -> bool {
        self.problems.contains(&place)
    }

    fn since(
        &self,
        (place, finding): (usize, &Finding),
        state: SinceState,
        said: &BTreeSet<Signature>,
    ) -> Since {
        let name = |address: IpAddr| {
            let label = self.report.endpoints.get(&address);
            label.map_or_else(|| address.to_string(), |label| label.name.clone())
        };
        Since {
            state,
            is_problem: self.is_problem(place),
            kind: finding.kind,
            other: said.first().map(|(kind, _, _)| *kind),
            source: name(finding.flow.source),
            destination: name(finding.flow.destination),
            flow: finding.flow.clone(),
            finding: (state != SinceState::Gone).then_some(place),
        }
    }
}

fn exact(flow: &Flow) -> (IpAddr, IpAddr, FlowProtocol, SourceKind) {
    (
        flow.source,
        flow.destination,
        flow.protocol,
        flow.source_kind,
    )
}

/// Places of the findings that contradict, or break an expectation.
fn problems(report: &Report) -> BTreeSet<usize> {
    let needed = report.expectations.iter();
    let needed = needed.flat_map(|expectation| {
        let places = expectation.findings.iter().copied();
        places.map(|place| (expectation.wanted, place))
    });
    let broken = needed.filter(|(wanted, place)| {
        let finding = report.findings.get(*place);
        finding.is_some_and(|finding| breaks(*wanted, finding))
    });
    let broken = broken.map(|(_, place)| place);
    let findings = report.findings.iter().enumerate();
    let contradictions = findings.filter(|(_, finding)| finding.kind.is_contradiction());
    broken
        .chain(contradictions.map(|(place, _)| place))
        .collect()
}

/// What the model says changed between the worlds of two reports.
fn model(before: &Report, now: &Report) -> Option<ModelChange> {
    if before.snapshot.sha256 == now.snapshot.sha256 {
        return Some(ModelChange {
            is_change: false,
            is_whole: true,
            changes: Vec::new(),
            changes_count: 0,
            lines: Vec::new(),
            interfaces: InterfaceCounts::default(),
        });
    }
    let (before, now) = (before.world()?, now.world()?);
    Some(changed(&before, &now))
}

fn changed(before: &Snapshot, now: &Snapshot) -> ModelChange {
    let comparison = Comparison::new(before, now);
    let difference = comparison.difference();
    let told = comparison.told(&difference);
    let outside = comparison.told_outside(&difference);
    let lines = difference.lines.iter().take(CHANGES_KEPT_MAX);
    ModelChange {
        is_change: difference.is_change(),
        is_whole: difference.coverage == Coverage::Whole,
        changes_count: told.len() + outside.len(),
        changes: told
            .into_iter()
            .chain(outside)
            .take(CHANGES_KEPT_MAX)
            .map(change)
            .collect(),
        lines: lines.map(ToString::to_string).collect(),
        interfaces: interfaces(&difference),
    }
}

fn change(told: ToldChange) -> ChangeRecord {
    ChangeRecord {
        change: told.word.into(),
        is_needed: told.concern == Concern::Expectation,
        source: told.source.whole,
        destination: told.destination.whole,
        packets: told.packets,
        verdict: told.verdict,
        because: told.because,
    }
}

fn interfaces(difference: &Difference) -> InterfaceCounts {
    InterfaceCounts {
        new: difference.appeared.difference(&difference.replaced).count(),
        gone: difference.gone.len(),
        replaced: difference.replaced.len(),
    }
}
