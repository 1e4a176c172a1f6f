//! Completions and manual pages, as a process prints them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn completions_of_each_shell_know_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = text(&["completions", shell]);
        for command in [
            "verify", "check", "explain", "matrix", "diff", "report", "snapshot",
        ] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn a_script_for_bash_is_one_that_bash_takes() {
    let script = text(&["completions", "bash"]);
    let status = Command::new("bash")
        .args(["--norc", "-n", "-c", &script])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_manual_page_has_the_flags_of_its_command() {
    let page = text(&["man", "check"]);
    assert!(page.starts_with(".ie"), "troff: {page}");
    for word in ["reachproof\\-check", "\\-\\-snapshot", "\\-\\-terraform"] {
        assert!(page.contains(word), "{word}: {page}");
    }
    assert!(text(&["man"]).contains("security groups"));
}

#[test]
fn a_page_that_there_is_not_is_an_error_that_names_the_others() {
    let output = run(&["man", "verfy"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("there is no command `verfy`") && told.contains("verify"),
        "{told}"
    );
}
