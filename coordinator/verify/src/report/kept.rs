//! What a run found in a few KiB, for where nothing else of it can be had: verdict, causes with repairs, contradictions.

use std::borrow::Cow;
use std::fmt::Write as _;

use reachproof_model::net::Printable;
use reachproof_model::words::counted;
use serde::{Deserialize, Serialize};

use super::human::compared;
use super::{Allowed, CauseRecord, Report, human};
use crate::calendar::utc;

/// Name and version of the shape.
pub const KEPT_SCHEMA: &str = "reachproof.kept/v1";

/// Most bytes of it: half of what a ConfigMap holds \[Kubernetes, ConfigMaps\].
pub const KEPT_BYTES_MAX: usize = 512 << 10;

/// What is kept of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// [`KEPT_SCHEMA`].
    pub schema: Cow<'static, str>,
    /// Names the run.
    pub run: String,
    /// When it began, milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// `PASS`, `FAIL`, `UNSURE`, or `ERROR` where the run could not be done; raw text.
    pub verdict: String,
    /// Exit code that `verify` would have had.
    pub exit_code: u8,
    /// Why it has this verdict; raw text.
    pub why: String,
    /// How many flows it has findings of.
    pub flows: usize,
    /// What breaks flows that the cluster needs, that of most flows first.
    pub causes: Vec<KeptCause>,
    /// Contradictions, a line each; raw text.
    pub contradictions: Vec<String>,
    /// What there was no room for.
    pub left_out: LeftOut,
}

/// A cause and what would mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCause {
    /// Who cannot reach whom; raw text.
    pub title: String,
    /// Why, gate by gate; raw text.
    pub why: Vec<String>,
    /// How many flows it breaks.
    pub flows: usize,
    /// What would open them: commands of the AWS CLI; empty where there is none.
    pub aws_cli: Vec<String>,
    /// Why there is none; absent where there is one. Raw text.
    pub no_repair: Option<String>,
}

/// How many entries are missing at the end of each list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Of the causes.
    pub causes: usize,
    /// Of the contradictions.
    pub contradictions: usize,
}

impl From<&CauseRecord> for KeptCause {
    fn from(cause: &CauseRecord) -> Self {
        Self {
            title: cause.title.clone(),
            why: cause.why.clone(),
            flows: cause.findings.len(),
            aws_cli: cause.aws_cli.clone(),
            no_repair: cause.no_repair.clone(),
        }
    }
}

