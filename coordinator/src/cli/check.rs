//! `reachproof check`: what the cluster needs, judged by the model alone, with causes and repairs.

use std::collections::BTreeSet;
use std::io::{self, Write};

use clap::Args;
use reachproof_model::class::Classes;
use reachproof_model::diagnosis::{Conclusion, Diagnosis, Tally, diagnose};
use reachproof_model::expectation::needs::{Need, Needs, needs};
use reachproof_model::expectation::sign::{Sign, Speaks, signs};
use reachproof_model::expectation::{Requirements, Wanted};
use reachproof_model::flow::{Flow, Packets};
use reachproof_model::net::Printable;
use reachproof_model::plan::Roster;
use reachproof_model::predict::verdict;
use reachproof_model::prediction::Verdict;
use reachproof_model::selector;
use reachproof_model::snapshot::{Decoded, Snapshot};
use reachproof_verify::expectations::InForce;
use serde_json::{Value, json};

use crate::source::SourceArguments;

use super::diagnosis;
use super::exit_code::ExitCode;
use super::expectations::OwnArguments;
use super::{CliError, Format, decoded, table, write_json};

/// Most lines about needs that are not judged.
const NOTES_MAX: usize = 5;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Flows to judge in place of what the cluster needs: SOURCE DESTINATION PORT, as 10.0.1.5 kube-system/kube-dns udp/53
    ///
    /// Ends go by the names that `explain` takes. One that stands for several gives a flow for each pair of classes.
    #[arg(value_name = "SOURCE DESTINATION PORT")]
    flows: Vec<String>,
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    own: OwnArguments,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Also show each repair as Terraform
    #[arg(long)]
    terraform: bool,
}

/// What is judged.
struct Question {
    flows: Vec<Flow>,
    needs: Needs,
    /// What is expected to be closed, with what the model says of its flows.
    closed: Vec<(Need, Tally)>,
    /// Expectations that are not judged, and why.
    remarks: Vec<String>,
    /// Whether the flows are those that the cluster needs.
    is_of_needs: bool,
}

/// Judges what the cluster needs, or the flows of the arguments.
///
/// # Errors
/// [`CliError`] for arguments that make no flow and for a snapshot that cannot be used.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let asked = asked(&arguments.flows)?;
    let own = arguments.own.read()?;
    let Decoded { snapshot, .. } = decoded(&arguments.source)?;
    let in_force = own.in_force(&snapshot)?;
    let question = question(&snapshot, &asked, &in_force)?;
    let wanted: Vec<Flow> = if question.is_of_needs {
        Vec::new()
    } else {
        question.needs.flows().cloned().collect()
    };
    let diagnosis = diagnose(&snapshot, &question.flows, &wanted);
    let conclusion = question.conclusion(&diagnosis);
    let mut out = io::stdout().lock();
    match arguments.output {
        Format::Json => write_json(&mut out, &question.json(&snapshot, &diagnosis, conclusion))?,
        Format::Table => {
            let mut text = question.overview(&snapshot);
            text.push_str(&diagnosis::details(&snapshot, &diagnosis, &|flow| {
                question.needed_by(flow)
            }));
            if arguments.terraform {
                text.push_str(&diagnosis::terraform(&diagnosis));
            }
            text.push_str(&question.verdict(&snapshot, &diagnosis, conclusion));
            out.write_all(text.as_bytes())?;
        }
    }
    out.flush()?;
    Ok(ExitCode::Judged(conclusion.exit_code()))
}

/// The questions of the arguments, three words each.
fn asked(words: &[String]) -> Result<Vec<selector::Question>, CliError> {
    if !words.len().is_multiple_of(3) {
        return Err(CliError::FlowWords { words: words.len() });
    }
    words
        .chunks_exact(3)
        .map(|words| match words {
            [source, destination, port] => {
                let port = (None, Some(port.as_str()));
                Ok(selector::Question::from_words(source, destination, port)?)
            }
            _ => Err(CliError::FlowWords { words: words.len() }),
        })
        .collect()
}

/// The flows of a question: one for each pair of classes and each protocol.
fn flows(
    snapshot: &Snapshot,
    classes: &Classes,
    asked: &selector::Question,
) -> Result<Vec<Flow>, CliError> {
    let Packets::These(protocols) = &asked.packets else {
        return Err(CliError::NoPort);
    };
    let pairs = asked.pairs(snapshot, classes)?;
    let flows = pairs.iter().flat_map(|pair| {
        let own = protocols.iter();
        own.map(|protocol| pair.flow(snapshot, *protocol))
    });
    Ok(flows.collect())
}

