//! The report as XML of JUnit, as pipelines show it: what the cluster needs, and every contradiction, as test cases.

use std::time::Duration;

use quick_junit::{
    NonSuccessKind, Report as Document, SerializeError, TestCase, TestCaseStatus, TestSuite,
};
use reachproof_model::diagnosis::Conclusion;
use reachproof_model::expectation::{Expectation, ExpectationState};
use reachproof_model::net::Printable;

use super::human::{compared, told};
use super::{Allowed, Report};

/// Writes two suites: `expectations` (broken: failure; unverified: error, or skipped where the run passes all the same;
/// predicted: skipped) and `contradictions` (each a failure).
///
/// # Errors
/// [`SerializeError`] if the document cannot be written.
pub(super) fn render(report: &Report, allowed: Allowed) -> Result<String, SerializeError> {
    let mut document = Document::new("reachproof");
    document.set_time(Duration::from_millis(report.run.duration_ms));
    let conclusion = report.conclusion(allowed);
    let mut suite = TestSuite::new("expectations");
    for one in &report.expectations {
        let mut case = TestCase::new(one.name.as_str(), status(report, one, conclusion));
        case.set_classname("expectations");
        suite.add_test_case(case);
    }
    document.add_test_suite(suite);
    document.add_test_suite(contradictions(report));
    document.to_string()
}

fn status(report: &Report, one: &Expectation, conclusion: Conclusion) -> TestCaseStatus {
    let (mut status, message) = match one.state {
        ExpectationState::Met => return TestCaseStatus::success(),
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

fn contradictions(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("contradictions");
    for finding in report.contradictions() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
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
