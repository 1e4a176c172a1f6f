//! What is wrong with a set of flows, and what would mend it: causes with their repairs, judged together.

use crate::cause::{Cause, causes};
use crate::flow::Flow;
use crate::predict::verdict;
use crate::prediction::Verdict;
use crate::repair::{Change, NoRepair, Repair, Workshop};
use crate::snapshot::Snapshot;

/// Most causes for which a repair is looked for: whoever has more mends the first ones and asks again.
pub const REPAIRS_MAX: usize = 20;

/// How whatever judges ends, for somebody who reads one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    /// All is as it should be.
    Pass,
    /// Something is not.
    Fail,
    /// Nothing is known to be wrong, and not enough to say that all is right.
    Unsure,
}

impl Conclusion {
    /// Returns the word for people; in JSON it is lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Unsure => "UNSURE",
        }
    }

    /// Returns the exit code of a command that judges (ARCHITECTURE, "Exit codes"): 0, 1 or 3.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Unsure => 3,
        }
    }
}

/// How many flows the model lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Flows that pass, or that no group filters.
    pub passing: usize,
    /// Flows that a gate stops, some of their source ports at least.
    pub stopped: usize,
    /// Flows of which nobody can tell.
    pub unknown: usize,
}

impl Tally {
    /// Counts one more flow.
    pub fn add(&mut self, verdict: &Verdict) {
        let counter = match verdict {
            Verdict::Allow { .. } | Verdict::Bypass(_) | Verdict::Exempt(_) => &mut self.passing,
            Verdict::Deny(_) | Verdict::Partial { .. } => &mut self.stopped,
            Verdict::Unknown(_) => &mut self.unknown,
        };
        *counter += 1;
    }

    /// Counts flows.
    pub fn of<'v>(verdicts: impl IntoIterator<Item = &'v Verdict>) -> Self {
        let mut tally = Self::default();
        for verdict in verdicts {
            tally.add(verdict);
        }
        tally
    }

    /// Returns what follows: a flow that is stopped fails, else one that nobody knows leaves unsure.
    #[must_use]
    pub fn conclusion(self) -> Conclusion {
        match (self.stopped, self.unknown) {
            (0, 0) => Conclusion::Pass,
            (0, _) => Conclusion::Unsure,
            (_, _) => Conclusion::Fail,
        }
    }

    /// Returns how many flows there are.
    #[must_use]
    pub fn total(self) -> usize {
        self.passing + self.stopped + self.unknown
    }
}

/// A cause with what would mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosed {
    /// The cause.
    pub cause: Cause,
    /// What would mend it.
    pub remedy: Remedy,
}

/// What would mend a cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// These changes.
    Repair(Repair),
    /// The changes of causes before it, by their places: nothing has to be added.
    Shared(Vec<usize>),
    /// None that the model knows.
    None(NoRepair),
    /// Nobody looked for one: there are more than [`REPAIRS_MAX`] causes.
    NotSought,
}

impl Remedy {
    /// Returns the repair, where there is one of its own.
    #[must_use]
    pub fn repair(&self) -> Option<&Repair> {
        match self {
            Self::Repair(repair) => Some(repair),
            Self::Shared(_) | Self::None(_) | Self::NotSought => None,
        }
    }

    /// Says why there is none of its own, in one line without a full stop; nothing where there is one.
    #[must_use]
    pub fn why_none(&self) -> Option<String> {
        match self {
            Self::Repair(_) => None,
            Self::Shared(places) => {
                let places: Vec<_> = places.iter().map(|place| (place + 1).to_string()).collect();
                Some(format!(
                    "mended by what mends cause {}",
                    places.join(" and ")
                ))
            }
            Self::None(error) => Some(format!("no repair: {error}")),
            Self::NotSought => {
                Some("no repair was looked for: mend the causes above and check again".to_owned())
            }
        }
    }
}