fn question(
    snapshot: &Snapshot,
    asked: &[selector::Question],
    in_force: &InForce,
) -> Result<Question, CliError> {
    let mut needs = needs(snapshot);
    needs
        .needs
        .retain(|need| !in_force.off.contains(&need.name));
    let closed = own(snapshot, &mut needs, in_force);
    let remarks = in_force.remarks.clone();
    if asked.is_empty() {
        let flows: BTreeSet<Flow> = needs.flows().cloned().collect();
        return Ok(Question {
            flows: flows.into_iter().collect(),
            needs,
            closed,
            remarks,
            is_of_needs: true,
        });
    }
    let classes = Classes::new(snapshot);
    let mut all = BTreeSet::new();
    for question in asked {
        all.extend(flows(snapshot, &classes, question)?);
    }
    Ok(Question {
        flows: all.into_iter().collect(),
        needs,
        closed: Vec::new(),
        remarks,
        is_of_needs: false,
    })
}

/// Adds what somebody expects to be open to `needs`, and returns what should be closed.
fn own(snapshot: &Snapshot, needs: &mut Needs, in_force: &InForce) -> Vec<(Need, Tally)> {
    let none = Requirements {
        requirements: Vec::new(),
        basis: needs.basis,
    };
    let roster = Roster::default();
    let own = none.with_own((snapshot, &roster), &in_force.own, &[]);
    let mut closed = Vec::new();
    for requirement in own.requirements {
        let need = Need {
            name: requirement.name,
            subject: None,
            flows: requirement.flows,
            left_out: requirement.left_out,
        };
        match requirement.wanted {
            Wanted::Open => needs.needs.push(need),
            Wanted::Closed => {
                let tally = closed_tally(snapshot, &need);
                closed.push((need, tally));
            }
        }
    }
    closed
}

impl Question {
    /// How many flows pass, are stopped and are unknown of those that should be closed.
    fn closed(&self) -> Tally {
        let mut all = Tally::default();
        for (_, tally) in &self.closed {
            all.passing += tally.passing;
            all.stopped += tally.stopped;
            all.unknown += tally.unknown;
        }
        all
    }

    /// Whether something could not be judged that the cluster needs.
    fn is_open(&self) -> bool {
        let left_out = self.needs.needs.iter().any(|need| need.left_out > 0);
        self.is_of_needs && (self.flows.is_empty() || left_out || !self.needs.unknown.is_empty())
    }

    fn conclusion(&self, diagnosis: &Diagnosis) -> Conclusion {
        let closed = self.closed();
        let judged = match diagnosis.now.conclusion() {
            _ if closed.passing > 0 => Conclusion::Fail,
            Conclusion::Pass if closed.unknown > 0 => Conclusion::Unsure,
            judged @ (Conclusion::Pass | Conclusion::Fail | Conclusion::Unsure) => judged,
        };
        if judged == Conclusion::Pass && self.is_open() {
            Conclusion::Unsure
        } else {
            judged
        }
    }

    /// What needs a flow, as people call it.
    fn needed_by(&self, flow: &Flow) -> Vec<String> {
        let own = self
            .needs
            .needs
            .iter()
            .filter(|need| need.flows.binary_search(flow).is_ok());
        own.map(title).collect()
    }

    /// A line for each need, and what could not be judged.
    fn overview(&self, snapshot: &Snapshot) -> String {
        if !self.is_of_needs {
            return String::new();
        }
        let mut text = "What the cluster needs, by the model alone\n".to_owned();
        for need in &self.needs.needs {
            let tally = tally(snapshot, need);
            let line = format!("  {:7} {}\n", word(tally), summary(need, tally));
            text.push_str(&line);
            for sign in signs_of(snapshot, need) {
                if tally.conclusion() != Conclusion::Pass || sign.speaks == Speaks::Against {
                    text.push_str(&format!(
                        "          the cluster says: {}\n",
                        Printable(&sign.to_string())
                    ));
                }
            }
        }
        for (need, tally) in &self.closed {
            let (word, counts) = match (tally.passing, tally.unknown) {
                (0, 0) => ("ok", diagnosis::flows(need.flows.len(), "")),
                (0, unknown) => ("unknown", diagnosis::flows(unknown, "unknown")),
                (open, _) => ("broken", format!("{} open", diagnosis::flows(open, ""))),
            };
            let title = format!("{}, closed", title(need));
            text.push_str(&format!(
                "  {word:7} {}\n",
                table::named(&title, Some(&counts))
            ));
        }
        for remark in &self.remarks {
            text.push_str(&format!("  note    {}\n", Printable(remark)));
        }
        let unknown = self.needs.unknown.iter().map(|what| ("unknown", what));
        let idle = self.needs.idle.iter().map(|what| ("note", what));
        let notes: Vec<_> = unknown.chain(idle).collect();
        for (word, what) in notes.iter().take(NOTES_MAX) {
            text.push_str(&format!("  {word:7} {}\n", Printable(what)));
        }
        if let Some(more) = notes.len().checked_sub(NOTES_MAX).filter(|more| *more > 0) {
            text.push_str(&format!("  note    {more} more, see -o json\n"));
        }
        text
    }

