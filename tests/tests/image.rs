//! The agent's image, built from scratch and run as its manifest says: as nobody, without a capability, on a read-only root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use reachproof_lab::world::World;
use reachproof_tests::binaries::{self, binary};
use reachproof_tests::pod::{Container, Facts, Mount, Stored};
use serde_json::{Value, json};
use tempfile::TempDir;

const IMAGE: &str = "registry.example/reachproof-agent:check";

/// Largest image of the agent, in bytes, unpacked.
const IMAGE_MAX: u64 = 10_000_000;

/// A node of the world whose snapshot the run reads.
const ADDRESS: &str = "10.0.1.20";
const NODE: &str = "ip-10-0-1-20.ec2.internal";

/// Longest wait for a container or a coordinator.
const PATIENCE: Duration = Duration::from_secs(90);

/// The image, unpacked.
struct Image {
    directory: TempDir,
    configuration: Value,
}

impl Image {
    fn root(&self) -> PathBuf {
        self.directory.path().join("rootfs")
    }
}

/// Runs a command to its end and fails with what it said if it fails.
fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}: {said}",
        output.status
    );
    output
}

/// Builds the image once, as the README says, and unpacks it as a container runtime does.
fn image() -> &'static Image {
    static IMAGE_BUILT: OnceLock<Image> = OnceLock::new();
    IMAGE_BUILT.get_or_init(|| {
        binaries::build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{0}/graph\"\nrunroot = \"{0}/run\"\n",
            place.display()
        );
        fs::write(place.join("storage.conf"), storage).unwrap();
        let with_storage = |program: &str| {
            let mut command = Command::new(program);
            command.env("CONTAINERS_STORAGE_CONF", place.join("storage.conf"));
            command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
            command
        };
        run(with_storage("deploy/images/build")
            .args(["agent", IMAGE])
            .env("CARGO_TARGET_DIR", binaries::target().unwrap()));
        let layout = format!("oci:{}:check", place.join("oci").display());
        run(with_storage("buildah").args(["push", "--quiet", IMAGE, &layout]));
        let configuration = unpack(&place.join("oci"), &place.join("rootfs"));
        Image {
            directory,
            configuration,
        }
    })
}

/// Unpacks the only image of an OCI layout and returns its configuration.
fn unpack(layout: &Path, root: &Path) -> Value {
    let read = |path: PathBuf| -> Value {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        layout.join("blobs").join(digest.replace(':', "/"))
    };
    let manifest = read(blob(&read(layout.join("index.json"))["manifests"][0]));
    fs::create_dir(root).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        run(Command::new("tar")
            .arg("-xzf")
            .arg(blob(layer))
            .arg("-C")
            .arg(root));
    }
    read(blob(&manifest["config"]))
}

/// The objects that `reachproof manifests` prints for the default world.
fn manifests(snapshot: &Path, credentials: &Path) -> Vec<Value> {
    let output = run(Command::new(binary("reachproof").unwrap())
        .arg("manifests")
        .arg("--snapshot")
        .arg(snapshot)
        .args(["--image", IMAGE, "--host-network"])
        .args(["--coordinator", &format!("{ADDRESS}:7443")])
        .arg("--credentials")
        .arg(credentials));
    let text = String::from_utf8(output.stdout).unwrap();
    text.split("\n---\n")
        .skip(1)
        .map(|document| yaml_serde::from_str(document).unwrap())
        .collect()
}

/// A container that runc runs until this is dropped.
struct Running {
    name: String,
    state: PathBuf,
    process: Child,
    log: PathBuf,
}

impl Running {
    fn runc(&self) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(&self.state);
        command
    }

    /// Runs a command in the container, as an exec probe does.
    fn exec(&self, words: &[String]) -> Output {
        self.runc()
            .args(["exec", &self.name])
            .args(words)
            .output()
            .unwrap()
    }

    /// Id of its first process.
    fn id(&self) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let state = self.runc().args(["state", &self.name]).output().unwrap();
            if let Ok(state) = serde_json::from_slice::<Value>(&state.stdout)
                && state["status"] == "running"
            {
                return state["pid"].to_string();
            }
            let said = fs::read_to_string(&self.log).unwrap();
            assert!(Instant::now() < end, "the container does not run: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that ended by itself cannot be deleted; there is nobody to tell.
        let _ended = self.runc().args(["delete", "--force", &self.name]).output();
        let _reaped = self.process.wait();
    }
}

