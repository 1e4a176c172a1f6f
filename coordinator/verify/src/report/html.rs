//! The report as one HTML file that asks nobody for anything: verdict and causes first, then what changed, what is expected,
//! and a matrix whose pairs show their gates and attempts.
//!
//! Text of the snapshot is text: the template escapes it, the data of the matrix has no `<`, and the policy of the page lets
//! nothing run but the script that is in it.

use std::collections::HashMap;
use std::io::Write;
use std::net::IpAddr;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reachproof_model::diagnosis::Conclusion;
use reachproof_model::finding::{Finding, FindingKind};
use reachproof_model::net::{Printable, escaped_json};
use reachproof_model::words::counted;
use ring::digest::{SHA256, digest};
use serde::Serialize;

use super::claims::{LAB, Row as ClaimRow, counts as claim_counts, is_of_lab, rows};
use super::format::FormatError;
use super::human::{attempted, besides, compared, expected, gate, kinds, since, titled, told, why};
use super::{Allowed, CauseRecord, Report};

/// Most findings with their gates and attempts, what needs attention first: the file stays below 2 MiB. The others have
/// their line.
const DETAILED_MAX: usize = 1_000;

/// Most contradictions that are listed beside the matrix.
const CONTRADICTIONS_MAX: usize = 100;

const STYLE: &str = include_str!("html/report.css");
const SCRIPT: &str = include_str!("html/report.mjs");

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    style: &'static str,
    style_digest: String,
    script: &'static str,
    script_digest: String,
    conclusion: &'static str,
    conclusion_class: &'static str,
    why: String,
    cluster: String,
    about: String,
    causes: Vec<CauseText>,
    since_run: String,
    since: Vec<String>,
    expected: &'static str,
    expectations: Vec<ExpectationText>,
    remarks: Vec<String>,
    contradictions: Vec<String>,
    contradictions_more: usize,
    claim_counts: String,
    claims_lab: &'static str,
    claims: Vec<ClaimRow>,
    counts: String,
    data: String,
}

struct CauseText {
    title: String,
    why: String,
    commands: String,
    effect: String,
}

struct ExpectationText {
    state: &'static str,
    name: String,
    told: String,
    why: String,
}

/// Writes the page.
///
/// # Errors
/// [`FormatError`] where it cannot be written.
pub(super) fn write(
    report: &Report,
    allowed: Allowed,
    out: &mut dyn Write,
) -> Result<(), FormatError> {
    let mut text = page(report, allowed)?.render()?;
    text.push('\n');
    Ok(out.write_all(text.as_bytes())?)
}

fn page(report: &Report, allowed: Allowed) -> Result<Page, FormatError> {
    let (conclusion, reasons) = why(report, allowed);
    let contradictions: Vec<&Finding> = report.contradictions().collect();
    let listed = contradictions.iter().take(CONTRADICTIONS_MAX);
    let baseline = report.baseline.as_ref();
    let cluster = report.run.cluster.as_deref().unwrap_or("a network");
    Ok(Page {
        style: STYLE,
        style_digest: sha256(STYLE),
        script: SCRIPT,
        script_digest: sha256(SCRIPT),
        conclusion: conclusion.as_str(),
        conclusion_class: match conclusion {
            Conclusion::Pass => "pass",
            Conclusion::Fail => "fail",
            Conclusion::Unsure => "unsure",
        },
        why: printable(&reasons.join(", ")),
        cluster: printable(cluster),
        about: printable(&about(report)),
        causes: report.causes.iter().map(cause).collect(),
        since_run: printable(baseline.map_or("", |baseline| &baseline.run)),
        since: baseline.map(since).unwrap_or_default(),
        expected: expected(report),
        expectations: report
            .expectations
            .iter()
            .map(|one| ExpectationText {
                state: one.state.as_str(),
                name: titled(one),
                told: told(one),
                why: printable(one.why.as_deref().unwrap_or_default()),
            })
            .collect(),
        remarks: report.remarks.iter().map(|text| printable(text)).collect(),
        contradictions: listed.map(|one| compared(report, one)).collect(),
        contradictions_more: contradictions.len().saturating_sub(CONTRADICTIONS_MAX),
        claim_counts: claim_counts(&report.claims),
        claims_lab: if is_of_lab(&report.claims) { LAB } else { "" },
        claims: rows(&report.claims),
        counts: kinds(report),
        data: data(report)?,
    })
}

