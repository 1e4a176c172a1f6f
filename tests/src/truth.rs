//! What the wire does, whatever a report says: asked of the kernel, without agents.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::thread;
use std::time::Duration;

use reachproof_lab::{LabError, Probe, Traffic};

use crate::harness::CaseResult;
use crate::play::{Ended, Seen};
use crate::stage::Stage;

/// Source ports of the questions: two in each third of what Linux chooses from.
const SOURCE_PORTS: [u16; 6] = [33_001, 38_003, 42_005, 47_007, 52_009, 58_011];

/// Source ports tried after the one that is taken.
const NEIGHBOURS: u16 = 40;

/// Longest wait for an answer. The lab loses nothing.
const SILENCE: Duration = Duration::from_millis(1_500);

/// Flows that are asked about at a time.
const TOGETHER: usize = 24;

/// What the wire does with a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It passes, from every source port.
    Open,
    /// It does not.
    Closed,
    /// It passes from some source ports.
    Some,
}

/// The findings that the wire does not bear out, one text each. Only what a report is sure of is looked at, and only TCP.
///
/// The network must be as it was in the run; what hosts did to themselves must be undone.
///
/// # Errors
/// [`LabError`] if a question cannot be asked.
pub fn lies(stage: &Stage, findings: &[Seen]) -> Result<Vec<String>, LabError> {
    let sure: Vec<&Seen> = findings
        .iter()
        .filter(|finding| finding.is_confirmed() || finding.is_contradiction())
        .filter(|finding| finding.flow.protocol == "tcp")
        .collect();
    let truths = ask(stage, &sure)?;
    let pairs = sure.iter().zip(truths);
    let lies = pairs.filter(|(finding, truth)| !bears_out(finding, *truth));
    Ok(lies
        .map(|(finding, truth)| format!("{finding}, but the wire is {truth:?}"))
        .collect())
}

/// What the wire does with the flow of each of `findings`.
///
/// # Errors
/// [`LabError`] if a question cannot be asked.
pub fn ask(stage: &Stage, findings: &[&Seen]) -> Result<Vec<Truth>, LabError> {
    let mut truths = Vec::new();
    for some in findings.chunks(TOGETHER) {
        let answers: Vec<Result<Truth, LabError>> = thread::scope(|scope| {
            let threads: Vec<_> = some
                .iter()
                .map(|finding| scope.spawn(|| truth(stage, finding)))
                .collect();
            let joined = threads.into_iter().map(|thread| {
                thread.join().unwrap_or(Err(LabError::Thread {
                    name: "root".to_owned(),
                }))
            });
            joined.collect()
        });
        for answer in answers {
            truths.push(answer?);
        }
    }
    Ok(truths)
}

/// Fails with what a report is sure of and the wire does not bear out.
///
/// # Errors
/// The texts of [`lies`].
pub fn assert_no_lies(ended: &Ended) -> CaseResult {
    let lies = lies(&ended.stage, &ended.findings)?;
    if lies.is_empty() {
        return Ok(());
    }
    let count = lies.len();
    Err(format!("{count} findings are false:\n{}", lies.join("\n")).into())
}

/// Asks from each of [`SOURCE_PORTS`], all at once.
fn truth(stage: &Stage, finding: &Seen) -> Result<Truth, LabError> {
    let flow = &finding.flow;
    let source = stage.lab.endpoint_at(flow.source);
    let source = source.ok_or(LabError::UnownedAddress {
        endpoint: "the source".to_owned(),
        address: flow.source,
    })?;
    let ask = |first: u16| -> Result<bool, LabError> {
        let mut source_port = first;
        loop {
            let traffic = Traffic::Tcp {
                port: flow.port.unwrap_or_default(),
                source_port,
            };
            let probe = Probe {
                source: flow.source,
                destination: flow.destination,
                traffic,
                wait: SILENCE,
            };
            match stage.lab.probe(&source.name, &probe) {
                Err(LabError::Probe { source, .. }) if is_taken(&source, source_port, first) => {
                    source_port = source_port.saturating_add(1);
                }
                answer => return Ok(answer?.is_open()),
            }
        }
    };
    let answers: Result<Vec<bool>, LabError> = thread::scope(|scope| {
        let threads = SOURCE_PORTS.map(|port| scope.spawn(move || ask(port)));
        let joined = threads.into_iter().map(|thread| {
            thread.join().unwrap_or(Err(LabError::Thread {
                name: source.name.clone(),
            }))
        });
        joined.collect()
    });
    let answers = answers?;
    Ok(match answers.iter().filter(|open| **open).count() {
        0 => Truth::Closed,
        count if count == answers.len() => Truth::Open,
        _ => Truth::Some,
    })
}

/// Whether another source port is to be tried: what ended may hold this one for a while.
fn is_taken(error: &io::Error, port: u16, first: u16) -> bool {
    let taken = matches!(
        error.kind(),
        ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable
    );
    taken && port < first.saturating_add(NEIGHBOURS)
}

/// Whether a finding may stand where the wire does this.
fn bears_out(finding: &Seen, truth: Truth) -> bool {
    match finding.kind.as_str() {
        "confirmed_allow" => truth == Truth::Open,
        "confirmed_deny" => truth == Truth::Closed,
        "confirmed_partial" => truth == Truth::Some,
        "contradiction_open" => truth != Truth::Closed,
        "contradiction_closed" => truth != Truth::Open,
        _ => true,
    }
}

/// Fails unless each of `findings` fits `wanted`; there must be at least `least` of them.
///
/// # Errors
/// Says which do not fit.
pub fn all_are(
    what: &str,
    findings: &[&Seen],
    least: usize,
    wanted: impl Fn(&Seen) -> bool,
) -> Result<(), Box<dyn Error>> {
    if findings.len() < least {
        return Err(format!("{what}: only {} findings", findings.len()).into());
    }
    let others: Vec<String> = findings
        .iter()
        .filter(|finding| !wanted(finding))
        .map(ToString::to_string)
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    let (count, all) = (others.len(), findings.len());
    Err(format!(
        "{what}: {count} of {all} end otherwise:\n{}",
        others.join("\n")
    )
    .into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_report_is_sure_of_must_be_so() {
        let finding = |kind: &str| -> Seen {
            let flow = json!({"source": "10.0.0.1", "destination": "10.0.0.2", "protocol": "tcp", "port": 80});
            serde_json::from_value(json!({"kind": kind, "flow": flow})).unwrap()
        };
        let may = |kind| {
            [Truth::Open, Truth::Closed, Truth::Some].map(|truth| bears_out(&finding(kind), truth))
        };
        assert_eq!(may("confirmed_allow"), [true, false, false]);
        assert_eq!(may("confirmed_deny"), [false, true, false]);
        assert_eq!(may("confirmed_partial"), [false, false, true]);
        assert_eq!(may("contradiction_open"), [true, false, true]);
        assert_eq!(may("contradiction_closed"), [false, true, true]);
        assert_eq!(may("inconclusive"), [true, true, true]);
    }
}
