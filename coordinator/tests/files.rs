//! Snapshots made by hand: the script that collects one, the look at one, and what an answer says about gaps.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use reachproof_kube::resource::{Extent, RESOURCES};
use reachproof_model::describe::{ANSWERS, Answer, Form};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The world of a vector.
fn world(name: &str) -> Map<String, Value> {
    let text = fs::read_to_string(root().join(format!("tests/vectors/{name}.json"))).unwrap();
    let vector: Value = serde_json::from_str(&text).unwrap();
    vector["snapshot"].as_object().unwrap().clone()
}

fn written(world: &Map<String, Value>) -> TempDir {
    let directory = TempDir::new().unwrap();
    for (stem, answer) in world {
        fs::write(
            directory.path().join(format!("{stem}.json")),
            answer.to_string(),
        )
        .unwrap();
    }
    directory
}

fn reachproof(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Standard output and standard error of `explain` for a flow within the VPC.
fn explained(path: &Path, more: &[&str]) -> (String, String) {
    let path = path.to_str().unwrap();
    let mut arguments = vec![
        "explain",
        "10.0.1.20",
        "10.0.2.20",
        "8080",
        "--snapshot",
        path,
    ];
    arguments.extend(more);
    let output = reachproof(&arguments);
    (text(&output.stdout), text(&output.stderr))
}

/// An `aws` and a `kubectl` that print the answers of a world, in the directory that is returned.
fn tools(world: &TempDir) -> TempDir {
    let directory = TempDir::new().unwrap();
    let place = world.path().display();
    let aws = format!(
        r#"#!/bin/sh
case "$*" in *--include-managed-resources*) echo "Unknown options: --include-managed-resources" >&2; exit 252;; esac
case "$*" in
  *"--query cluster.resourcesVpcConfig.vpcId"*) echo vpc-fa574ace0d415a857; exit;;
  *"--query PrefixLists"*) echo pl-b412490b1877cea9e; exit;;
  *"--query Vpcs"*) echo vpc-fa574ace0d415a857; exit;;
  *"--query SecurityGroupVpcAssociations"*) echo sg-1 sg-2; exit;;
  *"Values=sg-1,sg-2"*) echo '{{"SecurityGroups": []}}'; exit;;
  *"--query"*) echo None; exit;;
esac
for id in "" .pl-b412490b1877cea9e; do
  if [ -e "{place}/$2$id.json" ]; then cat "{place}/$2$id.json"; exit; fi
done
echo "An error occurred (UnauthorizedOperation) when calling $2" >&2
exit 254
"#
    );
    let kubectl = format!(
        r#"#!/bin/sh
name=$2
[ "$2 $3" = "daemonsets aws-node" ] && name=aws-node
[ -e "{place}/$name.json" ] && exec cat "{place}/$name.json"
echo "Error from server (Forbidden): $name is forbidden" >&2
exit 1
"#
    );
    for (name, script) in [("aws", aws), ("kubectl", kubectl)] {
        let file = directory.path().join(name);
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    directory
}

