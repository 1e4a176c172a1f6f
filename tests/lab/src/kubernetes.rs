//! A Kubernetes control plane in the lab: one etcd, an API server behind each of the control plane's interfaces.
//!
//! Nothing here imitates Kubernetes. The programs are the real ones, so what an API server lists, reviews and refuses
//! in the lab is what it does on EKS, but for what EKS's own configuration changes. There is no kubelet: pods are what
//! a world says they are, or what the caller starts and reports.
//!
//! * `program`: the binary, built once from Go modules
//! * `flags`: what each API server is told
//! * `identity`: keys, certificates and tokens, made for one lab
//! * `process`: a program that ends with its owner
//! * `objects`: a world's Kubernetes half as objects to create
//!
//! **Invariants.** Every secret is made for one control plane and lies in its folder, mode 0600. Every process ends
//! when the [`ControlPlane`] is dropped.

mod error;
mod flags;
mod front;
mod identity;
mod objects;
mod process;
mod program;

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

pub use error::KubernetesError;
pub use front::{Front, Settings};
use identity::Identity;
use process::{Process, write_private};
pub use program::Program;

/// How long etcd and an API server may take to be ready: 3 to 7 s on two idle cores, several times that beside a build.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// How long one request of kubectl may take: an API server that lives answers within a second, beside a build within some.
const KUBECTL_LIMIT: Duration = Duration::from_secs(60);
/// How often readiness is asked for: each question starts kubectl, a tenth of a second of processor time.
const READY_PAUSE: Duration = Duration::from_millis(250);

/// Controllers that a cluster without kubelets still has use for. Not the one that declares nodes dead: nobody renews
/// their leases here.
const CONTROLLERS: &str = "serviceaccount-controller,root-ca-certificate-publisher-controller,namespace-controller,\
endpointslice-controller,daemonset-controller,deployment-controller,replicaset-controller,garbage-collector-controller,\
clusterrole-aggregation-controller,job-controller,cronjob-controller";

/// A control plane that is up until this is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    program: Program,
    folder: PathBuf,
    fronts: Vec<Front>,
    settings: Settings,
    identity: Identity,
    // Ended in this order: whoever asks before whoever answers.
    controllers: Vec<Process>,
    api_servers: Vec<Process>,
    _etcd: Process,
}

impl ControlPlane {
    /// Starts etcd, an API server at each of `fronts`, and the controllers at the first; returns when all are ready.
    ///
    /// `folder` must be absolute, exist, and have a short name (sockets in it have paths of at most 107 bytes). It
    /// holds logs, keys and kubeconfigs, and is the caller's to remove.
    ///
    /// # Errors
    /// [`KubernetesError`]; a program that ended or is not ready in time is named with the end of its log.
    pub fn start(
        program: Program,
        folder: &Path,
        fronts: Vec<Front>,
        settings: Settings,
    ) -> Result<Self, KubernetesError> {
        let identity = Identity::make(folder, &fronts, &settings)?;
        let mut etcd = Command::new(program.path());
        etcd.arg("etcd").arg(folder);
        let mut etcd = Process::start("etcd", etcd, folder)?;
        etcd.await_line("etcd ready", READY_LIMIT)?;
        let mut plane = Self {
            program,
            folder: folder.to_owned(),
            fronts,
            settings,
            identity,
            controllers: Vec::new(),
            api_servers: Vec::new(),
            _etcd: etcd,
        };
        for front in plane.fronts.clone() {
            plane.write_kubeconfig(
                &front,
                &front.name,
                &json!({"token": plane.identity.admin_token}),
            )?;
            let server = plane.spawn_api_server(&front)?;
            plane.api_servers.push(server);
        }
        for front in plane.fronts.clone() {
            plane.await_ready(&front.name)?;
        }
        plane.start_controllers()?;
        Ok(plane)
    }

    /// The binary, which is also `kubectl`.
    #[must_use]
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// The authority that signed the API servers' certificates, in PEM.
    #[must_use]
    pub fn ca_certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The API servers, in the order given.
    #[must_use]
    pub fn fronts(&self) -> &[Front] {
        &self.fronts
    }

    /// The administrator's kubeconfig for one API server; absent if there is no such front.
    #[must_use]
    pub fn admin_kubeconfig(&self, front: &str) -> Option<PathBuf> {
        let known = self.fronts.iter().any(|known| known.name == front);
        known.then(|| self.kubeconfig_path(front))
    }

