//! `reachproof explain`: one flow, gate by gate.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use reachproof_model::diagnosis::{Conclusion, Diagnosis, diagnose};
use reachproof_model::flow::{Flow, SourceKind};
use reachproof_model::net::Printable;
use reachproof_model::predict::predict;
use reachproof_model::prediction::Prediction;
use reachproof_model::snapshot::{Decoded, FoldedGap, Owner, Snapshot};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::source::SourceArguments;

use super::diagnosis;
use super::exit_code::ExitCode;
use super::gaps::{self, GapArguments};
use super::{CliError, Format, decoded, table, write_json};
use gates::explanation;

mod gates;

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
