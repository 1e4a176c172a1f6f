//! The report as programs and people get it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use fake::{
    Agent, Coordinator, Fate, Habit, Network, attach, bearer, coordinator, coordinator_over, hello,
    schema,
};
use ipnet::IpNet;
use reachproof_model::claim::ClaimVerdict;
use reachproof_model::describe::Described;
use reachproof_model::expectation::{ExpectationName, ExpectationState};
use reachproof_model::finding::{FindingKind, FindingReason};
use reachproof_model::snapshot::Gap;
use reachproof_proto::v1::agent_message::Body;
use reachproof_verify::Report;
use reachproof_verify::claims::catalogue;
use reachproof_verify::report::human::{Colour, Details, Terminal, View};
use reachproof_verify::report::{Allowed, FORMATS, Format};
use reachproof_verify::report::{human, json};
use reachproof_verify::source::{WorldError, WorldReading, WorldSource, read, read_text};
use serde_json::{Value, json};
use tonic::Code;

mod fake;

/// A page of 110 columns without colours.
const PAGE: Terminal = Terminal {
    width: 110,
    colour: Colour::Plain,
};

/// The whole page.
fn page(report: &Report) -> String {
    render(report, Details::All, PAGE)
}

fn render(report: &Report, details: Details, terminal: Terminal) -> String {
    let view = View {
        terminal,
        details,
        allowed: Allowed::default(),
    };
    human::render(report, &view)
}

/// Drift: n2 answers on a port that nothing admits, n3 is silent on one that is admitted.
fn drift(source: IpAddr, target: IpAddr, port: u16) -> Fate {
    let ends = (source.to_string(), target.to_string());
    match (ends.0.as_str(), ends.1.as_str(), port) {
        ("10.0.1.20", "10.0.2.20", 7_500 | 8_080) => Fate::Open,
        _ => Fate::Silent,
    }
}

/// A run over A01 with agents on n1, n2 and n3, over a network with drift; a fourth agent never comes.
async fn report() -> Report {
    report_of(coordinator("A01", 3).await).await
}

/// The same with the coordinator that is given.
async fn report_of(coordinator: Coordinator) -> Report {
    let site = Arc::new(coordinator.site);
    let network = Network::new(drift);
    let mut agents = tokio::task::JoinSet::new();
    for (name, address) in [
        ("n1", "10.0.1.20"),
        ("n2", "10.0.2.20"),
        ("n3", "10.0.1.40"),
    ] {
        let agent = Agent {
            name,
            address: address.parse().unwrap(),
            habit: Habit::Faithful,
            network: network.clone(),
        };
        agents.spawn(agent.live(Arc::clone(&site)));
    }
    let mut report = coordinator.run.await.unwrap().unwrap();
    report.run.duration_ms = 14_000;
    report.run.id = "run-0".to_owned();
    report
}

/// A world that is asked for in 40 calls with 41 pages.
struct Asked(Described);