    /// Writes a kubeconfig for one API server with a bearer token, mode 0600, and returns its path.
    ///
    /// # Errors
    /// [`KubernetesError::File`].
    pub fn kubeconfig_with_token(
        &self,
        front: &Front,
        name: &str,
        token: &str,
    ) -> Result<PathBuf, KubernetesError> {
        self.write_kubeconfig(front, name, &json!({"token": token}))
    }

    /// The command that runs `kubectl` with the administrator's rights, in the namespace of the first API server.
    ///
    /// # Errors
    /// [`KubernetesError::NoFront`].
    pub fn kubectl(&self) -> Result<Command, KubernetesError> {
        let front = self.fronts.first().ok_or(KubernetesError::NoFront)?;
        Ok(self.kubectl_at(front))
    }

    /// The command that runs another program with the administrator's kubeconfig, in the namespace of the first API server.
    ///
    /// # Errors
    /// [`KubernetesError::NoFront`].
    pub fn command(&self, program: &Path) -> Result<Command, KubernetesError> {
        let front = self.fronts.first().ok_or(KubernetesError::NoFront)?;
        let mut command = front.command(program);
        command.env("KUBECONFIG", self.kubeconfig_path(&front.name));
        Ok(command)
    }

    /// Runs `kubectl` with `arguments` and returns what it printed.
    ///
    /// # Errors
    /// [`KubernetesError::Kubectl`] with what it said if it failed.
    pub fn run_kubectl<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<String, KubernetesError> {
        let mut command = self.kubectl()?;
        command.args(arguments);
        output(command, None)
    }

