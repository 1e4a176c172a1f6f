//! One reading of everything.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::access::Right;
use crate::connect::ApiServer;
use crate::error::ReadError;
use crate::list::{Effort, Listed, list};
use crate::request::{Answer, Question};
use crate::resource::{Extent, RESOURCES, Resource};
use crate::shape;

/// What was read, and what was not.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Stem of the snapshot's file to the answer, sorted. A stem is missing exactly if [`Reading::gaps`] names it.
    pub answers: Map<String, Value>,
    /// What could not be read. The model takes a missing answer as unknown, never as empty.
    pub gaps: Vec<Gap>,
    /// What whoever reads the snapshot should know, without consequence for a verdict.
    pub notes: Vec<Note>,
    /// The moment of each list, by its stem: where [`follow`](crate::follow) takes it up. Not part of a snapshot.
    pub versions: BTreeMap<&'static str, String>,
    /// What it took, in the order of reading. Not part of a snapshot: it differs from one reading to the next.
    pub calls: Vec<Call>,
}

/// An answer that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// The account may not read it.
    Denied {
        /// Stem of the file that is missing.
        stem: &'static str,
        /// What the account lacks.
        right: Right,
    },
    /// There is no such object: for `aws-node`, another CNI or Auto Mode.
    Absent {
        /// Stem of the file that is missing.
        stem: &'static str,
    },
}

impl Gap {
    /// Stem of the file that is missing.
    #[must_use]
    pub const fn stem(&self) -> &'static str {
        match self {
            Self::Denied { stem, .. } | Self::Absent { stem } => stem,
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied { stem, right } => {
                write!(
                    formatter,
                    "cannot read `{stem}`: access denied; add the rule {}",
                    right.rule()
                )
            }
            Self::Absent { stem } => write!(
                formatter,
                "there is no `{stem}`: the cluster runs another CNI or Auto Mode, and the defaults of the VPC CNI are assumed"
            ),
        }
    }
}

/// Something worth saying about an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The cluster does not know this kind of object (its CRD is not installed), so there are none.
    NotServed {
        /// Stem of the file, which holds an empty list.
        stem: &'static str,
    },
    /// A setting of the VPC CNI comes from an object that is not read.
    IndirectSetting {
        /// The variable, or `envFrom` if it may be any.
        variable: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServed { stem } => {
                write!(
                    formatter,
                    "the cluster has no kind `{stem}`: its list is empty"
                )
            }
            Self::IndirectSetting { variable } => write!(
                formatter,
                "`{variable}` of `aws-node` takes its value from an object that is not read; set it in the DaemonSet to have it considered"
            ),
        }
    }
}

/// One answer's cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Stem of the file.
    pub stem: &'static str,
    /// Objects read; none for a gap.
    pub objects: usize,
    /// Pages asked for, those of restarted lists included.
    pub pages: usize,
    /// Attempts, at least one a page.
    pub attempts: u32,
    /// How often the list was started again.
    pub restarts: u32,
    /// From the first question to the last answer.
    pub took: Duration,
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "kubernetes {}: objects: {}, pages: {}, attempts: {}, {} ms",
            self.stem,
            self.objects,
            self.pages,
            self.attempts,
            self.took.as_millis()
        )
    }
}

/// Reads everything that the model needs, one list after the other.
///
/// `progress` is told each answer's cost as it is there. A right that is missing becomes a [`Gap`] and the reading goes
/// on; a server that stays away ends it. The objects of one list belong to one moment, those of two lists do not:
/// whoever needs a stable world reads twice and compares (H.3).
///
/// # Errors
/// [`ReadError`] names the list and what happened; there is no part of a reading then.
pub async fn read(
    server: &ApiServer,
    mut progress: impl FnMut(&Call),
) -> Result<Reading, ReadError> {
    let mut reading = Reading {
        answers: Map::new(),
        gaps: Vec::new(),
        notes: Vec::new(),
        versions: BTreeMap::new(),
        calls: Vec::new(),
    };
    for resource in &RESOURCES {
        let begin = Instant::now();
        let mut effort = Effort::default();
        let objects = match resource.extent {
            Extent::All | Extent::Of { .. } => {
                reading.add_list(server, resource, &mut effort).await?
            }
            Extent::One { .. } => reading.add_object(server, resource, &mut effort).await?,
        };
        let call = Call {
            stem: resource.stem,
            objects,
            pages: effort.pages,
            attempts: effort.attempts,
            restarts: effort.restarts,
            took: begin.elapsed(),
        };
        progress(&call);
        reading.calls.push(call);
    }
    reading.answers.sort_keys();
    Ok(reading)
}

