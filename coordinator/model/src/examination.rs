//! One line of `reachproof doctor`, whoever looked: the readers of AWS and of Kubernetes say it in the same words.

/// One thing that was looked at, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub subject: &'static str,
    /// What came of it.
    pub state: CheckState,
    /// What was seen, in our words.
    pub detail: String,
    /// What lies beneath, in the words of others; may be empty.
    pub evidence: String,
    /// What to do about it; empty when nothing is to be done.
    pub remedy: String,
}

/// What came of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckState {
    /// It is as it must be.
    Ok,
    /// It is not.
    Missing,
    /// It could not be found out.
    Unknown,
}

impl Check {
    /// Says it without anything beneath; `remedy` is empty when nothing is to be done.
    #[must_use]
    pub fn new(
        subject: &'static str,
        state: CheckState,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            subject,
            state,
            detail: detail.into(),
            evidence: String::new(),
            remedy: remedy.into(),
        }
    }

    /// Says that it is as it must be.
    #[must_use]
    pub fn ok(subject: &'static str, detail: impl Into<String>) -> Self {
        Self::new(subject, CheckState::Ok, detail, "")
    }

    /// Says that it is not.
    #[must_use]
    pub fn missing(
        subject: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(subject, CheckState::Missing, detail, remedy)
    }

    /// Says that it could not be found out.
    #[must_use]
    pub fn unknown(
        subject: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(subject, CheckState::Unknown, detail, remedy)
    }
}
