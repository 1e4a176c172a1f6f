//! The binary `reachproof` as an ordinary process in a lab.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reachproof_lab::kubernetes::{ControlPlane, KubernetesError};
use reachproof_model::plan::Depth;
use reachproof_verify::report::FORMATS;
use serde_json::Value;

use crate::agents::Dial;
use crate::binaries::binary;
use crate::deployment::FARGATE_NAMESPACE;
use crate::error::RunnerError;
use crate::stage::Stage;

/// Longest wait for the coordinator to listen: it does so before it reads the world, and a busy machine is slow.
const START_MAX: Duration = Duration::from_secs(20);

/// Longest run: gathering, six rounds of silence by slow agents, and room for a busy machine.
pub const RUN_MAX: Duration = Duration::from_secs(360);

/// Time between two looks at a process.
const STEP: Duration = Duration::from_millis(50);

/// `reachproof verify` on its way to a report. Killed and waited for when dropped.
#[derive(Debug)]
pub struct Coordinator {
    process: Child,
    report: PathBuf,
    log: PathBuf,
}

/// How a coordinator is started.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// The binary `reachproof`.
    pub program: &'a Path,
    /// The snapshot that it reads.
    pub snapshot: &'a Path,
    /// Whom it waits for: a number of agents, or a file with their names.
    pub expect: &'a OsStr,
    /// Longest wait for them.
    pub wait: Duration,
    /// How much it tries.
    pub scope: Depth,
}

impl Coordinator {
    /// Starts `program verify` over the stage's snapshot where the world wants its coordinator, and waits until agents can
    /// be told how to dial.
    ///
    /// It waits for all of the world's agents, at most `wait`, and tries every pair of them: a world states the findings of
    /// all.
    ///
    /// # Errors
    /// [`RunnerError::Coordinator`] if it cannot be started, [`RunnerError::CoordinatorEnded`] if it does not listen.
    pub fn start(
        stage: &Stage,
        program: &Path,
        wait: Duration,
    ) -> Result<(Self, Dial), RunnerError> {
        Self::start_with(stage, program, wait, Depth::Mesh)
    }

