//! Agents as ordinary processes, each in the namespace of its endpoint.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reachproof_lab::EndpointKind;
use reachproof_lab::world::{AgentPlace, AgentPresence};
use reachproof_model::observation::AgentName;
use reachproof_model::plan::AgentKind;
use reachproof_verify::credentials::{CA_CERTIFICATE_FILE, TOKEN_LIFE, TokenHolder};
use reachproof_verify::{Credentials, SystemRandomness};

use crate::error::RunnerError;
use crate::stage::Stage;

/// First argument by which the runner's program knows that it is to be an agent.
pub const AGENT_ARGUMENT: &str = "agent";

/// Which program runs as agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentProgram<'a> {
    /// The runner's own program, started again with [`AGENT_ARGUMENT`] in front.
    Runner(&'a Path),
    /// A program that is an agent.
    Agent(&'a Path),
}

/// What agents need to attach to a coordinator.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Where it listens.
    pub address: SocketAddr,
    /// File with the certificate of its CA.
    pub ca: PathBuf,
    /// Directory with the token of each agent, in a file of its name.
    pub tokens: PathBuf,
}

impl Dial {
    /// What the agents of a stage need for the coordinator that uses `credentials`: each gets a token of its own.
    ///
    /// # Errors
    /// [`RunnerError::Write`], [`RunnerError::Credentials`], [`RunnerError::NoCoordinator`], [`RunnerError::Token`].
    pub fn with_tokens(stage: &Stage) -> Result<Self, RunnerError> {
        let directory = stage.credentials();
        let credentials = Credentials::in_directory(&directory, &SystemRandomness::default())?;
        let dial = Dial {
            address: stage.control_address()?,
            ca: directory.join(CA_CERTIFICATE_FILE),
            tokens: stage.log("tokens"),
        };
        fs::create_dir_all(&dial.tokens).map_err(|source| RunnerError::Write {
            path: dial.tokens.clone(),
            source,
        })?;
        for place in &stage.expanded.agents {
            dial.give(
                place,
                &token(&credentials, place, SystemTime::now(), TOKEN_LIFE)?,
            )?;
        }
        Ok(dial)
    }

    /// Lets the agent at `place` dial with `token`.
    ///
    /// # Errors
    /// [`RunnerError::Write`].
    pub fn give(&self, place: &AgentPlace, token: &str) -> Result<(), RunnerError> {
        let path = self.token(place);
        fs::write(&path, token).map_err(|source| RunnerError::Write { path, source })
    }

    /// File with the token of the agent at `place`.
    #[must_use]
    pub fn token(&self, place: &AgentPlace) -> PathBuf {
        self.tokens.join(&place.endpoint)
    }
}

/// The token that `credentials` sign for the agent at `place`, valid from `now` for `life`.
///
/// # Errors
/// [`RunnerError::Name`], [`RunnerError::Token`].
pub fn token(
    credentials: &Credentials,
    place: &AgentPlace,
    now: SystemTime,
    life: Duration,
) -> Result<String, RunnerError> {
    let holder = TokenHolder {
        name: &AgentName::try_from(place.endpoint.as_str())?,
        kind: match place.kind {
            EndpointKind::Node | EndpointKind::ControlPlane => AgentKind::Node,
            EndpointKind::Pod => AgentKind::Pod,
            EndpointKind::Fargate => AgentKind::Fargate,
        },
        addresses: &place.addresses,
    };
    Ok(credentials.token(holder, now, life)?)
}

/// Agents that run until this is dropped, which kills them and waits for them.
#[derive(Debug, Default)]
pub struct Agents {
    arguments: Vec<String>,
    running: Vec<(String, Child)>,
}

