//! The committed code is what the `.proto` files generate. `REACHPROOF_BLESS=1` rewrites it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{env, fs, path::Path};

/// Generates the code of both files into a new directory and returns what is in its one file.
fn generate(root: &Path) -> String {
    let files = ["reachproof/v1/control.proto", "reachproof/v1/peer.proto"];
    let descriptors = protox::compile(files, [root]).unwrap();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .out_dir(out.path())
        .compile_fds(descriptors)
        .unwrap();
    fs::read_to_string(out.path().join("reachproof.v1.rs")).unwrap()
}

#[test]
fn generated_code_is_that_of_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/gen/reachproof.v1.rs");
    let generated = generate(root);
    if env::var_os("REACHPROOF_BLESS").is_some() {
        fs::write(&committed, &generated).unwrap();
    }
    assert!(
        generated == fs::read_to_string(&committed).unwrap(),
        "src/gen/reachproof.v1.rs is not what the .proto files generate: run the tests with REACHPROOF_BLESS=1"
    );
}