    /// The same with as much tried as `scope` says.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(
        stage: &Stage,
        program: &Path,
        wait: Duration,
        scope: Depth,
    ) -> Result<(Self, Dial), RunnerError> {
        let expected = Self::expect_all(stage)?;
        let launch = Launch {
            program,
            snapshot: &stage.snapshot(),
            expect: expected.as_os_str(),
            wait,
            scope,
        };
        Self::launch(stage, &launch)
    }

    /// Writes the names of all of the world's agents to a file, for `--expect`.
    ///
    /// # Errors
    /// [`RunnerError::Coordinator`].
    pub fn expect_all(stage: &Stage) -> Result<PathBuf, RunnerError> {
        let agents = stage.expanded.agents.iter();
        let names: Vec<&str> = agents.map(|agent| agent.endpoint.as_str()).collect();
        let expected = stage.log("expected");
        fs::write(&expected, names.join("\n"))
            .map_err(|source| RunnerError::Coordinator { source })?;
        Ok(expected)
    }

    /// Starts `verify` as `launch` says where the world wants its coordinator, and waits until agents can be told how to
    /// dial.
    ///
    /// # Errors
    /// As [`Coordinator::start`].
    pub fn launch(stage: &Stage, launch: &Launch<'_>) -> Result<(Self, Dial), RunnerError> {
        let mut command = stage.coordinator_command(launch.program)?;
        command.arg("verify").arg("--snapshot").arg(launch.snapshot);
        Self::spawn(stage, command, launch.expect, launch.wait, launch.scope)
    }

    /// The same with a `command` that is `verify` with the world that it is to read ([`Stage::coordinator_command`]). The
    /// report is written in every format, too: to [`Stage::log`] of its name.
    ///
    /// # Errors
    /// As [`Coordinator::start`].
    pub fn spawn(
        stage: &Stage,
        mut command: Command,
        expect: &OsStr,
        wait: Duration,
        scope: Depth,
    ) -> Result<(Self, Dial), RunnerError> {
        let failed = |source| RunnerError::Coordinator { source };
        let (report, log) = (stage.log("report"), stage.log("coordinator"));
        command
            .args(["--output", "json", "--seed", "1"])
            .args(FORMATS.iter().flat_map(|format| {
                let file = stage.log(format.name);
                [
                    "--report".to_owned(),
                    format!("{}={}", format.name, file.display()),
                ]
            }))
            .stdout(File::create(&report).map_err(failed)?)
            .stderr(File::create(&log).map_err(failed)?);
        Self::begin(stage, command, (expect, wait, scope), (report, log))
    }

    /// The same with the report on this program's own output, as `command` says.
    ///
    /// # Errors
    /// As [`Coordinator::start`].
    pub fn show(
        stage: &Stage,
        mut command: Command,
        (expect, wait): (&OsStr, Duration),
        scope: Depth,
    ) -> Result<(Self, Dial), RunnerError> {
        let (report, log) = (stage.log("report"), stage.log("coordinator"));
        command
            .arg("--report")
            .arg(format!("json={}", report.display()));
        Self::begin(stage, command, (expect, wait, scope), (report, log))
    }

    /// Starts `command` with what every run in a lab needs.
    fn begin(
        stage: &Stage,
        mut command: Command,
        (expect, wait, scope): (&OsStr, Duration, Depth),
        (report, log): (PathBuf, PathBuf),
    ) -> Result<(Self, Dial), RunnerError> {
        let failed = |source| RunnerError::Coordinator { source };
        // The credentials are made here, so that agents have tokens: the coordinator takes them.
        let dial = Dial::with_tokens(stage)?;
        let address = dial.address;
        command
            .args(["--listen", &address.to_string()])
            .arg("--expect")
            .arg(expect)
            .args(["--wait", &format!("{}s", wait.as_secs())])
            .arg("--credentials")
            .arg(stage.credentials())
            .args(["--scope", scope.as_str()])
            .stdin(Stdio::null());
        let process = command.spawn().map_err(failed)?;
        let mut coordinator = Coordinator {
            process,
            report,
            log,
        };
        // A coordinator that cannot start says so before agents are asked to dial.
        coordinator.until(START_MAX, || stage.is_control_open())?;
        Ok((coordinator, dial))
    }

    /// Whether the run has come to its end.
    ///
    /// # Errors
    /// [`RunnerError::Coordinator`].
    pub fn has_ended(&mut self) -> Result<bool, RunnerError> {
        let ended = self.process.try_wait();
        ended
            .map(|status| status.is_some())
            .map_err(|source| RunnerError::Coordinator { source })
    }

    /// Waits for the end of the run: exit code and report.
    ///
    /// # Errors
    /// [`RunnerError::CoordinatorEnded`] without a report; [`RunnerError::Coordinator`].
    pub fn finish(mut self) -> Result<(u8, Value), RunnerError> {
        let status = self.wait()?;
        let text = fs::read_to_string(&self.report)
            .map_err(|source| RunnerError::Coordinator { source })?;
        match (
            status.code().and_then(|code| u8::try_from(code).ok()),
            text.is_empty(),
        ) {
            (Some(code), false) => Ok((code, serde_json::from_str(&text)?)),
            (_, true) | (None, false) => Err(self.ended(status.to_string())),
        }
    }

    /// Waits for the end of a run that is not done: exit code, absent after a signal, and what the process said.
    ///
    /// # Errors
    /// [`RunnerError::CoordinatorEnded`] if it takes too long; [`RunnerError::Coordinator`].
    pub fn end(mut self) -> Result<(Option<i32>, String), RunnerError> {
        let status = self.wait()?;
        let said =
            fs::read_to_string(&self.log).map_err(|source| RunnerError::Coordinator { source })?;
        Ok((status.code(), said))
    }

    /// Waits until the process ends, for at most [`RUN_MAX`].
    fn wait(&mut self) -> Result<ExitStatus, RunnerError> {
        let failed = |source| RunnerError::Coordinator { source };
        let end = Instant::now() + RUN_MAX;
        loop {
            match self.process.try_wait().map_err(failed)? {
                Some(status) => return Ok(status),
                None if Instant::now() > end => return Err(self.ended("took too long".to_owned())),
                None => std::thread::sleep(STEP),
            }
        }
    }

    /// The id of the process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// [`RunnerError::Coordinator`].
    pub fn signal(&self, signal: Signal) -> Result<(), RunnerError> {
        let failed = |source| RunnerError::Coordinator { source };
        let number = i32::try_from(self.process.id()).map_err(std::io::Error::other);
        kill(Pid::from_raw(number.map_err(failed)?), signal).map_err(|errno| failed(errno.into()))
    }

    /// Waits until `there`, unless the process ends before.
    fn until(&mut self, most: Duration, there: impl Fn() -> bool) -> Result<(), RunnerError> {
        let end = Instant::now() + most;
        while !there() {
            let status = self
                .process
                .try_wait()
                .map_err(|source| RunnerError::Coordinator { source })?;
            if let Some(status) = status {
                return Err(self.ended(status.to_string()));
            }
            if Instant::now() > end {
                return Err(self.ended("did not listen".to_owned()));
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    fn ended(&self, how: String) -> RunnerError {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        RunnerError::CoordinatorEnded {
            how,
            said: said.trim().to_owned(),
        }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // One that ended by itself cannot be killed; there is nobody to tell.
        let _already_ended = self.process.kill();
        let _status = self.process.wait();
    }
}

impl Stage {
    /// A command that runs `program` where the coordinator belongs.
    ///
    /// # Errors
    /// [`RunnerError::Lab`] if the world names a host that the lab does not have.
    pub fn coordinator_command(&self, program: &Path) -> Result<Command, RunnerError> {
        match self.coordinator_host() {
            None => Ok(Command::new(program)),
            Some(host) => Ok(self.lab.command(host, program.as_os_str())?),
        }
    }
}

/// `reachproof verify` over the stage's snapshot, with the first API server of its control plane: it reviews the tokens of
/// agents that came by manifest, and all API servers connect for it. It is asked with `kubeconfig`, else as administrator.
///
/// # Errors
/// [`RunnerError::Binaries`], [`RunnerError::Lab`], and [`RunnerError::Kubernetes`] without an API server.
pub fn verify_command(
    stage: &Stage,
    plane: &ControlPlane,
    kubeconfig: Option<&Path>,
) -> Result<Command, RunnerError> {
    let front = plane.fronts().first().ok_or(KubernetesError::NoFront)?;
    let admin = plane.admin_kubeconfig(&front.name);
    let kubeconfig = kubeconfig.map(Path::to_owned).or(admin);
    let kubeconfig = kubeconfig.ok_or(KubernetesError::NoFront)?;
    let mut command = stage.coordinator_command(&binary("reachproof")?)?;
    command
        .arg("verify")
        .arg("--snapshot")
        .arg(stage.snapshot());
    command.arg("--kubeconfig").arg(kubeconfig);
    for namespace in ["reachproof", "reachproof-host", FARGATE_NAMESPACE] {
        let account = format!("{namespace}/reachproof-agent");
        command.args(["--agent-account", &account]);
    }
    Ok(command)
}