/// Starts a container from the image, as nobody, without a capability, on a read-only root.
fn start(name: &str, container: &Container, mounts: &[(PathBuf, String)]) -> Running {
    let image = image();
    let bundle = image.directory.path().join(name);
    fs::create_dir(&bundle).unwrap();
    // A copy: runc makes the places where it mounts.
    run(Command::new("cp").arg("-a").arg(image.root()).arg(&bundle));
    let environment: Vec<String> = container
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let none: [&str; 0] = [];
    let bound = mounts.iter().map(|(from, to)| {
        json!({"destination": to, "type": "bind", "source": from, "options": ["bind", "ro", "nosuid", "nodev"]})
    });
    let standard = [
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=65536k"]}),
    ];
    let configuration = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 65532, "gid": 65532},
            "args": container.command,
            "env": environment,
            "cwd": "/",
            "capabilities": {
                "bounding": none, "effective": none, "inheritable": none, "permitted": none, "ambient": none,
            },
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "mounts": standard.into_iter().chain(bound).collect::<Vec<_>>(),
        "linux": {"namespaces": [
            {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
        ]},
    });
    fs::write(bundle.join("config.json"), configuration.to_string()).unwrap();
    let (state, log) = (image.directory.path().join("runc"), bundle.join("log"));
    let file = fs::File::create(&log).unwrap();
    let process = Command::new("runc")
        .arg("--root")
        .arg(&state)
        .args(["run", "--bundle"])
        .arg(&bundle)
        .arg(name)
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    Running {
        name: name.to_owned(),
        state,
        process,
        log,
    }
}

/// Writes the files of the objects that are mounted, each object into a folder of its own.
fn written(
    objects: &[Value],
    namespace: &str,
    mounts: &[Mount],
    place: &Path,
) -> Vec<(PathBuf, String)> {
    let files = |mount: &Mount| {
        let (kind, field) = match mount.kind {
            Stored::ConfigMap => ("ConfigMap", "data"),
            Stored::Secret => ("Secret", "stringData"),
            Stored::Token { .. } => panic!("no API server makes tokens here"),
        };
        let object = objects.iter().find(|object| {
            object["kind"] == kind
                && object["metadata"]["name"] == *mount.name
                && object["metadata"]["namespace"] == namespace
        });
        let folder = place.join(kind);
        fs::create_dir(&folder).unwrap();
        for (key, content) in object.unwrap()[field].as_object().unwrap() {
            let path = folder.join(key);
            fs::write(&path, content.as_str().unwrap()).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mount.mode)).unwrap();
            // What a node does for `fsGroup`.
            std::os::unix::fs::chown(&path, None, Some(65532)).unwrap();
        }
        (folder, mount.path.clone())
    };
    mounts.iter().map(files).collect()
}

#[test]
#[ignore = "needs buildah"]
fn the_image_holds_a_static_agent_of_at_most_10_megabytes_and_nothing_else() {
    let image = image();
    let files: Vec<PathBuf> = fs::read_dir(image.root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files, [image.root().join("reachproof-agent")]);
    let size = fs::metadata(&files[0]).unwrap().len();
    println!("image of the agent: {size} bytes unpacked");
    assert!(size <= IMAGE_MAX, "{size} bytes");
    assert_eq!(image.configuration["config"]["User"], "65532:65532");
    assert_eq!(
        image.configuration["config"]["Entrypoint"],
        json!(["/reachproof-agent"])
    );
}

