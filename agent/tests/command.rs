//! The command line from outside.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Runs the command with these arguments and without variables of its own.
fn agent(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reachproof-agent"))
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

#[test]
fn version_names_the_command_and_its_version() {
    let output = agent(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    let expected = format!("reachproof-agent {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn a_run_without_what_it_needs_ends_with_2_and_says_what_is_missing() {
    let output = agent(&["run", "--kind", "node"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    for missing in [
        "--coordinator <URL>",
        "--ca <FILE>",
        "--token-file <FILE>",
        "--name <NAME>",
        "--address <IP>",
    ] {
        assert!(text.contains(missing), "{text}");
    }
}

#[test]
fn every_flag_of_run_can_come_from_the_environment() {
    let output = agent(&["run", "--help"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let flags = text
        .lines()
        .filter(|line| line.trim_start().starts_with("--"))
        .count();
    assert!(flags >= 9, "{text}");
    assert_eq!(text.matches("[env: REACHPROOF_").count(), flags, "{text}");
}

#[test]
fn a_log_that_is_no_terminal_has_no_colours_and_sigterm_ends_the_agent_with_0() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_reachproof-agent"))
        .args([
            "run",
            "--coordinator",
            "https://127.0.0.1:1",
            "--ca",
            "no-such-file",
            "--token-file",
            "no-such-file",
        ])
        .args(["--name", "a", "--kind", "node", "--address", "127.0.0.1"])
        .env_clear()
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("cannot read `no-such-file`"), "{line}");
    assert!(!line.contains('\u{1b}'), "{line}");
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
