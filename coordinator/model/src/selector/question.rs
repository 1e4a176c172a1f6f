//! Who is to reach whom with which packets, in the words of somebody who asks.

use thiserror::Error;

use super::{EndPair, Selector, SelectorError, pairs};
use crate::class::Classes;
use crate::flow::{Flow, FlowProtocol, InvalidPackets, Packets};
use crate::snapshot::Snapshot;

/// A question about flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who sends.
    pub source: Selector,
    /// Who receives.
    pub destination: Selector,
    /// What is sent.
    pub packets: Packets,
}

/// Words that make no question.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidQuestion {
    /// A word selects nothing.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// Port or protocol are wrong.
    #[error(transparent)]
    Packets(#[from] InvalidPackets),
}

impl Question {
    /// Reads a question: who, to whom, and protocol and port as [`Packets::from_words`] takes them.
    ///
    /// # Errors
    /// [`InvalidQuestion`] names the first word that is wrong.
    pub fn from_words(
        source: &str,
        destination: &str,
        (protocol, port): (Option<&str>, Option<&str>),
    ) -> Result<Self, InvalidQuestion> {
        Ok(Self {
            source: source.parse()?,
            destination: destination.parse()?,
            packets: Packets::from_words(protocol, port)?,
        })
    }

    /// Looks up the ends: a pair for each two classes of them, never none.
    ///
    /// # Errors
    /// [`SelectorError`] for a name that cannot be looked up, and for ends between which nothing can be sent.
    pub fn pairs(
        &self,
        snapshot: &Snapshot,
        classes: &Classes,
    ) -> Result<Vec<EndPair>, SelectorError> {
        let (from, to) = (
            self.source.resolve(snapshot)?,
            self.destination.resolve(snapshot)?,
        );
        let found = pairs(snapshot, classes, (&from, &to));
        if found.is_empty() {
            return Err(SelectorError::NoPair {
                from: self.source.to_string(),
                to: self.destination.to_string(),
            });
        }
        Ok(found)
    }
}

impl EndPair {
    /// Makes the flow between the two ends, out of a pod where the snapshot lists the source as one's (K.1 "Source kind").
    #[must_use]
    pub fn flow(&self, snapshot: &Snapshot, protocol: FlowProtocol) -> Flow {
        Flow {
            protocol,
            source_kind: snapshot.source_kind(self.source),
            ..Flow::tcp(self.source, self.destination, 0)
        }
    }
}
