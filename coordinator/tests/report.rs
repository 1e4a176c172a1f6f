//! `reachproof report`, as a process: a saved report in every format.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use reachproof_verify::report::FORMATS;

/// A report of the lab's world `drift-open`, as an older version wrote it.
fn old() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("verify/tests/old/report.json.gz")
}

fn report(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .arg("report")
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_saved_report_is_written_in_every_format_and_reads_again() {
    let home = tempfile::tempdir().unwrap();
    let old = old();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let formats = FORMATS.map(|format| format.name);
    let files: Vec<String> = formats
        .iter()
        .flat_map(|format| ["--report".to_owned(), format!("{format}={}", at(format))])
        .collect();
    let mut arguments = vec![old.to_str().unwrap()];
    arguments.extend(files.iter().map(String::as_str));
    let output = report(&arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains("FAIL  2 flows open against the model"),
        "{shown}"
    );

    let again = report(&[&at("json"), "-o", "table"]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), shown);
    for format in formats {
        let written = fs::read_to_string(at(format)).unwrap();
        let printed = report(&[&at("json"), "-o", format, "--details"]);
        assert_eq!(
            String::from_utf8(printed.stdout).unwrap(),
            written,
            "{format}"
        );
    }
}

#[test]
fn what_is_no_report_is_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("snapshot.json");
    fs::write(&file, "{\"describe-vpcs\": {\"Vpcs\": []}}").unwrap();
    let output = report(&[file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("snapshot.json") && told.contains("reachproof verify --report json=FILE"),
        "{told}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn the_exit_code_is_as_the_table_says_for_each_fail_on() {
    let home = tempfile::tempdir().unwrap();
    let old = old();
    let old = old.to_str().unwrap();
    let json = home.path().join("now.json").to_str().unwrap().to_owned();
    report(&[old, "--report", &format!("json={json}")]);
    let turned = fs::read_to_string(&json).unwrap();
    let turned = turned.replacen(
        "\"kind\":\"confirmed_allow\"",
        "\"kind\":\"contradiction_closed\"",
        1,
    );
    let worse = home.path().join("worse.json").to_str().unwrap().to_owned();
    fs::write(&worse, turned).unwrap();
    let code = |file: &str, words: &[&str]| {
        let mut arguments = vec![file, "--baseline", old];
        arguments.extend(words);
        report(&arguments).status.code().unwrap()
    };
    for (file, fail_on, expected) in [
        (old, "any", 1),
        (old, "new", 0),
        (old, "expectation", 0),
        (worse.as_str(), "any", 1),
        (&worse, "new", 1),
        (&worse, "expectation", 0),
    ] {
        assert_eq!(
            code(file, &["--fail-on", fail_on]),
            expected,
            "{file} {fail_on}"
        );
    }
    assert_eq!(code(old, &["--exit-zero"]), 0);
    let output = report(&[old, "--fail-on", "new"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("--fail-on new needs --baseline")
    );
    assert_eq!(
        report(&["nowhere.json", "--exit-zero"]).status.code(),
        Some(2)
    );
}

#[test]
fn a_browser_is_shown_the_page_of_a_report() {
    let home = tempfile::tempdir().unwrap();
    let shown = home.path().join("shown.html");
    let output = Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args(["report", "--open"])
        .arg(old())
        .env("XDG_RUNTIME_DIR", home.path())
        .env(
            "BROWSER",
            format!("no-such-browser:cp %s {}", shown.display()),
        )
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let page = fs::read_to_string(shown).unwrap();
    assert!(page.starts_with("<!doctype html>"), "{page}");
}

#[test]
fn without_a_browser_it_is_said_where_the_page_is_and_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args(["report", "--open"])
        .arg(old())
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", home.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    let page = said.split('`').nth(1).unwrap();
    assert!(
        fs::read_to_string(page)
            .unwrap()
            .starts_with("<!doctype html>")
    );
    for part in ["set BROWSER to one", "xdg-open: not there"] {
        assert!(said.contains(part), "{said}");
    }
}
