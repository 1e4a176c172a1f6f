//! What agents reported and nobody counted.

/// Results that were dropped since the coordinator began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Attempts that their agent was not asked for.
    pub unasked: u64,
    /// Batches that had come before.
    pub repeated: u64,
    /// Batches of a run that is over, or that there never was.
    pub of_no_run: u64,
}
