//! `verify` on a schedule: a CronJob, the Service that agents dial, and where its reports are kept.

use clap::{Args, Parser};
use ipnet::IpNet;
use reachproof_kube::access::{Right, Scope};
use reachproof_kube::history::{self, NAMESPACE as HISTORY_NAMESPACE, REPORTS_MAX, SCHEDULE};
use reachproof_model::snapshot::Snapshot;
use reachproof_verify::credentials::{CA_CERTIFICATE_FILE, CA_KEY_FILE, TOKEN_KEY_FILE};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::agent::TOKEN_MODE;
use super::argument::{CoordinatorAddress, cron, image, role};
use super::labels::schedule_labels;
use super::namespace::{COORDINATOR, HOST_NAMESPACE, NAME, NAMESPACE, own};
use super::{Arguments, ManifestsError, restricted};
use crate::cli::Cli;

/// What the account of a coordinator may read.
const READER: &str = include_str!("../../../../deploy/rbac-reader.yaml");

/// Annotation of an account with its IAM role \[EKS User Guide, IAM roles for service accounts\].
const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";

/// The container of the Job.
const CONTAINER: &str = "verify";

/// The program in the image.
const PROGRAM: &str = "/reachproof";

/// Where the keys are mounted.
const CREDENTIALS_PATH: &str = "/etc/reachproof/credentials";

/// Port of the control server (ARCHITECTURE, "Agents and ports").
const PORT: u16 = 7443;

/// How long agents are awaited: they dial again after 90 s at most when nobody answered.
const WAIT: &str = "3m";

/// Longest run in seconds, with gathering, settle time and probes: a Job that hangs must not keep the next from starting.
const RUN_SECONDS: u32 = 1_800;

/// How late a run may begin, in seconds, before it is left out.
const LATE_SECONDS: u32 = 300;

/// Jobs of each end that are kept for `kubectl logs`.
const JOBS_KEPT: u8 = 3;

/// Reports that are kept unless somebody says otherwise: half a day of a run every half hour.
const KEEP_DEFAULT: u16 = 24;

/// What a schedule is told.
#[derive(Debug, Args)]
pub(crate) struct ScheduleArguments {
    /// Runs `verify` in the cluster at these times, like '*/30 * * * *', by a CronJob
    #[arg(long, value_name = "CRON", value_parser = cron, requires = "coordinator_image")]
    schedule: Option<String>,
    /// Image of `reachproof` for the CronJob
    #[arg(long, value_name = "IMAGE", value_parser = image, requires = "schedule")]
    coordinator_image: Option<String>,
    /// IAM role of the CronJob's account (IRSA) [default: none, for EKS Pod Identity]
    #[arg(long, value_name = "ARN", value_parser = role, requires = "schedule")]
    role: Option<String>,
    /// Reports that the cluster keeps, each at most 900 KiB
    #[arg(long, value_name = "N", requires = "schedule", default_value_t = KEEP_DEFAULT)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(REPORTS_MAX)))]
    keep: u16,
    /// Further arguments of the CronJob's `verify`, behind --
    #[arg(last = true, value_name = "ARGUMENT", requires = "schedule")]
    further: Vec<String>,
}

impl ScheduleArguments {
    /// Whether a schedule is asked for.
    pub(super) const fn is_asked(&self) -> bool {
        self.schedule.is_some()
    }
}

/// A run on a schedule.
#[derive(Debug)]
pub(super) struct Schedule<'a> {
    cron: &'a str,
    image: &'a str,
    role: Option<&'a str>,
    cluster: &'a str,
    /// Address of the Service; absent where Kubernetes chooses one.
    address: Option<String>,
    arguments: Vec<String>,
}

