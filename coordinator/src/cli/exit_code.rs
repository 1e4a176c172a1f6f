//! What the command says by its exit code (SEMANTICS F.3): 0 confirmed by proof and as expected, 1 a contradiction or a
//! broken expectation, 2 could not be done, 3 an expectation stayed unverified or an agent is missing.

use std::process;

/// Exit code of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitCode {
    /// The question was answered.
    Answered,
    /// A run or a difference was judged: 0, 1 or 3, as its report says.
    Judged(u8),
    /// The command could not be done.
    Failed,
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(match code {
            ExitCode::Answered => 0,
            ExitCode::Judged(code) => code,
            ExitCode::Failed => 2,
        })
    }
}
