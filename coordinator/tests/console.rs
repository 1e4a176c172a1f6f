//! What commands show beside their answer: on a terminal, elsewhere, and as `--color`, `--quiet` and `NO_COLOR` say.
//!
//! `script` (util-linux) is the terminal.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::{Command, Output};

/// Goes to the start of the line and empties it.
const REDRAWN: &str = "\r\u{1b}[2K";

/// Escape sequence of a FAIL.
const RED: &str = "\u{1b}[31mFAIL";

fn snapshot() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/F03.json");
    path.to_str().unwrap().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs the command with its streams in pipes.
fn piped(words: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args(words)
        .env_remove("NO_COLOR")
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// Runs the command on a terminal; what it showed there.
fn on_a_terminal(words: &[&str], environment: &[(&str, &str)]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let command = format!("{} {}", env!("CARGO_BIN_EXE_reachproof"), quoted.join(" "));
    let output = Command::new("script")
        .args(["--quiet", "--command", &command, "/dev/null"])
        .env_remove("NO_COLOR")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    text(&output.stdout)
}

#[test]
fn colours_are_shown_on_a_terminal_unless_somebody_says_otherwise() {
    let (world, no_colour) = (snapshot(), [("NO_COLOR", "1")]);
    for command in [
        vec!["check", "--snapshot", &world],
        vec![
            "explain",
            "10.0.1.20",
            "10.0.2.10",
            "443",
            "--snapshot",
            &world,
        ],
    ] {
        let with = |when| [command.as_slice(), &["--color", when]].concat();
        assert!(on_a_terminal(&command, &[]).contains(RED));
        assert!(on_a_terminal(&command, &[("NO_COLOR", "")]).contains(RED));
        assert!(on_a_terminal(&with("always"), &no_colour).contains(RED));
        for plain in [
            on_a_terminal(&command, &no_colour),
            on_a_terminal(&with("never"), &[]),
            text(&piped(&command, &[]).stdout),
        ] {
            assert!(
                plain.contains("FAIL") && !plain.contains('\u{1b}'),
                "{plain}"
            );
        }
        assert!(text(&piped(&with("always"), &no_colour).stdout).contains(RED));
    }
    let wrong = piped(&["check", "--snapshot", &world, "--color", "red"], &[]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("write auto, always or never"));
}

#[test]
fn a_run_is_one_line_that_is_redrawn_on_a_terminal_and_nowhere_else() {
    let (world, home) = (snapshot(), tempfile::tempdir().unwrap());
    let credentials = home.path().join("credentials");
    let verify = [
        "verify",
        "--snapshot",
        &world,
        "--listen",
        "127.0.0.1:0",
        "--credentials",
        credentials.to_str().unwrap(),
        "--expect",
        "1",
        "--wait",
        "2s",
    ];
    let shown = on_a_terminal(&verify, &[]);
    for left in ["at most 2 s left", "at most 1 s left"] {
        let line = format!("{REDRAWN}waiting for agents: 0 of 1 agent, {left}");
        let first = format!("waiting for agents: 0 of 1 agent, {left}");
        assert!(shown.contains(&line) || shown.contains(&first), "{shown:?}");
    }
    let (before, after) = shown.rsplit_once(REDRAWN).unwrap();
    assert!(
        !before.contains("error: "),
        "the line is gone before the end: {shown:?}"
    );
    assert!(after.contains("error: "), "{shown:?}");

    let quiet = on_a_terminal(&[verify.as_slice(), &["-q"]].concat(), &[]);
    assert!(
        !quiet.contains("waiting") && quiet.contains("error: "),
        "{quiet:?}"
    );
    let elsewhere = text(&piped(&verify, &[]).stderr);
    assert!(
        !elsewhere.contains('\r') && !elsewhere.contains("waiting"),
        "{elsewhere:?}"
    );
    let verbose = text(&piped(&[verify.as_slice(), &["-v"]].concat(), &[]).stderr);
    assert!(
        verbose.contains("waiting for 1 agent, at most 2 s"),
        "{verbose:?}"
    );
}

#[test]
fn as_a_plugin_of_kubectl_help_says_what_is_typed() {
    let home = tempfile::tempdir().unwrap();
    let plugin = home.path().join("kubectl-reachproof");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_reachproof"), &plugin).unwrap();
    let said = |words: &[&str]| {
        let output = Command::new(&plugin).args(words).output().unwrap();
        text(&output.stdout) + &text(&output.stderr)
    };
    let help = said(&["--help"]);
    assert!(
        help.contains("Usage: kubectl reachproof [OPTIONS]"),
        "{help}"
    );
    let help = said(&["explain", "--help"]);
    assert!(help.contains("Usage: kubectl reachproof explain"), "{help}");
    let version = said(&["--version"]);
    assert!(version.starts_with("kubectl reachproof "), "{version}");
    let own = text(&piped(&["--help"], &[]).stdout);
    assert!(own.contains("Usage: reachproof [OPTIONS]"), "{own}");
}

/// Whether the command has a coordinator to ask.
#[cfg(feature = "serve")]
#[test]
fn a_cluster_that_nobody_names_is_that_of_the_kubeconfig() {
    let home = tempfile::tempdir().unwrap();
    let plugin = home.path().join("kubectl-reachproof");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_reachproof"), &plugin).unwrap();
    let said = |program: &Path, words: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(words)
            .env("KUBECONFIG", home.path().join("none"));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        text(&output.stderr)
    };
    let wanted = "error: cannot ask the coordinator in the cluster: there is no kubeconfig";
    let own = Path::new(env!("CARGO_BIN_EXE_reachproof"));
    for (program, words) in [
        (&*plugin, ["verify", "-q"]),
        (&*plugin, ["agents", "-q"]),
        (own, ["verify", "--kubernetes"]),
        (own, ["history", "--kubernetes"]),
    ] {
        let told = said(program, &words);
        assert!(told.starts_with(wanted), "{words:?}: {told}");
    }
    for more in [["--coordinator", "https://x"], ["--wait", "5s"]] {
        let told = said(own, &["verify", "--kubernetes", more[0], more[1]]);
        assert!(told.contains("cannot be used with"), "{told}");
    }
    let told = said(own, &["check", "--snapshot", "x", "-n", "y"]);
    assert!(told.contains("--kubernetes"), "{told}");
}
