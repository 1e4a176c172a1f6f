//! Reports that are kept in the cluster: a ConfigMap each in a namespace of their own, and an Event where something is to be
//! said of one.
//!
//! What a report says is nobody's business here: it is bytes, with facts beside them that a list shows.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};
use thiserror::Error;

use crate::access::{Right, Scope};
use crate::connect::ApiServer;
use crate::error::RequestError;
use crate::request::{Answer, Question};

/// Namespace of the reports, and of nothing else: whoever may write here can change no other object.
pub const NAMESPACE: &str = "reachproof-history";

/// Namespace of the CronJob that Events are about.
pub const SCHEDULE_NAMESPACE: &str = "reachproof";

/// The CronJob that Events are about.
pub const SCHEDULE: &str = "reachproof-verify";

/// Most bytes of a kept report. A ConfigMap holds 1 MiB of values \[Kubernetes, ConfigMaps\].
pub const REPORT_BYTES_MAX: usize = 900 << 10;

/// Most reports that are kept: at [`REPORT_BYTES_MAX`] each they take 88 MiB of etcd.
pub const REPORTS_MAX: u16 = 100;

/// Key of the report in its ConfigMap.
const REPORT: &str = "report.json.gz";

/// Label of every kept report.
const LABEL: &str = "reachproof/history";

/// What stands before the name of a fact, as an annotation.
const FACT: &str = "reachproof/";

/// Most characters of an Event's message: the API takes 1,024.
const MESSAGE_MAX: usize = 1_000;

/// A kept report, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Name, unique among the reports: lower-case letters, digits and `-`.
    pub name: String,
    /// What is known without reading it.
    pub facts: BTreeMap<String, String>,
}

/// Something to be said of the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Name, unique among Events.
    pub name: String,
    /// One word in CamelCase, for programs.
    pub reason: &'static str,
    /// For people; its beginning is kept.
    pub message: String,
    /// Whether somebody should look.
    pub is_warning: bool,
    /// When, as RFC 3339 writes it.
    pub at: String,
}

/// Reports could not be kept or had.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// 403.
    #[error(
        "cannot {what}: access denied: {message}; `reachproof manifests --schedule` prints the roles"
    )]
    Denied {
        /// What was to be done.
        what: &'static str,
        /// What the server said.
        message: String,
    },
    /// There is no such namespace.
    #[error(
        "cannot {what}: there is no namespace `{NAMESPACE}`; `reachproof manifests --schedule` prints it"
    )]
    NoNamespace {
        /// What was to be done.
        what: &'static str,
    },
    /// The answer is not what was asked for.
    #[error("cannot {what}: the API server answers with something else")]
    Malformed {
        /// What was to be done.
        what: &'static str,
    },
    /// The API server gave no answer that can be used.
    #[error("cannot {what}")]
    Request {
        /// What was to be done.
        what: &'static str,
        /// What happened.
        #[source]
        source: RequestError,
    },
}

/// The rights of whoever keeps reports, beside those of a coordinator.
#[must_use]
pub fn rights() -> Vec<Right> {
    let right = |group, resource, verbs, scope| Right {
        group,
        resource,
        verbs,
        scope,
    };
    let schedule = Scope::Object {
        namespace: SCHEDULE_NAMESPACE,
        name: SCHEDULE,
    };
    vec![
        right(
            "",
            "configmaps",
            &["create", "delete", "get", "list"],
            Scope::Namespace(NAMESPACE.to_owned()),
        ),
        right(
            "",
            "events",
            &["create"],
            Scope::Namespace(SCHEDULE_NAMESPACE.to_owned()),
        ),
        // An Event names the object that it is about by its uid.
        right("batch", "cronjobs", &["get"], schedule),
    ]
}

/// The reports that a cluster keeps.
#[derive(Debug, Clone)]
pub struct History {
    server: ApiServer,
}

impl History {
    /// The reports of the cluster of `server`.
    #[must_use]
    pub const fn new(server: ApiServer) -> Self {
        Self { server }
    }

