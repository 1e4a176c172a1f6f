//! What a pod asks of whoever starts it, read from its manifest as a kubelet reads it.
//!
//! Only what the agents' manifests use is known. Anything else is an error, so that no test passes on a field that was
//! not looked at.

use std::net::IpAddr;

use serde_json::Value;
use thiserror::Error;

/// A pod asks for something that is not imitated here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the pod has no usable `{field}`: {what}")]
pub struct PodError {
    /// Where.
    field: &'static str,
    /// What stands there.
    what: String,
}

/// What the node knows of a pod, and the pod may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Name of the pod.
    pub name: String,
    /// Name of its node.
    pub node: String,
    /// Its addresses, primary first.
    pub addresses: Vec<IpAddr>,
}

/// What is mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where, as an absolute path in the container.
    pub path: String,
    /// What kind of object has the files.
    pub kind: Stored,
    /// Name of the object, in the namespace of the pod; empty where no object has the files.
    pub name: String,
    /// Mode of the files.
    pub mode: u32,
}

/// What has files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
    /// A token of the pod's account, bound to the pod.
    Token {
        /// Name of the file.
        file: String,
        /// For whom it is made.
        audience: String,
        /// How long it is valid, in seconds.
        seconds: u64,
    },
}

/// The only container of a pod, ready to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Program with its arguments; the image's own entry point does not count.
    pub command: Vec<String>,
    /// Environment, all of it.
    pub environment: Vec<(String, String)>,
    /// What is mounted.
    pub mounts: Vec<Mount>,
    /// Command of the readiness probe.
    pub readiness: Vec<String>,
    /// Command of the liveness probe.
    pub liveness: Vec<String>,
}

/// Mode of mounted files where the manifest names none \[Kubernetes, Volumes\].
const MODE_DEFAULT: u32 = 0o644;

impl Container {
    /// Reads the container of a pod, or of a template for pods.
    ///
    /// # Errors
    /// [`PodError`] for what is missing or not imitated.
    pub fn of(pod: &Value, facts: &Facts) -> Result<Self, PodError> {
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
        let [container] = containers.map(Vec::as_slice).unwrap_or_default() else {
            return Err(missing("spec.containers", pod));
        };
        let mut command = words("command", container.get("command"))?;
        command.extend(words("args", container.get("args"))?);
        let probe = |name, field| words(field, container.pointer(&format!("/{name}/exec/command")));
        Ok(Self {
            command,
            environment: environment(container, facts)?,
            mounts: mounts(pod, container)?,
            readiness: probe("readinessProbe", "readinessProbe.exec.command")?,
            liveness: probe("livenessProbe", "livenessProbe.exec.command")?,
        })
    }
}

fn missing(field: &'static str, what: &Value) -> PodError {
    PodError {
        field,
        what: what.to_string(),
    }
}

fn each(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

fn text(field: &'static str, of: &Value, name: &str) -> Result<String, PodError> {
    let text = of.get(name).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| missing(field, of))
}

/// A list of texts that is not empty.
fn words(field: &'static str, list: Option<&Value>) -> Result<Vec<String>, PodError> {
    let words: Option<Vec<String>> = each(list)
        .map(|word| word.as_str().map(str::to_owned))
        .collect();
    words
        .filter(|words| !words.is_empty())
        .ok_or_else(|| missing(field, list.unwrap_or(&Value::Null)))
}

/// All variables, each with those before it put in where it names them as `$(NAME)`.
fn environment(container: &Value, facts: &Facts) -> Result<Vec<(String, String)>, PodError> {
    let mut known: Vec<(String, String)> = Vec::new();
    for written in each(container.get("env")) {
        let (name, mut value) = variable(written, facts)?;
        for (earlier, content) in &known {
            value = value.replace(&format!("$({earlier})"), content);
        }
        known.push((name, value));
    }
    Ok(known)
}

fn variable(variable: &Value, facts: &Facts) -> Result<(String, String), PodError> {
    let name = text("env.name", variable, "name")?;
    let field = variable.pointer("/valueFrom/fieldRef/fieldPath");
    let value = match field.and_then(Value::as_str) {
        None => text("env.value", variable, "value")?,
        Some("metadata.name") => facts.name.clone(),
        Some("spec.nodeName") => facts.node.clone(),
        Some("status.podIPs") => {
            let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
            addresses.join(",")
        }
        Some(_) => return Err(missing("env.valueFrom.fieldRef", variable)),
    };
    Ok((name, value))
}

/// What is mounted into a container; a projected volume once for each of its sources.
fn mounts(pod: &Value, container: &Value) -> Result<Vec<Mount>, PodError> {
    let mut all = Vec::new();
    for mount in each(container.get("volumeMounts")) {
        let wanted = text("volumeMounts.name", mount, "name")?;
        let volume = each(pod.pointer("/spec/volumes"))
            .find(|volume| volume.get("name").and_then(Value::as_str) == Some(&wanted))
            .ok_or_else(|| missing("volumes", mount))?;
        match volume.get("projected") {
            None => all.push(mounted(volume, mount)?),
            Some(projected) => {
                let path = text("volumeMounts.mountPath", mount, "mountPath")?;
                for source in each(projected.get("sources")) {
                    all.push(projection(projected, source, path.clone())?);
                }
            }
        }
    }
    Ok(all)
}

