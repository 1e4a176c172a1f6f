//! What is read, in which order, and what is said about what could not be.

mod gap;
mod region;
mod walk;

use std::time::Duration;

use serde_json::{Map, Value};

use crate::call::Call;
use crate::connection::Connection;
use crate::consistency::contradictions;
use crate::error::{CallError, ReadError};
use crate::session::{CallRecord, Progress, Session};
use walk::Walk;

pub use gap::ReadGap;

/// A list that was asked for, and its items or why there are none.
pub(crate) type Listed = (Call, Result<Vec<Value>, CallError>);

/// A file of the snapshot for one id, and its content or why there is none; `None` for an empty answer.
pub(crate) type Filed = (String, Result<Option<Value>, CallError>);

/// How often a cluster is read while its answers contradict each other. A change seen by one call and not yet by
/// another is over within seconds [EC2M: eventual consistency]; what lasts longer is a page that never comes.
const READINGS_MAX: usize = 3;

/// A cluster and what surrounds it, as AWS tells it.
#[derive(Debug)]
pub struct Reading {
    /// Stems to answers, as a snapshot directory has them (ARCHITECTURE, "Snapshot"); sorted, and the same for the same
    /// world.
    pub answers: Map<String, Value>,
    /// What could not be read. Nothing of it is in `answers`, so that the model takes it for unknown.
    pub gaps: Vec<ReadGap>,
    /// The calls of all readings, in the order of their ends.
    pub calls: Vec<CallRecord>,
    /// How long it took.
    pub took: Duration,
    /// How often the cluster was read until its answers fitted together, from 1.
    pub readings: usize,
}

/// Reads `cluster` and everything that can decide a flow of it: its VPC, the VPCs that peerings and transit gateways
/// lead to as far as this account sees them, and what rules and routes refer to.
///
/// Calls at most [`CALLS_IN_FLIGHT_MAX`](crate::CALLS_IN_FLIGHT_MAX) at once and follows every list to its end. Answers
/// that contradict each other are read again, the whole cluster up to `READINGS_MAX` times. `progress` is told of
/// each call that has ended well.
///
/// Decides nothing: which interfaces are the control plane's [D.1] is the model's to say.
///
/// # Errors
/// [`ReadError`] when an essential answer cannot be had, when any call fails otherwise than by a refusal, or when
/// answers go on contradicting each other. Nothing of what was read is handed out then.
pub async fn read(
    connection: &Connection,
    cluster: &str,
    progress: &Progress<'_>,
) -> Result<Reading, ReadError> {
    let session = Session::start(connection.pace, progress);
    let mut pause = connection.pace.first_backoff;
    for readings in 1..=READINGS_MAX {
        let mut walk = Walk::new(connection, cluster, &session);
        walk.run().await?;
        let Some(contradiction) = contradictions(&walk.collected).into_iter().next() else {
            let Walk {
                collected, gaps, ..
            } = walk;
            let (calls, took) = session.finish();
            return Ok(Reading {
                answers: collected.into_answers(),
                gaps: gaps.into_iter().collect(),
                calls,
                took,
                readings,
            });
        };
        if readings == READINGS_MAX {
            let contradiction = contradiction.to_string();
            return Err(ReadError::Contradictory {
                readings,
                contradiction,
            });
        }
        tracing::warn!(%contradiction, readings, "answers contradict each other, reading again");
        tokio::time::sleep(pause).await;
        pause = (pause * 4).min(connection.pace.longest_backoff);
    }
    // Invariant: the last reading has returned above.
    Err(ReadError::Contradictory {
        readings: READINGS_MAX,
        contradiction: "no reading was made".to_owned(),
    })
}

fn missing(cluster: &str, field: &'static str) -> ReadError {
    ReadError::FieldMissing {
        call: Call::Cluster,
        subject: cluster.to_owned(),
        field,
    }
}