/// When and how it was run.
fn about(report: &Report) -> String {
    format!(
        "run {} with {} over {}, scope {}, seed {}, version {}",
        report.run.id,
        counted(report.agents.present.len(), "agent", "agents"),
        counted(report.findings.len(), "flow", "flows"),
        report.run.scope,
        report.run.seed,
        report.run.version
    )
}

fn cause(cause: &CauseRecord) -> CauseText {
    let effect = match &cause.no_repair {
        Some(none) => none.clone(),
        None => besides(cause),
    };
    CauseText {
        title: printable(&cause.title),
        why: printable(&cause.why.join("; ")),
        commands: cause
            .aws_cli
            .iter()
            .map(|command| printable(command))
            .collect::<Vec<_>>()
            .join("\n"),
        effect: printable(&effect),
    }
}

fn printable(text: &str) -> String {
    Printable(text).to_string()
}

/// What the policy of a page calls a text that it lets pass.
fn sha256(text: &str) -> String {
    STANDARD.encode(digest(&SHA256, text.as_bytes()))
}

/// What the matrix is made of, each text once.
#[derive(Serialize)]
struct Data {
    strings: Vec<String>,
    kinds: Vec<&'static str>,
    /// Name and class of each end.
    ends: Vec<(usize, usize)>,
    flows: Flows,
}

/// The findings, column by column; the last two have the first [`DETAILED_MAX`] alone.
#[derive(Default, Serialize)]
struct Flows {
    kind: Vec<usize>,
    source: Vec<usize>,
    destination: Vec<usize>,
    line: Vec<usize>,
    gates: Vec<Vec<usize>>,
    attempts: Vec<Vec<usize>>,
}

/// Texts, each with its place.
#[derive(Default)]
struct Strings {
    places: HashMap<String, usize>,
    all: Vec<String>,
}

impl Strings {
    fn place(&mut self, text: &str) -> usize {
        let text = printable(text);
        if let Some(place) = self.places.get(&text) {
            return *place;
        }
        let place = self.all.len();
        self.places.insert(text.clone(), place);
        self.all.push(text);
        place
    }
}

/// The data of the matrix as JSON that ends no script.
fn data(report: &Report) -> Result<String, FormatError> {
    let mut strings = Strings::default();
    let mut ends = Vec::new();
    let mut places: HashMap<IpAddr, usize> = HashMap::new();
    let mut flows = Flows::default();
    for (number, finding) in report.findings.iter().enumerate() {
        let [source, destination] =
            [finding.flow.source, finding.flow.destination].map(|address| {
                *places.entry(address).or_insert_with(|| {
                    ends.push(end(report, address, &mut strings));
                    ends.len() - 1
                })
            });
        let mut kinds = FindingKind::ALL.iter();
        let kind = kinds.position(|kind| *kind == finding.kind);
        flows.kind.push(kind.unwrap_or(FindingKind::ALL.len()));
        flows.source.push(source);
        flows.destination.push(destination);
        flows.line.push(strings.place(&compared(report, finding)));
        if number < DETAILED_MAX {
            let steps = finding.prediction.steps.iter();
            let gates = steps.map(|step| strings.place(&gate(step))).collect();
            flows.gates.push(gates);
            let attempts = finding.observation.attempts.iter();
            let attempts = attempts.map(|one| strings.place(&attempted(one))).collect();
            flows.attempts.push(attempts);
        }
    }
    let data = Data {
        strings: strings.all,
        kinds: FindingKind::ALL.map(FindingKind::as_str).to_vec(),
        ends,
        flows,
    };
    Ok(escaped_json(&serde_json::to_string(&data)?).replace('<', "\\u003c"))
}

/// Name and class of an address.
fn end(report: &Report, address: IpAddr, strings: &mut Strings) -> (usize, usize) {
    let label = report.endpoints.get(&address);
    let name = label.map_or_else(|| address.to_string(), |label| label.name.clone());
    let class = label.map_or_else(|| address.to_string(), |label| label.class.clone());
    (strings.place(&name), strings.place(&class))
}
