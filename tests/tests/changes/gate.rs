//! `deploy/ci` around a change of a running world: the script before, the composite action's own step after.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reachproof_tests::binaries::binary;
use reachproof_tests::coordinator::Coordinator;
use reachproof_tests::harness::CaseResult;
use reachproof_tests::play::WAIT;
use reachproof_tests::stage::Stage;
use serde_json::Value;

use super::{hold, staged, table::CHANGES, world};

/// The change: a rule that the cluster needs is removed.
const CHANGE: usize = 1;

/// Most bytes of a comment.
const COMMENT_MAX: usize = 60 << 10;

/// A file of `deploy/ci`.
fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/ci")
        .join(name)
}

/// Arguments of `verify` for the stage, none of which has a space in it.
fn arguments(stage: &Stage) -> Result<Vec<String>, Box<dyn Error>> {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let expected = Coordinator::expect_all(stage)?;
    Ok([
        "--snapshot".to_owned(),
        text(stage.snapshot()),
        "--listen".to_owned(),
        stage.control_address()?.to_string(),
        "--expect".to_owned(),
        text(expected),
        "--wait".to_owned(),
        format!("{}s", WAIT.as_secs()),
        "--credentials".to_owned(),
        text(stage.credentials()),
        "--scope=mesh".to_owned(),
    ]
    .to_vec())
}

pub(crate) fn play() -> CaseResult {
    let mut world = world()?;
    let (stage, agents) = staged(&world)?;
    let (folder, arguments) = (stage.log("gate"), arguments(&stage)?);
    let ended = |output: &Output| {
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };

    let too_early = script(&stage, "after", &folder, &arguments)?.output()?;
    let (code, said) = ended(&too_early);
    hold("exit code without a report of before", &code, &Some(2))?;
    hold(
        "what is missing is named",
        &said.contains("run `gate before` first"),
        &true,
    )?;
    let before = script(&stage, "before", &folder, &arguments)?.output()?;
    hold("before", &ended(&before).0, &Some(0))?;
    stage.change(&(CHANGES[CHANGE].does)(&mut world)?)?;
    let (summary, outputs) = (stage.log("summary"), stage.log("outputs"));
    let mut after = action(&stage, "after", &folder, &arguments)?;
    after.env("GITHUB_ACTIONS", "true");
    after
        .env("GITHUB_STEP_SUMMARY", &summary)
        .env("GITHUB_OUTPUT", &outputs);
    let after = after.output()?;
    drop(agents);
    hold("after", &ended(&after).0, &Some(1))?;
    let shown = String::from_utf8_lossy(&after.stdout).into_owned();
    hold("an annotation", &shown.contains("\n::error title="), &true)?;
    left(&folder, &summary, &fs::read_to_string(outputs)?)
}

/// Holds what the gate left: every file says what the report says.
fn left(folder: &Path, summary: &Path, outputs: &str) -> CaseResult {
    let read = |name: &str| fs::read_to_string(folder.join(name));
    let report: Value = serde_json::from_str(&read("report.json")?)?;
    let problems = &report["baseline"]["problems"]["new"];
    hold("new problems", problems, &4.into())?;
    let comment = read("comment.md")?;
    hold(
        "the comment is short",
        &(comment.len() <= COMMENT_MAX),
        &true,
    )?;
    hold(
        "the comment begins with the verdict",
        &comment.starts_with("## FAIL: 4 new problems"),
        &true,
    )?;
    hold(
        "the summary is that of the job",
        &fs::read_to_string(summary)?,
        &read("summary.md")?,
    )?;
    hold(
        "a page",
        &read("report.html")?.starts_with("<!doctype html>"),
        &true,
    )?;
    let cases = read("junit.xml")?;
    hold(
        "failed cases",
        &cases.contains("<failure message=\"broken: "),
        &true,
    )?;
    let wanted = format!(
        "exit-code=1\ncomment={}\n",
        folder.join("comment.md").display()
    );
    hold("outputs", &outputs, &wanted.as_str())
}

/// The script, by hand.
fn script(
    stage: &Stage,
    phase: &str,
    folder: &Path,
    arguments: &[String],
) -> Result<Command, Box<dyn Error>> {
    let mut command = stage.coordinator_command(&deployed("gate"))?;
    command.arg(phase).arg("--").args(arguments);
    command
        .env("REACHPROOF", binary("reachproof")?)
        .env("GATE_DIRECTORY", folder);
    command
        .env_remove("GITHUB_ACTIONS")
        .env_remove("GITHUB_OUTPUT");
    Ok(command)
}

/// The step of the composite action, with its inputs put in as a runner does.
fn action(
    stage: &Stage,
    phase: &str,
    folder: &Path,
    arguments: &[String],
) -> Result<Command, Box<dyn Error>> {
    let action: Value = yaml_serde::from_str(&fs::read_to_string(deployed("action.yml"))?)?;
    let step = &action["runs"]["steps"][0];
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("no text");
    hold("shell", &text(&step["shell"])?, &"bash".to_owned())?;
    let mut command = stage.coordinator_command(Path::new("bash"))?;
    // As runners start it \[GitHub Docs, Workflow syntax\].
    command.args([
        "--noprofile",
        "--norc",
        "-eo",
        "pipefail",
        "-c",
        &text(&step["run"])?,
    ]);
    let environment = step["env"].as_object().ok_or("no environment")?;
    for (name, value) in environment {
        let value = text(value)?
            .replace("${{ inputs.phase }}", phase)
            .replace("${{ inputs.arguments }}", &arguments.join(" "))
            .replace(
                "${{ inputs.fail-on }}",
                &text(&action["inputs"]["fail-on"]["default"])?,
            )
            .replace("${{ inputs.directory }}", &folder.to_string_lossy())
            .replace("${{ github.action_path }}", &deployed("").to_string_lossy());
        hold("every expression is known", &value.contains("${{"), &false)?;
        command.env(name, value);
    }
    command.env("REACHPROOF", binary("reachproof")?);
    Ok(command)
}
