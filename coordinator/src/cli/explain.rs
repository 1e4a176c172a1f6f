//! `reachproof explain`: one flow, gate by gate.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use reachproof_model::diagnosis::{Conclusion, Diagnosis, diagnose};
use reachproof_model::flow::{Flow, SourceKind};
use reachproof_model::net::Printable;
use reachproof_model::predict::predict;
use reachproof_model::prediction::{Gate, Place, Prediction, Step, StepOutcome};
use reachproof_model::snapshot::{Decoded, FoldedGap, Owner, Snapshot};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::source::SourceArguments;

use super::diagnosis;
use super::exit_code::ExitCode;
use super::gaps::{self, GapArguments};
use super::{CliError, Format, decoded, table, write_json};

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// IP address that connects
    #[arg(value_name = "SOURCE")]
    from: String,
    /// IP address that is connected to
    destination: String,
    /// Destination port (tcp and udp)
    port: Option<u16>,
    #[command(flatten)]
    source: SourceArguments,
    /// Protocol: tcp, udp, icmp, icmpv6 or a number
    #[arg(long, default_value = "tcp")]
    protocol: String,
    /// Network namespace in which the source is [default: a pod's where the snapshot lists the address as a pod's]
    #[arg(long, value_enum)]
    source_kind: Option<Kind>,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    gaps: GapArguments,
}

/// Network namespace of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// A host's.
    Host,
    /// A pod's: the VPC CNI translates its address outside the VPC.
    Pod,
}

impl From<Kind> for SourceKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Host => Self::Host,
            Kind::Pod => Self::Pod,
        }
    }
}

/// Explains one flow.
///
/// # Errors
/// [`CliError`] for arguments that make no flow and for a snapshot that cannot be used.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let mut flow = Flow::from_json(&Value::Object(fields(arguments)))?;
    let Decoded { snapshot, gaps } = decoded(&arguments.source)?;
    let listed = || snapshot.source_kind(flow.source);
    flow.source_kind = arguments.source_kind.map_or_else(listed, SourceKind::from);
    let prediction = predict(&snapshot, &flow);
    let gaps = arguments
        .gaps
        .of_flows(&snapshot, std::slice::from_ref(&prediction), &gaps);
    gaps::tell(&gaps);
    let own = std::slice::from_ref(&flow);
    let diagnosis = diagnose(&snapshot, own, own);
    let mut out = io::stdout().lock();
    match arguments.output {
        Format::Json => {
            let diagnosis = diagnosis::json(&snapshot, &diagnosis, &|_| Vec::new());
            let explained = Explained { prediction, gaps };
            write_json(
                &mut out,
                &Diagnosed {
                    explained,
                    diagnosis,
                },
            )?;
        }
        Format::Table => {
            let mut text = explanation(&snapshot, &prediction);
            text.push_str(&judged(&snapshot, &prediction, &diagnosis));
            out.write_all(text.as_bytes())?;
        }
    }
    out.flush()?;
    Ok(ExitCode::Answered)
}

/// A prediction with the gaps next to it.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    /// The answer.
    #[serde(flatten)]
    pub(super) prediction: Prediction,
    /// What the snapshot does not say.
    pub(super) gaps: Vec<FoldedGap>,
}

/// An explanation with what stops the flow at every gate, and what would open it.
#[derive(Debug, Serialize)]
struct Diagnosed {
    #[serde(flatten)]
    explained: Explained,
    diagnosis: Value,
}

/// Who holds the ends, what stops the flow at every gate and what would open it, and the verdict.
fn judged(snapshot: &Snapshot, prediction: &Prediction, diagnosis: &Diagnosis) -> String {
    let conclusion = diagnosis.now.conclusion();
    let flow = &prediction.flow;
    let mut text = held(snapshot, flow);
    if !text.is_empty() {
        text.insert(0, '\n');
    }
    if conclusion == Conclusion::Fail {
        text.push_str(&diagnosis::details(snapshot, diagnosis, &|_| Vec::new()));
    }
    let decision = table::decision(snapshot, &prediction.verdict);
    let summary = format!("{flow}: {decision}");
    let summary = match conclusion {
        Conclusion::Pass => format!("{flow}: {}", prediction.verdict.as_str()),
        Conclusion::Fail | Conclusion::Unsure => summary,
    };
    text.push_str(&diagnosis::closing(
        snapshot,
        diagnosis,
        (conclusion, 0),
        &summary,
    ));
    text
}

