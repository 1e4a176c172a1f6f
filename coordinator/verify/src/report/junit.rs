//! The report as XML of JUnit, as pipelines show it: what the cluster needs, and every contradiction, as test cases.

use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Report as Document, SerializeError, TestCase, TestCaseStatus, TestSuite,
};
use reachproof_model::diagnosis::Conclusion;
use reachproof_model::expectation::{Expectation, ExpectationState};
use reachproof_model::net::Printable;

use super::human::{compared, titled, told};
use super::{Allowed, Failing, Report};

/// Writes two suites: `expectations` (broken: failure; unverified: error, or skipped where the run passes all the same;
/// predicted: skipped) and `contradictions` (each a failure). What the run does not fail for is skipped.
///
/// # Errors
/// [`SerializeError`] if the document cannot be written.
pub(super) fn render(report: &Report, allowed: Allowed) -> Result<String, SerializeError> {
    let mut document = Document::new("reachproof");
    document.set_time(Duration::from_millis(report.run.duration_ms));
    let conclusion = report.conclusion(allowed);
    let failing = report.failing(allowed.fail_on);
    let mut suite = TestSuite::new("expectations");
    for one in &report.expectations {
        let mut case = TestCase::new(titled(one), status(report, one, (conclusion, &failing)));
        case.set_classname("expectations");
        suite.add_test_case(case);
    }
    document.add_test_suite(suite);
    document.add_test_suite(contradictions(report, &failing));
    document.to_string()
}

fn status(
    report: &Report,
    one: &Expectation,
    (conclusion, failing): (Conclusion, &Failing),
) -> TestCaseStatus {
    let (mut status, message) = match one.state {
        ExpectationState::Met => return TestCaseStatus::success(),
        ExpectationState::Broken if !fails(one, failing) => (
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

/// Whether the run fails for what breaks an expectation.
fn fails(one: &Expectation, failing: &Failing) -> bool {
    match failing {
        Failing::All | Failing::Expectations => true,
        Failing::Only(places) => one.findings.iter().any(|place| places.contains(place)),
    }
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

fn contradictions(report: &Report, failing: &Failing) -> TestSuite {
    let mut suite = TestSuite::new("contradictions");
    let found = report.findings.iter().enumerate();
    for (place, finding) in found.filter(|(_, finding)| finding.kind.is_contradiction()) {
        let is_failure = match failing {
            Failing::All => true,
            Failing::Only(places) => places.contains(&place),
            Failing::Expectations => false,
        };
        let mut status = if is_failure {
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
    if suite.test_cases.is_empty() {
        let mut case = TestCase::new("model and network agree", TestCaseStatus::success());
        case.set_classname("contradictions");
        suite.add_test_case(case);
    }
    suite
}
