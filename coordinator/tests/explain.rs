//! What `explain` and `predict` print, run as processes on the worlds of the vectors.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The world and the flow of a vector.
fn vector(name: &str) -> Value {
    let file = format!("../tests/vectors/{name}.json");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Writes JSON into a directory.
fn written(directory: &TempDir, name: &str, value: &Value) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, value.to_string()).unwrap();
    path
}

/// Runs the command.
fn reachproof(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .args(arguments)
        .output()
        .unwrap()
}

/// What the command says on standard output when it explains a flow of a vector's world.
fn explained(world: &Value, arguments: &[&str]) -> String {
    let directory = TempDir::new().unwrap();
    let snapshot = written(&directory, "snapshot.json", world);
    let mut all = vec!["explain"];
    all.extend(arguments);
    all.extend(["--snapshot", snapshot.to_str().unwrap()]);
    let output = reachproof(&all);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code, standard output and standard error of `predict` on a list of flows.
fn predicted(world: &Value, flows: &Value) -> (Option<i32>, String, String) {
    let directory = TempDir::new().unwrap();
    let snapshot = written(&directory, "snapshot.json", world);
    let list = written(&directory, "flows.json", flows);
    let output = reachproof(&[
        "predict",
        "--snapshot",
        snapshot.to_str().unwrap(),
        "--flows",
        list.to_str().unwrap(),
        "--output",
        "json",
    ]);
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_deny_says_what_was_missing() {
    let world = &vector("F03")["snapshot"];
    insta::assert_snapshot!(explained(world, &["10.0.1.20", "10.0.2.10", "443"]));
}

#[test]
fn an_allow_names_both_rules() {
    let world = &vector("F04")["snapshot"];
    insta::assert_snapshot!(explained(world, &["10.0.1.20", "10.0.2.10", "443"]));
}

#[test]
fn a_partial_names_the_ports_that_work() {
    let world = &vector("D12")["snapshot"];
    insta::assert_snapshot!(explained(world, &["10.0.1.20", "10.0.2.20", "8080"]));
}

#[test]
fn a_dropped_reply_is_on_the_way_back() {
    let world = &vector("D04")["snapshot"];
    insta::assert_snapshot!(explained(world, &["10.0.1.20", "10.0.2.20", "8080"]));
}

#[test]
fn an_unreadable_list_is_named() {
    let world = &vector("A18")["snapshot"];
    insta::assert_snapshot!(explained(world, &["10.0.1.20", "10.0.2.20", "8080"]));
}

#[test]
fn a_translated_source_is_shown() {
    let world = &vector("F19")["snapshot"];
    let flow = ["10.0.1.31", "10.1.0.5", "8080", "--source-kind", "pod"];
    insta::assert_snapshot!(explained(world, &flow));
}

#[test]
fn traffic_of_one_host_meets_no_gate() {
    let world = &vector("C01")["snapshot"];
    insta::assert_snapshot!(explained(world, &["10.0.1.21", "10.0.1.31", "8080"]));
}

#[test]
fn names_cannot_move_the_cursor() {
    let mut world = vector("F03")["snapshot"].clone();
    let groups = world["describe-security-groups"]["SecurityGroups"]
        .as_array_mut()
        .unwrap();
    for group in groups {
        group["GroupName"] = json!("evil\u{1b}[2J\r\nname");
    }
    let text = explained(&world, &["10.0.1.20", "10.0.2.10", "443"]);
    assert!(text.contains("evil?[2J??name"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn answers_come_one_a_line_in_the_order_of_the_flows() {
    let vector = vector("A01");
    let mut other = vector["flow"].clone();
    other["port"] = json!(8081);
    let flows = json!([vector["flow"], other]);
    let (code, out, _) = predicted(&vector["snapshot"], &flows);
    assert_eq!(code, Some(0));
    let answers: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 2);
    for (answer, (port, verdict)) in answers.iter().zip([(8080, "allow"), (8081, "deny")]) {
        assert_eq!(answer["flow"]["port"], json!(port));
        assert_eq!(answer["verdict"], json!(verdict));
        assert!(
            answer["steps"]
                .as_array()
                .is_some_and(|steps| !steps.is_empty())
        );
    }
}

#[test]
fn one_bad_flow_leaves_standard_output_empty() {
    let vector = vector("A01");
    let mut bad = vector["flow"].clone();
    bad["port"] = json!(65979);
    let (code, out, err) = predicted(&vector["snapshot"], &json!([vector["flow"], bad]));
    assert_eq!(code, Some(2));
    assert_eq!(out, "");
    assert!(err.contains("flow 1 (counted from 0)"), "{err}");
    assert!(
        err.contains("field `port` must be a port from 0 to 65535, found `65979`"),
        "{err}"
    );
}

#[test]
fn a_snapshot_that_is_a_directory_gives_the_same_answer() {
    let world = vector("F04")["snapshot"].clone();
    let directory = TempDir::new().unwrap();
    for (stem, answer) in world.as_object().unwrap() {
        written(&directory, &format!("{stem}.json"), answer);
    }
    let path = directory.path().to_str().unwrap();
    let output = reachproof(&[
        "explain",
        "10.0.1.20",
        "10.0.2.10",
        "443",
        "--snapshot",
        path,
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, explained(&world, &["10.0.1.20", "10.0.2.10", "443"]));
}

/// The world of a replayed thread: two nodes, a webhook's pod and its Service.
fn webhook() -> Value {
    let file = "../tests/field/webhook-port-behind-service.thread.json";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let mut thread: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    thread.get_mut("snapshot").unwrap().take()
}

/// What standard error says of arguments that the command refuses.
fn refused(world: &Value, arguments: &[&str]) -> String {
    let directory = TempDir::new().unwrap();
    let snapshot = written(&directory, "snapshot.json", world);
    let mut all = vec!["explain"];
    all.extend(arguments);
    all.extend(["--snapshot", snapshot.to_str().unwrap(), "--gaps", "none"]);
    let output = reachproof(&all);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn ends_go_by_name() {
    let world = webhook();
    let by_address = explained(&world, &["10.40.2.21", "10.40.1.11", "443"]);
    for (source, destination, port) in [
        ("chaos/chaos-hook-7f", "10.40.1.11", "https"),
        ("svc/chaos/chaos-hook", "eni-7addf94d1c1eb2618", "443"),
        ("chaos/*", "eni-7addf94d1c1eb2618", "tcp/443"),
    ] {
        let by_name = explained(&world, &[source, destination, port]);
        assert_eq!(by_name, by_address, "{source}");
    }
}

#[test]
fn one_name_for_several_ends_is_a_line_for_each_pair_of_classes() {
    let asked = ["control plane", "chaos/chaos-hook", "9443"];
    let text = explained(&webhook(), &asked);
    insta::assert_snapshot!(text);
    let json = explained(&webhook(), &[&asked[..], &["-o", "json"]].concat());
    let lines: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!(line["stands_for"], json!({"sources": 1, "destinations": 1}));
        assert_eq!(line["verdict"], "deny");
        assert_eq!(
            line["diagnosis"]["causes"][0]["gates"],
            json!(["sg-ingress"])
        );
    }
}

#[test]
fn a_pair_says_for_how_many_ends_it_stands() {
    let world = &vector("A01")["snapshot"];
    let text = explained(world, &["sg/S", "10.0.2.20", "8080"]);
    assert!(text.contains("10.0.1.20, one of 2  10.0.2.20"), "{text}");
    let json = explained(world, &["sg/S", "10.0.2.20", "-o", "json"]);
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(
        first["stands_for"],
        json!({"sources": 2, "destinations": 1})
    );
}

#[test]
fn without_a_port_those_are_listed_that_get_through() {
    let asked = ["10.40.1.11", "chaos/chaos-hook"];
    insta::assert_snapshot!(explained(&webhook(), &asked));
    let json = explained(&webhook(), &[&asked[..], &["-o", "json"]].concat());
    let answer: Value = serde_json::from_str(&json).unwrap();
    let open: Vec<&Value> = answer["ports"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|part| part["verdict"] == "allow")
        .map(|part| &part["ports"])
        .collect();
    assert_eq!(open, [&json!([443, 443]), &json!([10_250, 10_250])]);
    let udp = explained(&webhook(), &[&asked[..], &["--protocol", "udp"]].concat());
    assert!(!udp.contains("tcp"), "{udp}");
    let last = udp.lines().last().unwrap();
    assert!(
        last.starts_with("FAIL   10.40.1.11 -> chaos/chaos-hook: reaches no port"),
        "{udp}"
    );
}

#[test]
fn words_that_name_nothing_say_what_is_near() {
    for (asked, wanted) in [
        (
            ["chaos/chaos-hok", "10.40.1.11", "443"],
            "error: cannot use these arguments: nothing is called `chaos/chaos-hok`; near it: `svc/chaos/chaos-hook`",
        ),
        (
            ["10.40.2.21", "10.40.1.11", "htps"],
            "error: cannot use these arguments: `htps` is no port: take a number from 0 to 65535 or a name, like `https`, `http`",
        ),
        (
            ["10.40.2.21", "10.40.1.11", "65979"],
            "error: cannot use these arguments: `65979` is no port",
        ),
        (
            ["10.40.2.21", "2001:db8::1", "443"],
            "error: cannot use these arguments: no end of `10.40.2.21` and no end of `2001:db8::1` have one address family\n",
        ),
    ] {
        let text = refused(&webhook(), &asked);
        assert!(text.starts_with(wanted), "{text}");
    }
}
