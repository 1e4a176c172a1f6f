//! A program of the control plane that ends with its owner.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::kubernetes::KubernetesError;

/// Lines of a log that an error shows: the reason is among the last few.
const LOG_LINES: usize = 5;

/// A child process with its log.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints goes to `NAME.log` in `folder`.
    pub(super) fn start(
        name: &str,
        mut command: Command,
        folder: &Path,
    ) -> Result<Self, KubernetesError> {
        let log = folder.join(format!("{name}.log"));
        let refused = |source| KubernetesError::File {
            path: log.clone(),
            source,
        };
        let file = fs::File::create(&log).map_err(refused)?;
        let both = file.try_clone().map_err(refused)?;
        command.stdin(Stdio::null()).stdout(file).stderr(both);
        let child = command.spawn().map_err(|source| KubernetesError::Start {
            program: name.to_owned(),
            source,
        })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// What it was called at its start.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its log has `line`.
    pub(super) fn await_line(
        &mut self,
        line: &str,
        limit: Duration,
    ) -> Result<(), KubernetesError> {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            if fs::read_to_string(&self.log).is_ok_and(|log| log.lines().any(|it| it == line)) {
                return Ok(());
            }
            self.check_alive()?;
            sleep(Duration::from_millis(20));
        }
        Err(self.not_ready(limit))
    }

    /// # Errors
    /// [`KubernetesError::Ended`] if it has ended.
    pub(super) fn check_alive(&mut self) -> Result<(), KubernetesError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => Err(KubernetesError::Ended {
                program: self.name.clone(),
                log: self.log_end(),
            }),
        }
    }

    pub(super) fn not_ready(&self, waited: Duration) -> KubernetesError {
        KubernetesError::NotReady {
            program: self.name.clone(),
            waited,
            log: self.log_end(),
        }
    }

    fn log_end(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let begin = lines.len().saturating_sub(LOG_LINES);
        lines.get(begin..).unwrap_or_default().join("; ")
    }

    /// Kills it and waits for its end: nothing here is worth a graceful one.
    pub(super) fn stop(&mut self) {
        // Both fail only if it has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Writes a file that only this user may read.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), KubernetesError> {
    write(path, text, 0o600)
}

/// Writes a file without a secret.
pub(super) fn write_public(path: &Path, text: &str) -> Result<(), KubernetesError> {
    write(path, text, 0o644)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), KubernetesError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options
        .open(path)
        .map_err(|source| file_error(path, source))?;
    file.write_all(text.as_bytes())
        .map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: std::io::Error) -> KubernetesError {
    KubernetesError::File {
        path: path.to_owned(),
        source,
    }
}
