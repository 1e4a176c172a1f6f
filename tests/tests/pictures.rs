//! The pictures of README are what the commands print: `REACHPROOF_PICTURES=draw cargo test -p reachproof-tests --test
//! pictures` draws them anew.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests fail by panicking")]

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anstyle_svg::Term;
use reachproof_lab::world::World;
use reachproof_tests::binaries::{binary, build};
use serde_json::Value;

/// What a picture shows: its name, the world whose snapshot is `world`, and the arguments of `reachproof`.
const PICTURES: [(&str, &str, &str); 2] = [
    ("check", "node-sg", "check --snapshot world"),
    (
        "explain",
        "node-sg",
        "explain 10.0.1.20 10.0.1.10 443 --snapshot world",
    ),
];

/// What a command prints, with its colours, under the line that was typed.
fn printed(world: &str, arguments: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let expanded = World::builtin(world).unwrap().expand().unwrap();
    let snapshot = Value::Object(expanded.plan.snapshot);
    fs::write(directory.path().join("world"), snapshot.to_string()).unwrap();
    let output = Command::new(binary("reachproof").unwrap())
        .args(arguments.split(' '))
        .args(["--color", "always"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.is_empty(), "{:?}", output.stderr);
    format!("$ reachproof {arguments}\n{text}")
}

#[test]
fn every_picture_is_what_its_command_prints() {
    build().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures");
    for (name, world, arguments) in PICTURES {
        let drawn = Term::new().render_svg(&printed(world, arguments));
        let file = folder.join(format!("{name}.svg"));
        if env::var_os("REACHPROOF_PICTURES").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, &drawn).unwrap();
        }
        let there = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            there == drawn,
            "{name}.svg is not what the command prints: draw it anew, as the head of this file says"
        );
    }
}
