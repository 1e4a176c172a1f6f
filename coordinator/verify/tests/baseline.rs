//! What changed since an earlier report: in the model, and finding by finding.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use reachproof_model::diagnosis::Conclusion;
use reachproof_verify::Report;
use reachproof_verify::report::human::{Colour, Details, Terminal, View, render};
use reachproof_verify::report::{Allowed, Baseline, FailOn, SinceState, json};
use reachproof_verify::source::read_text;
use serde_json::{Value, json};

/// The JSON of a report of the lab's world `drift-open`: 78 flows, two of them open against the model.
fn recorded() -> Value {
    let path = format!("{}/tests/old/report.json.gz", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&read_text(Path::new(&path)).unwrap()).unwrap()
}

fn report(value: &Value) -> Report {
    let mut value = value.clone();
    // The digest tells worlds apart; any other text will do for one that was edited.
    let content = value["snapshot"]["content"].to_string();
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    value["snapshot"]["sha256"] = json!(format!("{:064x}", hasher.finish()));
    Report::from_json(&value.to_string()).unwrap()
}

/// `now` against the recorded report.
fn since(now: &Value) -> Report {
    let mut now = report(now);
    now.compare_with(&report(&recorded()));
    now
}

fn counts(baseline: &Baseline) -> [usize; 4] {
    SinceState::ALL.map(|state| baseline.count(state))
}

fn kept(report: &Report) -> &Baseline {
    report.baseline.as_ref().unwrap()
}

/// The place of the first finding of this kind.
fn place(report: &Value, kind: &str) -> usize {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().position(|one| one["kind"] == kind).unwrap()
}

fn concludes(report: &Report, fail_on: FailOn) -> Conclusion {
    report.conclusion(Allowed {
        fail_on,
        ..Allowed::default()
    })
}

#[test]
fn against_itself_a_report_has_nothing_new_and_its_problems_are_known() {
    let now = since(&recorded());
    assert_eq!(counts(kept(&now)), [0, 2, 0, 76]);
    assert_eq!(kept(&now).problems(SinceState::Known), 2);
    let model = kept(&now).model.as_ref().unwrap();
    assert!(!model.is_change && model.lines.is_empty());
    assert_eq!(concludes(&now, FailOn::Any), Conclusion::Fail);
    assert_eq!(concludes(&now, FailOn::New), Conclusion::Pass);
    assert_eq!(concludes(&now, FailOn::Expectation), Conclusion::Pass);
}

#[test]
fn a_node_that_took_the_place_of_another_is_no_change() {
    let text = recorded().to_string();
    let replaced = text
        .replace("10.0.1.20", "10.0.1.77")
        .replace("eni-node-1", "eni-node-9")
        .replace("i-node-1", "i-node-9")
        .replace("node-1", "node-9");
    assert_ne!(replaced, text);
    let now = since(&serde_json::from_str(&replaced).unwrap());
    let baseline = kept(&now);
    assert_eq!(counts(baseline), [0, 2, 0, 76], "{:?}", baseline.findings);
    let model = baseline.model.as_ref().unwrap();
    assert!(!model.is_change, "{model:?}");
    assert!(model.interfaces.replaced > 0, "{model:?}");
}

#[test]
fn a_flow_that_turned_is_new_and_says_what_it_was() {
    let mut turned = recorded();
    let allowed = place(&turned, "confirmed_allow");
    turned["findings"][allowed]["kind"] = json!("contradiction_closed");
    let now = since(&turned);
    let baseline = kept(&now);
    assert_eq!(counts(baseline), [1, 2, 1, 75]);
    let first = &baseline.findings[0];
    assert_eq!(first.state, SinceState::New);
    assert!(first.is_problem);
    assert_eq!(first.finding, Some(allowed));
    assert_eq!(first.other.unwrap().as_str(), "confirmed_allow");
    assert_eq!(concludes(&now, FailOn::New), Conclusion::Fail);
    let view = View {
        terminal: Terminal {
            width: 120,
            colour: Colour::Plain,
        },
        details: Details::Summary,
        allowed: Allowed {
            fail_on: FailOn::New,
            ..Allowed::default()
        },
    };
    let text = render(&now, &view);
    let begin = text.find("Since run-").unwrap();
    let end = text.find("Coverage").unwrap();
    insta::assert_snapshot!("since", &text[begin..end]);
    assert!(text.contains("FAIL  1 new problem since run-"), "{text}");
}

