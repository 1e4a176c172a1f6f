//! Every world that comes along ends as its file states, run as `cargo lab -- --check --world NAME` runs it.

#![allow(clippy::panic, reason = "a test says why it fails")]

use std::process::Command;

use reachproof_lab::world::BUILTIN;

/// Runs one world and fails with what the runner says.
fn ends_as_stated(world: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_reachproof-lab"))
        .args(["--check", "--world", world])
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
    dual_stack_ends_as_stated: "dual-stack",
    drift_open_ends_as_stated: "drift-open",
    drift_closed_ends_as_stated: "drift-closed",
}
