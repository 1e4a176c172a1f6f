//! Pods with the coordinator's program: started where the caller says, with what their manifests mount, and their exit codes
//! reported, as a kubelet does it. Jobs and Deployments themselves are the controllers'.

use std::fs::{self, DirBuilder, File, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{error::Error, ffi::OsStr};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use reachproof_lab::kubernetes::ControlPlane;
use serde_json::{Value, json};

use crate::deployment::{self, STEP};
use crate::error::RunnerError;
use crate::kubelet::{Kubelets, SEARCH_PATH, furnish, stored, text};
use crate::stage::Stage;

/// Where a pod finds the token of its account \[Kubernetes, Service Accounts\].
const ACCOUNT: &str = "var/run/secrets/kubernetes.io/serviceaccount";

/// Where programs look for authorities.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Folder of a volume's files, and the link to it, as a kubelet names them.
const FILES: &str = "..1";
const LINK: &str = "..data";

/// Longest wait for a process after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

/// Where these pods run.
#[derive(Debug)]
pub struct JobNode<'a> {
    /// The network.
    pub stage: &'a Stage,
    /// The control plane.
    pub plane: &'a ControlPlane,
    /// Place of the pod, and its address there.
    pub place: (&'a str, IpAddr),
    /// The program of the image.
    pub program: PathBuf,
    /// Variables that a webhook of EKS would add.
    pub environment: Vec<(String, String)>,
    /// Names that resolve there, as lines of a hosts file.
    pub hosts: String,
}

/// A pod that stays; its process ends when this is dropped.
#[derive(Debug)]
pub struct Service {
    pod: Value,
    process: Child,
    log: PathBuf,
}

impl Service {
    /// Name of the pod.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.pod.pointer("/metadata/name").and_then(Value::as_str);
        name.unwrap_or_default()
    }

    /// What it said so far.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it ended by itself.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn has_ended(&mut self) -> Result<bool, Box<dyn Error>> {
        Ok(self.process.try_wait()?.is_some())
    }

    /// Says that its probes are good.
    ///
    /// # Errors
    /// What the control plane refuses.
    pub fn report_ready(&self, node: &JobNode<'_>) -> Result<(), Box<dyn Error>> {
        let container = self.pod.pointer("/spec/containers/0");
        let container = container.ok_or("no container")?;
        let conditions: Value = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
            .iter()
            .map(|kind| json!({"type": kind, "status": "True"}))
            .collect();
        let ready = json!({
            "phase": "Running",
            "conditions": conditions,
            "containerStatuses": [status(container, true, &json!({"running": {}}))],
        });
        Ok(node.report(&self.pod, &ready)?)
    }

    /// Ends it by SIGTERM, as a node does.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn end(&mut self) -> Result<ExitStatus, Box<dyn Error>> {
        kill(
            Pid::from_raw(i32::try_from(self.process.id())?),
            Signal::SIGTERM,
        )?;
        let end = Instant::now() + GRACE;
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > end {
                return Err(format!("it goes on after SIGTERM: {}", self.said()).into());
            }
            std::thread::sleep(STEP);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // One that ended by itself cannot be killed; there is nobody to tell.
        let _already_ended = self.process.kill();
        let _status = self.process.wait();
    }
}

/// What became of a container.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code.
    pub exit: Option<i32>,
    /// What it printed.
    pub printed: String,
    /// What it said beside that.
    pub said: String,
}

/// What became of a Job.
#[derive(Debug)]
pub struct Ended {
    /// Exit code of its pod.
    pub exit: Option<i32>,
    /// What the pod printed.
    pub printed: String,
    /// What it said beside that.
    pub said: String,
    /// Type and message of the Job's last condition.
    pub condition: (String, String),
}

