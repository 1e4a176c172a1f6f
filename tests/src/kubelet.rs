//! Nodes that start what is scheduled to them, as far as agents need it.
//!
//! A pod is a process in the network namespace of the place that the world has for it, in a file system that holds its
//! program and what its manifest mounts. Images are not pulled: whatever the image, the program is the one given here.

mod room;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reachproof_lab::EndpointKind;
use reachproof_lab::kubernetes::ControlPlane;
use reachproof_lab::world::{AgentPlace, AgentPresence};
use serde_json::{Value, json};

use crate::error::RunnerError;
use crate::fargate;
use crate::pod::{Container, Facts, Mount, Stored};
use crate::stage::Stage;

pub use room::make_room;

/// What container runtimes set where an image does not.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Folders that a program of this machine needs beside itself.
const LIBRARIES: [&str; 3] = ["/lib", "/lib64", "/usr"];

/// What an agent's pod has; others are started by [`crate::job`].
const AGENTS_LABEL: &str = "/metadata/labels/reachproof~1agents";

/// Longest wait for a process after SIGTERM; a kubelet then kills it.
const GRACE: Duration = Duration::from_secs(10);

/// All nodes of a stage. Processes end when this is dropped.
#[derive(Debug)]
pub struct Kubelets<'a> {
    stage: &'a Stage,
    plane: &'a ControlPlane,
    program: PathBuf,
    services: String,
    running: BTreeMap<String, Running>,
}

/// A pod that was started.
#[derive(Debug)]
struct Running {
    namespace: String,
    name: String,
    endpoint: String,
    root: PathBuf,
    container: Container,
    process: Child,
    is_ready: bool,
}

impl<'a> Kubelets<'a> {
    /// The nodes of `stage`, which start `program` in every pod.
    #[must_use]
    pub const fn new(stage: &'a Stage, plane: &'a ControlPlane, program: PathBuf) -> Self {
        Self {
            stage,
            plane,
            program,
            services: String::new(),
            running: BTreeMap::new(),
        }
    }

    /// Lets all pods that are started from now on resolve the name of a Service to an address: that of the pod behind it, as
    /// CoreDNS and kube-proxy together would lead there.
    pub fn resolve(&mut self, service: &str, address: IpAddr) {
        self.services = format!("{address} {service}\n");
    }

    /// Does once what nodes do all the time: starts and ends pods, and asks the probes of those that are not ready.
    ///
    /// A pod for which the world has no place keeps waiting, as on a node whose interfaces have no address left.
    ///
    /// # Errors
    /// [`RunnerError::Pod`] for a pod that cannot be started or ended, [`RunnerError::Kubernetes`].
    pub fn turn(&mut self) -> Result<(), RunnerError> {
        let pods = self.pods()?;
        let fargate: BTreeSet<&str> = self
            .places()
            .filter(|place| place.kind == EndpointKind::Fargate)
            .filter_map(|place| place.node.as_deref())
            .collect();
        fargate::schedule(self.plane, &pods, &fargate)?;
        for pod in &pods {
            let is_started = self.running.contains_key(&text(pod, "/metadata/uid"));
            let is_ending = pod.pointer("/metadata/deletionTimestamp").is_some();
            let is_pending = text(pod, "/status/phase") == "Pending";
            let is_agent = pod.pointer(AGENTS_LABEL).is_some();
            let is_scheduled = !text(pod, "/spec/nodeName").is_empty() && is_agent;
            let result = if is_started && is_ending {
                self.end(pod)
            } else if !is_started && !is_ending && is_pending && is_scheduled {
                self.start(pod)
            } else {
                continue;
            };
            result.map_err(|source| RunnerError::Pod {
                pod: format!(
                    "{}/{}",
                    text(pod, "/metadata/namespace"),
                    text(pod, "/metadata/name")
                ),
                source: source.to_string().into(),
            })?;
        }
        self.probe()
    }

    /// How many pods run.
    #[must_use]
    pub fn started(&self) -> usize {
        self.running.len()
    }