/// The ends that a service of AWS holds, a line each.
fn held(snapshot: &Snapshot, flow: &Flow) -> String {
    let mut text = String::new();
    for address in [flow.source, flow.destination] {
        let Owner::One(interface) = snapshot.owner(address) else {
            continue;
        };
        if let Some(manager) = interface.manager() {
            let described = Printable(&interface.description).to_string();
            let interface = table::interface(snapshot, &interface.id);
            text.push_str(&format!(
                "{address}: {interface} is of a {manager} ({described})\n"
            ));
        }
    }
    text
}

/// The flow as JSON, so that arguments and files are checked by the same rules.
fn fields(arguments: &Arguments) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("source".to_owned(), json!(arguments.from));
    fields.insert("destination".to_owned(), json!(arguments.destination));
    fields.insert("protocol".to_owned(), json!(arguments.protocol));
    if let Some(port) = arguments.port {
        fields.insert("port".to_owned(), json!(port));
    }
    fields
}

/// The answer, the way as a chain, and every gate with what decided there.
fn explanation(snapshot: &Snapshot, prediction: &Prediction) -> String {
    let mut text = format!(
        "{}: {}\n",
        prediction.flow,
        prediction.verdict.as_str().to_uppercase()
    );
    let decision = table::decision(snapshot, &prediction.verdict);
    if !decision.is_empty() {
        text.push_str(&indented(&decision));
    }
    let ways = ways(snapshot, prediction);
    if !ways.is_empty() {
        text.push('\n');
        text.push_str(&ways);
    }
    text.push('\n');
    let rows = prediction.steps.iter().map(|step| {
        [
            step.gate.to_string(),
            step.outcome.as_str().to_owned(),
            Printable(&step.detail).to_string(),
        ]
    });
    let steps = table::aligned(["gate", "says", "because"], rows);
    text.push_str(&steps);
    text.push('\n');
    text
}

fn indented(line: &str) -> String {
    format!("  {line}\n")
}

/// The way there as `eni -> sg -> subnet -> nacl -> …` and the way back, a line each; where it ends, `X` follows.
fn ways(snapshot: &Snapshot, prediction: &Prediction) -> String {
    let mut there: Vec<String> = Vec::new();
    let mut back: Vec<String> = Vec::new();
    for step in &prediction.steps {
        let way = match step.gate {
            Gate::NaclReturnOut | Gate::NaclReturnIn | Gate::ReturnRoute => &mut back,
            Gate::Endpoints
            | Gate::SourceDestCheck
            | Gate::SgEgress
            | Gate::Route
            | Gate::NaclOut
            | Gate::NaclIn
            | Gate::SgIngress
            | Gate::NetworkPolicy => &mut there,
        };
        way.extend(links(snapshot, step));
    }
    let mut text = String::new();
    for (name, way) in [("there", there), ("back", back)] {
        if !way.is_empty() {
            text.push_str(&indented(&format!("{name}: {}", way.join(" -> "))));
        }
    }
    text
}

/// What one gate adds to its way.
fn links(snapshot: &Snapshot, step: &Step) -> Vec<String> {
    let mut links = match &step.place {
        Place::Flow => Vec::new(),
        Place::NetworkInterface { interface, groups } => {
            let worn: Vec<_> = groups
                .iter()
                .map(|group| table::group(snapshot, group))
                .collect();
            let groups = (!worn.is_empty()).then(|| worn.join(" + "));
            let interface = table::interface(snapshot, interface);
            ends(step, interface, groups)
        }
        Place::NetworkAcl { subnet, acl } => {
            let list = acl.as_ref().map_or("no ACL", |acl| acl.as_str());
            let list = Printable(list).to_string();
            let is_entry = step.gate == Gate::NaclIn && step.outcome != StepOutcome::Drop;
            let subnet = is_entry.then(|| table::subnet(snapshot, subnet));
            [Some(list), subnet].into_iter().flatten().collect()
        }
        Place::RouteTable { subnet, table } => {
            let is_exit = step.gate == Gate::Route;
            let subnet = is_exit.then(|| table::subnet(snapshot, subnet));
            let table = table
                .as_ref()
                .map(|table| Printable(table.as_str()).to_string());
            [subnet, table].into_iter().flatten().collect()
        }
    };
    if step.outcome == StepOutcome::Drop {
        links.push("X".to_owned());
    }
    links
}

/// Interface and groups in the order in which a packet meets them; one that is dropped never meets the interface.
fn ends(step: &Step, interface: String, groups: Option<String>) -> Vec<String> {
    let met = match (step.gate, &step.outcome) {
        (Gate::SgIngress, StepOutcome::Drop) => [groups.or(Some(interface)), None],
        (Gate::SgIngress, _) => [groups, Some(interface)],
        (_, _) => [Some(interface), groups],
    };
    met.into_iter().flatten().collect()
}