    /// Lists what is kept, without its bytes, in no order.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub async fn list(&self) -> Result<Vec<Kept>, HistoryError> {
        let what = "list the kept reports";
        let path = format!("{}?labelSelector={LABEL}%3Dtrue", reports());
        let Some(list) = self.ask(what, &Question::metadata(path)).await? else {
            return Err(HistoryError::NoNamespace { what });
        };
        match list.get("items") {
            Some(Value::Array(items)) => Ok(items.iter().filter_map(kept).collect()),
            // An empty list of metadata.
            Some(Value::Null) => Ok(Vec::new()),
            Some(_) | None => Err(HistoryError::Malformed { what }),
        }
    }

    /// The bytes of a kept report; none where there is no such report, or only its facts.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub async fn report(&self, name: &str) -> Result<Option<Vec<u8>>, HistoryError> {
        let what = "read the kept report";
        let question = Question::get(format!("{}/{name}", reports()));
        let Some(found) = self.ask(what, &question).await? else {
            return Ok(None);
        };
        let Some(text) = found.pointer(&format!("/binaryData/{REPORT}")) else {
            return Ok(None);
        };
        let bytes = text.as_str().and_then(|text| STANDARD.decode(text).ok());
        bytes.map(Some).ok_or(HistoryError::Malformed { what })
    }

    /// Keeps a report, or the facts alone.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub async fn keep(&self, kept: &Kept, report: Option<&[u8]>) -> Result<(), HistoryError> {
        let what = "keep the report";
        let facts = kept.facts.iter();
        let facts: BTreeMap<String, &String> = facts
            .map(|(name, fact)| (format!("{FACT}{name}"), fact))
            .collect();
        let data = report.map(|bytes| json!({ REPORT: STANDARD.encode(bytes) }));
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": kept.name,
                "labels": {LABEL: "true", "app.kubernetes.io/part-of": "reachproof"},
                "annotations": facts,
            },
            "immutable": true,
            "binaryData": data,
        });
        self.create(what, reports(), object).await
    }

    /// Removes a kept report, if it is there.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub async fn forget(&self, name: &str) -> Result<(), HistoryError> {
        let question = Question::delete(format!("{}/{name}", reports()));
        self.ask("remove a kept report", &question).await?;
        Ok(())
    }

    /// Makes an Event about the schedule, whether that is there or not.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub async fn tell(&self, notice: &Notice) -> Result<(), HistoryError> {
        let what = "make an Event";
        let path = format!("/apis/batch/v1/namespaces/{SCHEDULE_NAMESPACE}/cronjobs/{SCHEDULE}");
        let schedule = self.ask(what, &Question::get(path)).await?;
        let uid = schedule.as_ref().and_then(|it| it.pointer("/metadata/uid"));
        let message: String = notice.message.chars().take(MESSAGE_MAX).collect();
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": notice.name, "namespace": SCHEDULE_NAMESPACE},
            "involvedObject": {
                "apiVersion": "batch/v1",
                "kind": "CronJob",
                "namespace": SCHEDULE_NAMESPACE,
                "name": SCHEDULE,
                "uid": uid,
            },
            "reason": notice.reason,
            "message": message,
            "type": if notice.is_warning { "Warning" } else { "Normal" },
            "source": {"component": "reachproof"},
            "firstTimestamp": notice.at,
            "lastTimestamp": notice.at,
            "count": 1,
        });
        let path = format!("/api/v1/namespaces/{SCHEDULE_NAMESPACE}/events");
        self.create(what, path, event).await
    }

    async fn create(
        &self,
        what: &'static str,
        path: String,
        object: Value,
    ) -> Result<(), HistoryError> {
        match self.ask(what, &Question::create(path, object)).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(HistoryError::NoNamespace { what }),
            // An earlier attempt came through, though its answer did not.
            Err(HistoryError::Request {
                source: RequestError::Refused { status, .. },
                ..
            }) if status == StatusCode::CONFLICT => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The answer to a question; none for what is not there.
    async fn ask(
        &self,
        what: &'static str,
        question: &Question,
    ) -> Result<Option<Value>, HistoryError> {
        let asked = self.server.ask(question).await;
        let asked = asked.map_err(|source| HistoryError::Request { what, source })?;
        match asked.answer {
            Answer::Whole(value) => Ok(Some(value)),
            Answer::Missing | Answer::Expired => Ok(None),
            Answer::Denied(message) => Err(HistoryError::Denied { what, message }),
        }
    }
}

/// Path of the list of reports.
fn reports() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps")
}

/// What the metadata of a ConfigMap say.
fn kept(item: &Value) -> Option<Kept> {
    let name = item.pointer("/metadata/name")?.as_str()?;
    let annotations = item.pointer("/metadata/annotations");
    let annotations = annotations.and_then(Value::as_object).into_iter().flatten();
    let facts = annotations.filter_map(|(name, fact)| {
        Some((
            name.strip_prefix(FACT)?.to_owned(),
            fact.as_str()?.to_owned(),
        ))
    });
    Some(Kept {
        name: name.to_owned(),
        facts: facts.collect(),
    })
}