impl Reading {
    async fn add_list(
        &mut self,
        server: &ApiServer,
        resource: &Resource,
        effort: &mut Effort,
    ) -> Result<usize, ReadError> {
        let items = match list(server, resource, effort).await? {
            Listed::Whole(whole) => {
                self.versions.insert(resource.stem, whole.version);
                whole.objects
            }
            Listed::NotServed => self.not_served(resource),
            // The right is asked for before the kind: whoever lacks it learns from the group what is served.
            Listed::Denied(_)
                if resource.is_further_policy() && !is_served(server, resource).await? =>
            {
                self.not_served(resource)
            }
            Listed::Denied(message) => {
                self.denied(resource, &message);
                if resource.is_further_policy() {
                    self.answers
                        .insert(resource.stem.to_owned(), shape::refusal());
                }
                return Ok(0);
            }
        };
        let objects = items.len();
        self.answers
            .insert(resource.stem.to_owned(), shape::list(items));
        Ok(objects)
    }

    async fn add_object(
        &mut self,
        server: &ApiServer,
        resource: &Resource,
        effort: &mut Effort,
    ) -> Result<usize, ReadError> {
        let stem = resource.stem;
        let answered = server
            .ask(&Question::get(resource.path()))
            .await
            .map_err(|source| ReadError::Request { stem, source })?;
        *effort = Effort {
            pages: 1,
            attempts: answered.attempts,
            restarts: 0,
        };
        match answered.answer {
            Answer::Whole(answer) if answer.is_object() => {
                let mut object = shape::object(resource, &answer);
                let indirect = shape::reduce_cni(&mut object);
                let notes = indirect
                    .into_iter()
                    .map(|variable| Note::IndirectSetting { variable });
                self.notes.extend(notes);
                self.answers.insert(stem.to_owned(), object);
                Ok(1)
            }
            Answer::Whole(_) => Err(ReadError::Malformed {
                stem,
                page: 1,
                field: "metadata",
            }),
            Answer::Denied(message) => {
                self.denied(resource, &message);
                Ok(0)
            }
            // 410 is an answer to continue tokens only; for a single object it says what 404 says.
            Answer::Missing | Answer::Expired => {
                self.gaps.push(Gap::Absent { stem });
                Ok(0)
            }
        }
    }

    /// There are none of a kind that the cluster does not know.
    fn not_served(&mut self, resource: &Resource) -> Vec<Value> {
        self.notes.push(Note::NotServed {
            stem: resource.stem,
        });
        Vec::new()
    }

    fn denied(&mut self, resource: &Resource, message: &str) {
        tracing::warn!(stem = resource.stem, message, "kubernetes list denied");
        self.gaps.push(Gap::Denied {
            stem: resource.stem,
            right: Right::read(resource),
        });
    }
}

/// Whether the API server serves a kind, by the list of its group. Where that cannot be read, it may.
async fn is_served(server: &ApiServer, resource: &Resource) -> Result<bool, ReadError> {
    let Some(path) = resource.group_path() else {
        return Ok(true);
    };
    let answered = server.ask(&Question::get(path)).await;
    let answered = answered.map_err(|source| ReadError::Request {
        stem: resource.stem,
        source,
    })?;
    Ok(match answered.answer {
        Answer::Missing | Answer::Expired => false,
        Answer::Denied(_) => true,
        Answer::Whole(group) => match group.get("resources").and_then(Value::as_array) {
            Some(served) => served
                .iter()
                .any(|kind| kind.get("name").and_then(Value::as_str) == Some(resource.plural)),
            None => true,
        },
    })
}
