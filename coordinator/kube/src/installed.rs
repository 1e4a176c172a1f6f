//! The coordinator that `deploy/chart` installed: its Service by its labels, what was made beside it by the Service's
//! annotations, and its pod by the Service's selector.

use std::fmt;

use serde_json::Value;
use thiserror::Error;

use crate::connect::ApiServer;
use crate::error::RequestError;
use crate::request::{Answer, Question};
use crate::storage::ObjectName;

/// Label that the chart gives the coordinator's Service and pod, and its value.
const NAME_LABEL: (&str, &str) = ("app.kubernetes.io/name", "reachproof-coordinator");

/// Label with the name of the release.
const RELEASE_LABEL: &str = "app.kubernetes.io/instance";

/// Annotations of the Service with names of objects in its namespace: the Secret of the credentials, the ConfigMap with the
/// CA, and the ConfigMap with the last report.
const SECRET: &str = "reachproof/secret";
const CA: &str = "reachproof/ca";
const REPORT: &str = "reachproof/report";

/// Name of the Service's port at which page and API are.
const WEB_PORT: &str = "web";

/// Most candidates that an error lists.
const LISTED_MAX: usize = 10;

/// A coordinator's Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Namespace and name of the Service.
    pub service: ObjectName,
    /// Name of the release; empty where no label has it.
    pub release: String,
    /// The Secret of its credentials, as far as the Service names it.
    pub secret: Option<ObjectName>,
    /// The ConfigMap with its CA, as far as the Service names it.
    pub ca: Option<ObjectName>,
    /// The ConfigMap with its last report, as far as the Service names it.
    pub report: Option<ObjectName>,
    /// What its pod has, as a query of labels.
    selector: String,
    /// Where page and API are in the pod.
    port: Target,
}

/// A port of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Number(u16),
    /// As its container calls it.
    Named(String),
}

/// A pod of a coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorPod {
    /// Its namespace and name.
    pub name: ObjectName,
    /// Its node; empty as long as it has none.
    pub node: String,
    /// Port of page and API.
    pub port: u16,
    /// Why it takes no requests; absent where it is ready.
    pub unready: Option<String>,
}

/// No coordinator can be told from the others, or there is none.
#[derive(Debug, Error)]
pub enum FindError {
    /// 403.
    #[error(
        "cannot list the {what}: access denied: {message}; pass -n NAMESPACE, where you may `list` them"
    )]
    Denied {
        /// Services or pods.
        what: &'static str,
        /// What the server said.
        message: String,
    },
    /// The API server gave no answer that can be used.
    #[error("cannot list the {what}")]
    Request {
        /// Services or pods.
        what: &'static str,
        /// What happened.
        #[source]
        source: RequestError,
    },
    /// The answer is no list.
    #[error("cannot list the {what}: the API server answers with something else")]
    Malformed {
        /// Services or pods.
        what: &'static str,
    },
    /// There is none.
    #[error(
        "no Service with the label {}={} {place}: `helm install` brings one; -n NAMESPACE and --context say where to look",
        NAME_LABEL.0,
        NAME_LABEL.1
    )]
    Nobody {
        /// Where was looked.
        place: String,
    },
    /// There are several.
    #[error("several coordinators: {}; {option} says which", listed(.found))]
    Several {
        /// All that fit.
        found: Vec<Installed>,
        /// What tells them apart.
        option: &'static str,
    },
}

fn listed(found: &[Installed]) -> String {
    let names = found.iter().take(LISTED_MAX).map(ToString::to_string);
    let mut names: Vec<String> = names.collect();
    let more = found.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

impl fmt::Display for Installed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (release {})", self.service, self.release)
    }
}

impl Installed {
    /// Finds the only coordinator in `namespace`, or in all, that belongs to `release`, if one is meant.
    ///
    /// # Errors
    /// [`FindError`].
    pub async fn find(
        server: &ApiServer,
        namespace: Option<&str>,
        release: Option<&str>,
    ) -> Result<Self, FindError> {
        let within = namespace.map(|name| format!("/namespaces/{name}"));
        let path = format!(
            "/api/v1{}/services?labelSelector={}%3D{}",
            within.unwrap_or_default(),
            NAME_LABEL.0,
            NAME_LABEL.1
        );
        let found = listing(server, "Services", path).await?;
        let found = found.iter().filter_map(Self::of).collect();
        choose(found, namespace, release)
    }

