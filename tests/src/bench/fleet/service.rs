//! `reachproof serve` as it is measured.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{LISTEN, Running, WEB, log, until_open};
use crate::bench::Measured;

/// Longest time that a run may take: longer than its probes may.
const RUN_MAX: Duration = Duration::from_secs(45 * 60);

/// Time between two looks at a run.
const LOOK: Duration = Duration::from_millis(200);

/// What became of a run.
pub(super) struct Run {
    pub(super) id: String,
    pub(super) verdict: String,
    pub(super) flows: u64,
    pub(super) took: Duration,
}

/// Starts it in `directory`, where `world.json` and `credentials` are.
pub(super) fn start(program: &Path, directory: &Path) -> Measured<Running> {
    let settings = format!(
        "apiVersion: reachproof/v1\nkind: Service\nworld: {{snapshot: world.json}}\nagents: {{listen: '{LISTEN}', credentials: credentials}}\nweb: {{listen: '{WEB}'}}\nstore: {{path: store.db}}\n"
    );
    let config = directory.join("serve.yaml");
    fs::write(&config, settings)?;
    let child = Command::new(program)
        .args(["serve", "--lab", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log(directory, "serve.log")?)
        .spawn()?;
    let mut running = Running(child);
    until_open(LISTEN, &mut running, &directory.join("serve.log"))?;
    Ok(running)
}

/// Asks for a run and waits for its end.
pub(super) fn run() -> Measured<Run> {
    let begun = Instant::now();
    let asked = ask("POST", "/api/v1/runs", "{}")?;
    let id = asked.get("id").and_then(Value::as_str);
    let id = id.ok_or_else(|| format!("no run was begun: {asked}"))?;
    loop {
        // Before it begins nothing is known of it.
        let run = ask("GET", &format!("/api/v1/runs/{id}"), "").unwrap_or_default();
        let word = |key: &str| run.get(key).and_then(Value::as_str).unwrap_or_default();
        match word("state") {
            "done" => {
                let flows = run.get("flows").and_then(Value::as_u64);
                return Ok(Run {
                    id: id.to_owned(),
                    verdict: word("verdict").to_owned(),
                    flows: flows.unwrap_or_default(),
                    took: begun.elapsed(),
                });
            }
            "failed" | "interrupted" => return Err(format!("the run failed: {run}").into()),
            _ if begun.elapsed() > RUN_MAX => return Err(format!("no end of {run}").into()),
            _ => sleep(LOOK),
        }
    }
}

/// Asks the API; what it answers, as JSON.
fn ask(method: &str, path: &str, body: &str) -> Measured<Value> {
    Ok(serde_json::from_str(&exchange(method, path, body)?)?)
}

/// What is at `path`.
pub(super) fn get(path: &str) -> Measured<String> {
    exchange("GET", path, "")
}

/// Asks by HTTP/1.0, whose answers end with the connection; the body of the answer.
fn exchange(method: &str, path: &str, body: &str) -> Measured<String> {
    let mut stream = TcpStream::connect(WEB)?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {WEB}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    Ok(body.ok_or("no answer")?.to_owned())
}
