//! `reachproof predict`: a list of flows, an answer each.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use reachproof_model::describe::parse;
use reachproof_model::flow::Flow;
use reachproof_model::predict::predict;
use reachproof_model::prediction::Prediction;
use reachproof_model::snapshot::{Decoded, Snapshot};
use reachproof_verify::source::read_text;
use serde_json::Value;

use crate::source::SourceArguments;

use super::exit_code::ExitCode;
use super::explain::Explained;
use super::gaps::{self, GapArguments};
use super::{CliError, Format, decoded, table, write_json};

/// Arguments of `predict`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: SourceArguments,
    /// JSON list of flows
    #[arg(long, value_name = "FILE")]
    flows: PathBuf,
    /// How to write the answers
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Which gaps to show; asked for, they are in each JSON object, too.
    #[command(flatten)]
    gaps: GapArguments,
}

/// Predicts every flow of the list, in its order. One bad flow and nothing is predicted.
///
/// # Errors
/// [`CliError`] for a snapshot or a list that cannot be used.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let flows = flows(&arguments.flows)?;
    let Decoded { snapshot, gaps } = decoded(&arguments.source)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match arguments.output {
        Format::Json if arguments.gaps.is_asked() => {
            for flow in &flows {
                let prediction = predict(&snapshot, flow);
                let own = std::slice::from_ref(&prediction);
                let gaps = arguments.gaps.of_flows(&snapshot, own, &gaps);
                write_json(&mut out, &Explained { prediction, gaps })?;
            }
        }
        // The fields are a promise: whoever does not ask for gaps gets no further one.
        Format::Json => {
            for flow in &flows {
                write_json(&mut out, &predict(&snapshot, flow))?;
            }
        }
        Format::Table => {
            let predictions: Vec<_> = flows.iter().map(|flow| predict(&snapshot, flow)).collect();
            gaps::tell(&arguments.gaps.of_flows(&snapshot, &predictions, &gaps));
            writeln!(out, "{}", overview(&snapshot, &predictions))?;
        }
    }
    out.flush()?;
    Ok(ExitCode::Answered)
}

fn flows(path: &Path) -> Result<Vec<Flow>, CliError> {
    let text = read_text(path).map_err(|source| CliError::Flows {
        path: path.to_owned(),
        source,
    })?;
    let value = parse(&text).map_err(|source| CliError::FlowsJson {
        path: path.to_owned(),
        source,
    })?;
    let Value::Array(items) = value else {
        return Err(CliError::FlowsNoList {
            path: path.to_owned(),
        });
    };
    items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            Flow::from_json(item).map_err(|source| CliError::FlowOfFile {
                path: path.to_owned(),
                index,
                source,
            })
        })
        .collect()
}

fn overview(snapshot: &Snapshot, predictions: &[Prediction]) -> String {
    let rows = predictions.iter().map(|prediction| {
        let flow = &prediction.flow;
        [
            snapshot.called(flow.source),
            snapshot.called(flow.destination),
            flow.protocol.to_string(),
            prediction.verdict.as_str().to_owned(),
            table::decision(snapshot, &prediction.verdict),
        ]
    });
    table::aligned(
        ["source", "destination", "protocol", "verdict", "decided by"],
        rows,
    )
}
