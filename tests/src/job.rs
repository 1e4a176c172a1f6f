//! The pod of a Job: started where the caller says, with what its manifest mounts, and its exit code reported, as a kubelet
//! does it. The Job itself is the controllers'.

use std::fs::{self, DirBuilder, File, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{error::Error, ffi::OsStr};

use reachproof_lab::kubernetes::ControlPlane;
use serde_json::{Value, json};

use crate::deployment::{self, STEP};
use crate::error::RunnerError;
use crate::kubelet::{Kubelets, SEARCH_PATH, furnish, text};
use crate::stage::Stage;

/// Where a pod finds the token of its account \[Kubernetes, Service Accounts\].
const ACCOUNT: &str = "var/run/secrets/kubernetes.io/serviceaccount";

/// Where programs look for authorities.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Folder of a volume's files, and the link to it, as a kubelet names them.
const FILES: &str = "..1";
const LINK: &str = "..data";

/// Where the pods of Jobs run.
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

    /// Runs the container to its end: exit code, output and log.
    fn start(
        &self,
        pod: &Value,
        kubelets: &mut Kubelets<'_>,
    ) -> Result<(Option<i32>, String, String), Box<dyn Error>> {
        let container = pod.pointer("/spec/containers/0").ok_or("no container")?;
        let words = ["command", "args"].map(|field| container.get(field));
        let words = words.into_iter().flatten().filter_map(Value::as_array);
        let words: Vec<&str> = words.flatten().filter_map(Value::as_str).collect();
        let name = text(pod, "/metadata/name");
        let root = self.stage.pod_directory(&text(pod, "/metadata/uid"));
        furnish(&root, &self.program, words.first().ok_or("no command")?)?;
        // The image of the coordinator has the authorities that vouch for AWS.
        let authorities = root.join(AUTHORITIES);
        DirBuilder::new()
            .recursive(true)
            .create(authorities.parent().ok_or("no folder")?)?;
        fs::copy(Path::new("/").join(AUTHORITIES), authorities)?;
        self.mount_account(&root, pod)?;
        self.mount_secrets(&root, pod, container)?;
        let (place, address) = self.place;
        let front = self.plane.fronts().first().ok_or("no API server")?;
        let mut command = self.stage.lab.command(place, OsStr::new("chroot"))?;
        command.arg(&root).args(&words).env_clear();
        command.env("PATH", SEARCH_PATH);
        command.env("KUBERNETES_SERVICE_HOST", front.address.to_string());
        command.env("KUBERNETES_SERVICE_PORT", front.port.to_string());
        command.envs(self.environment.iter().cloned());
        let (out, log) = (
            self.stage.log(&format!("{name}.out")),
            self.stage.log(&name),
        );
        // The pod is at the address of its node here, so that its coming touches what the node sends: it is reported before
        // the program reads anything.
        let running = json!({
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "containerStatuses": [status(container, true, &json!({"running": {}}))],
        });
        self.report(pod, &running)?;
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
        let state = json!({"terminated": {"exitCode": ended.code(), "reason": "Ended"}});
        let phase = if ended.success() {
            "Succeeded"
        } else {
            "Failed"
        };
        let ended_status = json!({
            "phase": phase,
            "containerStatuses": [status(container, false, &state)],
        });
        self.report(pod, &ended_status)?;
        let (printed, said) = (fs::read_to_string(out)?, fs::read_to_string(log)?);
        Ok((ended.code(), printed, said))
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

    /// Every Secret, with the links that a kubelet makes in its volume.
    fn mount_secrets(
        &self,
        root: &Path,
        pod: &Value,
        container: &Value,
    ) -> Result<(), Box<dyn Error>> {
        let list =
            |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
        for volume in list(pod.pointer("/spec/volumes")) {
            let secret = text(&volume, "/secret/secretName");
            let mounts = list(container.get("volumeMounts"));
            let name = volume.get("name");
            let mount = mounts.iter().find(|mount| mount.get("name") == name);
            let (Some(mount), false) = (mount, secret.is_empty()) else {
                continue;
            };
            let folder = root.join(text(mount, "/mountPath").trim_start_matches('/'));
            DirBuilder::new()
                .recursive(true)
                .create(folder.join(FILES))?;
            symlink(FILES, folder.join(LINK))?;
            fs::set_permissions(&folder, Permissions::from_mode(0o1777))?;
            let of = ["--namespace".to_owned(), text(pod, "/metadata/namespace")];
            let get = |form: &str| {
                let words = ["get", "secret", &secret, "--output", form].map(str::to_owned);
                self.plane.run_kubectl(of.iter().chain(&words))
            };
            let object: Value = serde_json::from_str(&get("json")?)?;
            let data = object.get("data").and_then(Value::as_object);
            for key in data.into_iter().flat_map(|data| data.keys()) {
                let form = format!("go-template={{{{index .data {key:?} | base64decode}}}}");
                let file = folder.join(FILES).join(key);
                fs::write(&file, get(&form)?)?;
                // The group of the pod reads it.
                fs::set_permissions(&file, Permissions::from_mode(0o440))?;
                symlink(Path::new(LINK).join(key), folder.join(key))?;
            }
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
