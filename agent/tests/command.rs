//! The command line from outside.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    io::{BufRead, BufReader, Write},
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
    let expected = format!("reachproof-agent {}", env!("CARGO_PKG_VERSION"));
    let text = String::from_utf8(output.stdout).unwrap();
    // Behind it come revision and date, in a checkout.
    let rest = text.strip_prefix(&expected).unwrap();
    assert!(rest == "\n" || rest.starts_with(" ("), "{text}");
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
        "--policy <FILE>",
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
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.json");
    std::fs::write(&policy, r#"{"allow": ["10.0.0.0/16"]}"#).unwrap();
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
        .arg("--policy")
        .arg(&policy)
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

#[test]
fn probe_prints_a_line_for_each_target_and_ends_with_0() {
    let output = agent(&["probe", "127.0.0.1", "1", "2"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "127.0.0.1 1 policy\n127.0.0.1 2 policy\n");
}

#[test]
fn probe_takes_a_list_from_stdin_and_prints_json_when_asked() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_reachproof-agent"))
        .args(["probe", "-", "-o", "json"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let list = b"169.254.169.254 80 metadata\n\n::1 443\n";
    child.stdin.take().unwrap().write_all(list).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["address"], "169.254.169.254");
    assert_eq!(lines[1]["port"], 443);
    assert_eq!(lines[1]["outcome"], "policy");
}

#[test]
fn probe_refuses_what_is_no_target_with_2_before_anything_is_sent() {
    for arguments in [
        ["probe", "10.0.0.1"].as_slice(),
        &["probe", "0x7f000001", "80"],
        &["probe", "10.0.0.1", "0"],
        &["probe", "10.0.0.1", "80", "--attempts=0"],
        &["probe", "10.0.0.1", "80", "--policy=no-such-file"],
        &["probe", "--targets=no-such-file"],
        &["probe"],
    ] {
        let output = agent(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_the_arguments_get_wrong_is_told_with_the_usage() {
    for (wrong, words) in [
        (
            ["probe", "10.0.0.1", "65979"],
            "`65979` is not a port, needs 1 to 65535",
        ),
        (
            ["probe", "0x7f000001", "80"],
            "`0x7f000001` is not an IP address",
        ),
    ] {
        let output = agent(&wrong);
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.starts_with("error: target: ") && text.contains(words),
            "{text}"
        );
        assert!(text.contains("Usage: reachproof-agent probe "), "{text}");
    }
    let output = agent(&["probe", "--targets=no-such-file"]);
    let text = String::from_utf8(output.stderr).unwrap();
    let words = "error: cannot read the targets in `no-such-file`: ";
    assert!(text.starts_with(words) && !text.contains("Usage"), "{text}");
}

#[test]
fn health_answers_for_an_agent_that_runs_and_for_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.json");
    std::fs::write(&policy, r#"{"allow": ["10.0.0.0/16"]}"#).unwrap();
    let name = format!("health-{}", std::process::id());
    let ask = |more: &[&str]| {
        let arguments = ["health", "--name", &name];
        agent(&[arguments.as_slice(), more].concat())
    };
    assert_eq!(ask(&[]).status.code(), Some(1));
    let mut child = Command::new(env!("CARGO_BIN_EXE_reachproof-agent"))
        .args([
            "run",
            "--coordinator",
            "https://127.0.0.1:1",
            "--ca",
            "none",
        ])
        .args(["--token-file", "none", "--name", &name, "--kind", "node"])
        .args(["--address", "127.0.0.1", "--policy"])
        .arg(&policy)
        .env_clear()
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    // Its first line says that it cannot attach: by then it answers.
    log.read_line(&mut String::new()).unwrap();
    let alive = ask(&[]);
    let detached = ask(&["--attached"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(alive.status.code(), Some(0));
    let text = String::from_utf8(alive.stdout).unwrap();
    assert_eq!(text, "{\"attached\":false,\"results_lost\":0}\n");
    assert_eq!(detached.status.code(), Some(1));
    assert_eq!(ask(&[]).status.code(), Some(1));
}