impl JobNode<'_> {
    /// Makes the Job `name` of a CronJob in `namespace`, does what its node does, and waits until the Job has ended;
    /// `kubelets` do their work meanwhile.
    ///
    /// # Errors
    /// What the control plane refuses, and what a pod cannot be started for.
    pub fn run(
        &self,
        (namespace, cron_job, name): (&str, &str, &str),
        kubelets: &mut Kubelets<'_>,
    ) -> Result<Ended, Box<dyn Error>> {
        let of = ["--namespace", namespace];
        let from = format!("--from=cronjob/{cron_job}");
        self.kubectl(&of, &["create", "job", name, &from])?;
        let selector = format!("--selector=batch.kubernetes.io/job-name={name}");
        let mut pod = Value::Null;
        let scheduled = deployment::until("the pod of the Job is scheduled", || {
            let listed = self.kubectl(&of, &["get", "pods", &selector, "--output", "json"])?;
            let listed: Value = serde_json::from_str(&listed)?;
            pod = listed.pointer("/items/0").cloned().unwrap_or_default();
            Ok(!text(&pod, "/spec/nodeName").is_empty())
        });
        if let Err(error) = scheduled {
            let told = self.kubectl(&of, &["get", "jobs,pods,events"])?;
            return Err(format!("{error}:\n{told}").into());
        }
        let (exit, printed, said) = self.start(&pod, kubelets)?;
        let path = ["get", "job", name, "--output", "json"];
        let mut condition = Value::Null;
        deployment::until("the Job has ended", || {
            kubelets.turn()?;
            let job: Value = serde_json::from_str(&self.kubectl(&of, &path)?)?;
            let all = job.pointer("/status/conditions").and_then(Value::as_array);
            condition = all.and_then(|all| all.last()).cloned().unwrap_or_default();
            Ok(["Complete", "Failed"].contains(&text(&condition, "/type").as_str()))
        })?;
        Ok(Ended {
            exit,
            printed,
            said,
            condition: (text(&condition, "/type"), text(&condition, "/message")),
        })
    }

    fn kubectl(&self, of: &[&str], words: &[&str]) -> Result<String, RunnerError> {
        Ok(self.plane.run_kubectl(of.iter().chain(words))?)
    }

    /// Starts the only container of a pod that stays.
    ///
    /// # Errors
    /// What the control plane refuses, and what a pod cannot be started for.
    pub fn serve(&self, pod: &Value) -> Result<Service, Box<dyn Error>> {
        let container = pod.pointer("/spec/containers/0").ok_or("no container")?;
        let mut command = self.furnished(pod, container)?;
        let name = text(pod, "/metadata/name");
        let log = self.stage.log(&name);
        self.stage.tell_place(&name, self.place.0)?;
        self.report_running(pod, container)?;
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        Ok(Service {
            pod: pod.clone(),
            process,
            log,
        })
    }

    /// Runs the containers of a pod one after the other, those first that come before the others, until one fails.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub fn complete(
        &self,
        pod: &Value,
        kubelets: &mut Kubelets<'_>,
    ) -> Result<Vec<Finished>, Box<dyn Error>> {
        let list = |path: &str| {
            let list = pod.pointer(path).and_then(Value::as_array);
            list.cloned().unwrap_or_default()
        };
        let containers = [list("/spec/initContainers"), list("/spec/containers")].concat();
        let mut all = Vec::new();
        for container in &containers {
            let finished = self.finish(pod, container, kubelets)?;
            let is_good = finished.exit == Some(0);
            all.push(finished);
            if !is_good {
                break;
            }
        }
        let last = containers.last().ok_or("no container")?;
        let exit = all.last().and_then(|one| one.exit);
        self.report_ended(pod, last, exit)?;
        Ok(all)
    }

    /// Runs the container to its end: exit code, output and log.
    fn start(
        &self,
        pod: &Value,
        kubelets: &mut Kubelets<'_>,
    ) -> Result<(Option<i32>, String, String), Box<dyn Error>> {
        let container = pod.pointer("/spec/containers/0").ok_or("no container")?;
        let finished = self.finish(pod, container, kubelets)?;
        self.report_ended(pod, container, finished.exit)?;
        Ok((finished.exit, finished.printed, finished.said))
    }

    fn finish(
        &self,
        pod: &Value,
        container: &Value,
        kubelets: &mut Kubelets<'_>,
    ) -> Result<Finished, Box<dyn Error>> {
        let mut command = self.furnished(pod, container)?;
        let name = format!(
            "{}-{}",
            text(pod, "/metadata/name"),
            text(container, "/name")
        );
        let (out, log) = (
            self.stage.log(&format!("{name}.out")),
            self.stage.log(&name),
        );
        self.report_running(pod, container)?;
        let mut process = command
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&log)?)
            .spawn()?;
        let ended = loop {
            if let Some(ended) = process.try_wait()? {
                break ended;
            }
            kubelets.turn()?;
            std::thread::sleep(STEP);
        };
        Ok(Finished {
            exit: ended.code(),
            printed: fs::read_to_string(out)?,
            said: fs::read_to_string(log)?,
        })
    }

    /// The file system of a container, and the command that runs it.
    fn furnished(&self, pod: &Value, container: &Value) -> Result<Command, Box<dyn Error>> {
        let words = ["command", "args"].map(|field| container.get(field));
        let words = words.into_iter().flatten().filter_map(Value::as_array);
        let words: Vec<&str> = words.flatten().filter_map(Value::as_str).collect();
        let place = format!(
            "{}-{}",
            text(pod, "/metadata/uid"),
            text(container, "/name")
        );
        let root = self.stage.pod_directory(&place);
        furnish(&root, &self.program, words.first().ok_or("no command")?)?;
        // The image of the coordinator has the authorities that vouch for AWS.
        let authorities = root.join(AUTHORITIES);
        DirBuilder::new()
            .recursive(true)
            .create(authorities.parent().ok_or("no folder")?)?;
        fs::copy(Path::new("/").join(AUTHORITIES), authorities)?;
        fs::write(root.join("etc/hosts"), &self.hosts)?;
        fs::write(root.join("etc/nsswitch.conf"), "hosts: files\n")?;
        self.mount_account(&root, pod)?;
        self.mount_volumes(&root, pod, container)?;
        let front = self.plane.fronts().first().ok_or("no API server")?;
        let mut command = self.stage.lab.command(self.place.0, OsStr::new("chroot"))?;
        command.arg(&root).args(&words).env_clear();
        command.env("PATH", SEARCH_PATH);
        command.env("KUBERNETES_SERVICE_HOST", front.address.to_string());
        command.env("KUBERNETES_SERVICE_PORT", front.port.to_string());
        let variables = container.get("env").and_then(Value::as_array);
        for variable in variables.into_iter().flatten() {
            command.env(text(variable, "/name"), text(variable, "/value"));
        }
        command.envs(self.environment.iter().cloned());
        Ok(command)
    }

    /// The pod is at the address of its node here, so that its coming touches what the node sends: it is reported before the
    /// program reads anything.
    fn report_running(&self, pod: &Value, container: &Value) -> Result<(), RunnerError> {
        let address = self.place.1;
        let running = json!({
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "containerStatuses": [status(container, true, &json!({"running": {}}))],
        });
        self.report(pod, &running)
    }

    fn report_ended(
        &self,
        pod: &Value,
        container: &Value,
        exit: Option<i32>,
    ) -> Result<(), RunnerError> {
        let state = json!({"terminated": {"exitCode": exit, "reason": "Ended"}});
        let phase = if exit == Some(0) {
            "Succeeded"
        } else {
            "Failed"
        };
        let ended = json!({
            "phase": phase,
            "containerStatuses": [status(container, false, &state)],
        });
        self.report(pod, &ended)
    }

    fn report(&self, pod: &Value, status: &Value) -> Result<(), RunnerError> {
        let patch = json!({"status": status}).to_string();
        let (namespace, name) = (
            text(pod, "/metadata/namespace"),
            text(pod, "/metadata/name"),
        );
        let what = [
            "patch",
            "pod",
            &name,
            "--subresource=status",
            "--type=merge",
        ];
        let how = ["--patch", &patch];
        self.kubectl(
            &["--namespace", &namespace],
            &[&what[..], &how[..]].concat(),
        )?;
        Ok(())
    }

    /// The token of the pod's account, as the API server's admission asks for it.
    fn mount_account(&self, root: &Path, pod: &Value) -> Result<(), Box<dyn Error>> {
        if pod.pointer("/spec/automountServiceAccountToken") == Some(&Value::Bool(false)) {
            return Ok(());
        }
        let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
        let mut volumes = volumes.into_iter().flatten();
        if !volumes.any(|volume| text(volume, "/name").starts_with("kube-api-access-")) {
            return Err("the pod has no token of its account".into());
        }
        let of = |pointer: &str| text(pod, pointer);
        let namespace = of("/metadata/namespace");
        let token = self.kubectl(
            &["--namespace", &namespace],
            &[
                "create",
                "token",
                &of("/spec/serviceAccountName"),
                "--bound-object-kind=Pod",
                "--bound-object-name",
                &of("/metadata/name"),
                "--bound-object-uid",
                &of("/metadata/uid"),
            ],
        )?;
        let folder = root.join(ACCOUNT);
        DirBuilder::new().recursive(true).create(&folder)?;
        fs::write(folder.join("token"), token.trim())?;
        fs::write(folder.join("namespace"), namespace)?;
        fs::copy(self.plane.ca_certificate(), folder.join("ca.crt"))?;
        Ok(())
    }

    /// Every volume that the container mounts: ConfigMaps, Secrets, and empty ones.
    fn mount_volumes(
        &self,
        root: &Path,
        pod: &Value,
        container: &Value,
    ) -> Result<(), Box<dyn Error>> {
        let list = |of: &Value, path: &str| {
            let list = of.pointer(path).and_then(Value::as_array);
            list.cloned().unwrap_or_default()
        };
        let volumes = list(pod, "/spec/volumes");
        let namespace = text(pod, "/metadata/namespace");
        for mount in list(container, "/volumeMounts") {
            let named = |volume: &&Value| volume.get("name") == mount.get("name");
            let volume = volumes.iter().find(named).ok_or("no such volume")?;
            let folder = root.join(text(&mount, "/mountPath").trim_start_matches('/'));
            let (kind, name) = match (volume.get("secret"), volume.get("configMap")) {
                (Some(_), _) => ("secret", text(volume, "/secret/secretName")),
                (None, Some(_)) => ("configmap", text(volume, "/configMap/name")),
                (None, None) => {
                    // A token of the account is mounted already; what else is here is empty.
                    DirBuilder::new().recursive(true).create(&folder)?;
                    continue;
                }
            };
            let items = list(volume, &format!("/{kind}/items"));
            let is_wanted =
                |key: &str| items.is_empty() || items.iter().any(|it| text(it, "/key") == key);
            self.mount(&folder, (&namespace, kind, &name), is_wanted)?;
        }
        Ok(())
    }

    /// The files of an object, with the links that a kubelet makes in its volume.
    fn mount(
        &self,
        folder: &Path,
        (namespace, kind, name): (&str, &str, &str),
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<(), Box<dyn Error>> {
        DirBuilder::new()
            .recursive(true)
            .create(folder.join(FILES))?;
        symlink(FILES, folder.join(LINK))?;
        fs::set_permissions(folder, Permissions::from_mode(0o1777))?;
        let files = stored(self.plane, (namespace, kind, name))?;
        for (key, content) in files.iter().filter(|(key, _)| is_wanted(key)) {
            let file = folder.join(FILES).join(key);
            fs::write(&file, content)?;
            // The group of the pod reads it.
            fs::set_permissions(&file, Permissions::from_mode(0o440))?;
            symlink(Path::new(LINK).join(key), folder.join(key))?;
        }
        Ok(())
    }
}

fn status(container: &Value, ready: bool, state: &Value) -> Value {
    json!({
        "name": container.get("name"), "image": "lab", "imageID": "lab", "restartCount": 0,
        "ready": ready, "started": ready, "state": state,
    })
}
