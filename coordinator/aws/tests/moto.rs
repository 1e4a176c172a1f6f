//! A cluster in an emulator, read through the SDK (`tests/emulator`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reachproof_aws::doctor::{Examination, examine};
use reachproof_aws::{Connection, ReadGap, Settings};
use reachproof_model::describe::Described;
use reachproof_model::examination::CheckState;
use reachproof_model::snapshot::Snapshot;
use support::{CLUSTER, settings};

/// How long the emulator may take to listen: it imports half of moto.
const START_MAX: Duration = Duration::from_secs(60);

/// A running emulator with a cluster in it; it ends when dropped.
struct Emulator {
    server: Child,
    address: SocketAddr,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let killed = self.server.kill().and_then(|()| self.server.wait());
        assert!(killed.is_ok(), "the emulator did not end: {killed:?}");
    }
}

impl Emulator {
    /// Installs moto into `home`, starts it and builds the cluster.
    fn start(home: &Path) -> Self {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(home));
        let packages = ["install", "--quiet", "moto[ec2,eks,server]==5.2.5", "boto3"];
        succeed(Command::new(home.join("bin/pip")).args(packages));
        let python = home.join("bin/python");
        let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/emulator");
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut server = Command::new(&python);
        server
            .arg(scripts.join("server.py"))
            .arg(address.port().to_string());
        let server = server
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let emulator = Self { server, address };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < START_MAX, "the emulator does not listen");
            std::thread::sleep(Duration::from_millis(100));
        }
        succeed(
            Command::new(&python)
                .arg(scripts.join("world.py"))
                .arg(format!("http://{address}")),
        );
        emulator
    }

    fn settings(&self) -> Settings {
        let mut settings = settings(self.address);
        settings.region = Some("eu-central-1".to_owned());
        settings.pace.attempt_timeout = Duration::from_secs(10);
        settings.pace.request_timeout = Duration::from_secs(60);
        settings
    }
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
#[ignore = "needs moto from PyPI, which it installs into an environment of its own"]
async fn a_cluster_in_the_emulator_is_found_whole_and_twice_the_same() {
    let home = tempfile::tempdir().unwrap();
    let emulator = Emulator::start(home.path());
    let settings = emulator.settings();
    let connection = Connection::open(&settings).await.unwrap();
    let first = reachproof_aws::read(&connection, CLUSTER, &|_| {})
        .await
        .unwrap();
    let second = reachproof_aws::read(&connection, CLUSTER, &|_| {})
        .await
        .unwrap();
    assert_eq!(
        serde_json::to_string_pretty(&first.answers).unwrap(),
        serde_json::to_string_pretty(&second.answers).unwrap()
    );
    let unexpected: Vec<&ReadGap> = first.gaps.iter().collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert_eq!(first.readings, 1);

    let decoded = Snapshot::decode(&Described::from(first.answers.clone())).unwrap();
    assert_eq!(decoded.snapshot.network_interfaces().count(), 9);
    assert_eq!(decoded.snapshot.control_plane_interfaces().len(), 2);
    for stem in [
        "describe-nodegroup.ng",
        "describe-fargate-profile.fp",
        "describe-managed-prefix-lists",
    ] {
        assert!(first.answers.contains_key(stem), "{stem}");
    }
    let vpcs = first.answers["describe-vpcs"]["Vpcs"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(vpcs, 2, "the peered VPC is read, too");

    let mut examination = Examination::default();
    examine(&connection, CLUSTER, &mut examination).await;
    let lines = examination.checks.iter();
    let missing: Vec<_> = lines
        .filter(|line| line.state == CheckState::Missing)
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
