//! `reachproof serve` as a process, over a saved world and without an agent: its runs end soon, with the verdict that they could
//! not be done.

use std::error::Error;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::{get, post};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A service on its way; killed when dropped.
pub(crate) struct Service {
    pub(crate) process: Child,
    pub(crate) web: String,
    folder: TempDir,
}

impl Service {
    /// Starts one with `store` in its settings, whose runs wait so many seconds for an agent.
    pub(crate) fn start(store: &str, wait_s: u32) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/field/metrics-server-two-gaps.thread.json");
        let thread: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
        fs::write(
            folder.path().join("world.json"),
            thread.get("snapshot").ok_or("no world")?.to_string(),
        )?;
        let (web, agents) = (free_address()?, free_address()?);
        let config = folder.path().join("serve.yaml");
        let text = format!(
            "apiVersion: reachproof/v1\nkind: Service\nworld: {{snapshot: world.json}}\nagents: {{listen: '{agents}', expect: 1, wait: {wait_s}s}}\nweb: {{listen: '{web}'}}\nstore: {{{store}}}\n",
        );
        fs::write(&config, text)?;
        let process = Command::new(env!("CARGO_BIN_EXE_reachproof"))
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()?;
        Ok(Self {
            process,
            web,
            folder,
        })
    }

    pub(crate) fn kill(&mut self) -> Result<ExitStatus, Box<dyn Error>> {
        self.process.kill()?;
        Ok(self.process.wait()?)
    }

    pub(crate) fn said(&self) -> String {
        let log: PathBuf = self.folder.path().join("log");
        fs::read_to_string(log).unwrap_or_default()
    }

    /// Waits until `there` finds something; says how long that took.
    pub(crate) fn until<T>(
        &self,
        what: &str,
        mut there: impl FnMut() -> Option<T>,
    ) -> Result<(T, Duration), Box<dyn Error>> {
        let begun = Instant::now();
        loop {
            if let Some(found) = there() {
                return Ok((found, begun.elapsed()));
            }
            if begun.elapsed() > PATIENCE {
                let said = self.said();
                return Err(format!("{what} did not happen; the service said: {said}").into());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until `/readyz` answers so.
    pub(crate) fn until_ready(&self, status: u16) -> Result<Duration, Box<dyn Error>> {
        let there = || (self.ready() == Some(status)).then_some(());
        Ok(self.until(&format!("{status} of /readyz"), there)?.1)
    }

    /// What `/readyz` answers.
    pub(crate) fn ready(&self) -> Option<u16> {
        get(&self.web, "/readyz").ok().map(|answer| answer.status)
    }

    /// Asks for a run; its name.
    pub(crate) fn ask(&self) -> Result<String, Box<dyn Error>> {
        let answer = post(&self.web, "/api/v1/runs", "{}")?;
        let id = answer
            .json()
            .get("id")
            .and_then(Value::as_str)
            .map(str::to_owned);
        Ok(id.ok_or_else(|| format!("{}: {}", answer.status, answer.text()))?)
    }

    /// Asks for a run and waits for its end; what is said of it.
    pub(crate) fn run(&self) -> Result<Value, Box<dyn Error>> {
        let id = self.ask()?;
        self.ended(&id)
    }

    /// Waits for the end of a run; what is said of it.
    pub(crate) fn ended(&self, id: &str) -> Result<Value, Box<dyn Error>> {
        let ended = || {
            let run = self.known(id)?;
            (run.get("state")? != "running").then_some(run)
        };
        Ok(self.until("the end of a run", ended)?.0)
    }

    /// What is said of a run; nothing while nobody answers.
    pub(crate) fn known(&self, id: &str) -> Option<Value> {
        let runs = self.runs().ok()?;
        runs.into_iter()
            .find(|run| run.get("id").is_some_and(|one| one == id))
    }

    /// All runs, the latest first.
    pub(crate) fn runs(&self) -> Result<Vec<Value>, Box<dyn Error>> {
        let answer = get(&self.web, "/api/v1/runs?limit=1000")?;
        let runs = answer.json().as_array().cloned();
        Ok(runs.ok_or_else(|| format!("{}: {}", answer.status, answer.text()))?)
    }

    /// Why nothing goes on, as the state says.
    pub(crate) fn fault(&self) -> Option<String> {
        let state = get(&self.web, "/api/v1/status").ok()?.json();
        Some(state.get("fault")?.as_str()?.to_owned())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // One that ended by itself cannot be killed.
        let _ended = self.kill();
    }
}

fn free_address() -> Result<String, Box<dyn Error>> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
