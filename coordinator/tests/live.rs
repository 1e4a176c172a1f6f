//! `reachproof` run as a process against a server that replays worlds as EC2 and EKS.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    reason = "test code, part of which belongs to the reader's own tests"
)]

#[path = "../aws/tests/support/replay.rs"]
mod replay;
#[path = "../aws/tests/support/world.rs"]
mod world;
#[path = "../aws/tests/support/xml.rs"]
mod xml;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use reachproof_aws::{Call, Necessity};
use reachproof_model::describe::{ANSWERS, Answer, Need};
use replay::{Asked, Fault, Replay};
use serde_json::{Value, json};
use world::World;

/// Runs the command with an environment that leads to `replay` and to nothing else.
async fn reachproof(replay: &Replay, arguments: &[&str]) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args(arguments)
        .env_clear()
        .env("AWS_ENDPOINT_URL", format!("http://{}", replay.address()))
        .env("AWS_ACCESS_KEY_ID", "AKID")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", "us-east-1")
        .output()
        .await
        .unwrap()
}

async fn serve(fault: impl Fn(&Asked) -> Fault + Send + Sync + 'static) -> Replay {
    Replay::start(World::of_vector("A17").with_everything(), fault).await
}

fn files(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read_to_string(entry.path()).unwrap(),
            )
        })
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn two_snapshots_of_one_cluster_are_the_same_bytes_and_predict_what_the_cluster_predicts() {
    let replay = serve(|asked| {
        if asked.earlier_of_all.is_multiple_of(2) {
            Fault::Reversed(3)
        } else {
            Fault::Reversed(5)
        }
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    for name in ["first", "second"] {
        let output = home.path().join(name);
        let arguments = [
            "snapshot",
            "--cluster",
            "demo",
            "--no-kubernetes",
            "--output",
            output.to_str().unwrap(),
        ];
        let output = reachproof(&replay, &arguments).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains("interfaces"),
            "{}",
            text(&output.stderr)
        );
    }
    let first = home.path().join("first");
    assert_eq!(files(&first), files(&home.path().join("second")));
    assert!(files(&first).contains_key("describe-cluster.json"));

    let vector: Value =
        serde_json::from_str(&fs::read_to_string(world::vectors().join("A17.json")).unwrap())
            .unwrap();
    let flows = home.path().join("flows.json");
    fs::write(&flows, json!([vector["flow"]]).to_string()).unwrap();
    let flows = flows.to_str().unwrap();
    let saved = [
        "predict",
        "--snapshot",
        first.to_str().unwrap(),
        "--flows",
        flows,
        "--output",
        "json",
    ];
    let live = [
        "predict",
        "--cluster",
        "demo",
        "--no-kubernetes",
        "--flows",
        flows,
        "--output",
        "json",
    ];
    let (saved, live) = (
        reachproof(&replay, &saved).await,
        reachproof(&replay, &live).await,
    );
    assert_eq!(
        text(&saved.stdout),
        text(&live.stdout),
        "{}",
        text(&live.stderr)
    );
    let answer: Value = serde_json::from_slice(&live.stdout).unwrap();
    assert_eq!(answer["verdict"], vector["expect"]["verdict"]);
}

#[tokio::test]
async fn a_redacted_snapshot_names_no_account() {
    let replay = serve(|_| Fault::None).await;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("world");
    let path = directory.to_str().unwrap();
    let arguments = [
        "snapshot",
        "--cluster",
        "demo",
        "--no-kubernetes",
        "--redact",
        "--output",
        path,
    ];
    let output = reachproof(&replay, &arguments).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (name, content) in files(&directory) {
        assert!(
            !content.contains("111122223333") && !content.contains("444455556666"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_cluster_that_cannot_be_read_whole_leaves_no_directory_and_exit_code_2() {
    let replay = serve(|asked| match asked.action.as_str() {
        "ec2:DescribeSubnets" => {
            Fault::Error(403, "UnauthorizedOperation", "You are not authorized.")
        }
        _ => Fault::None,
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("world");
    let arguments = [
        "snapshot",
        "--cluster",
        "demo",
        "--no-kubernetes",
        "--output",
        directory.to_str().unwrap(),
    ];
    let output = reachproof(&replay, &arguments).await;
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(
        error.contains("ec2:DescribeSubnets") && error.contains("ReachproofReadNetwork"),
        "{error}"
    );
    assert!(files(home.path()).is_empty());
}

#[tokio::test]
async fn a_region_that_nobody_names_is_an_error_that_says_how_to_name_it() {
    let replay = serve(|_| Fault::None).await;
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args([
            "explain",
            "10.0.1.20",
            "10.0.2.20",
            "8080",
            "--cluster",
            "demo",
            "--no-kubernetes",
        ])
        .env_clear()
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ENDPOINT_URL", format!("http://{}", replay.address()))
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("--region"),
        "{}",
        text(&output.stderr)
    );
}

#[tokio::test]
async fn how_much_is_said_of_a_reading_is_for_the_user_to_choose() {
    let replay = serve(|_| Fault::None).await;
    let home = tempfile::tempdir().unwrap();
    let said = async |further: &[&str], log: Option<&str>| {
        let directory = home.path().join("world");
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_reachproof"));
        command
            .args([
                "snapshot",
                "--cluster",
                "demo",
                "--no-kubernetes",
                "--output",
            ])
            .arg(&directory)
            .args(further)
            .env_clear()
            .env("AWS_ENDPOINT_URL", format!("http://{}", replay.address()))
            .env("AWS_ACCESS_KEY_ID", "AKID")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", "us-east-1");
        if let Some(log) = log {
            command.env("RUST_LOG", log);
        }
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let plain = said(&[], None).await;
    assert!(
        plain.contains("read `demo`: ") && plain.contains("wrote "),
        "{plain}"
    );
    for silent in ["ec2:DescribeVpcs", "DEBUG", "\r", "\u{1b}"] {
        assert!(!plain.contains(silent), "{silent}: {plain}");
    }
    let quiet = said(&["--quiet"], None).await;
    assert!(
        quiet.lines().all(|line| line.starts_with("gap: ")),
        "{quiet}"
    );
    let verbose = said(&["-v"], None).await;
    assert!(verbose.contains("ec2:DescribeVpcs"), "{verbose}");
    let logged = said(&[], Some("debug")).await;
    assert!(logged.contains("DEBUG"), "{logged}");
    let coloured = said(&["--color", "always"], Some("debug")).await;
    assert!(coloured.contains("\u{1b}[34mDEBUG"), "{coloured}");
}

#[test]
fn what_the_reader_of_aws_writes_is_what_the_model_takes() {
    let calls = Call::ALL
        .into_iter()
        .filter_map(|call| Some((call, call.stem()?)));
    let mut stems: Vec<&str> = Vec::new();
    for (call, stem) in calls {
        let answer = Answer::of_stem(stem).unwrap();
        assert_eq!(answer.stem, stem);
        // A reading starts from the cluster, a snapshot made by hand may lack it.
        if call != Call::Cluster {
            let is_essential = call.necessity() == Necessity::Essential;
            assert_eq!(answer.need == Need::Required, is_essential, "{stem}");
        }
        stems.push(stem);
    }
    let of_aws = ANSWERS
        .iter()
        .filter(|answer| answer.command.starts_with("aws "));
    for answer in of_aws {
        assert!(stems.contains(&answer.stem), "{}", answer.stem);
    }
}