#[test]
fn a_network_that_follows_late_is_told_with_the_time_of_its_first_agreeing_attempt() {
    let now = recorded();
    let allowed = place(&now, "confirmed_allow");
    let denied = place(&now, "confirmed_deny");
    // The earlier model said the opposite of two flows, each with attempts whose results came 1, 5 and 9 s after the begin.
    let mut before = now.clone();
    let verdicts = [allowed, denied].map(|at| now["findings"][at]["prediction"].clone());
    let silent = json!({"outcome": "timed_out", "after_us": 3_000_000});
    let answered = json!({"outcome": "connected", "handshake_us": 200});
    let attempts = |flow: usize, outcomes: [&Value; 3]| -> Value {
        let sample = &now["findings"][flow]["observation"]["attempts"][0];
        let mut all = Vec::new();
        for (number, outcome) in outcomes.into_iter().enumerate() {
            let mut attempt = sample.clone();
            let fields = attempt.as_object_mut().unwrap();
            for old in ["after_us", "handshake_us"] {
                fields.remove(old);
            }
            fields.extend(outcome.as_object().unwrap().clone());
            attempt["number"] = json!(number);
            attempt["received_us"] = json!((1 + 4 * number) * 1_000_000);
            all.push(attempt);
        }
        all.into()
    };
    let mut followed = |allowed_outcomes, denied_outcomes| {
        let mut now = now.clone();
        for (at, outcomes, other) in [(allowed, allowed_outcomes, 1), (denied, denied_outcomes, 0)]
        {
            now["findings"][at]["observation"]["attempts"] = attempts(at, outcomes);
            let flow = now["findings"][at]["prediction"]["flow"].clone();
            before["findings"][at]["prediction"] = verdicts[other].clone();
            before["findings"][at]["prediction"]["flow"] = flow;
        }
        let mut now = report(&now);
        now.compare_with(&report(&before));
        let text = render(&now, &view(Details::Summary));
        let line = text.lines().find(|line| line.contains("network: "));
        let line = line.unwrap_or_default().trim().to_owned();
        (kept(&now).followed.unwrap(), line)
    };
    let (at_once, line) = followed([&answered; 3], [&silent; 3]);
    assert_eq!(
        (at_once.flows, at_once.at_once, at_once.after_ms),
        (2, 2, Some(1_000))
    );
    assert_eq!(
        line,
        "network: 2 of 2 flows whose verdict changed follow, the last 1.0 s after the run began"
    );
    let (late, line) = followed([&silent, &silent, &answered], [&answered, &silent, &silent]);
    assert_eq!(
        (late.late, late.not_yet, late.after_ms),
        (2, 0, Some(9_000))
    );
    assert!(
        line.ends_with("9.0 s after the run began; 2 did as before at first"),
        "{line}"
    );
    let (not_yet, line) = followed([&answered; 3], [&silent, &silent, &answered]);
    assert_eq!(
        (not_yet.at_once, not_yet.not_yet, not_yet.after_ms),
        (1, 1, Some(1_000))
    );
    assert!(line.ends_with("1 do as before to the end"), "{line}");
    assert_eq!(kept(&since(&now)).followed.unwrap().flows, 0);
}

fn view(details: Details) -> View {
    View {
        terminal: Terminal {
            width: 120,
            colour: Colour::Plain,
        },
        details,
        allowed: Allowed::default(),
    }
}

#[test]
fn a_problem_that_went_away_is_gone_and_fails_nothing() {
    let mut mended = recorded();
    let open = place(&mended, "contradiction_open");
    mended["findings"][open]["kind"] = json!("confirmed_deny");
    let now = since(&mended);
    let baseline = kept(&now);
    assert_eq!(counts(baseline), [1, 1, 1, 76]);
    assert_eq!(baseline.problems(SinceState::Gone), 1);
    assert_eq!(baseline.problems(SinceState::New), 0);
    assert_eq!(concludes(&now, FailOn::New), Conclusion::Pass);
}

#[test]
fn a_rule_that_was_removed_is_named_with_what_it_cost() {
    let mut removed = recorded();
    let groups = &mut removed["snapshot"]["content"]["describe-security-groups"]["SecurityGroups"];
    let db = groups.as_array_mut().unwrap().iter_mut();
    let db = db
        .into_iter()
        .find(|group| group["GroupId"] == "sg-db")
        .unwrap();
    let rules = db["IpPermissions"].as_array_mut().unwrap();
    rules.retain(|rule| rule["FromPort"] != 5_432);
    let rules = &mut removed["snapshot"]["content"]["describe-security-group-rules"];
    if let Some(rules) = rules["SecurityGroupRules"].as_array_mut() {
        rules.retain(|rule| rule["FromPort"] != 5_432);
    }
    let now = since(&removed);
    let model = kept(&now).model.as_ref().unwrap();
    assert!(model.is_change);
    let lost = model
        .changes
        .iter()
        .filter(|change| change.change == "lost");
    assert!(lost.count() > 0, "{model:?}");
    assert!(
        model
            .changes
            .iter()
            .all(|change| change.packets == "tcp/5432")
    );
    assert!(
        model
            .lines
            .iter()
            .any(|line| line.starts_with("- sg-db ingress tcp/5432")),
        "{:?}",
        model.lines
    );
}

#[test]
fn a_report_with_a_baseline_is_as_its_schema_says_and_reads_back() {
    let mut turned = recorded();
    let allowed = place(&turned, "confirmed_allow");
    turned["findings"][allowed]["kind"] = json!("contradiction_closed");
    let now = since(&turned);
    let written = json::render(&now).unwrap();
    assert_eq!(Report::from_json(&written).unwrap().baseline, now.baseline);
    let schema = format!(
        "{}/../../deploy/schemas/report.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let schema: Value = serde_json::from_str(&read_text(Path::new(&schema)).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(&written)
        .map(|it| it.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new());
}

#[test]
fn without_its_world_a_report_is_compared_finding_by_finding_alone() {
    let mut bare = recorded();
    bare["snapshot"].as_object_mut().unwrap().remove("content");
    let now = since(&bare);
    assert_eq!(kept(&now).model, None);
    assert_eq!(counts(kept(&now)), [0, 2, 0, 76]);
}