impl<'a> Schedule<'a> {
    /// The schedule that is asked for, if one is.
    ///
    /// # Errors
    /// [`ManifestsError`] where the run would not start.
    pub(super) fn of(
        arguments: &'a Arguments,
        snapshot: &'a Snapshot,
    ) -> Result<Option<Self>, ManifestsError> {
        let asked = &arguments.schedule;
        let (Some(cron), Some(image)) = (&asked.schedule, &asked.coordinator_image) else {
            return Ok(None);
        };
        let cluster = snapshot.cluster().filter(|it| !it.name.is_empty());
        let cluster = cluster.ok_or(ManifestsError::Unnamed)?;
        let given = arguments.coordinator.as_ref();
        let address = given.and_then(CoordinatorAddress::address);
        let address = address.filter(|address| {
            let mut services = cluster.service_networks.iter();
            services.any(|network: &IpNet| network.contains(address))
        });
        let schedule = Self {
            cron,
            image,
            role: asked.role.as_deref(),
            cluster: &cluster.name,
            address: address.map(|address| address.to_string()),
            arguments: verify(arguments, &cluster.name),
        };
        let words = ["reachproof".to_owned()].into_iter();
        Cli::try_parse_from(words.chain(schedule.arguments.iter().cloned()))
            .map_err(|error| ManifestsError::Verify(error.to_string()))?;
        Ok(Some(schedule))
    }

    /// What stands above the objects: what no file of them may hold, and what is done outside Kubernetes.
    pub(super) fn header(&self, credentials: &std::path::Path) -> String {
        let files = [CA_CERTIFICATE_FILE, CA_KEY_FILE, TOKEN_KEY_FILE];
        let files = files.map(|file| format!(" --from-file={}", credentials.join(file).display()));
        let mut text = format!(
            "# A CronJob runs `verify`. Its keys are in no manifest, give them to it once, when the namespaces are there:\n\
             #   kubectl --namespace {NAMESPACE} create secret generic {COORDINATOR}{}\n",
            files.concat()
        );
        if self.role.is_none() {
            text += &format!(
                "# Its rights in AWS, deploy/iam-policy.json, come by EKS Pod Identity:\n\
                 #   aws eks create-pod-identity-association --cluster-name {} --namespace {NAMESPACE} \
                 --service-account {COORDINATOR} --role-arn ARN\n",
                self.cluster
            );
        }
        text
    }

    /// The objects, in the order in which they can be created; the namespace of the agents comes before them.
    ///
    /// # Errors
    /// [`ManifestsError::Yaml`].
    pub(super) fn objects(&self) -> Result<Vec<Value>, ManifestsError> {
        let mut objects = vec![own(HISTORY_NAMESPACE, "restricted")];
        for document in yaml_serde::Deserializer::from_str(READER) {
            let mut object = Value::deserialize(document)?;
            if object.get("kind") == Some(&json!("ServiceAccount")) {
                self.take_role(&mut object);
            }
            objects.push(object);
        }
        objects.extend(roles());
        objects.push(self.service());
        objects.push(self.cron_job());
        Ok(objects)
    }

    fn take_role(&self, account: &mut Value) {
        let metadata = account.get_mut("metadata").and_then(Value::as_object_mut);
        if let (Some(role), Some(metadata)) = (self.role, metadata) {
            metadata.insert("annotations".to_owned(), json!({ ROLE_ANNOTATION: role }));
        }
    }