fn mounted(volume: &Value, mount: &Value) -> Result<Mount, PodError> {
    let (kind, source, name) = match (volume.get("configMap"), volume.get("secret")) {
        (Some(source), None) => (Stored::ConfigMap, source, "name"),
        (None, Some(source)) => (Stored::Secret, source, "secretName"),
        (Some(_) | None, Some(_) | None) => return Err(missing("volumes", volume)),
    };
    Ok(Mount {
        path: text("volumeMounts.mountPath", mount, "mountPath")?,
        kind,
        name: text("volumes", source, name)?,
        mode: mode(source),
    })
}

/// One source of a projected volume: a token, or a whole ConfigMap.
fn projection(projected: &Value, source: &Value, path: String) -> Result<Mount, PodError> {
    let mode = mode(projected);
    if let Some(map) = source.get("configMap") {
        if map.get("items").is_some() {
            return Err(missing("volumes.projected", source));
        }
        return Ok(Mount {
            path,
            kind: Stored::ConfigMap,
            name: text("volumes.projected", map, "name")?,
            mode,
        });
    }
    let source = source.get("serviceAccountToken");
    let source = source.ok_or_else(|| missing("volumes.projected", projected))?;
    let seconds = source.get("expirationSeconds").and_then(Value::as_u64);
    Ok(Mount {
        path,
        kind: Stored::Token {
            file: text("volumes.projected", source, "path")?,
            audience: text("volumes.projected", source, "audience")?,
            seconds: seconds.ok_or_else(|| missing("expirationSeconds", source))?,
        },
        name: String::new(),
        mode,
    })
}

/// Mode of the files of a volume.
fn mode(source: &Value) -> u32 {
    let mode = source.get("defaultMode").and_then(Value::as_u64);
    mode.and_then(|mode| u32::try_from(mode).ok())
        .unwrap_or(MODE_DEFAULT)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "tests fail by panicking"
    )]

    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        let probe = json!({"exec": {"command": ["/p", "health"]}});
        json!({"spec": {
            "containers": [{
                "command": ["/p"],
                "args": ["run"],
                "env": [
                    {"name": "PLAIN", "value": "x"},
                    {"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
                ],
                "readinessProbe": probe,
                "livenessProbe": probe,
                "volumeMounts": [{"name": "s", "mountPath": "/etc/s"}],
            }],
            "volumes": [{"name": "s", "secret": {"secretName": "token", "defaultMode": 288}}],
        }})
    }

    fn facts() -> Facts {
        Facts {
            name: "p-1".to_owned(),
            node: "n".to_owned(),
            addresses: ["10.0.0.1", "2001:db8::1"]
                .map(|address| address.parse().unwrap())
                .to_vec(),
        }
    }

    #[test]
    fn a_container_gets_what_its_pod_asks_for() {
        let container = Container::of(&pod(), &facts()).unwrap();
        assert_eq!(container.command, ["/p", "run"]);
        let value = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            container.environment,
            [value("PLAIN", "x"), value("IPS", "10.0.0.1,2001:db8::1")]
        );
        assert_eq!(
            container.mounts,
            [Mount {
                path: "/etc/s".to_owned(),
                kind: Stored::Secret,
                name: "token".to_owned(),
                mode: 0o440,
            }]
        );
    }

    #[test]
    fn a_projected_token_is_for_its_audience() {
        let mut pod = pod();
        let source = json!({"path": "token", "audience": "a", "expirationSeconds": 600});
        pod["spec"]["volumes"][0] = json!({"name": "s", "projected": {
            "defaultMode": 288, "sources": [{"serviceAccountToken": source}],
        }});
        let container = Container::of(&pod, &facts()).unwrap();
        let token = Stored::Token {
            file: "token".to_owned(),
            audience: "a".to_owned(),
            seconds: 600,
        };
        assert_eq!(container.mounts.first().unwrap().kind, token);
    }

    #[test]
    fn a_projected_volume_may_have_several_sources() {
        let mut pod = pod();
        let sources = json!([{"configMap": {"name": "a"}}, {"configMap": {"name": "b"}}]);
        pod["spec"]["volumes"][0] = json!({"name": "s", "projected": {"sources": sources}});
        let mounts = Container::of(&pod, &facts()).unwrap().mounts;
        let names: Vec<_> = mounts.iter().map(|mount| mount.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(mounts.iter().all(|mount| mount.path == "/etc/s"));
    }

    #[test]
    fn a_variable_may_name_those_before_it() {
        let mut pod = pod();
        pod["spec"]["containers"][0]["env"] = json!([
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "FILE", "value": "/t/$(NODE)"},
        ]);
        let container = Container::of(&pod, &facts()).unwrap();
        assert_eq!(container.environment.last().unwrap().1, "/t/n");
    }

    #[test]
    fn what_is_not_imitated_is_an_error() {
        for (place, value) in [
            ("/spec/volumes/0", json!({"name": "s", "emptyDir": {}})),
            (
                "/spec/containers/0/env/1",
                json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
            ),
            ("/spec/containers/0/command", json!([])),
            (
                "/spec/containers/0/readinessProbe",
                json!({"httpGet": {"port": 1}}),
            ),
            ("/spec/containers", json!([{}, {}])),
        ] {
            let mut pod = pod();
            *pod.pointer_mut(place).unwrap() = value;
            assert!(Container::of(&pod, &facts()).is_err(), "{place}");
        }
    }
}
