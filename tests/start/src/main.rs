//! What `cargo lab` starts: looks at the machine, then builds the lab and becomes it.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use reachproof_start::{Needs, cargo, ensure_namespaces, ensure_tools};

/// Exit code of what could not be done (ARCHITECTURE, "Exit codes").
const COULD_NOT_RUN: u8 = 2;

/// Arguments that are answered without a lab.
const TEXTS: [&str; 5] = ["--list", "--help", "-h", "--version", "-V"];

fn main() -> ExitCode {
    // `cargo lab -- --list` as well as `cargo lab --list`: the alias ends with a `--` of its own.
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "--") {
        arguments.remove(0);
    }
    let is_text = |argument: &OsString| TEXTS.iter().any(|text| argument == text);
    if !arguments.iter().any(is_text)
        && let Err(error) = ready()
    {
        return told(error.as_ref());
    }
    let mut cargo = cargo();
    cargo.arg("run");
    if !io::stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    cargo
        .args(["--package", "reachproof-tests", "--bin", "reachproof-lab"])
        .arg("--")
        .args(arguments);
    // Only comes back if it could not be started.
    told(&cargo.exec())
}

fn ready() -> Result<(), Box<dyn std::error::Error>> {
    ensure_tools(Needs::Building)?;
    Ok(ensure_namespaces()?)
}

#[expect(clippy::print_stderr, reason = "somebody asked for a lab")]
fn told(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(COULD_NOT_RUN)
}