    /// What a Service says; nothing for one that leads to no page.
    fn of(service: &Value) -> Option<Self> {
        let text = |pointer: &str| service.pointer(pointer).and_then(Value::as_str);
        let namespace = text("/metadata/namespace")?;
        let labels = service.pointer("/metadata/labels");
        let annotations = service.pointer("/metadata/annotations");
        let beside = |key: &str| {
            let name = annotations?.get(key)?.as_str()?;
            Some(ObjectName {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        };
        let selector = service.pointer("/spec/selector")?.as_object()?.iter();
        let selector =
            selector.filter_map(|(key, value)| Some(format!("{key}%3D{}", value.as_str()?)));
        let ports = service.pointer("/spec/ports")?.as_array()?;
        let web = ports
            .iter()
            .find(|port| port.get("name").and_then(Value::as_str) == Some(WEB_PORT))?;
        let release = labels.and_then(|labels| labels.get(RELEASE_LABEL)?.as_str());
        Some(Self {
            service: ObjectName {
                namespace: namespace.to_owned(),
                name: text("/metadata/name")?.to_owned(),
            },
            release: release.unwrap_or_default().to_owned(),
            secret: beside(SECRET),
            ca: beside(CA),
            report: beside(REPORT),
            selector: selector.collect::<Vec<String>>().join(","),
            port: target(web)?,
        })
    }

    /// A name that the certificate of its page has.
    #[must_use]
    pub fn host(&self) -> String {
        let ObjectName { namespace, name } = &self.service;
        format!("{name}.{namespace}.svc")
    }

    /// Its pod: the one that is ready, else the youngest; absent where there is none.
    ///
    /// # Errors
    /// [`FindError`].
    pub async fn pod(&self, server: &ApiServer) -> Result<Option<CoordinatorPod>, FindError> {
        let path = format!(
            "/api/v1/namespaces/{}/pods?labelSelector={}",
            self.service.namespace, self.selector
        );
        let mut pods = listing(server, "pods", path).await?;
        pods.retain(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
        pods.sort_by_key(|pod| {
            let born = pod.pointer("/metadata/creationTimestamp");
            std::cmp::Reverse(born.and_then(Value::as_str).unwrap_or_default().to_owned())
        });
        let pods: Vec<CoordinatorPod> = pods.iter().filter_map(|pod| self.pod_of(pod)).collect();
        let ready = pods.iter().find(|pod| pod.unready.is_none());
        Ok(ready.or(pods.first()).cloned())
    }

    fn pod_of(&self, pod: &Value) -> Option<CoordinatorPod> {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
        Some(CoordinatorPod {
            name: ObjectName {
                namespace: text("/metadata/namespace")?.to_owned(),
                name: text("/metadata/name")?.to_owned(),
            },
            node: text("/spec/nodeName").unwrap_or_default().to_owned(),
            port: self.port.of(pod)?,
            unready: unready(pod),
        })
    }
}

impl Target {
    /// The number of the port in `pod`.
    fn of(&self, pod: &Value) -> Option<u16> {
        let name = match self {
            Self::Number(number) => return Some(*number),
            Self::Named(name) => name,
        };
        let containers = pod.pointer("/spec/containers")?.as_array()?.iter();
        let ports = containers.filter_map(|container| container.get("ports")?.as_array());
        let named = ports
            .flatten()
            .find(|port| port.get("name").and_then(Value::as_str) == Some(name));
        u16::try_from(named?.get("containerPort")?.as_u64()?).ok()
    }
}

/// Where a port of a Service leads \[Kubernetes, Service\]: without a target to the same number.
fn target(port: &Value) -> Option<Target> {
    let target = port.get("targetPort").or_else(|| port.get("port"))?;
    if let Some(name) = target.as_str() {
        return Some(Target::Named(name.to_owned()));
    }
    let number = u16::try_from(target.as_u64()?).ok()?;
    Some(Target::Number(number))
}

/// Why a pod takes no requests, in the words of its conditions and of its container.
fn unready(pod: &Value) -> Option<String> {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let of = |kind: &str| {
        let mut all = conditions.into_iter().flatten();
        all.find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
    };
    let is_true =
        |condition: &Value| condition.get("status").and_then(Value::as_str) == Some("True");
    if of("Ready").is_some_and(is_true) {
        return None;
    }
    let phase = pod.pointer("/status/phase").and_then(Value::as_str);
    let waiting = pod.pointer("/status/containerStatuses/0/state/waiting/reason");
    let unscheduled = of("PodScheduled").filter(|condition| !is_true(condition));
    let why = waiting
        .or_else(|| unscheduled?.get("message"))
        .and_then(Value::as_str);
    let phase = phase.unwrap_or("Unknown");
    Some(why.map_or_else(|| phase.to_owned(), |why| format!("{phase}, {why}")))
}

/// The one of `found` that is meant.
fn choose(
    mut found: Vec<Installed>,
    namespace: Option<&str>,
    release: Option<&str>,
) -> Result<Installed, FindError> {
    if let Some(release) = release {
        found.retain(|one| one.release == release);
    }
    match (found.pop(), found.is_empty()) {
        (None, _) => {
            let of = release.map(|name| format!("of the release {name} "));
            let within = namespace.map_or_else(
                || "in any namespace".to_owned(),
                |name| format!("in the namespace {name}"),
            );
            Err(FindError::Nobody {
                place: of.unwrap_or_default() + &within,
            })
        }
        (Some(one), true) => Ok(one),
        (Some(last), false) => {
            let is_one_namespace =
                |one: &Installed| one.service.namespace == last.service.namespace;
            let option = if found.iter().all(is_one_namespace) {
                "--release NAME"
            } else {
                "-n NAMESPACE"
            };
            found.push(last);
            Err(FindError::Several { found, option })
        }
    }
}

/// The objects of a list.
async fn listing(
    server: &ApiServer,
    what: &'static str,
    path: String,
) -> Result<Vec<Value>, FindError> {
    let asked = server.ask(&Question::get(path)).await;
    let asked = asked.map_err(|source| FindError::Request { what, source })?;
    match asked.answer {
        Answer::Whole(mut list) => match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            Some(_) | None => Err(FindError::Malformed { what }),
        },
        Answer::Denied(message) => Err(FindError::Denied { what, message }),
        Answer::Missing | Answer::Expired => Err(FindError::Malformed { what }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(namespace: &str, name: &str, release: &str) -> Value {
        json!({
            "metadata": {
                "namespace": namespace, "name": name,
                "labels": {"app.kubernetes.io/instance": release},
                "annotations": {"reachproof/secret": "keys", "reachproof/report": "last"},
            },
            "spec": {
                "selector": {"app": "x", "of": "y"},
                "ports": [{"name": "control", "port": 7443}, {"name": "web", "port": 7080, "targetPort": "page"}],
            },
        })
    }

    fn installed(namespace: &str, name: &str, release: &str) -> Installed {
        Installed::of(&service(namespace, name, release)).unwrap()
    }

    fn refused(found: Vec<Installed>, namespace: Option<&str>, release: Option<&str>) -> String {
        choose(found, namespace, release).unwrap_err().to_string()
    }

    #[test]
    fn a_service_names_what_belongs_to_it() {
        let one = installed("network", "probes-coordinator", "probes");
        assert_eq!(one.host(), "probes-coordinator.network.svc");
        assert_eq!(one.selector, "app%3Dx,of%3Dy");
        let named = |name: Option<&ObjectName>| name.map(ToString::to_string);
        assert_eq!(named(one.secret.as_ref()).as_deref(), Some("network/keys"));
        assert_eq!(named(one.ca.as_ref()), None);
        assert_eq!(named(one.report.as_ref()).as_deref(), Some("network/last"));
        let mut headless = service("network", "x", "y");
        headless["spec"]["ports"] = json!([{"name": "control", "port": 7443}]);
        assert_eq!(Installed::of(&headless), None);
    }

    #[test]
    fn none_or_several_coordinators_are_an_error_that_says_which_option_decides() {
        let (a, b) = (installed("a", "x", "one"), installed("b", "y", "two"));
        let c = installed("a", "z", "three");
        let chosen = choose(vec![a.clone(), b.clone()], None, Some("two")).unwrap();
        assert_eq!(chosen, b);
        let none = refused(vec![], None, None);
        assert!(none.contains("in any namespace: `helm install`"), "{none}");
        let none = refused(vec![a.clone()], Some("a"), Some("four"));
        assert!(
            none.contains("of the release four in the namespace a:"),
            "{none}"
        );
        let several = refused(vec![a.clone(), b], None, None);
        let wanted =
            "several coordinators: a/x (release one), b/y (release two); -n NAMESPACE says which";
        assert_eq!(several, wanted);
        let several = refused(vec![a, c], Some("a"), None);
        assert!(several.ends_with("--release NAME says which"), "{several}");
    }

    #[test]
    fn a_pod_is_ready_or_says_why_it_is_not() {
        let one = installed("network", "x", "y");
        let pod = |status: Value| {
            let pod = json!({
                "metadata": {"namespace": "network", "name": "x-1"},
                "spec": {"nodeName": "node-1", "containers": [{"ports": [{"name": "page", "containerPort": 7081}]}]},
                "status": status,
            });
            one.pod_of(&pod).unwrap()
        };
        let ready =
            pod(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
        assert_eq!(
            (ready.port, ready.node.as_str(), &ready.unready),
            (7081, "node-1", &None)
        );
        for (status, wanted) in [
            (
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}),
                "Running",
            ),
            (
                json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}),
                "Pending, ImagePullBackOff",
            ),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes"}]}),
                "Pending, 0/2 nodes",
            ),
            (json!({}), "Unknown"),
        ] {
            assert_eq!(pod(status).unready.as_deref(), Some(wanted));
        }
    }
}
