//! Every world that comes along ends as its file states, run as `cargo lab -- --check --world NAME` runs it.

#![allow(clippy::panic, reason = "a test says why it fails")]

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use reachproof_lab::world::BUILTIN;

/// Columns of the page that the runner writes.
const WIDTH: &str = "120";

/// Runs one world, by its name or its file, and fails with what the runner says; returns the report for people.
fn ends_as_stated(world: impl AsRef<OsStr>) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_reachproof-lab"))
        .args(["--check", "--world"])
        .arg(world)
        .env("COLUMNS", WIDTH)
        .output()
        .unwrap_or_else(|error| panic!("cannot start the runner: {error}"));
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The last paragraph of a report is the verdict: it holds all of `texts`, the first at its beginning.
fn concludes(report: &str, texts: &[&str]) {
    let verdict = report.split("\n\n").last().unwrap_or_default();
    for (place, text) in texts.iter().enumerate() {
        let found = if place == 0 {
            verdict.starts_with(text)
        } else {
            report.contains(text)
        };
        assert!(found, "`{text}` in {report}");
    }
    assert!(report.lines().count() <= 40, "{report}");
}

/// One test for each world, and one that none is left out.
macro_rules! worlds {
    ($($test:ident: $world:literal, $texts:expr;)*) => {
        $(
            #[test]
            fn $test() {
                concludes(&ends_as_stated($world), &$texts);
            }
        )*

        #[test]
        fn every_world_is_tested() {
            let tested = [$($world),*];
            assert_eq!(BUILTIN.map(|builtin| builtin.name), tested);
        }
    };
}

worlds! {
    default_ends_as_stated: "default", ["PASS  96 of 108 flows as predicted, 4 of 4 needs hold (1 by the model alone)"];
    node_sg_ends_as_stated: "node-sg", [
        "FAIL  1 cause breaks 6 required flows",
        "node group workers, pods on node group workers -> control plane tcp/443: no ingress rule of sg-cluster",
        "\n  add:  aws ec2 authorize-security-group-ingress --group-id sg-cluster --protocol tcp --port 443 --source-group sg-node\n",
        "\n  seen: 6 of 6 flows confirmed, model and network agree\n",
    ];
    node_sg_and_control_plane_sg_ends_as_stated: "node-sg-and-control-plane-sg", ["PASS  "];
    terraform_ends_as_stated: "terraform", ["PASS  "];
    pod_sg_ends_as_stated: "pod-sg", ["PASS  "];
    nacl_ephemeral_ends_as_stated: "nacl-ephemeral", [
        "PASS  ",
        "Open for some source ports only (12): such connections hang by chance",
        "half-",
    ];
    peering_ends_as_stated: "peering", [
        "PASS  ",
        "Met under another address (",
        "4 flows, as web (10.0.1.31) -> db-1 (10.1.0.10) tcp/5432",
        "met as 10.0.1.20",
        "admits tcp/5432 from sg-cluster",
    ];
    peered_client_ends_as_stated: "peered-client", ["PASS  "];
    dual_stack_ends_as_stated: "dual-stack", [
        "PASS  ",
        "Open over one address family alone (",
        "2 flows, as legacy-",
        "4 flows, as node-1 (2600:1f14:abc:1::20) -> legacy-a (2600:1f14:abc:1::60) tcp/8080",
    ];
    drift_open_ends_as_stated: "drift-open", [
        "FAIL  2 flows open against the model",
        "no rule of sg-db (db) admits tcp/7500 from 10.0.1.60",
        "perhaps a rule was added that the snapshot does not show",
    ];
    drift_closed_ends_as_stated: "drift-closed", [
        "FAIL  4 flows closed against the model",
        "model allow (sgr-cluster-out-01, sgr-db-in-02)",
        "perhaps a rule is not yet in force",
    ];
    webhooks_ends_as_stated: "webhooks", ["FAIL  "];
    control_plane_drift_ends_as_stated: "control-plane-drift", ["PASS  "];
}

/// The other setting of the VPC CNI: pods keep their addresses, and the client meets them instead of the node.
#[test]
fn a_peered_client_meets_pods_where_the_node_translates_nothing() {
    let translated = BUILTIN.iter().find(|world| world.name == "peered-client");
    let mut text = translated.map_or_else(String::new, |world| world.text.to_owned());
    for (from, to) in [
        ("external-snat: false", "external-snat: true"),
        (
            "- orders -> client-1:5432 confirmed_allow",
            "- orders -> client-1:5432 confirmed_deny",
        ),
        (
            "- orders -> client-1:6432 confirmed_deny",
            "- orders -> client-1:6432 confirmed_allow",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let file = directory.path().join("external-snat.yaml");
    fs::write(&file, text).unwrap_or_else(|error| panic!("{error}"));
    ends_as_stated(file);
}

#[test]
fn a_pod_on_a_secondary_interface_answers_a_peered_client() {
    let file = "field/lab-reply-path.yaml";
    ends_as_stated(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
}