impl WorldSource for Asked {
    fn read(&self) -> Result<WorldReading, WorldError> {
        Ok(WorldReading {
            described: self.0.clone(),
            calls: 40,
            pages: 41,
            passed: Vec::new(),
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_is_as_its_schema_says_and_the_schema_refuses_what_is_not() {
    let report: Value = serde_json::from_str(&json::render(&report().await).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(&report)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new());

    type Spoil = fn(&mut Value);
    let spoils: [Spoil; 7] = [
        |report| report["schema"] = json!("reachproof.report/v2"),
        |report| report["findings"][0]["kind"] = json!("confirmed"),
        |report| report["findings"][0]["reason"] = json!("because"),
        |report| report["findings"][0]["flow"]["port"] = json!(65_979),
        |report| report["summary"]["confirmed_allow"] = json!(-1),
        |report| report["surprise"] = json!(1),
        |report| drop(report.as_object_mut().unwrap().remove("stability")),
    ];
    for (index, spoil) in spoils.iter().enumerate() {
        let mut bad = report.clone();
        spoil(&mut bad);
        assert!(!validator.is_valid(&bad), "spoil {index}");
    }
}

/// The report in the format of this name.
fn written(report: &Report, name: &str) -> String {
    let view = View {
        terminal: PAGE,
        details: Details::Summary,
        allowed: Allowed::default(),
    };
    let format = Format::named(name).unwrap();
    text(format, report, &view)
}

/// What `format` writes.
fn text(format: &Format, report: &Report, view: &View) -> String {
    let mut bytes = Vec::new();
    format.write(report, view, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_format_has_every_finding_or_what_people_must_know_of_them() {
    let report = report().await;
    let whole: Value = serde_json::from_str(&written(&report, "json")).unwrap();
    let findings = whole["findings"].as_array().unwrap();
    let lines = written(&report, "ndjson");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(&lines, findings);
    let rows = written(&report, "csv");
    assert_eq!(rows.lines().count(), findings.len() + 1);
    insta::assert_snapshot!("csv", rows);
    insta::assert_snapshot!("markdown", written(&report, "markdown"));
    insta::assert_snapshot!("junit", written(&report, "junit"));
    insta::assert_snapshot!("github", written(&report, "github"));
    let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
    assert_eq!(
        names,
        [
            "table",
            "json",
            "ndjson",
            "csv",
            "markdown",
            "markdown-short",
            "github",
            "junit",
            "html"
        ]
    );
    assert!(Format::named("yaml").is_none());
}

#[tokio::test(start_paused = true)]
async fn names_of_somebody_else_are_shown_and_never_obeyed() {
    let mut report = report().await;
    for label in report.endpoints.values_mut() {
        label.name = "=cmd|' /C calc'!A0 ](https://example.org) <b>`x`\u{1b}[31m\n".to_owned();
    }
    let rows = written(&report, "csv");
    assert!(rows.contains("'=cmd|' /C calc'!A0"), "{rows}");
    let markdown = written(&report, "markdown");
    let escaped = r"=cmd\|' /C calc'\!A0 \](https://example.org) \<b\>\`x\`";
    assert!(markdown.contains(escaped), "{markdown}");
    for text in [
        rows,
        markdown,
        written(&report, "junit"),
        written(&report, "ndjson"),
    ] {
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn hostile_names_are_text_in_every_format() {
    let mut report = report().await;
    let hostile = [
        "</script><script>alert(1)</script>".to_owned(),
        "<img src=x onerror=alert(1)> & \"quoted\" ]]> --".to_owned(),
        "\u{1b}[2J\u{9b}31m\u{7}".to_owned(),
        "\u{202e}evil\u{2066}\u{200f}".to_owned(),
        "nul\0nul".to_owned(),
        "x".repeat(64 << 10),
    ];
    let names = hostile.iter().cycle();
    for (label, name) in report.endpoints.values_mut().zip(names) {
        label.name.clone_from(name);
        label.class.clone_from(name);
    }
    report.run.cluster = Some(hostile[0].clone());
    for (format, text) in in_every_format(&report) {
        let is_bare = |character: char| {
            (character.is_control() && character != '\n' && character != '\r')
                || "\u{202e}\u{2066}\u{200f}".contains(character)
        };
        assert_eq!(text.find(is_bare), None, "{format}");
        // A character behind a backslash is text in Markdown (CommonMark, "Backslash escapes").
        let text = text.replace("\\<", "");
        if ["html", "junit", "markdown", "markdown-short"].contains(&format) {
            assert!(!text.contains("<script>alert"), "{format}");
            assert!(!text.contains("<img"), "{format}");
        }
    }
    let page = written(&report, "html");
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(page.len() < 2 << 20, "{}", page.len());
}

/// A report of the lab's world `drift-open`, with its world.
fn recorded() -> Report {
    let path = format!("{}/tests/old/report.json.gz", env!("CARGO_MANIFEST_DIR"));
    Report::open(Path::new(&path)).unwrap()
}

#[test]
fn claims_of_a_run_are_in_the_formats_of_people_and_pipelines() {
    let mut report = recorded();
    assert!(!written(&report, "junit").contains("\"claims\""));
    assert!(report.judge(&catalogue().unwrap()));
    report.claims[0].verdict = ClaimVerdict::Fails;
    report.claims[0].reason = "it is <b>not</b> so".to_owned();
    report.claims[1].verdict = ClaimVerdict::Holds;
    let [failed, held] = [0, 1].map(|place| report.claims[place].id.clone());
    let junit = written(&report, "junit");
    let suite = junit.split("<testsuite name=\"claims\"").nth(1).unwrap();
    let all = report.claims.len();
    assert!(suite.starts_with(&format!(" tests=\"{all}\"")), "{suite}");
    assert!(
        suite.contains("failures=\"0\"")
            && suite.contains("fails: it is &lt;b&gt;not&lt;/b&gt; so")
    );
    let page = written(&report, "html");
    assert!(
        page.contains("it is &#60;b&#62;not&#60;/b&#62; so"),
        "{page}"
    );
    for id in [&failed, &held] {
        assert!(
            page.contains(&format!("<th scope=\"row\">{id}</th>")),
            "{id}"
        );
    }
    let annotations = written(&report, "github");
    let warning = format!("::warning title=claim {failed} fails::");
    let is_shown = annotations.contains(&warning) || annotations.contains("more");
    assert!(
        is_shown && !annotations.contains(&format!("claim {held}")),
        "{annotations}"
    );
    report.findings.clear();
    report.expectations.clear();
    report.causes.clear();
    assert!(written(&report, "github").contains(&warning));
}

#[test]
fn a_report_is_packed_into_the_room_that_there_is() {
    let report = recorded();
    let whole = report.clone().packed(1 << 20).unwrap();
    assert_eq!(whole.left_out, "");
    let read = Report::from_bytes(whole.bytes.clone().unwrap()).unwrap();
    assert_eq!(written(&read, "json"), written(&report, "json"));
    let room = whole.bytes.unwrap().len();
    let lean = report.clone().packed(room - 1).unwrap();
    assert_eq!(lean.left_out, "the snapshot");
    let lean = lean.bytes.unwrap();
    let bare = report.clone().packed(lean.len() - 1).unwrap();
    assert_eq!(bare.left_out, "the snapshot and the evidence");
    let read = Report::from_bytes(bare.bytes.unwrap()).unwrap();
    assert_eq!(read.findings.len(), report.findings.len());
    assert_eq!(
        read.exit_code(Allowed::default()),
        report.exit_code(Allowed::default())
    );
    let nothing = report.packed(100).unwrap();
    assert_eq!((nothing.bytes, nothing.left_out), (None, "the report"));
}

#[tokio::test(start_paused = true)]
async fn who_was_refused_is_named_as_far_as_a_token_shows_it() {
    let coordinator = coordinator("A01", 3).await;
    let site = &coordinator.site;
    let address = "10.0.1.20".parse().unwrap();
    for _ in 0..2 {
        let refused = attach(site, &["Bearer whatever".to_owned()]).await;
        assert_eq!(refused.err().unwrap().code(), Code::Unauthenticated);
    }
    let expired = site.token_until("late", address, 0);
    let refused = attach(site, &[format!("Bearer {expired}")]).await;
    assert_eq!(refused.err().unwrap().code(), Code::Unauthenticated);
    let mut liar = attach(site, &bearer(site, "liar", address)).await.unwrap();
    liar.say(Body::Hello(hello("n1", address, 1))).await;
    let refused = liar.receive.message().await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    let report = report_of(coordinator).await;
    let json: Value = serde_json::from_str(&json::render(&report).unwrap()).unwrap();
    assert!(jsonschema::is_valid(&schema(), &json));
    let of = |name: Value, reason: &str, times: u64| json!({"name": name, "from": "127.0.0.1", "reason": reason, "times": times});
    let expected = json!({"listed": [
        of(Value::Null, "the token is malformed", 2),
        of(json!("late"), "the token has expired, make a new one with `reachproof token`", 1),
        of(json!("liar"), "hello differs from the identity in `agent`", 1),
    ], "more": 0});
    assert_eq!(json["agents"]["refused"], expected);
    let text = page(&report);
    for line in [
        "Agents that were refused",
        "  somebody without a name from 127.0.0.1, 2 times: the token is malformed",
        "  liar from 127.0.0.1, once: hello differs from the identity in `agent`",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_cost_of_both_readings_is_in_the_run_and_not_in_the_snapshot() {
    let path = format!(
        "{}/../../tests/vectors/A01.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let world = Asked(read(Path::new(&path)).unwrap());
    let asked = report_of(coordinator_over(Arc::new(world), 3).await).await;
    let saved = report().await;
    let costs = |report: &Report| -> Vec<_> {
        let readings = report.run.readings.iter();
        readings
            .map(|reading| (reading.calls, reading.pages))
            .collect()
    };
    assert_eq!(costs(&asked), [(40, 41), (40, 41)]);
    assert_eq!(costs(&saved), [(0, 0), (0, 0)]);
    assert_eq!(asked.snapshot.sha256, saved.snapshot.sha256);
}

#[tokio::test(start_paused = true)]
async fn people_read_contradictions_first_and_every_line_fits() {
    let report = report().await;
    let text = page(&report);
    assert!(text.starts_with("Contradictions"), "{text}");
    for line in text.lines() {
        assert!(fits(line, 110), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
    // Hops over real sockets move the paused clock by a moment.
    insta::assert_snapshot!(text.replace("over 11 s", "over 10 s"));
}

/// A command is to be pasted, so it is one line whatever its length.
fn fits(line: &str, width: usize) -> bool {
    line.chars().count() <= width || line.starts_with("  add:  aws ")
}

#[tokio::test(start_paused = true)]
async fn a_summary_is_short_and_ends_with_the_verdict() {
    let report = report().await;
    for width in [80, 120] {
        let terminal = Terminal { width, ..PAGE };
        let text = render(&report, Details::Summary, terminal);
        for line in text.lines() {
            assert!(fits(line, usize::from(width)), "{line}");
        }
        assert!(text.lines().count() <= 75, "{text}");
        let ending = text.split("\n\n").last();
        let verdict = ending.and_then(|ending| ending.lines().next());
        let verdict = verdict.filter(|line| line.starts_with("FAIL  "));
        assert!(
            verdict.is_some_and(|line| line.ends_with("exit 1")),
            "{text}"
        );
        // Hops over real sockets move the paused clock by a moment.
        let text = text.replace("over 11 s", "over 10 s");
        insta::assert_snapshot!(format!("summary_{width}"), text);
    }
}

#[tokio::test(start_paused = true)]
async fn details_of_some_flows_are_found_by_words_of_their_lines() {
    let report = report().await;
    let asked = |words: &str| render(&report, Details::Flows(words.to_owned()), PAGE);
    let text = asked("10.0.1.20 -> 10.0.2.20 tcp/7500");
    assert!(
        text.contains("OPEN though the model says closed: n1 (10.0.1.20) -> "),
        "{text}"
    );
    assert!(text.contains("attempt 1 from port"), "{text}");
    assert!(
        text.starts_with("Flows with 10.0.1.20 10.0.2.20 tcp/7500 (2)\n"),
        "{text}"
    );
    assert!(asked("tcp/999").contains("no flow of this run"));
}

#[tokio::test(start_paused = true)]
async fn details_of_some_flows_are_found_by_names_of_their_ends() {
    let report = report().await;
    let asked = |words: &str| render(&report, Details::Flows(words.to_owned()), PAGE);
    let count = |words: &str| {
        let text = asked(words);
        let heading = text.lines().next().unwrap().to_owned();
        let count = heading.rsplit_once('(').unwrap().1.trim_end_matches(')');
        count.parse::<usize>().unwrap()
    };
    let interface = "eni-26badc5944ee168e8";
    // What the interface owns: its addresses and a delegated prefix.
    let own = ["10.0.1.20/31", "10.0.1.64/28", "2600:1f14:abc:1::20/128"];
    let is_own = |address: IpAddr| {
        let mut own = own.iter();
        own.any(|network| network.parse::<IpNet>().unwrap().contains(&address))
    };
    let ends = report
        .findings
        .iter()
        .map(|it| [it.flow.source, it.flow.destination]);
    let of_interface = ends.filter(|ends| ends.iter().any(|end| is_own(*end)));
    assert_eq!(count(interface), of_interface.count());
    assert_eq!(count("10.0.1.20/32"), count("10.0.1.20"));
    assert!(count(interface) > count(&format!("{interface} tcp/7500")));
    assert_eq!(count(&format!("{interface} -> 10.0.2.20 tcp/7500")), 2);
    assert_eq!(count(&format!("{interface} tcp/999")), 0);
    let text = asked("eni-26badc5944ee168e9");
    assert!(
        text.contains(&format!(
            "nothing is called `eni-26badc5944ee168e9`; near it: `{interface}`"
        )),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn names_from_the_snapshot_cannot_move_the_cursor() {
    let mut report = report().await;
    let hostile = "\u{1b}[2J\u{202e}evil\nline";
    for label in report.endpoints.values_mut() {
        label.name = hostile.to_owned();
        label.class = hostile.to_owned();
    }
    let steps = report
        .findings
        .iter_mut()
        .flat_map(|finding| &mut finding.prediction.steps);
    for step in steps {
        step.detail = hostile.to_owned();
    }
    let text = page(&report);
    assert!(text.contains("evil"));
    for character in ['\u{1b}', '\u{202e}'] {
        assert!(!text.contains(character));
    }
    assert!(!text.lines().any(|line| line.starts_with("line")));
    let shown = Terminal {
        colour: Colour::Shown,
        ..PAGE
    };
    let coloured = render(&report, Details::All, shown);
    assert!(!coloured.contains("\u{1b}[2J"), "only our own colours");
}

#[tokio::test(start_paused = true)]
async fn the_exit_code_counts_contradictions_then_wishes_then_doubts_then_who_is_missing() {
    let mut report = report().await;
    let anything = Allowed {
        unverified_max: usize::MAX,
        missing_max: usize::MAX,
        ..Allowed::default()
    };
    assert_eq!(report.exit_code(anything), 1, "contradictions");
    report
        .findings
        .retain(|finding| !finding.kind.is_contradiction());
    assert_eq!(report.exit_code(anything), 1, "a broken expectation");
    for expectation in &mut report.expectations {
        expectation.state = ExpectationState::Predicted;
        expectation.inconclusive = 0;
        expectation.not_observed = 0;
    }
    assert_eq!(report.agents.absent(), 0);
    assert_eq!(report.exit_code(Allowed::default()), 0);

    report.expectations[0].state = ExpectationState::Unverified;
    report.expectations[0].not_observed = 2;
    let unverified = |unverified_max| Allowed {
        unverified_max,
        ..Allowed::default()
    };
    assert_eq!(report.exit_code(unverified(1)), 3);
    assert_eq!(report.exit_code(unverified(2)), 0);

    report.agents.expected = 5;
    let missing = |missing_max| Allowed {
        missing_max,
        ..anything
    };
    assert_eq!(report.agents.absent(), 2, "two more than came");
    assert_eq!(report.exit_code(missing(1)), 3);
    assert_eq!(report.exit_code(missing(2)), 0);

    report
        .findings
        .retain(|finding| finding.kind != FindingKind::ConfirmedAllow);
    assert_eq!(report.exit_code(anything), 3, "nothing proven");
}

/// The page that every format is written for.
fn in_every_format(report: &Report) -> Vec<(&'static str, String)> {
    let view = View {
        terminal: PAGE,
        details: Details::All,
        allowed: Allowed::default(),
    };
    let written = FORMATS
        .iter()
        .map(|format| (format.name, text(format, report, &view)));
    written.collect()
}

#[tokio::test(start_paused = true)]
async fn a_saved_report_reads_as_the_fresh_one_in_every_format() {
    let fresh = report().await;
    let saved = Report::from_json(&json::render(&fresh).unwrap()).unwrap();
    assert_eq!(in_every_format(&saved), in_every_format(&fresh));
    let named = render(
        &saved,
        Details::Flows("eni-26badc5944ee168e8".to_owned()),
        PAGE,
    );
    assert!(!named.contains("no flow of this run"), "{named}");
}

/// What is too much for a reader of a format is left out, and it is said how much.
#[test]
fn long_reports_stay_within_what_their_readers_take() {
    let mut report = Report::from_json(&old()).unwrap();
    let contradicted = report.contradictions().next().unwrap().clone();
    let expectation = report.expectations[0].clone();
    report.expectations = vec![expectation; 3_000];
    report.findings.extend(vec![contradicted; 9_998]);
    assert_eq!(report.contradictions().count(), 10_000);
    let junit = written(&report, "junit");
    assert_eq!(junit.matches("<testcase ").count(), 5_000);
    assert!(junit.contains("8000 more cases are left out"));
    let short = written(&report, "markdown-short");
    assert!(short.len() <= 60 << 10, "{}", short.len());
    for said in ["and 2980 more expectations", "and 9990 more contradictions"] {
        assert!(short.contains(said), "{short}");
    }
    let long = written(&report, "markdown");
    assert!(long.len() <= 900 << 10, "{}", long.len());
    assert!(long.contains("and 1000 more expectations"));
    let github = written(&report, "github");
    assert_eq!(github.matches("::error ").count(), 10);
    assert!(
        github.ends_with("::notice title=reachproof::and 9990 more\n"),
        "{github}"
    );

    // One name alone would be more than a comment takes.
    report.expectations.truncate(1);
    report.expectations[0].why = None;
    report.expectations[0].name = ExpectationName::Own("x".repeat(70 << 10).into());
    let short = written(&report, "markdown-short");
    assert!(short.len() <= 60 << 10, "{}", short.len());
    assert!(
        short.contains("Left out for want of room: expectations."),
        "{short}"
    );
}

/// A report of the lab's world `drift-open` as it was written before reports named their endpoints.
fn old() -> String {
    let path = format!("{}/tests/old/report.json.gz", env!("CARGO_MANIFEST_DIR"));
    read_text(Path::new(&path)).unwrap()
}

#[test]
fn an_old_report_gets_its_names_from_its_snapshot() {
    let old = old();
    let report = Report::from_json(&old).unwrap();
    assert_eq!(report.run.cluster.as_deref(), Some("demo"));
    let text = page(&report);
    assert!(
        text.contains("OPEN though the model says closed: outsider-a (10.0.1.60) -> db"),
        "{text}"
    );
    let again: Value = serde_json::from_str(&json::render(&report).unwrap()).unwrap();
    let mut old: Value = serde_json::from_str(&old).unwrap();
    old["endpoints"] = again["endpoints"].clone();
    old["run"]["cluster"] = json!("demo");
    for expectation in old["expectations"].as_array_mut().unwrap() {
        expectation["expect"] = json!("open");
    }
    assert_eq!(again, old);
    assert!(jsonschema::is_valid(&schema(), &again));
}

#[test]
fn every_word_of_the_schema_reads_back() {
    let schema = schema();
    let words = |path: &str| schema.pointer(path).unwrap().as_array().unwrap().clone();
    let reasons = words("/$defs/finding/properties/reason/enum");
    assert!(reasons.len() > 40, "{reasons:?}");
    for word in reasons.into_iter().filter(|word| !word.is_null()) {
        let reason: FindingReason = serde_json::from_value(word.clone()).unwrap();
        assert_eq!(json!(reason), word);
    }
    for gap in Report::from_json(&old()).unwrap().gaps {
        let read: Gap = serde_json::from_value(json!(gap)).unwrap();
        assert_eq!(read.to_string(), gap.to_string());
    }
}

#[test]
fn what_is_no_report_is_said_with_its_place() {
    let refused = |text: &str| {
        let error = Report::from_json(text).unwrap_err();
        let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
        format!("{error}: {cause}")
    };
    let old = old();
    let other = old.replace("reachproof.report/v1", "reachproof.report/v9");
    let newer = old.replacen(
        "\"kind\": \"confirmed_allow\"",
        "\"kind\": \"confirmed_so\"",
        1,
    );
    let texts = [
        "",
        "[]",
        "{\"describe-vpcs\": {\"Vpcs\": []}}",
        &other,
        &newer,
    ];
    insta::assert_snapshot!("refused", texts.map(refused).join("\n"));
}
