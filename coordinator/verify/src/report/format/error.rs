//! Why a report is not written.

use std::io;

use thiserror::Error;

/// A report that cannot be written.
#[derive(Debug, Error)]
pub enum FormatError {
    /// A value is none of JSON.
    #[error("cannot write the report as JSON")]
    Json(#[from] serde_json::Error),
    /// A row cannot be written.
    #[error("cannot write the report as CSV")]
    Csv(#[source] ::csv::Error),
    /// A text is none of XML.
    #[error("cannot write the report as XML of JUnit")]
    Junit(#[from] quick_junit::SerializeError),
    /// The page cannot be made.
    #[error("cannot write the report as HTML")]
    Html(#[from] askama::Error),
    /// It cannot be written where it goes.
    #[error("cannot write the report")]
    Output(#[from] io::Error),
}

impl FormatError {
    /// Whether nobody reads on: whoever reads the first lines and leaves has what he wanted.
    #[must_use]
    pub fn is_left(&self) -> bool {
        let kind = match self {
            Self::Json(error) => error.io_error_kind(),
            Self::Csv(error) => {
                if let ::csv::ErrorKind::Io(error) = error.kind() {
                    Some(error.kind())
                } else {
                    None
                }
            }
            Self::Junit(_) | Self::Html(_) => None,
            Self::Output(error) => Some(error.kind()),
        };
        kind == Some(io::ErrorKind::BrokenPipe)
    }
}
