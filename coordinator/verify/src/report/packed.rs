//! A report as few bytes, for where there is little room: compressed, and without what takes most of it.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Report, json};

/// A report that was made small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The report as JSON, compressed by gzip; absent where it did not fit at all.
    pub bytes: Option<Vec<u8>>,
    /// What is not in it, in words; empty where all is.
    pub left_out: &'static str,
}

/// What is left out, and what leaves it out.
type Step = (&'static str, fn(&mut Report));

/// Steps by which a report loses what takes most room and says least of what is wrong.
const STEPS: [Step; 3] = [
    ("", |_| {}),
    ("the snapshot", |report| report.snapshot.content = None),
    ("the snapshot and the evidence", |report| {
        for finding in &mut report.findings {
            finding.prediction.steps.clear();
            finding.observation.attempts.clear();
            finding.conditions.clear();
            finding.attempt_conditions.clear();
        }
    }),
];

impl Report {
    /// Packs the report into `bytes_max` bytes; what does not fit is left out.
    ///
    /// # Errors
    /// [`io::Error`] for a value that cannot be written as JSON.
    pub fn packed(mut self, bytes_max: usize) -> io::Result<Packed> {
        for (left_out, reduce) in STEPS {
            reduce(&mut self);
            let bytes = compressed(&self)?;
            if bytes.len() <= bytes_max {
                return Ok(Packed {
                    bytes: Some(bytes),
                    left_out,
                });
            }
        }
        Ok(Packed {
            bytes: None,
            left_out: "the report",
        })
    }
}

fn compressed(report: &Report) -> io::Result<Vec<u8>> {
    let mut out =
        io::BufWriter::with_capacity(1 << 16, GzEncoder::new(Vec::new(), Compression::default()));
    json::write(report, &mut out)?;
    out.flush()?;
    let encoder = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    encoder.finish()
}
