//! Which agents took part: as the source of a flow that was observed, as its target, or both.

use std::collections::BTreeMap;

use reachproof_model::finding::FindingKind;
use reachproof_verify::Report;
use serde::Serialize;

/// Runs over which coverage is told.
pub const RUNS: u32 = 20;

/// When agents last took part, by their names.
pub type Turns = BTreeMap<String, Turn>;

/// When an agent last took part: the begin of that run, milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// As a source; absent where it never did.
    pub source_unix_ms: Option<u64>,
    /// As a target.
    pub target_unix_ms: Option<u64>,
}

/// Who of the fleet took part in the last runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Coverage {
    /// So many runs with a report, [`RUNS`] at most.
    pub runs: usize,
    /// When the first of them began, milliseconds since 1970; 0 where there is none.
    pub since_unix_ms: u64,
    /// Agents of the fleet.
    pub agents: usize,
    /// Those that were the source of a flow that was observed.
    pub sources: usize,
    /// Those that were the target of one.
    pub targets: usize,
}

/// Who took part in a run that began at `at_unix_ms`. An API server that was asked to dial is no agent.
#[must_use]
pub fn turns_of(report: &Report, at_unix_ms: u64) -> Turns {
    let mut turns = Turns::new();
    let observed = report.findings.iter();
    for finding in observed.filter(|finding| finding.kind != FindingKind::NotObserved) {
        if let Some(agent) = finding.source.agent() {
            turns.entry(agent.to_string()).or_default().source_unix_ms = Some(at_unix_ms);
        }
        if let Some(agent) = &finding.destination_agent {
            turns.entry(agent.to_string()).or_default().target_unix_ms = Some(at_unix_ms);
        }
    }
    turns
}

impl Coverage {
    /// Who of `fleet` took part in runs that began at `begins`.
    pub fn new<'p>(begins: &[u64], fleet: impl IntoIterator<Item = &'p Turn>) -> Self {
        let since_unix_ms = begins.iter().min().copied().unwrap_or_default();
        let mut coverage = Self {
            runs: begins.len(),
            since_unix_ms,
            ..Self::default()
        };
        let is_within = |at: Option<u64>| at.is_some_and(|at| at >= since_unix_ms);
        for turn in fleet {
            coverage.agents += 1;
            coverage.sources += usize::from(is_within(turn.source_unix_ms));
            coverage.targets += usize::from(is_within(turn.target_unix_ms));
        }
        coverage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_took_part_before_the_last_runs_does_not_count() {
        let turn = |source, target| Turn {
            source_unix_ms: source,
            target_unix_ms: target,
        };
        let fleet = [
            turn(Some(30), Some(20)),
            turn(Some(19), None),
            turn(None, Some(31)),
        ];
        let coverage = Coverage::new(&[30, 20], &fleet);
        assert_eq!((coverage.runs, coverage.since_unix_ms), (2, 20));
        assert_eq!(
            (coverage.agents, coverage.sources, coverage.targets),
            (3, 1, 2)
        );
        let none = Coverage::new(&[], &[Turn::default()]);
        assert_eq!((none.agents, none.sources, none.targets), (1, 0, 0));
    }
}