impl Agents {
    /// None yet; those that are added are given `arguments`, too.
    #[must_use]
    pub fn with_arguments(arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.iter().map(ToString::to_string).collect(),
            running: Vec::new(),
        }
    }

    /// Starts an agent at each of `places` where one runs; their output goes to [`Stage::log`].
    ///
    /// # Errors
    /// [`RunnerError::Agent`]; those started until then are ended.
    pub fn start<'p>(
        stage: &Stage,
        program: AgentProgram<'_>,
        dial: &Dial,
        places: impl IntoIterator<Item = &'p AgentPlace>,
    ) -> Result<Self, RunnerError> {
        let mut agents = Agents::default();
        for place in places {
            match place.presence {
                AgentPresence::Running => agents.add(stage, program, dial, place)?,
                AgentPresence::Missing | AgentPresence::None => {}
            }
        }
        Ok(agents)
    }

    /// Starts one agent at `place`.
    ///
    /// # Errors
    /// [`RunnerError::Agent`].
    pub fn add(
        &mut self,
        stage: &Stage,
        program: AgentProgram<'_>,
        dial: &Dial,
        place: &AgentPlace,
    ) -> Result<(), RunnerError> {
        let failed = |source| RunnerError::Agent {
            agent: place.endpoint.clone(),
            source,
        };
        let log = File::create(stage.log(&place.endpoint)).map_err(failed)?;
        let mut command = stage.lab.command(&place.endpoint, program.path())?;
        if let AgentProgram::Runner(_) = program {
            command.arg(AGENT_ARGUMENT);
        }
        add_arguments(&mut command, dial, place);
        command.arg("--policy").arg(stage.policy());
        command.args(&self.arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().map_err(failed)?;
        self.running.push((place.endpoint.clone(), child));
        Ok(())
    }
}

impl Agents {
    /// Kills the agent `name`, as a crash would, and waits for it.
    ///
    /// # Errors
    /// [`RunnerError::Agent`] if there is none, or it cannot be killed.
    pub fn kill(&mut self, name: &str) -> Result<(), RunnerError> {
        let failed = |source| RunnerError::Agent {
            agent: name.to_owned(),
            source,
        };
        let agent = self.running.iter_mut().find(|(agent, _)| agent == name);
        let (_, child) = agent.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        child.kill().map_err(failed)?;
        child.wait().map(|_| ()).map_err(failed)
    }
}

impl Agents {
    /// Sends `signal` to the agent `name`.
    ///
    /// # Errors
    /// [`RunnerError::Agent`] if there is none, or it cannot be signalled.
    pub fn signal(&self, name: &str, signal: Signal) -> Result<(), RunnerError> {
        let failed = |source| RunnerError::Agent {
            agent: name.to_owned(),
            source,
        };
        let agent = self.running.iter().find(|(agent, _)| agent == name);
        let (_, child) = agent.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        let number = i32::try_from(child.id()).map_err(std::io::Error::other);
        kill(Pid::from_raw(number.map_err(failed)?), signal).map_err(|errno| failed(errno.into()))
    }
}

impl AgentProgram<'_> {
    fn path(&self) -> &OsStr {
        match self {
            AgentProgram::Runner(path) | AgentProgram::Agent(path) => path.as_os_str(),
        }
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        for (_, agent) in &mut self.running {
            // An agent that ended by itself cannot be killed; there is nobody to tell.
            let _already_ended = agent.kill();
            let _status = agent.wait();
        }
    }
}

fn add_arguments(command: &mut Command, dial: &Dial, place: &AgentPlace) {
    let kind = match place.kind {
        EndpointKind::Node | EndpointKind::ControlPlane => "node",
        EndpointKind::Pod => "pod",
        EndpointKind::Fargate => "fargate",
    };
    command
        .arg("run")
        .args(["--coordinator", &format!("https://{}", dial.address)])
        .arg("--ca")
        .arg(&dial.ca)
        .arg("--token-file")
        .arg(dial.token(place))
        .args(["--name", &place.endpoint])
        .args(["--kind", kind]);
    if let Some(node) = &place.node {
        command.args(["--node", node]);
    }
    for address in &place.addresses {
        command.args(["--address", &address.to_string()]);
    }
}
