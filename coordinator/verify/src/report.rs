//! What a run found, for people and for programs.

use std::collections::BTreeMap;

use serde::Serialize;

pub mod human;
pub mod json;

/// Name and version of the report's shape (DESIGN 5).
pub const REPORT_SCHEMA: &str = "reachproof.report/v1";

/// What one run found. JSON: DESIGN 5, "Report".
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`REPORT_SCHEMA`].
    pub schema: &'static str,
    /// Count of the findings of each kind, zero included.
    pub summary: BTreeMap<&'static str, usize>,
}

impl Report {
    /// The exit code of the process (DESIGN 5): 1 for a contradiction or a broken expectation, 3 when more than
    /// `inconclusive_max` required flows stayed inconclusive, else 0.
    pub fn exit_code(&self, inconclusive_max: usize) -> u8 {
        let count = |kind: &str| self.summary.get(kind).copied().unwrap_or(0);
        if count("contradiction_open") + count("contradiction_closed") > 0 {
            return 1;
        }
        if count("inconclusive") > inconclusive_max {
            return 3;
        }
        0
    }
}
