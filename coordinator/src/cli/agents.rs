//! `reachproof agents`: who belongs to the fleet of a coordinator that stays.

use std::io::{self, Write};

use clap::Args;
use reachproof_model::net::Printable;
use reachproof_verify::calendar::utc;
use serde_json::Value;

use super::exit_code::ExitCode;
use super::table::aligned;
use super::{CliError, Format, write_json};
use crate::entry::KubeconfigArguments;
use crate::installed::Purpose;
use crate::remote::{RemoteArguments, text};

/// What `agents` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    remote: RemoteArguments,
    #[command(flatten)]
    kubeconfig: KubeconfigArguments,
    /// How many must be connected: with fewer the exit code is 3
    #[arg(long, value_name = "N", default_value_t = 0)]
    at_least: usize,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Exit code where fewer agents are connected than must be, as a run says it.
const TOO_FEW: u8 = 3;

/// Lists the agents, and those that were not let in.
///
/// # Errors
/// When they cannot be had or written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let entry = arguments.kubeconfig.entry();
    let remote = arguments.remote.remote(&entry, Purpose::Read)?;
    let remote = remote.ok_or(CliError::NoCoordinator)?;
    let list = remote.agents()?;
    let mut out = io::stdout().lock();
    let ended = judged(&list, arguments.at_least);
    if arguments.output == Format::Json {
        write_json(&mut out, &list)?;
        return Ok(ended);
    }
    let header = [
        "name",
        "kind",
        "addresses",
        "node",
        "version",
        "state",
        "last a source",
        "last a target",
    ];
    let agents = items(&list, "/agents");
    // Nobody knows while the coordinator cannot read its store.
    let is_known = list.pointer("/coverage/runs").is_some();
    let rows = agents.iter().map(|agent| row(agent, is_known));
    writeln!(out, "{}", aligned(header, rows))?;
    let covered = |role: &str| list.pointer(&format!("/coverage/{role}"));
    if let (Some(runs), Some(sources), Some(targets)) =
        (covered("runs"), covered("sources"), covered("targets"))
    {
        writeln!(
            out,
            "in the last runs with a report ({runs}): {sources} of {} agents were the source of an observed flow, {targets} the target",
            agents.len(),
        )?;
    }
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
    Ok(ended)
}

/// Whether as many are connected as must be.
fn judged(list: &Value, at_least: usize) -> ExitCode {
    let agents = items(list, "/agents");
    let is_connected = |agent: &&Value| agent.get("is_connected") == Some(&Value::Bool(true));
    if agents.iter().filter(is_connected).count() < at_least {
        return ExitCode::Judged(TOO_FEW);
    }
    ExitCode::Answered
}

fn items(list: &Value, pointer: &str) -> Vec<Value> {
    let found = list.pointer(pointer).and_then(Value::as_array);
    found.cloned().unwrap_or_default()
}

fn row(agent: &Value, is_known: bool) -> [String; 8] {
    let never = if is_known { "never" } else { "not known" };
    let at = |key: &str| {
        let unix_ms = agent.get(key).and_then(Value::as_u64);
        unix_ms.map_or_else(|| never.to_owned(), utc)
    };
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
        at("last_source_unix_ms"),
        at("last_target_unix_ms"),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_away_does_not_count() {
        let list = json!({"agents": [{"is_connected": true}, {"is_connected": false}]});
        assert_eq!(judged(&list, 1), ExitCode::Answered);
        assert_eq!(judged(&list, 2), ExitCode::Judged(TOO_FEW));
        assert_eq!(judged(&json!({}), 0), ExitCode::Answered);
    }

    #[test]
    fn who_never_took_part_is_told_from_what_is_not_known() {
        let agent = json!({"name": "a", "last_source_unix_ms": 0, "last_target_unix_ms": null});
        let [.., source, target] = row(&agent, true);
        assert!(source.starts_with("1970-01-01"), "{source}");
        assert_eq!(target, "never");
        let [.., target] = row(&agent, false);
        assert_eq!(target, "not known");
    }
}
