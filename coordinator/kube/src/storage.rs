//! The coordinator's own credentials in the cluster: one Secret, and the ConfigMaps from which agents have its CA.
//!
//! The objects are made by somebody else, empty or not: their account may read and replace these by name, and create none.
//! What the entries mean is nobody's business here.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::connect::ApiServer;
use crate::error::RequestError;
use crate::request::{Answer, Question};

/// An object by its namespace and name: `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Entries of a Secret, and what replacing them needs.
#[derive(Clone)]
pub struct Secret {
    /// What it holds, by key.
    pub entries: BTreeMap<String, Vec<u8>>,
    object: Map<String, Value>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No key may end in a log.
        formatter.debug_struct("Secret").finish_non_exhaustive()
    }
}

/// Credentials could not be kept or had.
#[derive(Debug, Error)]
pub enum StorageError {
    /// 403.
    #[error(
        "cannot {verb} the {kind} {name}: access denied: {message}; grant `{verb}` on it by name"
    )]
    Denied {
        /// What was to be done: `get` or `update`.
        verb: &'static str,
        /// `Secret` or `ConfigMap`.
        kind: &'static str,
        /// Which.
        name: ObjectName,
        /// What the server said.
        message: String,
    },
    /// There is none.
    #[error("there is no {kind} {name}: make it, empty, before the coordinator starts")]
    Missing {
        /// `Secret` or `ConfigMap`.
        kind: &'static str,
        /// Which.
        name: ObjectName,
    },
    /// The answer is not what was asked for.
    #[error("cannot read the {kind} {name}: the API server answers with something else")]
    Malformed {
        /// `Secret` or `ConfigMap`.
        kind: &'static str,
        /// Which.
        name: ObjectName,
    },
    /// The API server gave no answer that can be used.
    #[error("cannot {verb} the {kind} {name}")]
    Request {
        /// What was to be done: `get` or `update`.
        verb: &'static str,
        /// `Secret` or `ConfigMap`.
        kind: &'static str,
        /// Which.
        name: ObjectName,
        /// What happened.
        #[source]
        source: RequestError,
    },
}

/// Whether somebody else was first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The object is as it was to be.
    Done,
    /// It was replaced since it was read.
    Conflict,
}

/// The kinds of object in here.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Secret,
    ConfigMap,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }

    fn path(self, name: &ObjectName) -> String {
        let plural = match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
        };
        let ObjectName { namespace, name } = name;
        format!("/api/v1/namespaces/{namespace}/{plural}/{name}")
    }
}

/// Where credentials are kept.
#[derive(Debug, Clone)]
pub struct Storage {
    server: ApiServer,
}

impl Storage {
    /// The objects of the cluster of `server`.
    #[must_use]
    pub const fn new(server: ApiServer) -> Self {
        Self { server }
    }

    /// Reads a Secret.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn secret(&self, name: &ObjectName) -> Result<Secret, StorageError> {
        let object = self.read(Kind::Secret, name).await?;
        let data = object.get("data").and_then(Value::as_object);
        let mut entries = BTreeMap::new();
        for (key, value) in data.into_iter().flatten() {
            let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
            let bytes = bytes.ok_or_else(|| StorageError::Malformed {
                kind: Kind::Secret.word(),
                name: name.clone(),
            })?;
            entries.insert(key.clone(), bytes);
        }
        Ok(Secret { entries, object })
    }

    /// Replaces the entries of a Secret as it was read.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn keep(
        &self,
        name: &ObjectName,
        secret: Secret,
        entries: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Written, StorageError> {
        let data = entries.iter();
        let data = data.map(|(key, bytes)| (key.clone(), STANDARD.encode(bytes).into()));
        let data = Value::Object(data.collect());
        self.write((Kind::Secret, name), secret.object, data).await
    }

    /// Reads the texts of a ConfigMap, by key.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn config_map(
        &self,
        name: &ObjectName,
    ) -> Result<BTreeMap<String, String>, StorageError> {
        let object = self.read(Kind::ConfigMap, name).await?;
        let data = object.get("data").and_then(Value::as_object);
        let texts = data.into_iter().flatten();
        let texts = texts.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned())));
        Ok(texts.collect())
    }

    /// Lets an entry of a ConfigMap be `text`; the others stay.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn publish(
        &self,
        name: &ObjectName,
        (key, text): (&str, &str),
    ) -> Result<Written, StorageError> {
        let object = self.read(Kind::ConfigMap, name).await?;
        let mut data = match object.get("data") {
            Some(Value::Object(data)) => data.clone(),
            Some(_) | None => Map::new(),
        };
        if data.get(key).and_then(Value::as_str) == Some(text) {
            return Ok(Written::Done);
        }
        data.insert(key.to_owned(), text.into());
        let data = Value::Object(data);
        self.write((Kind::ConfigMap, name), object, data).await
    }

    async fn read(
        &self,
        kind: Kind,
        name: &ObjectName,
    ) -> Result<Map<String, Value>, StorageError> {
        let question = Question::get(kind.path(name));
        match self.ask("get", (kind, name), &question).await? {
            Some(Value::Object(object)) => Ok(object),
            Some(_) => Err(StorageError::Malformed {
                kind: kind.word(),
                name: name.clone(),
            }),
            None => Err(StorageError::Missing {
                kind: kind.word(),
                name: name.clone(),
            }),
        }
    }

    /// The object carries the version that was read, so that the server refuses what would undo another's writing.
    async fn write(
        &self,
        (kind, name): (Kind, &ObjectName),
        mut object: Map<String, Value>,
        data: Value,
    ) -> Result<Written, StorageError> {
        object.insert("data".to_owned(), data);
        let question = Question::update(kind.path(name), Value::Object(object));
        match self.ask("update", (kind, name), &question).await {
            Ok(Some(_)) => Ok(Written::Done),
            Ok(None) => Err(StorageError::Missing {
                kind: kind.word(),
                name: name.clone(),
            }),
            Err(StorageError::Request {
                source: RequestError::Refused { status, .. },
                ..
            }) if status == StatusCode::CONFLICT => Ok(Written::Conflict),
            Err(error) => Err(error),
        }
    }

    /// The answer to a question; none for what is not there.
    async fn ask(
        &self,
        verb: &'static str,
        (kind, name): (Kind, &ObjectName),
        question: &Question,
    ) -> Result<Option<Value>, StorageError> {
        let (kind, name) = (kind.word(), name.clone());
        match self.server.ask(question).await {
            Err(source) => Err(StorageError::Request {
                verb,
                kind,
                name,
                source,
            }),
            Ok(asked) => match asked.answer {
                Answer::Whole(value) => Ok(Some(value)),
                Answer::Missing | Answer::Expired => Ok(None),
                Answer::Denied(message) => Err(StorageError::Denied {
                    verb,
                    kind,
                    name,
                    message,
                }),
            },
        }
    }
}
