//! The report as XML of JUnit, as pipelines show it: what the cluster needs, and every contradiction, as test cases.

use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Property, Report as Document, SerializeError, TestCase, TestCaseStatus,
    TestSuite,
};
use reachproof_model::claim::{ClaimVerdict, JudgedClaim};
use reachproof_model::diagnosis::Conclusion;
use reachproof_model::expectation::{Expectation, ExpectationState};
use reachproof_model::net::Printable;

use super::claims::told as why_claim;
use super::human::{compared, titled, told};
use super::{Allowed, Failing, Report};

/// Most test cases, so that pipelines still show them; both suites say what they leave out.
const CASES_MAX: usize = 5_000;

/// Writes two suites: `expectations` (broken: failure; unverified: error, or skipped where the run passes all the same;
/// predicted: skipped) and `contradictions` (each a failure), and a third one, `claims`, where somebody asked for them. What
/// the run does not fail for is skipped: no claim fails it.
///
/// # Errors
/// [`SerializeError`] if the document cannot be written.
pub(super) fn render(report: &Report, allowed: Allowed) -> Result<String, SerializeError> {
    let mut document = Document::new("reachproof");
    document.set_time(Duration::from_millis(report.run.duration_ms));
    let conclusion = report.conclusion(allowed);
    let failing = report.failing(allowed.fail_on);
    let mut suite = TestSuite::new("expectations");
    let mut all: Vec<&Expectation> = report.expectations.iter().collect();
    all.sort_by_key(|one| one.state != ExpectationState::Broken);
    for one in all.iter().take(CASES_MAX) {
        let mut case = TestCase::new(titled(one), status(report, one, (conclusion, &failing)));
        case.set_classname("expectations");
        suite.add_test_case(case);
    }
    let room = CASES_MAX - suite.test_cases.len();
    leave_out(&mut suite, all.len());
    document.add_test_suite(suite);
    document.add_test_suite(contradictions(report, &failing, room));
    if !report.claims.is_empty() {
        document.add_test_suite(claims(&report.claims));
    }
    document.to_string()
}

fn status(
    report: &Report,
    one: &Expectation,
    (conclusion, failing): (Conclusion, &Failing),
) -> TestCaseStatus {
    let (mut status, message) = match one.state {
        ExpectationState::Met => return TestCaseStatus::success(),
        ExpectationState::Broken if !failing.any(&one.findings) => (
            TestCaseStatus::skipped(),
            format!("broken as before: {}", told(one)),
        ),
        ExpectationState::Broken => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_description(causes(report, one));
            (status, format!("broken: {}", told(one)))
        }
        ExpectationState::Predicted => (
            TestCaseStatus::skipped(),
            "as expected by the model alone: nobody in this run could try".to_owned(),
        ),
        ExpectationState::Unverified if conclusion == Conclusion::Pass => (
            TestCaseStatus::skipped(),
            format!("unverified: {}", told(one)),
        ),
        ExpectationState::Unverified => (
            TestCaseStatus::non_success(NonSuccessKind::Error),
            format!("unverified: {}", told(one)),
        ),
    };
    status.set_message(message);
    status
}

/// The causes that break an expectation, with their commands.
fn causes(report: &Report, one: &Expectation) -> String {
    let breaks = |findings: &[usize]| findings.iter().any(|place| one.findings.contains(place));
    let causes = report.causes.iter().filter(|cause| breaks(&cause.findings));
    let lines = causes.flat_map(|cause| {
        let first = format!("{}: {}", cause.title, cause.why.join("; "));
        std::iter::once(first).chain(cause.aws_cli.iter().cloned())
    });
    let lines: Vec<String> = lines.map(|line| Printable(&line).to_string()).collect();
    lines.join("\n")
}

/// Says how many of `all` cases are not in a suite.
fn leave_out(suite: &mut TestSuite, all: usize) {
    let left_out = all.saturating_sub(suite.test_cases.len());
    if left_out > 0 {
        suite.add_property(Property::new("left-out", left_out.to_string()));
        let text = format!("{left_out} more cases are left out: the JSON report has all");
        suite.set_system_out(text);
    }
}

fn contradictions(report: &Report, failing: &Failing, room: usize) -> TestSuite {
    let mut suite = TestSuite::new("contradictions");
    let found = report.findings.iter().enumerate();
    let found: Vec<_> = found
        .filter(|(_, finding)| finding.kind.is_contradiction())
        .collect();
    for (place, finding) in found.iter().copied().take(room) {
        let mut status = if failing.contradiction(place) {
            TestCaseStatus::non_success(NonSuccessKind::Failure)
        } else {
            TestCaseStatus::skipped()
        };
        status.set_message(compared(report, finding));
        status.set_type(finding.kind.as_str());
        let mut case = TestCase::new(finding.flow.to_string(), status);
        case.set_classname("contradictions");
        suite.add_test_case(case);
    }
    leave_out(&mut suite, found.len());
    if found.is_empty() {
        let mut case = TestCase::new("model and network agree", TestCaseStatus::success());
        case.set_classname("contradictions");
        suite.add_test_case(case);
    }
    suite
}

/// A case for each claim, of which there are as many as somebody wrote down.
fn claims(claims: &[JudgedClaim]) -> TestSuite {
    let mut suite = TestSuite::new("claims");
    for claim in claims.iter().take(CASES_MAX) {
        let status = match claim.verdict {
            ClaimVerdict::Holds => TestCaseStatus::success(),
            ClaimVerdict::Fails | ClaimVerdict::NotApplicable | ClaimVerdict::Untested => {
                let mut status = TestCaseStatus::skipped();
                let why = why_claim(claim).join("; ");
                status.set_message(format!("{}: {}", claim.verdict, Printable(&why)));
                status
            }
        };
        let name = format!("{}: {}", claim.id, claim.says);
        let mut case = TestCase::new(Printable(&name).to_string(), status);
        case.set_classname("claims");
        suite.add_test_case(case);
    }
    leave_out(&mut suite, claims.len());
    suite
}
