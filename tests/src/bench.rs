//! Measurements of the agent against its floor and against other tools, side by side in one run.
//!
//! Everything happens in network namespaces of its own. Each figure is printed with the goal it is held against; a goal that
//! is missed makes the command end with 1. What a figure depends on (a busy machine, `nmap` that is not installed) is said.
//!
//! * [`farm`]: targets that are open, refused or silent; [`floor`]: the least that any prober does
//! * [`worker`]: one tool in a process of its own; [`sweep`]: tools side by side
//! * [`timing`]: handshake times against those of [`delay`], a path on which they are known
//! * [`idle`]: an agent that waits; [`peer`]: a peer check; [`wire`]: a result on its way; [`usage`]: what a process cost
//! * [`fleet`]: a coordinator with many agents

pub mod delay;
pub mod farm;
pub mod fleet;
pub mod floor;
pub mod idle;
pub mod peer;
pub mod sweep;
pub mod timing;
pub mod usage;
pub mod wire;
pub mod worker;

use std::{error::Error, ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};
use reachproof_lab::{Isolation, isolate};
use reachproof_start::{Needs, ensure_tools};

use crate::harness::explain;

/// What a measurement gives, or why it could not be made.
pub type Measured<T> = Result<T, Box<dyn Error>>;

/// Exit code of a measurement that could not be made.
const COULD_NOT_RUN: u8 = 2;

/// Measures the agent against its floor and against other tools, in network namespaces of its own.
#[derive(Debug, Parser)]
#[command(name = "reachproof-bench", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

/// What is measured.
#[derive(Debug, Subcommand)]
enum What {
    /// Sweeps of many targets: CPU, wall time, memory and classification beside the floor and `nmap`.
    Probe(sweep::SweepArguments),
    /// Handshake times on a path with a known delay.
    Timing(timing::TimingArguments),
    /// Memory, CPU and wake-ups of an agent that is attached and has nothing to do.
    Idle(idle::IdleArguments),
    /// CPU of a peer check, both ends, beside a bare call on a fresh connection.
    Peer(peer::PeerArguments),
    /// Bytes of a result on the wire, and results a second through decoding and validation.
    Wire,
    /// A coordinator that stays, with many simulated agents: memory, and time until all are back, beside a bare server.
    Fleet(fleet::FleetArguments),
    /// The bare server in this process.
    #[command(hide = true, name = fleet::BARE_ARGUMENT)]
    FleetBare(fleet::BareArguments),
    /// One tool in this process; used by the others.
    #[command(hide = true)]
    Worker(worker::WorkerArguments),
}

/// Whether the goals were reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goals {
    /// All of them.
    Reached,
    /// At least one was not.
    Missed,
}

impl Goals {
    /// Reached only if both are.
    #[must_use]
    pub fn and(self, other: Goals) -> Goals {
        match (self, other) {
            (Goals::Reached, Goals::Reached) => Goals::Reached,
            (Goals::Missed, Goals::Reached | Goals::Missed) | (Goals::Reached, Goals::Missed) => {
                Goals::Missed
            }
        }
    }
}

/// Runs the command with these arguments, the first of which is the program's name.
pub fn main_from(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { COULD_NOT_RUN } else { 0 };
            // Where the help cannot be printed there is nobody to tell.
            let _printed = error.print();
            return ExitCode::from(code);
        }
    };
    match measure(&arguments.what) {
        Ok(code) => code,
        Err(error) => {
            crate::runner::say(&explain(error.as_ref()));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

/// Isolates the program, but for workers, which start inside, and measures.
fn measure(what: &What) -> Measured<ExitCode> {
    match what {
        What::Worker(arguments) => return worker::work(arguments).map(|()| ExitCode::SUCCESS),
        What::FleetBare(arguments) => {
            return fleet::serve_bare(arguments).map(|()| ExitCode::SUCCESS);
        }
        What::Probe(_)
        | What::Timing(_)
        | What::Idle(_)
        | What::Peer(_)
        | What::Wire
        | What::Fleet(_) => {}
    }
    ensure_tools(Needs::Running)?;
    match isolate()? {
        Isolation::Finished(code) => return Ok(code),
        Isolation::Inside => {}
    }
    let goals = match what {
        What::Probe(arguments) => sweep::sweep(arguments)?,
        What::Timing(arguments) => timing::timing(arguments)?,
        What::Idle(arguments) => idle::idle(arguments)?,
        What::Peer(arguments) => peer::peer(arguments)?,
        What::Wire => wire::wire()?,
        What::Fleet(arguments) => fleet::fleet(arguments)?,
        What::Worker(_) | What::FleetBare(_) => Goals::Reached,
    };
    Ok(match goals {
        Goals::Reached => ExitCode::SUCCESS,
        Goals::Missed => ExitCode::FAILURE,
    })
}

/// Prints a line of the measurement.
#[expect(clippy::print_stdout, reason = "figures are what was asked for")]
pub(crate) fn print(line: &str) {
    println!("{line}");
}

/// Prints a figure beside the most that it may be.
pub(crate) fn hold(name: &str, figure: f64, most: f64) -> Goals {
    let goals = if figure <= most {
        Goals::Reached
    } else {
        Goals::Missed
    };
    judged(name, figure, &format!("<= {most}"), goals)
}

/// Prints a figure beside the least that it may be.
pub(crate) fn hold_least(name: &str, figure: f64, least: f64) -> Goals {
    let goals = if figure >= least {
        Goals::Reached
    } else {
        Goals::Missed
    };
    judged(name, figure, &format!(">= {least}"), goals)
}

/// Prints a figure, its goal, and whether it is reached.
fn judged(name: &str, figure: f64, goal: &str, goals: Goals) -> Goals {
    let word = match goals {
        Goals::Reached => "ok",
        Goals::Missed => "MISSED",
    };
    print(&format!(
        "  {name:<58} {figure:>9.3}  goal {goal:<11} {word}"
    ));
    goals
}