    /// The Service that agents dial: its address stays, whichever pod does the run.
    fn service(&self) -> Value {
        let mut spec = json!({
            "selector": schedule_labels(),
            "ports": [{"name": "control", "port": PORT, "targetPort": PORT, "protocol": "TCP"}],
        });
        if let (Some(address), Value::Object(spec)) = (&self.address, &mut spec) {
            spec.insert("clusterIP".to_owned(), json!(address));
        }
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(COORDINATOR, NAMESPACE),
            "spec": spec,
        })
    }

    fn cron_job(&self) -> Value {
        json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": metadata(SCHEDULE, NAMESPACE),
            "spec": {
                "schedule": self.cron,
                // Two runs would ask for each other's agents.
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": LATE_SECONDS,
                "successfulJobsHistoryLimit": JOBS_KEPT,
                "failedJobsHistoryLimit": JOBS_KEPT,
                "jobTemplate": {
                    "metadata": {"labels": schedule_labels()},
                    "spec": {
                        "backoffLimit": 0,
                        "activeDeadlineSeconds": RUN_SECONDS,
                        // The Job says which exit code it was; a pod that had to go says nothing about the network.
                        "podFailurePolicy": {"rules": [
                            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                            {"action": "FailJob", "onExitCodes":
                                {"containerName": CONTAINER, "operator": "NotIn", "values": [0]}},
                        ]},
                        "template": {
                            "metadata": {
                                "labels": pod_labels(),
                                "annotations": {"linkerd.io/inject": "disabled"},
                            },
                            "spec": self.pod(),
                        },
                    },
                },
            },
        })
    }

    fn pod(&self) -> Value {
        json!({
            "serviceAccountName": COORDINATOR,
            "enableServiceLinks": false,
            "restartPolicy": "Never",
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/os", "operator": "NotIn", "values": ["windows"]},
                ]}],
            }}},
            "securityContext": restricted::pod(),
            "containers": [{
                "name": CONTAINER,
                "image": self.image,
                "command": [PROGRAM],
                "args": self.arguments,
                "ports": [{"name": "control", "containerPort": PORT, "protocol": "TCP"}],
                "securityContext": restricted::container(),
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"memory": "1Gi"},
                },
                "volumeMounts": [
                    {"name": "credentials", "mountPath": CREDENTIALS_PATH, "readOnly": true},
                ],
            }],
            "volumes": [{
                "name": "credentials",
                "secret": {"secretName": COORDINATOR, "defaultMode": TOKEN_MODE},
            }],
        })
    }
}

/// Where agents dial unless somebody says otherwise.
pub(super) fn service_address() -> CoordinatorAddress {
    CoordinatorAddress::of_service((COORDINATOR, NAMESPACE), PORT)
}

/// The arguments of the CronJob's program.
fn verify(arguments: &Arguments, cluster: &str) -> Vec<String> {
    let asked = &arguments.schedule;
    let mut words = [
        "verify",
        "--cluster",
        cluster,
        "--listen",
        &PORT.to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    words.extend(["--wait", WAIT, "--credentials", CREDENTIALS_PATH].map(str::to_owned));
    words.extend(["--keep".to_owned(), asked.keep.to_string()]);
    let mut namespaces: Vec<&str> = vec![NAMESPACE, HOST_NAMESPACE];
    for pods in &arguments.fargate {
        if !namespaces.contains(&pods.namespace.as_str()) {
            namespaces.push(&pods.namespace);
        }
    }
    for namespace in namespaces {
        let account = format!("{namespace}/{}", NAME);
        words.extend(["--agent-account".to_owned(), account]);
    }
    words.extend(asked.further.iter().cloned());
    words
}

/// What keeping reports needs, for the account of the coordinator: a role in each namespace.
fn roles() -> Vec<Value> {
    let rights = history::rights();
    [HISTORY_NAMESPACE, NAMESPACE]
        .into_iter()
        .flat_map(|namespace| {
            let here = rights.iter().filter(|right| of_namespace(right) == namespace);
            let rules: Vec<Value> = here.map(rule).collect();
            let metadata = metadata(HISTORY_NAMESPACE, namespace);
            let role = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": metadata,
                "rules": rules,
            });
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": HISTORY_NAMESPACE,
                },
                "subjects": [
                    {"kind": "ServiceAccount", "name": COORDINATOR, "namespace": NAMESPACE},
                ],
            });
            [role, binding]
        })
        .collect()
}

fn of_namespace(right: &Right) -> &str {
    match &right.scope {
        Scope::Cluster => "",
        Scope::Namespace(namespace) => namespace,
        Scope::Object { namespace, .. } => namespace,
    }
}

fn rule(right: &Right) -> Value {
    let mut rule = json!({
        "apiGroups": [right.group], "resources": [right.resource], "verbs": right.verbs,
    });
    if let (Scope::Object { name, .. }, Value::Object(fields)) = (&right.scope, &mut rule) {
        fields.insert("resourceNames".to_owned(), json!([name]));
    }
    rule
}

fn metadata(name: &str, namespace: &str) -> Value {
    json!({"name": name, "namespace": namespace, "labels": schedule_labels()})
}

/// Labels of the pods.
fn pod_labels() -> Value {
    let mut labels = schedule_labels();
    // A mesh would end the agents' TLS.
    labels.insert("sidecar.istio.io/inject".to_owned(), "false".to_owned());
    json!(labels)
}
