//! What `verify --kubernetes` says where the way to the coordinator is closed: that very way is part of what it is to try.

use std::io::{self, Write};

use reachproof_kube::forward::ForwardError;
use reachproof_model::net::Printable;
use reachproof_verify::report::kept::Kept;
use serde_json::json;

use super::{CliError, write_json};
use crate::installed::InstalledError;

/// Exit code where a required flow was not verified (F.3).
const UNVERIFIED: u8 = 3;

/// Exit code of a failed run.
const FAILED: u8 = 1;

/// Name and version of the JSON that is written.
const SCHEMA: &str = "reachproof.way/v1";

/// A way that is closed, and what is known all the same.
#[derive(Debug)]
pub(super) struct ClosedWay<'a> {
    way: &'a ForwardError,
    /// What the coordinator keeps in the cluster, or why that cannot be had; neither before its first run.
    kept: Result<Option<Kept>, InstalledError>,
}

impl<'a> ClosedWay<'a> {
    pub(super) const fn new(
        way: &'a ForwardError,
        kept: Result<Option<Kept>, InstalledError>,
    ) -> Self {
        Self { way, kept }
    }

    /// The exit code: that of a failure where the kept run failed, else nothing of this one is verified.
    pub(super) fn exit_code(&self) -> u8 {
        match &self.kept {
            Ok(Some(kept)) if kept.exit_code == FAILED => FAILED,
            Ok(_) | Err(_) => UNVERIFIED,
        }
    }

    /// Writes it in `format`, where it has one; text to standard error where the format is one of reports.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, format: &str) -> Result<(), CliError> {
        match format {
            "table" => io::stdout().write_all(self.text().as_bytes())?,
            "json" => write_json(&mut io::stdout(), &self.object())?,
            _ => eprint!("{}", self.text()),
        }
        Ok(())
    }

    fn text(&self) -> String {
        let verdict = if self.exit_code() == FAILED {
            "FAIL"
        } else {
            "UNSURE"
        };
        let head = format!(
            "{verdict}   {}   exit {}\n",
            Printable(&self.way.to_string()),
            self.exit_code()
        );
        let advice = self.way.advice().map_or_else(String::new, |advice| {
            format!(
                "  that is: {}\n  do:      {}\n",
                Printable(&advice.cause),
                Printable(&advice.remedy)
            )
        });
        let kept = match &self.kept {
            Ok(Some(kept)) => format!(
                "the last run that the coordinator keeps in the cluster\n\n{}",
                kept.text()
            ),
            Ok(None) => "no run was done here, and the coordinator keeps none in the cluster yet\n"
                .to_owned(),
            Err(error) => format!(
                "no run was done here, and what the coordinator keeps in the cluster cannot be had: {}\n",
                Printable(&reachproof_model::words::chain(error))
            ),
        };
        format!("{head}{advice}\n{kept}")
    }

    fn object(&self) -> serde_json::Value {
        let advice = self.way.advice();
        json!({
            "schema": SCHEMA,
            "exit_code": self.exit_code(),
            "finding": self.way.to_string(),
            "cause": advice.as_ref().map(|advice| &advice.cause),
            "remedy": advice.as_ref().map(|advice| &advice.remedy),
            "kept": self.kept.as_ref().ok().and_then(Option::as_ref),
            "kept_error": self.kept.as_ref().err().map(|error| reachproof_model::words::chain(error)),
        })
    }
}

#[cfg(test)]
mod tests {
    use reachproof_kube::storage::ObjectName;

    use super::*;

    fn way() -> ForwardError {
        ForwardError::Kubelet {
            pod: ObjectName {
                namespace: "network".to_owned(),
                name: "x-1".to_owned(),
            },
            node: "node-1".to_owned(),
            why: "dial tcp 10.0.1.20:10250: i/o timeout".to_owned(),
        }
    }

    #[test]
    fn a_closed_way_is_a_finding_with_cause_and_next_step_and_shows_the_kept_run() {
        let way = way();
        let kept = Kept::failed("run-1", 7, "PASS", "all met");
        let passed = Kept {
            exit_code: 0,
            ..kept
        };
        let closed = ClosedWay::new(&way, Ok(Some(passed.clone())));
        insta::assert_snapshot!(closed.text());
        let object = closed.object();
        assert_eq!(object["kept"]["run"], "run-1");
        assert!(object["finding"].as_str().unwrap().contains("tcp/10250"));
        assert!(object["remedy"].is_string());
        // What was not tried now is not verified by an older run, but what failed then is not mended either.
        assert_eq!(closed.exit_code(), UNVERIFIED);
        let failed = Kept {
            exit_code: 1,
            ..passed
        };
        assert_eq!(ClosedWay::new(&way, Ok(Some(failed))).exit_code(), FAILED);
        let none = ClosedWay::new(&way, Ok(None));
        assert_eq!(none.exit_code(), UNVERIFIED);
        assert!(none.text().contains("keeps none in the cluster yet"));
    }
}