    /// The last lines.
    fn verdict(
        &self,
        snapshot: &Snapshot,
        diagnosis: &Diagnosis,
        conclusion: Conclusion,
    ) -> String {
        let what = if self.is_of_needs {
            "required"
        } else {
            "asked"
        };
        let summary = match conclusion {
            Conclusion::Pass => format!(
                "the model lets {} pass; no packet was sent",
                diagnosis::flows(diagnosis.now.total(), what)
            ),
            Conclusion::Fail if diagnosis.now.stopped == 0 => format!(
                "{} that should be closed",
                diagnosis::flows(self.closed().passing, "open")
            ),
            Conclusion::Fail => match self.closed().passing {
                0 => diagnosis::broken(diagnosis, what),
                open => format!(
                    "{}, {} that should be closed",
                    diagnosis::broken(diagnosis, what),
                    diagnosis::flows(open, "open")
                ),
            },
            Conclusion::Unsure if diagnosis.now.unknown > 0 => format!(
                "of {} of {} nobody can tell, nothing stops the others",
                diagnosis.now.unknown,
                diagnosis::flows(diagnosis.now.total(), what)
            ),
            Conclusion::Unsure => match self.needs.unknown.first() {
                Some(first) => Printable(first).to_string(),
                None => "nothing was judged, or not all: see the notes above".to_owned(),
            },
        };
        diagnosis::closing(
            snapshot,
            diagnosis,
            (conclusion, conclusion.exit_code()),
            &summary,
        )
    }

    fn json(&self, snapshot: &Snapshot, diagnosis: &Diagnosis, conclusion: Conclusion) -> Value {
        let needs: Vec<Value> = self
            .needs
            .needs
            .iter()
            .map(|need| {
                let tally = tally(snapshot, need);
                json!({
                    "name": need.name.as_str(), "subject": need.subject, "flows": need.flows.len(),
                    "stopped": tally.stopped, "unknown": tally.unknown, "left_out": need.left_out,
                    "signs": signs_of(snapshot, need),
                })
            })
            .collect();
        let mut answer = diagnosis::json(snapshot, diagnosis, &|flow| self.needed_by(flow));
        if let Value::Object(fields) = &mut answer {
            fields.insert("schema".to_owned(), json!("reachproof.check/v1"));
            fields.insert(
                "verdict".to_owned(),
                json!(conclusion.as_str().to_lowercase()),
            );
            fields.insert("exit_code".to_owned(), json!(conclusion.exit_code()));
            fields.insert("needs".to_owned(), json!(needs));
            let closed: Vec<Value> = self
                .closed
                .iter()
                .map(|(need, tally)| closed_json(need, tally))
                .collect();
            fields.insert("closed".to_owned(), json!(closed));
            fields.insert("remarks".to_owned(), json!(self.remarks));
            fields.insert("unknown".to_owned(), json!(self.needs.unknown));
            fields.insert("idle".to_owned(), json!(self.needs.idle));
        }
        answer
    }
}

/// What the cluster says by itself of the flows of a need.
fn signs_of(snapshot: &Snapshot, need: &Need) -> Vec<Sign> {
    signs(snapshot, (&need.name, need.subject.as_deref()), &need.flows)
}

fn tally(snapshot: &Snapshot, need: &Need) -> Tally {
    let mut tally = Tally::default();
    for flow in &need.flows {
        tally.add(&verdict(snapshot, flow));
    }
    tally
}

/// The same of flows that should be closed: from some source ports a partial one passes.
fn closed_tally(snapshot: &Snapshot, need: &Need) -> Tally {
    let mut tally = Tally::default();
    for flow in &need.flows {
        let verdict = verdict(snapshot, flow);
        if matches!(verdict, Verdict::Partial { .. }) {
            tally.passing += 1;
        } else {
            tally.add(&verdict);
        }
    }
    tally
}

fn closed_json(need: &Need, tally: &Tally) -> Value {
    json!({
        "name": need.name.as_str(), "flows": need.flows.len(), "open": tally.passing,
        "unknown": tally.unknown, "left_out": need.left_out,
    })
}

fn title(need: &Need) -> String {
    match &need.subject {
        Some(subject) => format!("{}: {subject}", need.name.as_str()),
        None => need.name.as_str().to_owned(),
    }
}

fn word(tally: Tally) -> &'static str {
    match tally.conclusion() {
        Conclusion::Pass => "ok",
        Conclusion::Unsure => "unknown",
        Conclusion::Fail => "broken",
    }
}

/// A need with how many of its flows are how.
fn summary(need: &Need, tally: Tally) -> String {
    let mut counts = vec![match tally.stopped {
        0 => diagnosis::flows(tally.total(), ""),
        stopped => format!(
            "{stopped} of {} broken",
            diagnosis::flows(tally.total(), "")
        ),
    }];
    if tally.unknown > 0 {
        counts.push(format!("{} unknown", tally.unknown));
    }
    if need.left_out > 0 {
        counts.push(format!("{} more not judged", need.left_out));
    }
    table::named(&title(need), Some(&counts.join(", ")))
}
