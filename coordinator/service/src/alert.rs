//! Who is told when a verdict is not that of the run before: once for each change.

use http::Method;
use serde_json::{Value, json};

use crate::client::{Client, ClientError};
use crate::config::{AlertForm, AlertSettings};
use crate::store::RunRow;

/// Posts to whoever wants to hear of a new verdict.
#[derive(Debug)]
pub struct Alert {
    settings: AlertSettings,
    client: Client,
}

impl Alert {
    /// An alert that goes where the settings say.
    #[must_use]
    pub fn new(settings: AlertSettings) -> Self {
        Self {
            settings,
            client: Client::public(),
        }
    }

    /// Tells that `run` has another verdict than the run before, `known`.
    ///
    /// # Errors
    /// [`ClientError`] when nobody took it.
    pub async fn send(
        &self,
        run: &RunRow,
        known: Option<&str>,
        cluster: Option<&str>,
    ) -> Result<(), ClientError> {
        let body = body(self.settings.form, run, known, cluster).to_string();
        let url = self.settings.url.clone();
        self.client
            .exchange(Method::POST, url, body)
            .await
            .map(drop)
    }
}

/// What is posted.
fn body(form: AlertForm, run: &RunRow, known: Option<&str>, cluster: Option<&str>) -> Value {
    match form {
        AlertForm::Json => json!({
            "schema": "reachproof.alert/v1",
            "cluster": cluster,
            "run": run.id,
            "started_at_unix_ms": run.started_at_unix_ms,
            "verdict": run.verdict,
            "before": known,
            "why": run.why,
            "contradictions": run.contradictions,
            "changed": run.changed,
        }),
        AlertForm::Slack => {
            let of = cluster
                .map(|name| format!(" of {name}"))
                .unwrap_or_default();
            let after = known
                .map(|known| format!(" after {known}"))
                .unwrap_or_default();
            let changed = run.changed.iter().take(5).map(|line| format!("\n{line}"));
            let text = format!(
                "reachproof{of}: {}{after} in {}: {}{}",
                run.verdict,
                run.id,
                run.why,
                changed.collect::<String>()
            );
            // What these three stand for is markup there [Slack, Formatting text for app surfaces].
            let text = text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;");
            json!({ "text": text })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

    use super::*;

    fn failed() -> RunRow {
        let mut run = RunRow::beginning("run-1".to_owned(), 7, "smoke".to_owned(), String::new());
        run.verdict = "FAIL".to_owned();
        run.why = "1 cause breaks <2> flows".to_owned();
        run.changed = vec!["- sgr-1 tcp/443".to_owned()];
        run
    }

    #[test]
    fn both_forms_say_what_it_was_and_what_changed() {
        let told = body(AlertForm::Json, &failed(), Some("PASS"), Some("demo"));
        assert_eq!(
            (&told["verdict"], &told["before"]),
            (&json!("FAIL"), &json!("PASS"))
        );
        assert_eq!(told["changed"], json!(["- sgr-1 tcp/443"]));
        let told = body(AlertForm::Slack, &failed(), Some("PASS"), Some("demo"));
        let text = "reachproof of demo: FAIL after PASS in run-1: 1 cause breaks &lt;2&gt; flows\n- sgr-1 tcp/443";
        assert_eq!(told, json!({ "text": text }));
    }
}
