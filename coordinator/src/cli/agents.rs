//! `reachproof agents`: who belongs to the fleet of a coordinator that stays.

use std::io::{self, Write};

use clap::Args;
use reachproof_model::net::Printable;
use serde_json::Value;

use super::exit_code::ExitCode;
use super::table::aligned;
use super::{CliError, Format, write_json};
use crate::remote::{RemoteArguments, text};

/// What `agents` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    remote: RemoteArguments,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Lists the agents, and those that were not let in.
///
/// # Errors
/// When they cannot be had or written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let remote = arguments.remote.remote()?.ok_or(CliError::NoCoordinator)?;
    let list = remote.agents()?;
    let mut out = io::stdout().lock();
    if arguments.output == Format::Json {
        write_json(&mut out, &list)?;
        return Ok(ExitCode::Answered);
    }
    let header = ["name", "kind", "addresses", "node", "version", "state"];
    let agents = items(&list, "/agents");
    writeln!(out, "{}", aligned(header, agents.iter().map(row)))?;
    for refused in items(&list, "/refused/listed") {
        let name = text(&refused, "name");
        let name = if name.is_empty() { "somebody" } else { &name };
        let (from, reason) = (text(&refused, "from"), text(&refused, "reason"));
        writeln!(
            out,
            "not let in: {}",
            Printable(&format!("{name} {from}: {reason}"))
        )?;
    }
    Ok(ExitCode::Answered)
}

fn items(list: &Value, pointer: &str) -> Vec<Value> {
    let found = list.pointer(pointer).and_then(Value::as_array);
    found.cloned().unwrap_or_default()
}

fn row(agent: &Value) -> [String; 6] {
    let addresses = items(agent, "/addresses");
    let addresses: Vec<&str> = addresses.iter().filter_map(Value::as_str).collect();
    let is_connected = agent.get("is_connected").and_then(Value::as_bool);
    let heard = agent.get("heard_s_ago").and_then(Value::as_u64);
    let state = match (is_connected, heard) {
        (Some(true), _) => "connected".to_owned(),
        (_, Some(seconds)) => format!("away, last heard {seconds} s ago"),
        (_, None) => "away".to_owned(),
    };
    [
        Printable(&text(agent, "name")).to_string(),
        text(agent, "kind"),
        addresses.join(", "),
        Printable(&text(agent, "node")).to_string(),
        Printable(&text(agent, "version")).to_string(),
        state,
    ]
}