    /// Runs `kubectl` with `arguments` and `object` on its standard input, and returns what it printed.
    ///
    /// # Errors
    /// As [`ControlPlane::run_kubectl`].
    pub fn send_kubectl<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        object: &Value,
    ) -> Result<String, KubernetesError> {
        let mut command = self.kubectl()?;
        command.args(arguments);
        output(command, Some(&object.to_string()))
    }

    /// Creates the objects of a world's Kubernetes half: kinds, nodes, services, policies, pods.
    ///
    /// Endpoint slices are left to the controllers, which make them from services and pods, and from the API servers.
    ///
    /// # Errors
    /// [`KubernetesError::Kubectl`] with what the API server refused.
    pub fn populate(&self, snapshot: &Map<String, Value>) -> Result<(), KubernetesError> {
        let list = objects::list(snapshot)?;
        let front = self.fronts.first().ok_or(KubernetesError::NoFront)?;
        let mut command = self.enter(front);
        command
            .arg("populate")
            .arg("--kubeconfig")
            .arg(self.kubeconfig_path(&front.name));
        output(command, Some(&list.to_string())).map(|_| ())
    }

    /// The process of the API server at a front.
    #[must_use]
    pub fn process_id(&self, front: &str) -> Option<u32> {
        let mut servers = self.api_servers.iter();
        let server = servers.find(|server| server.name() == front);
        server.map(Process::id)
    }

    /// Kills one API server, as a failed node of the control plane would end.
    ///
    /// # Errors
    /// [`KubernetesError::NoFront`] if there is none of that name.
    pub fn stop_api_server(&mut self, front: &str) -> Result<(), KubernetesError> {
        let server = self
            .api_servers
            .iter_mut()
            .find(|server| server.name() == front);
        server.ok_or(KubernetesError::NoFront)?.stop();
        Ok(())
    }

    /// Starts an API server again that was stopped, and waits until it is ready.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub fn start_api_server(&mut self, front: &str) -> Result<(), KubernetesError> {
        let position = self.fronts.iter().position(|known| known.name == front);
        let position = position.ok_or(KubernetesError::NoFront)?;
        let at = self
            .fronts
            .get(position)
            .cloned()
            .ok_or(KubernetesError::NoFront)?;
        let server = self.spawn_api_server(&at)?;
        if let Some(stopped) = self.api_servers.get_mut(position) {
            *stopped = server;
        }
        self.await_ready(front)
    }

    fn enter(&self, front: &Front) -> Command {
        front.command(self.program.path())
    }

    fn kubectl_at(&self, front: &Front) -> Command {
        let mut command = self.enter(front);
        command
            .arg("kubectl")
            .arg("--kubeconfig")
            .arg(self.kubeconfig_path(&front.name));
        // kubectl keeps what the server can do in a folder; this one goes with the lab.
        command
            .arg("--cache-dir")
            .arg(self.folder.join("kubectl-cache"));
        // By itself kubectl waits as long as nobody answers.
        command.arg(format!("--request-timeout={}s", KUBECTL_LIMIT.as_secs()));
        command
    }

    fn kubeconfig_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.kubeconfig"))
    }

    fn write_kubeconfig(
        &self,
        front: &Front,
        name: &str,
        user: &Value,
    ) -> Result<PathBuf, KubernetesError> {
        let path = self.kubeconfig_path(name);
        let cluster =
            json!({"server": front.url(), "certificate-authority-data": self.identity.ca_base64()});
        // JSON is YAML, which is what a kubeconfig is.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
            "current-context": "lab",
        });
        write_private(&path, &format!("{config:#}\n"))?;
        Ok(path)
    }

    fn spawn_api_server(&self, front: &Front) -> Result<Process, KubernetesError> {
        let mut command = self.enter(front);
        command
            .arg("apiserver")
            .args(flags::of(&self.folder, front, &self.settings));
        Process::start(&front.name, command, &self.folder)
    }

    fn await_ready(&mut self, name: &str) -> Result<(), KubernetesError> {
        let begin = Instant::now();
        loop {
            if let Some(server) = self
                .api_servers
                .iter_mut()
                .find(|server| server.name() == name)
            {
                server.check_alive()?;
                if begin.elapsed() > READY_LIMIT {
                    return Err(server.not_ready(READY_LIMIT));
                }
            }
            let front = self.fronts.iter().find(|front| front.name == name);
            let mut command = self.kubectl_at(front.ok_or(KubernetesError::NoFront)?);
            command.args(["get", "--raw", "/readyz", "--request-timeout=5s"]);
            if output(command, None).is_ok_and(|answer| answer.trim() == "ok") {
                return Ok(());
            }
            std::thread::sleep(READY_PAUSE);
        }
    }

    /// Controller manager and scheduler, each with a certificate that makes it what it is on every cluster.
    fn start_controllers(&mut self) -> Result<(), KubernetesError> {
        let front = self
            .fronts
            .first()
            .cloned()
            .ok_or(KubernetesError::NoFront)?;
        for part in ["controller-manager", "scheduler"] {
            let user = json!({
                "client-certificate": self.folder.join(format!("{part}.crt")),
                "client-key": self.folder.join(format!("{part}.key")),
            });
            let kubeconfig = self.write_kubeconfig(&front, part, &user)?;
            let mut command = self.enter(&front);
            command.arg(part).arg("--kubeconfig").arg(kubeconfig);
            command.args(["--leader-elect=false", "--secure-port=0"]);
            if part == "controller-manager" {
                command.arg(format!("--controllers={CONTROLLERS}"));
                command
                    .arg("--root-ca-file")
                    .arg(self.folder.join("ca.crt"));
                // With one account for all controllers, each lacks the rights of its own role.
                command.arg("--use-service-account-credentials=true");
            }
            self.controllers
                .push(Process::start(part, command, &self.folder)?);
        }
        Ok(())
    }
}

impl Drop for ControlPlane {
    /// Ends whoever asks before whoever answers, so that no log fills with complaints.
    fn drop(&mut self) {
        self.controllers.clear();
        self.api_servers.clear();
    }
}

/// Runs a command to its end, with `input` on stdin, and returns what it printed.
fn output(mut command: Command, input: Option<&str>) -> Result<String, KubernetesError> {
    let program = "kubectl";
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let start = |source| KubernetesError::Start {
        program: program.to_owned(),
        source,
    };
    let mut child = command.spawn().map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may end without reading: then its exit code and its last words say more than a broken pipe.
        let _ignored = stdin.write_all(input.unwrap_or_default().as_bytes());
    }
    let ended = child.wait_with_output().map_err(start)?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
    Err(KubernetesError::Kubectl { said })
}

/// Whether two addresses are of one family.
const fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

/// Makes a folder that only this user may enter.
///
/// # Errors
/// [`KubernetesError::File`].
fn make_private_folder(path: &Path) -> Result<(), KubernetesError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(path);
    made.map_err(|source| KubernetesError::File {
        path: path.to_owned(),
        source,
    })
}