impl Kept {
    /// What is kept of `report`.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let allowed = Allowed::default();
        let (conclusion, reasons) = human::why(report, allowed);
        let contradictions = report.contradictions();
        Self {
            schema: KEPT_SCHEMA.into(),
            run: report.run.id.clone(),
            started_at_unix_ms: report.run.started_at_unix_ms,
            verdict: conclusion.as_str().to_owned(),
            exit_code: conclusion.exit_code(),
            why: reasons.join(", "),
            flows: report.findings.len(),
            causes: report.causes.iter().map(KeptCause::from).collect(),
            contradictions: contradictions
                .map(|finding| compared(report, finding))
                .collect(),
            left_out: LeftOut::default(),
        }
    }

    /// What is kept of a run that came to no report.
    #[must_use]
    pub fn failed(run: &str, started_at_unix_ms: u64, verdict: &str, why: &str) -> Self {
        Self {
            schema: KEPT_SCHEMA.into(),
            run: run.to_owned(),
            started_at_unix_ms,
            verdict: verdict.to_owned(),
            exit_code: 2,
            why: why.to_owned(),
            flows: 0,
            causes: Vec::new(),
            contradictions: Vec::new(),
            left_out: LeftOut::default(),
        }
    }

    /// JSON of at most `bytes_max` bytes: causes go first, and what has no room is left out as a whole and counted.
    ///
    /// # Errors
    /// What cannot be written as JSON.
    pub fn within(mut self, bytes_max: usize) -> serde_json::Result<String> {
        let causes = std::mem::take(&mut self.causes);
        let contradictions = std::mem::take(&mut self.contradictions);
        // No count that follows is longer than these.
        self.left_out.causes += causes.len();
        self.left_out.contradictions += contradictions.len();
        let mut room = bytes_max.saturating_sub(serde_json::to_string(&self)?.len());
        for cause in causes {
            let taken = serde_json::to_string(&cause)?.len() + 1;
            let Some(left) = room.checked_sub(taken) else {
                break;
            };
            room = left;
            self.causes.push(cause);
            self.left_out.causes -= 1;
        }
        for line in contradictions {
            let taken = serde_json::to_string(&line)?.len() + 1;
            let Some(left) = room.checked_sub(taken) else {
                break;
            };
            room = left;
            self.contradictions.push(line);
            self.left_out.contradictions -= 1;
        }
        serde_json::to_string(&self)
    }

    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}   {}   exit {}\n  {} of {}, {}\n",
            Printable(&self.verdict),
            Printable(&self.why),
            self.exit_code,
            Printable(&self.run),
            utc(self.started_at_unix_ms),
            counted(self.flows, "flow", "flows"),
        );
        let mut line = |depth: usize, words: &str| {
            // Writing to a text does not fail.
            let _written = writeln!(text, "{:depth$}{}", "", Printable(words));
        };
        for cause in &self.causes {
            let flows = counted(cause.flows, "flow", "flows");
            line(2, &format!("cause: {}, {flows}", cause.title));
            cause.why.iter().for_each(|why| line(4, why));
            cause
                .aws_cli
                .iter()
                .for_each(|command| line(4, &format!("add:  {command}")));
            if let Some(why) = &cause.no_repair {
                line(4, why);
            }
        }
        for contradiction in &self.contradictions {
            line(2, contradiction);
        }
        let LeftOut {
            causes,
            contradictions,
        } = self.left_out;
        if causes + contradictions > 0 {
            let causes = counted(causes, "cause", "causes");
            let lines = counted(contradictions, "contradiction", "contradictions");
            line(2, &format!("for want of room without {causes} and {lines}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let cause = |number: usize| KeptCause {
            title: format!("nodes -> control plane tcp/{number}"),
            why: vec!["no ingress rule of \"sg-1\"".to_owned()],
            flows: 2,
            aws_cli: vec!["aws ec2 authorize-security-group-ingress".to_owned()],
            no_repair: None,
        };
        Kept {
            causes: (0..20).map(cause).collect(),
            contradictions: (0..30).map(|number| format!("flow {number}")).collect(),
            ..Kept::failed("run-1", 7, "FAIL", "1 cause breaks 2 flows")
        }
    }

    #[test]
    fn what_has_no_room_is_left_out_as_a_whole_and_counted() {
        let whole = kept().within(KEPT_BYTES_MAX).unwrap();
        let all: Kept = serde_json::from_str(&whole).unwrap();
        assert_eq!(all, kept());
        for room in (300..=whole.len()).step_by(7) {
            let text = kept().within(room).unwrap();
            assert!(text.len() <= room, "{} bytes of {room}", text.len());
            let read: Kept = serde_json::from_str(&text).unwrap();
            assert_eq!(read.causes.len() + read.left_out.causes, 20);
            let lines = read.contradictions.len() + read.left_out.contradictions;
            assert_eq!(lines, 30);
            assert_eq!(read.causes[..], kept().causes[..read.causes.len()]);
        }
    }

    #[test]
    fn people_see_verdict_causes_repairs_and_what_is_missing() {
        let mut kept = kept();
        kept.causes.truncate(1);
        kept.contradictions.truncate(1);
        kept.left_out.contradictions = 29;
        let wanted = "FAIL   1 cause breaks 2 flows   exit 2
  run-1 of 1970-01-01T00:00:00Z, 0 flows
  cause: nodes -> control plane tcp/0, 2 flows
    no ingress rule of \"sg-1\"
    add:  aws ec2 authorize-security-group-ingress
  flow 0
  for want of room without 0 causes and 29 contradictions
";
        assert_eq!(kept.text(), wanted);
    }
}