/// The agent of the host DaemonSet runs from the image, attaches, answers its probes, does its part of a run, and ends
/// with 0 at SIGTERM.
#[test]
#[ignore = "needs buildah and runc, and root"]
fn the_image_runs_as_nobody_without_a_capability_on_a_read_only_root() {
    let _built = image();
    let place = tempfile::tempdir().unwrap();
    let snapshot = place.path().join("snapshot.json");
    let world = World::builtin("default").unwrap().expand().unwrap();
    fs::write(&snapshot, Value::Object(world.plan.snapshot).to_string()).unwrap();
    let credentials = place.path().join("credentials");
    let objects = manifests(&snapshot, &credentials);
    let template = objects
        .iter()
        .find(|object| object["metadata"]["name"] == "reachproof-agent-host")
        .map(|set| &set["spec"]["template"])
        .unwrap();
    let facts = Facts {
        name: "reachproof-agent-host".to_owned(),
        node: NODE.to_owned(),
        addresses: vec![ADDRESS.parse::<IpAddr>().unwrap()],
    };
    let container = Container::of(template, &facts).unwrap();
    let mounts = written(&objects, "reachproof-host", &container.mounts, place.path());
    let mut running = start("agent", &container, &mounts);

    let id = running.id();
    check_rights(&id);
    assert!(running.exec(&container.liveness).status.success());
    assert!(
        !running.exec(&container.readiness).status.success(),
        "nobody is there yet"
    );

    let (report, exit) = verified(&id, &snapshot, &credentials, || {
        let end = Instant::now() + PATIENCE;
        while !running.exec(&container.readiness).status.success() {
            let said = fs::read_to_string(&running.log).unwrap();
            assert!(Instant::now() < end, "the agent does not attach: {said}");
            std::thread::sleep(Duration::from_millis(100));
        }
        let words = ["/reachproof-agent", "probe", ADDRESS, "7443"].map(str::to_owned);
        let probed = String::from_utf8(running.exec(&words).stdout).unwrap();
        assert!(
            probed.starts_with(&format!("{ADDRESS} 7443 open in ")),
            "{probed}"
        );
    });
    // Nothing but itself is there, so nothing is confirmed; but its attempts are in the report.
    assert!(matches!(exit, Some(1 | 3)), "{exit:?}");
    let text = report.to_string();
    assert!(text.contains(NODE), "{text}");
    let observed = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| {
            finding["flow"]["source"] == ADDRESS && !finding["observation"].is_null()
        });
    assert!(observed.count() > 0, "{text}");

    run(running.runc().args(["kill", "agent", "TERM"]));
    let status = running.process.wait().unwrap();
    assert!(status.success(), "{status} after SIGTERM");
}

/// Fails unless the process is nobody, has no capability and can get none, and cannot write its root.
fn check_rights(id: &str) {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(field("Uid:"), "65532 65532 65532 65532");
    assert_eq!(field("Gid:"), "65532 65532 65532 65532");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    let mounts = fs::read_to_string(format!("/proc/{id}/mountinfo")).unwrap();
    let root = mounts
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    let options = root.unwrap().split(' ').nth(5).unwrap();
    assert!(options.split(',').any(|option| option == "ro"), "{options}");
}

/// A run of `reachproof verify` in the network namespace of process `id`; `meanwhile` is called while it waits.
fn verified(
    id: &str,
    snapshot: &Path,
    credentials: &Path,
    meanwhile: impl FnOnce(),
) -> (Value, Option<i32>) {
    let within = |program: &Path| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{id}/ns/net")).arg(program);
        command
    };
    run(within(Path::new("ip")).args(["address", "add", &format!("{ADDRESS}/32"), "dev", "lo"]));
    let coordinator = within(&binary("reachproof").unwrap())
        .arg("verify")
        .arg("--snapshot")
        .arg(snapshot)
        .arg("--credentials")
        .arg(credentials)
        .args(["--listen", &format!("{ADDRESS}:7443")])
        // One more than there are, so that it still waits while the agent is asked.
        .args([
            "--expect", "2", "--wait", "15s", "--output", "json", "--seed", "1",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    meanwhile();
    let output = coordinator.wait_with_output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (report, output.status.code())
}