#[test]
fn the_script_collects_a_snapshot_that_gives_the_same_answers() {
    let source = written(&world("A01"));
    let tools = tools(&source);
    let home = TempDir::new().unwrap();
    let script = home.path().join("collect.sh");
    fs::write(
        &script,
        reachproof(&["snapshot", "--print-commands"]).stdout,
    )
    .unwrap();
    let path = format!(
        "{}:{}",
        tools.path().display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new("bash")
        .arg(&script)
        .args(["demo", "collected"])
        .current_dir(home.path())
        .env("PATH", path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        "reachproof snapshot --check collected\n"
    );
    let refused = text(&output.stderr);
    assert!(
        refused.contains("optional answer not read: kubectl get pods --all-namespaces -o json"),
        "{refused}"
    );
    let collected = home.path().join("collected");
    assert!(
        fs::read_dir(&collected)
            .unwrap()
            .all(|file| file.unwrap().path().extension().unwrap() == "json")
    );
    assert_eq!(explained(&collected, &[]), explained(source.path(), &[]));
}

#[test]
fn the_script_says_when_a_required_answer_is_missing() {
    let mut less = world("A01");
    less.remove("describe-subnets");
    let source = written(&less);
    let tools = tools(&source);
    let home = TempDir::new().unwrap();
    let script = home.path().join("collect.sh");
    fs::write(
        &script,
        reachproof(&["snapshot", "--print-commands", "--shell", "bash"]).stdout,
    )
    .unwrap();
    let path = format!(
        "{}:{}",
        tools.path().display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new("bash")
        .arg(&script)
        .arg("demo")
        .current_dir(home.path())
        .env("PATH", path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("required answer not read: aws ec2 describe-subnets"),
        "{said}"
    );
    assert!(
        !home
            .path()
            .join("reachproof-snapshot/describe-subnets.json")
            .exists()
    );
}

#[test]
fn the_scripts_are_these() {
    for shell in ["bash", "powershell"] {
        let output = reachproof(&["snapshot", "--print-commands", "--shell", shell]);
        insta::assert_snapshot!(format!("the_script_for_{shell}"), text(&output.stdout));
    }
}

#[test]
fn a_check_shows_what_is_found_missing_misnamed_and_refused() {
    let mut answers = world("A01");
    answers.remove("describe-network-acls");
    let vpcs = answers.remove("describe-vpcs").unwrap();
    answers.insert("my-vpcs".to_owned(), vpcs);
    answers.insert("package".to_owned(), json!({"name": "x"}));
    let directory = written(&answers);
    fs::write(directory.path().join("pods.json"), "No resources found\n").unwrap();
    let path = directory.path().to_str().unwrap();
    let output = reachproof(&["snapshot", "--check", path]);
    assert_eq!(output.status.code(), Some(2));
    let shown = text(&output.stdout).replace(&format!("{path}/"), "");
    insta::assert_snapshot!(shown);
}

#[test]
fn a_snapshot_comes_from_standard_input() {
    let answers = world("A01");
    let directory = written(&answers);
    let mut child = Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args([
            "explain",
            "10.0.1.20",
            "10.0.2.20",
            "8080",
            "--snapshot",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let whole = Value::Object(answers).to_string();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(whole.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), explained(directory.path(), &[]).0);
}

#[test]
fn of_two_clusters_the_one_that_is_named_is_taken() {
    let mut answers = world("F03");
    let mut other = answers["describe-cluster"].clone();
    other["cluster"]["name"] = json!("other");
    answers.insert("describe-cluster.other".to_owned(), other);
    let directory = written(&answers);
    let (shown, said) = explained(directory.path(), &[]);
    assert_eq!(shown, "");
    let end = "the snapshot has 2 clusters, `demo`, `other`: name one with --cluster\n";
    assert!(said.ends_with(end), "{said}");
    let alone = written(&world("F03"));
    let (chosen, _) = explained(directory.path(), &["--cluster", "demo"]);
    assert_eq!(chosen, explained(alone.path(), &[]).0);
}

#[test]
fn a_misnamed_file_is_noted() {
    let directory = written(&world("A01"));
    let of = |name: &str| directory.path().join(name);
    fs::rename(of("describe-vpcs.json"), of("mine.json")).unwrap();
    let (_, said) = explained(directory.path(), &[]);
    let note = format!(
        "note: `{}` holds the answer of `describe-vpcs` and is taken for that\n",
        of("mine.json").display()
    );
    assert!(said.contains(&note), "{said}");
}

#[test]
fn a_flow_shows_the_gaps_that_it_rests_on_and_all_only_when_asked() {
    let mut answers = world("A01");
    answers.remove("describe-vpc-peering-connections");
    let directory = written(&answers);
    let gap = "gap: describe-vpc-peering-connections: file is absent; flows over the peering are unknown\n";
    assert_eq!(explained(directory.path(), &[]).1, "");
    assert_eq!(explained(directory.path(), &["--gaps", "none"]).1, "");
    assert!(
        explained(directory.path(), &["--gaps", "all"])
            .1
            .contains(gap)
    );
    let path = directory.path().to_str().unwrap();
    let over = [
        "explain",
        "10.0.1.20",
        "10.1.0.5",
        "8080",
        "--snapshot",
        path,
    ];
    assert_eq!(text(&reachproof(&over).stderr), gap);
    let all = [&over[..], &["--gaps", "all"]].concat();
    let said = text(&reachproof(&all).stderr);
    assert!(said.starts_with(gap), "{said}");
    assert!(said.lines().count() > 1, "{said}");
    let output = reachproof(&[&over[..], &["-o", "json"]].concat());
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        answer["gaps"],
        json!([{"file": "describe-vpc-peering-connections", "path": "", "ids": [], "count": 1,
            "kind": "file is absent", "consequence": "flows over the peering are unknown"}])
    );
}

#[test]
fn predictions_carry_gaps_when_they_are_asked_for() {
    let mut answers = world("A01");
    answers.remove("describe-vpc-peering-connections");
    let directory = written(&answers);
    let flows = directory.path().join("flows");
    fs::write(
        &flows,
        r#"[{"source": "10.0.1.20", "destination": "10.1.0.5", "protocol": "tcp", "port": 8080}]"#,
    )
    .unwrap();
    let path = directory.path().to_str().unwrap();
    let flows = flows.to_str().unwrap();
    let plain = [
        "predict",
        "-o",
        "json",
        "--snapshot",
        path,
        "--flows",
        flows,
    ];
    let answer = |arguments: &[&str]| -> Value {
        serde_json::from_slice(&reachproof(arguments).stdout).unwrap()
    };
    assert!(answer(&plain).get("gaps").is_none());
    let asked = answer(&[&plain[..], &["--gaps", "touching"]].concat());
    assert_eq!(asked["gaps"][0]["file"], "describe-vpc-peering-connections");
}

#[test]
fn what_the_reader_of_kubernetes_writes_is_what_the_model_takes() {
    let taken: Vec<_> = ANSWERS
        .iter()
        .filter_map(|answer| match answer.form {
            Form::Objects { kind, group, only } => Some((answer.stem, kind, group, only)),
            Form::List { .. } | Form::ListOf { .. } | Form::Single { .. } | Form::Plain { .. } => {
                None
            }
        })
        .collect();
    for resource in &RESOURCES {
        let only = match resource.extent {
            Extent::All | Extent::Of { .. } => None,
            Extent::One { name, .. } => Some(name),
        };
        let row = (resource.stem, resource.kind, resource.group, only);
        assert!(taken.contains(&row), "{row:?}");
        let version = resource.api_version();
        let known = Answer::of_kind(resource.kind, Some(&version));
        assert_eq!(known.map(|answer| answer.stem), Some(resource.stem));
        let is_refusable = known.is_some_and(Answer::may_be_a_refusal);
        assert_eq!(is_refusable, resource.is_further_policy(), "{row:?}");
    }
}