/// All causes of a set of flows, with the remedies judged together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What the model says of the flows.
    pub now: Tally,
    /// The causes, that of most flows first.
    pub causes: Vec<Diagnosed>,
    /// What the model says of the same flows with all changes of all repairs.
    pub then: Tally,
}

impl Diagnosis {
    /// Visits the changes of all repairs, each once.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        let repairs = self.causes.iter().filter_map(|found| found.remedy.repair());
        repairs.flat_map(|repair| &repair.changes)
    }

    /// Visits the causes that stop flows.
    pub fn stops(&self) -> impl Iterator<Item = &Diagnosed> {
        self.causes.iter().filter(|found| found.cause.is_stop())
    }
}

/// Finds what keeps `flows` from working, and what would mend it; `wanted` are further flows whose opening is no side
/// effect.
///
/// Each repair is predicted in a snapshot that has it; at last all flows are judged with all repairs together.
#[must_use]
pub fn diagnose(snapshot: &Snapshot, flows: &[Flow], wanted: &[Flow]) -> Diagnosis {
    let verdicts: Vec<Verdict> = flows.iter().map(|flow| verdict(snapshot, flow)).collect();
    let now = Tally::of(&verdicts);
    if now.stopped + now.unknown == 0 {
        return Diagnosis {
            now,
            causes: Vec::new(),
            then: now,
        };
    }
    let mut workshop = Workshop::new(snapshot);
    let wanted: Vec<Flow> = flows.iter().chain(wanted).cloned().collect();
    let mut found: Vec<Diagnosed> = Vec::new();
    for cause in causes(snapshot, workshop.classes(), flows) {
        let remedy = remedy(&mut workshop, &cause, &found, &wanted);
        found.push(Diagnosed { cause, remedy });
    }
    let mut diagnosis = Diagnosis {
        now,
        causes: found,
        then: now,
    };
    let changes: Vec<Change> = diagnosis.changes().cloned().collect();
    if !changes.is_empty() {
        diagnosis.then = Tally::of(&workshop.judge(&changes, flows));
    }
    diagnosis
}

fn remedy(
    workshop: &mut Workshop<'_>,
    cause: &Cause,
    before: &[Diagnosed],
    wanted: &[Flow],
) -> Remedy {
    if !cause.is_stop() {
        return Remedy::None(NoRepair::NotStopped);
    }
    let sought = before
        .iter()
        .filter(|found| found.remedy.repair().is_some());
    if sought.count() >= REPAIRS_MAX {
        return Remedy::NotSought;
    }
    if let Some(places) = shared(workshop, cause, before) {
        return Remedy::Shared(places);
    }
    match workshop.repair(&cause.flows, wanted) {
        Ok(repair) => Remedy::Repair(repair),
        Err(error) => Remedy::None(error),
    }
}

/// The causes before one whose repairs open its flows, too.
fn shared(workshop: &mut Workshop<'_>, cause: &Cause, before: &[Diagnosed]) -> Option<Vec<usize>> {
    let repairs: Vec<(usize, &Repair)> = before
        .iter()
        .enumerate()
        .filter_map(|(place, found)| Some((place, found.remedy.repair()?)))
        .collect();
    let mut opens = |repairs: &[(usize, &Repair)]| {
        let changes = repairs
            .iter()
            .flat_map(|(_, repair)| repair.changes.iter().cloned());
        let changes: Vec<Change> = changes.collect();
        Tally::of(&workshop.judge(&changes, &cause.flows)).stopped == 0
    };
    if repairs.is_empty() || !opens(&repairs) {
        return None;
    }
    let mut needed = repairs;
    let mut place = 0;
    while place < needed.len() && needed.len() > 1 {
        let mut fewer = needed.clone();
        fewer.remove(place);
        if opens(&fewer) {
            needed = fewer;
        } else {
            place += 1;
        }
    }
    Some(needed.into_iter().map(|(place, _)| place).collect())
}