    /// How many of them their probes called ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.running.values().filter(|pod| pod.is_ready).count()
    }

    /// Places of the world at which no pod runs, in the cluster or outside it.
    pub fn free_places(&self) -> impl Iterator<Item = &'a AgentPlace> {
        let taken = self.taken();
        self.places()
            .filter(move |place| !taken.contains(place.endpoint.as_str()))
    }

    fn taken(&self) -> BTreeSet<&str> {
        self.running
            .values()
            .map(|pod| pod.endpoint.as_str())
            .collect()
    }

    fn pods(&self) -> Result<Vec<Value>, RunnerError> {
        let listed =
            self.plane
                .run_kubectl(["get", "pods", "--all-namespaces", "--output", "json"])?;
        let mut listed: Value = serde_json::from_str(&listed)?;
        let items = listed.get_mut("items").map(Value::take);
        Ok(match items {
            Some(Value::Array(items)) => items,
            Some(_) | None => Vec::new(),
        })
    }

    /// Where agents run in the world.
    fn places(&self) -> impl Iterator<Item = &'a AgentPlace> + use<'a> {
        let places = self.stage.expanded.agents.iter();
        places.filter(|place| place.presence == AgentPresence::Running)
    }

    /// A place for a pod, if there is one that no other pod has.
    fn place(&self, pod: &Value) -> Option<&'a AgentPlace> {
        let node = text(pod, "/spec/nodeName");
        let on_host = pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
        self.free_places()
            .filter(|place| place.node.as_deref() == Some(&node))
            .find(|place| (place.kind == EndpointKind::Node) == on_host)
    }

    fn start(&mut self, pod: &Value) -> Result<(), Box<dyn Error>> {
        let Some(place) = self.place(pod) else {
            return Ok(());
        };
        let (namespace, name) = (
            text(pod, "/metadata/namespace"),
            text(pod, "/metadata/name"),
        );
        let facts = Facts {
            name: name.clone(),
            node: text(pod, "/spec/nodeName"),
            addresses: place.addresses.clone(),
        };
        let container = Container::of(pod, &facts)?;
        let uid = text(pod, "/metadata/uid");
        let root = self.stage.pod_directory(&uid);
        let program = container.command.first().cloned().unwrap_or_default();
        furnish(&root, &self.program, &program)?;
        let settings = root.join("etc");
        fs::create_dir(&settings)?;
        fs::write(settings.join("hosts"), &self.services)?;
        fs::write(settings.join("nsswitch.conf"), "hosts: files\n")?;
        for mount in &container.mounts {
            self.fill(&root, pod, mount)?;
        }
        let mut command = self.within(&place.endpoint, &root, &container, &container.command)?;
        let log = File::create(self.stage.log(&name))?;
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let running = Running {
            namespace,
            name,
            endpoint: place.endpoint.clone(),
            root,
            container,
            process,
            is_ready: false,
        };
        self.report(&running, Some(&facts))?;
        self.running.insert(uid, running);
        Ok(())
    }

    /// A command in the pod.
    fn within(
        &self,
        endpoint: &str,
        root: &Path,
        container: &Container,
        words: &[String],
    ) -> Result<Command, RunnerError> {
        let mut command = self.stage.lab.command(endpoint, OsStr::new("chroot"))?;
        command.arg(root).args(words).env_clear();
        command.env("PATH", SEARCH_PATH);
        let variables = container.environment.iter();
        command.envs(variables.map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Writes the files of a volume where they are mounted.
    fn fill(&self, root: &Path, pod: &Value, mount: &Mount) -> Result<(), Box<dyn Error>> {
        let folder = root.join(mount.path.trim_start_matches('/'));
        DirBuilder::new().recursive(true).create(&folder)?;
        let namespace = text(pod, "/metadata/namespace");
        let of_object = |kind| stored(self.plane, (&namespace, kind, &mount.name));
        let files = match &mount.kind {
            Stored::ConfigMap => of_object("configmap")?,
            Stored::Secret => of_object("secret")?,
            Stored::Token {
                file,
                audience,
                seconds,
            } => vec![(file.clone(), self.token(pod, audience, *seconds)?)],
        };
        for (name, content) in files {
            let path = folder.join(name);
            fs::write(&path, content)?;
            fs::set_permissions(&path, Permissions::from_mode(mount.mode))?;
        }
        Ok(())
    }

    /// Asks the API server for a token of the pod's account, bound to the pod.
    fn token(&self, pod: &Value, audience: &str, seconds: u64) -> Result<String, RunnerError> {
        let of = |pointer: &str| text(pod, pointer);
        let said = self.plane.run_kubectl([
            "--namespace",
            &of("/metadata/namespace"),
            "create",
            "token",
            &of("/spec/serviceAccountName"),
            "--audience",
            audience,
            "--duration",
            &format!("{seconds}s"),
            "--bound-object-kind=Pod",
            "--bound-object-name",
            &of("/metadata/name"),
            "--bound-object-uid",
            &of("/metadata/uid"),
        ])?;
        Ok(said.trim().to_owned())
    }

    /// Writes the status of a pod; its addresses only once.
    fn report(&self, pod: &Running, facts: Option<&Facts>) -> Result<(), RunnerError> {
        let word = if pod.is_ready { "True" } else { "False" };
        let conditions: Value = [
            ("PodScheduled", "True"),
            ("Initialized", "True"),
            ("ContainersReady", word),
            ("Ready", word),
        ]
        .iter()
        .map(|(kind, status)| json!({"type": kind, "status": status}))
        .collect();
        let mut status = json!({
            "phase": "Running",
            "conditions": conditions,
            "containerStatuses": [{
                "name": "agent", "image": "lab", "imageID": "lab", "restartCount": 0,
                "ready": pod.is_ready, "started": true, "state": {"running": {}},
            }],
        });
        if let (Some(facts), Value::Object(fields)) = (facts, &mut status) {
            let all: Value = facts.addresses.iter().map(|ip| json!({"ip": ip})).collect();
            fields.insert("podIP".to_owned(), json!(facts.addresses.first()));
            fields.insert("podIPs".to_owned(), all);
        }
        let patch = json!({"status": status}).to_string();
        let to = ["--namespace", &pod.namespace, "patch", "pod", &pod.name];
        let how = ["--subresource=status", "--type=merge", "--patch", &patch];
        self.plane.run_kubectl(to.iter().chain(&how))?;
        Ok(())
    }

    /// Asks the probes of every pod that is not ready.
    fn probe(&mut self) -> Result<(), RunnerError> {
        let mut found = Vec::new();
        for (uid, pod) in self.running.iter().filter(|(_, pod)| !pod.is_ready) {
            let container = &pod.container;
            let mut good = true;
            for words in [&container.liveness, &container.readiness] {
                let mut command = self.within(&pod.endpoint, &pod.root, container, words)?;
                let output = command.output().map_err(|source| RunnerError::Pod {
                    pod: format!("{}/{}", pod.namespace, pod.name),
                    source: source.into(),
                })?;
                good &= output.status.success();
            }
            if good {
                found.push(uid.clone());
            }
        }
        for uid in found {
            if let Some(pod) = self.running.get_mut(&uid) {
                pod.is_ready = true;
            }
            if let Some(pod) = self.running.get(&uid) {
                self.report(pod, None)?;
            }
        }
        Ok(())
    }

    /// Ends a pod as a kubelet does, and says that it is gone.
    fn end(&mut self, pod: &Value) -> Result<(), Box<dyn Error>> {
        let Some(mut running) = self.running.remove(&text(pod, "/metadata/uid")) else {
            return Ok(());
        };
        let id = i32::try_from(running.process.id())?;
        kill(Pid::from_raw(id), Signal::SIGTERM)?;
        let end = Instant::now() + GRACE;
        let status = loop {
            match running.process.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > end => {
                    running.process.kill()?;
                    break running.process.wait()?;
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        if !status.success() {
            return Err(format!("it ended with {status} after SIGTERM").into());
        }
        let which = [
            "--namespace",
            &running.namespace,
            "delete",
            "pod",
            &running.name,
        ];
        let how = ["--grace-period=0", "--force", "--wait=false"];
        self.plane.run_kubectl(which.iter().chain(&how))?;
        Ok(())
    }
}

impl Drop for Kubelets<'_> {
    fn drop(&mut self) {
        for pod in self.running.values_mut() {
            // One that ended by itself cannot be killed; there is nobody to tell.
            let _already_ended = pod.process.kill();
            let _status = pod.process.wait();
        }
    }
}

/// A text of an object; empty where there is none.
pub(crate) fn text(object: &Value, path: &str) -> String {
    let text = object.pointer(path).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// The files of a ConfigMap (`configmap`) or Secret (`secret`), by name.
///
/// # Errors
/// What the control plane refuses.
pub(crate) fn stored(
    plane: &ControlPlane,
    (namespace, kind, name): (&str, &str, &str),
) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let of = ["--namespace", namespace, "get", kind, name, "--output"];
    let get = |form: &str| plane.run_kubectl(of.iter().chain([&form]));
    let object: Value = serde_json::from_str(&get("json")?)?;
    let data = object.get("data").and_then(Value::as_object);
    let mut files = Vec::new();
    for (key, value) in data.into_iter().flatten() {
        let content = if kind == "secret" {
            get(&format!(
                "go-template={{{{index .data {key:?} | base64decode}}}}"
            ))?
        } else {
            value.as_str().unwrap_or_default().to_owned()
        };
        files.push((key.clone(), content));
    }
    Ok(files)
}

/// Makes the file system of a pod: its program where the manifest wants it, and what the program needs of this machine.
///
/// The mounts go with the namespace of the lab.
pub(crate) fn furnish(root: &Path, program: &Path, wanted: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(root)?;
    for library in LIBRARIES.map(Path::new) {
        let Ok(found) = fs::symlink_metadata(library) else {
            continue;
        };
        let place = root.join(library.strip_prefix("/").unwrap_or(library));
        if found.is_symlink() {
            symlink(fs::read_link(library)?, &place)?;
        } else {
            fs::create_dir(&place)?;
            bind(library, &place)?;
        }
    }
    let processes = root.join("proc");
    fs::create_dir(&processes)?;
    bind(Path::new("/proc"), &processes)?;
    let place = root.join(wanted.trim_start_matches('/'));
    File::create(&place)?;
    bind(program, &place)
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(from), to, None::<&str>, flags, None::<&str>).map_err(io::Error::from)
}
