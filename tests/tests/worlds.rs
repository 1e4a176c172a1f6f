//! Every world that comes along ends as its file states, run as `cargo lab -- --check --world NAME` runs it.

#![allow(clippy::panic, reason = "a test says why it fails")]

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use reachproof_lab::world::BUILTIN;

/// Runs one world, by its name or its file, and fails with what the runner says.
fn ends_as_stated(world: impl AsRef<OsStr>) {
    let output = Command::new(env!("CARGO_BIN_EXE_reachproof-lab"))
        .args(["--check", "--world"])
        .arg(world)
        .output()
        .unwrap_or_else(|error| panic!("cannot start the runner: {error}"));
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// One test for each world, and one that none is left out.
macro_rules! worlds {
    ($($test:ident: $world:literal,)*) => {
        $(
            #[test]
            fn $test() {
                ends_as_stated($world);
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
    default_ends_as_stated: "default",
    node_sg_ends_as_stated: "node-sg",
    node_sg_and_control_plane_sg_ends_as_stated: "node-sg-and-control-plane-sg",
    terraform_ends_as_stated: "terraform",
    pod_sg_ends_as_stated: "pod-sg",
    nacl_ephemeral_ends_as_stated: "nacl-ephemeral",
    peering_ends_as_stated: "peering",
    peered_client_ends_as_stated: "peered-client",
    dual_stack_ends_as_stated: "dual-stack",
    drift_open_ends_as_stated: "drift-open",
    drift_closed_ends_as_stated: "drift-closed",
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
