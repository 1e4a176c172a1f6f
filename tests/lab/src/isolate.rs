//! Gives the program namespaces of its own, so that a lab needs no root and leaves nothing behind.
//!
//! The program is started again twice: first as the *init* of new network, mount and process namespaces, and below
//! it as itself. When init ends, for whatever reason, the kernel kills everything that is left and takes every
//! interface, rule and mount away. Init dies with the process that the user sees, whatever kills that one.

use std::env;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{getegid, geteuid};
use reachproof_start::{Needs, ToolError, ensure_tools, remedy};

/// Says which of the three processes this is.
const STAGE: &str = "REACHPROOF_LAB_STAGE";
/// The process id, outside, of the process that the user sees; with `user` before it in a user namespace.
const OUTSIDE: &str = "REACHPROOF_LAB_OUTSIDE";
/// Namespaces by name, as `ip netns` knows them.
pub(crate) const NAMESPACES: &str = "/run/netns";

/// Where the program goes on after [`isolate`].
#[derive(Debug)]
pub enum Isolation {
    /// This process is inside: go on.
    Inside,
    /// The program ran inside, as another process, and ended so: end likewise.
    Finished(ExitCode),
}

/// Why the program could not be isolated.
#[derive(Debug, thiserror::Error)]
pub enum IsolateError {
    /// A program that the lab needs is missing.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The system forbids user namespaces.
    #[error("this system does not let this user make namespaces; run:\n  {command}")]
    Restricted {
        /// The one command that helps.
        command: &'static str,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// The kernel refused for another reason.
    #[error(
        "cannot make namespaces: {operation} failed (call `isolate` before any thread is started)"
    )]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// The program could not be started again.
    #[error("cannot start this program again inside its namespaces")]
    Restart(#[source] io::Error),
}

/// Re-executes the program in namespaces of its own: user (only without root), network, mount and process.
///
/// To be called first thing in `main`, before any thread is started and before anything is printed.
///
/// # Errors
/// [`IsolateError`]; its text says the one command that helps, where there is one.
pub fn isolate() -> Result<Isolation, IsolateError> {
    match env::var(STAGE).as_deref() {
        Ok("inside") => Ok(Isolation::Inside),
        Ok("init") => init().map(Isolation::Finished),
        _ => outside().map(Isolation::Finished),
    }
}

/// Whether [`isolate`] started this process: whatever must come before, somebody did.
pub fn is_isolating() -> bool {
    env::var_os(STAGE).is_some()
}

/// Whether this process runs inside namespaces of its own.
pub(crate) fn is_inside() -> bool {
    env::var(STAGE).as_deref() == Ok("inside")
}

/// The command that enters the namespace `name` from another terminal.
pub(crate) fn enter_hint(name: &str) -> String {
    let outside = env::var(OUTSIDE).unwrap_or_default();
    match outside.strip_prefix("user ") {
        Some(process) => format!(
            "nsenter --target {process} --user --preserve-credentials --mount --net ip netns exec {name} sh"
        ),
        None => format!("nsenter --target {outside} --mount --net ip netns exec {name} sh"),
    }
}

fn outside() -> Result<ExitCode, IsolateError> {
    ensure_tools(Needs::Running)?;
    let process = std::process::id();
    let namespaces = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    let outside = if geteuid().is_root() && unshare(namespaces).is_ok() {
        process.to_string()
    } else {
        unshare_as_user(namespaces)?;
        format!("user {process}")
    };
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .map_err(|source| explain("making mounts private", source))?;
    let status = again("init", &outside)?
        .wait()
        .map_err(IsolateError::Restart)?;
    Ok(exit_code(status))
}

/// Makes the namespaces below a new user namespace in which this user is root.
fn unshare_as_user(namespaces: CloneFlags) -> Result<(), IsolateError> {
    let (user, group) = (geteuid(), getegid());
    unshare(namespaces | CloneFlags::CLONE_NEWUSER).map_err(|source| explain("unshare", source))?;
    let write = |path: &str, text: String| {
        fs::write(path, text).map_err(|error| {
            explain(
                "mapping the user",
                Errno::from_raw(error.raw_os_error().unwrap_or_default()),
            )
        })
    };
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {user} 1"))?;
    write("/proc/self/gid_map", format!("0 {group} 1"))
}

fn explain(operation: &'static str, source: Errno) -> IsolateError {
    match remedy() {
        Some(command) if matches!(source, Errno::EPERM | Errno::EACCES | Errno::ENOSPC) => {
            IsolateError::Restricted { command, source }
        }
        Some(_) | None => IsolateError::Refused { operation, source },
    }
}

/// Init of the new process namespace: sets up `/proc` and `/run/netns`, starts the program, and reaps.
fn init() -> Result<ExitCode, IsolateError> {
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|source| explain("asking for a signal", source))?;
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::empty(),
        None::<&str>,
    )
    .map_err(|source| explain("mounting /proc", source))?;
    // Without root, only what is there can be mounted over.
    let target = if Path::new(NAMESPACES).is_dir() {
        NAMESPACES
    } else {
        "/run"
    };
    mount(
        Some("tmpfs"),
        target,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=0755"),
    )
    .map_err(|source| explain("mounting /run/netns", source))?;
    fs::create_dir_all(NAMESPACES).map_err(IsolateError::Restart)?;
    let outside = env::var(OUTSIDE).unwrap_or_default();
    let program = again("inside", &outside)?;
    let program = i32::try_from(program.id()).unwrap_or(i32::MAX);
    loop {
        match wait() {
            Ok(WaitStatus::Exited(process, code)) if process.as_raw() == program => {
                return Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)));
            }
            Ok(WaitStatus::Signaled(process, signal, _)) if process.as_raw() == program => {
                return Ok(killed(i32::from(signal_number(signal))));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(source) => {
                return Err(IsolateError::Refused {
                    operation: "waiting",
                    source,
                });
            }
        }
    }
}

fn signal_number(signal: Signal) -> u8 {
    Signal::iterator()
        .zip(1..)
        .find(|(known, _)| *known == signal)
        .map_or(0, |(_, number)| number)
}

fn again(stage: &str, outside: &str) -> Result<std::process::Child, IsolateError> {
    let program = env::current_exe().map_err(IsolateError::Restart)?;
    Command::new(program)
        .args(env::args_os().skip(1))
        .env(STAGE, stage)
        .env(OUTSIDE, outside)
        .spawn()
        .map_err(IsolateError::Restart)
}

fn exit_code(status: ExitStatus) -> ExitCode {
    match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        None => killed(status.signal().unwrap_or_default()),
    }
}

/// The exit code that shells give to a process that a signal ended.
fn killed(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX))
}
