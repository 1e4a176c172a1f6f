//! One edited group, before anybody applies it: only its rows are computed again.

use std::sync::Arc;

use thiserror::Error;

use crate::class::ClassId;
use crate::matrix::Matrix;
use crate::net::PortRange;
use crate::snapshot::{Direction, SecurityGroup};

/// A pair of classes for which an edited group changes what passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedPair {
    /// Class that sends.
    pub source: ClassId,
    /// Class that receives.
    pub destination: ClassId,
    /// Ports whose verdict differs, sorted and disjoint.
    pub ports: Arc<[PortRange]>,
}

/// The edited rules need networks or ports that the relation does not tell apart: compare two snapshots instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the edited rules need networks or ports that the relation does not tell apart, compare two snapshots"
)]
pub struct NotCovered;

impl Matrix<'_> {
    /// Returns the pairs of classes whose verdict changes if a group gets other rules, each once, in a fixed order.
    ///
    /// Touches only rows of sets that have the group. The group is named by its id; one that nobody carries changes
    /// nothing.
    ///
    /// # Errors
    /// [`NotCovered`] if a new rule has an edge or a network that no rule, entry or route of the snapshot has.
    pub fn edited(&self, group: &SecurityGroup) -> Result<Vec<ChangedPair>, NotCovered> {
        let edit = |direction| self.row_edit(group, direction).ok_or(NotCovered);
        let (egress, ingress) = (edit(Direction::Egress)?, edit(Direction::Ingress)?);
        let mut changed = Vec::new();
        self.visit(&egress, &ingress, |source, destination, ports| {
            changed.push(ChangedPair {
                source,
                destination,
                ports,
            });
        });
        Ok(changed)
    }
}
