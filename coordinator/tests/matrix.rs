//! What `matrix` and `diff` print, run as processes on the worlds of the vectors.
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

/// The world of a vector.
fn world(name: &str) -> Value {
    let file = format!("../tests/vectors/{name}.json");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let mut vector: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    vector["snapshot"].take()
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

/// What `matrix` says about the world of F03 with some more arguments.
fn matrix(arguments: &[&str]) -> String {
    matrix_of(&world("F03"), arguments)
}

/// A world of `tests/field`.
fn field(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/field");
    serde_json::from_str(&fs::read_to_string(file.join(name)).unwrap()).unwrap()
}

/// The lines of `matrix -o json`, and the gaps behind them.
fn entries(text: &str) -> (Vec<Value>, Option<Value>) {
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let gaps = lines.pop_if(|last| last.get("gaps").is_some());
    (lines, gaps.map(|mut line| line["gaps"].take()))
}

/// What `matrix` says about a world.
fn matrix_of(world: &Value, arguments: &[&str]) -> String {
    let directory = TempDir::new().unwrap();
    let snapshot = written(&directory, "snapshot.json", world);
    let mut all = vec!["matrix", "--snapshot", snapshot.to_str().unwrap()];
    all.extend(arguments);
    let output = reachproof(&all);
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

/// Two snapshots compared.
fn diff(before: &Value, after: &Value, arguments: &[&str]) -> (Option<i32>, String) {
    let directory = TempDir::new().unwrap();
    let before = written(&directory, "before.json", before);
    let after = written(&directory, "after.json", after);
    let mut all = vec!["diff", before.to_str().unwrap(), after.to_str().unwrap()];
    all.extend(arguments);
    let output = reachproof(&all);
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

/// The group of a world that people call `name`.
fn group<'a>(world: &'a mut Value, name: &str) -> &'a mut Value {
    world["describe-security-groups"]["SecurityGroups"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(|group| group["Description"] == name)
        .unwrap()
}

#[test]
fn the_matrix_names_who_reaches_the_control_plane() {
    insta::assert_snapshot!(matrix(&[
        "--destination",
        "control plane",
        "--port",
        "443",
        "--list"
    ]));
}

#[test]
fn a_filter_takes_the_names_of_ends_and_is_an_error_where_it_means_nobody() {
    let list = |who: &str| entries(&matrix(&["--source", who, "-o", "json"])).0;
    let of_node = list("i-64b7f87b2ad2298c1");
    assert!(!of_node.is_empty());
    assert_eq!(of_node.len(), list("eni-cba6f0033911a1208").len());
    assert!(list("sg/D").len() > of_node.len());
    for (who, wanted) in [
        (
            "10.0.1.99",
            "`10.0.1.99` has no address in the snapshot; near it: `10.0.1.90`,",
        ),
        (
            "sg/NODES",
            "nothing is called `sg/NODES`; near it: `sg-35991bff961ca45d8 (NODE)`",
        ),
        ("10.0.1.300", "`10.0.1.300` is no IP address and no network"),
    ] {
        let directory = TempDir::new().unwrap();
        let snapshot = written(&directory, "snapshot.json", &world("F03"));
        let output = reachproof(&[
            "matrix",
            "--snapshot",
            snapshot.to_str().unwrap(),
            "--destination",
            who,
        ]);
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn one_entry_in_json_holds_the_tuple_that_decides() {
    let text = matrix(&[
        "--source",
        "10.0.2.50",
        "--destination",
        "10.0.1.10",
        "-o",
        "json",
    ]);
    let (entries, _) = entries(&text);
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["verdict"], "allow");
    assert_eq!(entries[0]["ports"], json!([0, 65535]));
    assert!(entries[0]["egress"].as_str().unwrap().starts_with("sgr-"));
    assert!(
        entries[0]["route"]["route"]
            .as_str()
            .unwrap()
            .ends_with("local")
    );
}

#[test]
fn two_addresses_of_one_host_are_bypass_in_every_format() {
    let asked = [
        "--source",
        "10.0.1.20",
        "--destination",
        "10.0.1.30",
        "-o",
        "json",
    ];
    let (entries, _) = entries(&matrix(&asked));
    assert_eq!(entries.len(), 1);
    let said = |key: &str| &entries[0][key];
    assert_eq!(
        (said("verdict"), said("reason"), said("on_one_host")),
        (&json!("bypass"), &json!("same-host"), &json!(true))
    );
    assert_eq!(said("source")["example"], "10.0.1.20");
    assert_eq!(said("destination")["example"], "10.0.1.30");
    let table = matrix(&[&asked[..4], &["--list"]].concat());
    assert!(
        table.contains(", on the same host  0-65535    bypass   same-host"),
        "{table}"
    );
    let csv = matrix(&[&asked[..5], &["csv"]].concat());
    let line = csv.lines().nth(1).unwrap();
    assert!(line.contains("\"bypass\",\"\",\"same-host\""), "{line}");
    assert!(line.ends_with("\"host\",\"true\""), "{line}");
}

#[test]
fn a_strict_branch_pod_meets_its_groups_on_its_own_host_too() {
    let asked = [
        "--source",
        "10.0.1.20",
        "--destination",
        "10.0.1.90",
        "-o",
        "json",
    ];
    let in_mode = |mode: &str| {
        let mut world = world("F03");
        world["aws-node"]["spec"]["template"]["spec"]["containers"][0]["env"] =
            json!([{"name": "POD_SECURITY_GROUP_ENFORCING_MODE", "value": mode}]);
        let (mut entries, _) = entries(&matrix_of(&world, &asked));
        assert_eq!(entries.len(), 1);
        entries.remove(0)
    };
    let strict = in_mode("strict");
    assert_eq!(strict["on_one_host"], true);
    assert_eq!(strict["gate"], "sg-ingress");
    let standard = in_mode("standard");
    assert_eq!(standard["verdict"], "unknown");
    assert_eq!(standard["reason"], "same-host-branch");
}

#[test]
fn gaps_follow_the_lines_in_json_unless_nobody_wants_them() {
    let (lines, gaps) = entries(&matrix(&["--port", "443", "-o", "json"]));
    assert!(lines.len() > 10);
    let gaps = gaps.unwrap();
    let texts: Vec<&str> = gaps
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it["file"].as_str())
        .collect();
    assert!(texts.contains(&"networkpolicies"), "{gaps}");
    let (fewer, gaps) = entries(&matrix(&["--port", "443", "-o", "json", "--gaps", "none"]));
    assert_eq!((fewer, gaps), (lines, None));
}

#[test]
fn the_kind_of_the_source_decides_whether_its_node_translates() {
    let world = field("matrix-pod-snat.snapshot.json");
    let verdict = |kind: &[&str]| {
        let asked = [
            "--source",
            "10.0.1.31",
            "--destination",
            "10.1.0.5",
            "--port",
            "8080",
        ];
        let text = matrix_of(&world, &[&asked[..], &["-o", "json"], kind].concat());
        let (entries, _) = entries(&text);
        assert_eq!(entries.len(), 1);
        (
            entries[0]["source_kind"].clone(),
            entries[0]["verdict"].clone(),
        )
    };
    assert_eq!(verdict(&[]), (json!("pod"), json!("deny")));
    assert_eq!(
        verdict(&["--source-kind", "pod"]),
        (json!("pod"), json!("deny"))
    );
    assert_eq!(
        verdict(&["--source-kind", "host"]),
        (json!("host"), json!("allow"))
    );
}

#[test]
fn csv_has_a_header_and_as_many_fields_in_every_line() {
    let text = matrix(&["-o", "csv"]);
    let mut lines = text.lines();
    let fields = lines.next().unwrap().split(',').count();
    assert!(text.lines().count() > 10);
    for line in lines {
        assert_eq!(line.split("\",\"").count(), fields, "{line}");
    }
}

#[test]
fn a_removed_rule_is_named_for_the_flows_that_it_loses() {
    let before = world("F04");
    let mut after = before.clone();
    group(&mut after, "CP")["IpPermissions"] = json!([]);
    let (code, text) = diff(&before, &after, &[]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(text);
    let (code, text) = diff(&after, &before, &["-o", "json"]);
    assert_eq!(code, Some(1));
    let object: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(object["flows"][0]["change"], "gained");
    assert_eq!(object["flows"][0]["expectation"], true);
}

#[test]
fn the_same_world_twice_is_no_difference() {
    let (code, text) = diff(&world("A01"), &world("A01"), &[]);
    assert_eq!(code, Some(0));
    let lines: Vec<_> = text.lines().collect();
    let [first, "", last] = lines.as_slice() else {
        panic!("{text}");
    };
    assert_eq!(*first, "no difference");
    assert!(
        last.starts_with("PASS   no answer of the model changed"),
        "{text}"
    );
}

#[test]
fn rules_that_say_the_same_are_no_change_in_reachability() {
    let before = world("A01");
    let mut after = before.clone();
    let rules = group(&mut after, "D")["IpPermissions"]
        .as_array_mut()
        .unwrap();
    rules[0]["IpRanges"] = json!([{"CidrIp": "10.0.0.0/17"}, {"CidrIp": "10.0.128.0/17"}]);
    let (code, text) = diff(&before, &after, &[]);
    assert_eq!(code, Some(0));
    assert!(text.starts_with("no change in reachability\n"), "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("PASS   ") && last.ends_with("exit 0"),
        "{text}"
    );
}

#[test]
fn a_rolled_node_group_is_a_few_lines_of_what_is_alike() {
    let [before, after] =
        ["before", "after"].map(|when| field(&format!("defect-diff-roll-{when}.json")));
    let (code, text) = diff(&before, &after, &["--gaps", "none"]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(text);
    let (_, all) = diff(&before, &after, &["--gaps", "none", "--all"]);
    let (_, json) = diff(&before, &after, &["-o", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let count = |key: &str| json[key].as_array().unwrap().len();
    let rows = all.lines().filter(|line| line.contains("allow -> deny"));
    assert_eq!(rows.count(), count("flows") + count("answers"));
    assert!(count("answers") > 30);
}
