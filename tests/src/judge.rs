//! Holds a report against what its world says that it must be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use reachproof_lab::Endpoint;
use reachproof_lab::world::{Expect, ExpectedFinding, ExpectedKind, Family};
use serde::Deserialize;
use serde_json::Value;

/// The part of a report that worlds speak of (ARCHITECTURE, "Report").
#[derive(Debug, Deserialize)]
struct Report {
    findings: Vec<Finding>,
    expectations: Vec<Expectation>,
}

/// A finding of a report.
#[derive(Debug, Deserialize)]
struct Finding {
    kind: ExpectedKind,
    flow: Flow,
    reason: Option<Value>,
}

/// The flow of a finding.
#[derive(Debug, Deserialize)]
struct Flow {
    source: IpAddr,
    destination: IpAddr,
    protocol: Value,
    port: Option<u16>,
}

/// An expectation of a report.
#[derive(Debug, Deserialize)]
struct Expectation {
    name: String,
    state: String,
}

/// Every difference between a report and what its world expects, one text each; none if there is none.
///
/// `endpoints` gives addresses their names.
///
/// # Errors
/// [`serde_json::Error`] if `report` is not a report.
pub fn differences(
    expect: &Expect,
    report: &Value,
    exit: u8,
    endpoints: &[Endpoint],
) -> Result<Vec<String>, serde_json::Error> {
    let report = Report::deserialize(report)?;
    let names = Names::of(endpoints);
    let mut found = Vec::new();
    if exit != expect.exit {
        found.push(format!("exit code is {exit}, expected {}", expect.exit));
    }
    let kinds: BTreeSet<ExpectedKind> =
        report.findings.iter().map(|finding| finding.kind).collect();
    for kind in expect.kinds.difference(&kinds) {
        found.push(format!("no finding is {}", kind.word()));
    }
    // Contradictions have a list of their own.
    let unlisted = |kind: ExpectedKind| !kind.is_contradiction() && !expect.kinds.contains(&kind);
    for finding in report
        .findings
        .iter()
        .filter(|finding| unlisted(finding.kind))
    {
        found.push(format!("not expected: {}", names.text(finding)));
    }
    for expected in &expect.findings {
        found.extend(names.missing(expected, &report.findings));
    }
    found.extend(contradictions(expect, &report, &names));
    found.extend(expectations(&expect.broken, "broken", &report));
    found.extend(expectations(&expect.unverified, "unverified", &report));
    Ok(found)
}

/// Contradictions must be exactly those that the world lists.
fn contradictions(expect: &Expect, report: &Report, names: &Names) -> Vec<String> {
    let mut found = Vec::new();
    for expected in &expect.contradictions {
        found.extend(names.missing(expected, &report.findings));
    }
    for finding in report
        .findings
        .iter()
        .filter(|finding| finding.kind.is_contradiction())
    {
        if !expect
            .contradictions
            .iter()
            .any(|expected| names.fits(expected, finding))
        {
            found.push(format!("not expected: {}", names.text(finding)));
        }
    }
    found
}

/// The expectations in `state` must be exactly those that the world lists as such.
fn expectations(listed: &[String], state: &str, report: &Report) -> Vec<String> {
    let there: Vec<&str> = report
        .expectations
        .iter()
        .filter(|expectation| expectation.state == state)
        .map(|expectation| expectation.name.as_str())
        .collect();
    let fits = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    let missing = listed
        .iter()
        .filter(|pattern| !there.iter().any(|name| fits(pattern, name)));
    let extra = there
        .iter()
        .filter(|name| !listed.iter().any(|pattern| fits(pattern, name)));
    missing
        .map(|pattern| format!("expectation `{pattern}` is not {state}"))
        .chain(extra.map(|name| format!("not expected: expectation `{name}` is {state}")))
        .collect()
}

/// Names of addresses.
struct Names {
    by_address: BTreeMap<IpAddr, String>,
}

impl Names {
    fn of(endpoints: &[Endpoint]) -> Self {
        let pairs = endpoints.iter().flat_map(|endpoint| {
            endpoint
                .addresses
                .iter()
                .map(|address| (*address, endpoint.name.clone()))
        });
        Names {
            by_address: pairs.collect(),
        }
    }

    fn name(&self, address: IpAddr) -> String {
        self.by_address
            .get(&address)
            .cloned()
            .unwrap_or_else(|| address.to_string())
    }

    /// Whether a finding is about the flow of `expected`.
    fn is_about(&self, expected: &ExpectedFinding, finding: &Finding) -> bool {
        let family = match finding.flow.destination {
            IpAddr::V4(_) => Family::Ipv4,
            IpAddr::V6(_) => Family::Ipv6,
        };
        let flow = &finding.flow;
        flow.protocol == "tcp"
            && flow.port == Some(expected.port)
            && family == expected.family
            && self.name(flow.source) == expected.source
            && self.name(flow.destination) == expected.destination
    }

    fn fits(&self, expected: &ExpectedFinding, finding: &Finding) -> bool {
        finding.kind == expected.kind && self.is_about(expected, finding)
    }

    /// What stands in the way of `expected`: other findings about its flow, or none at all.
    fn missing(&self, expected: &ExpectedFinding, findings: &[Finding]) -> Vec<String> {
        let about: Vec<&Finding> = findings
            .iter()
            .filter(|finding| self.is_about(expected, finding))
            .collect();
        if about.is_empty() {
            return vec![format!(
                "expected `{expected}`, but the flow was not judged"
            )];
        }
        about
            .into_iter()
            .filter(|finding| finding.kind != expected.kind)
            .map(|finding| format!("expected `{expected}`, found {}", self.text(finding)))
            .collect()
    }

    fn text(&self, finding: &Finding) -> String {
        let flow = &finding.flow;
        let port = flow.port.map(|port| format!(":{port}")).unwrap_or_default();
        let reason = match &finding.reason {
            Some(Value::String(reason)) => format!(" ({reason})"),
            Some(Value::Null) | None => String::new(),
            Some(other) => format!(" ({other})"),
        };
        let source = self.name(flow.source);
        let destination = self.name(flow.destination);
        let family = if flow.destination.is_ipv6() {
            " over ipv6"
        } else {
            ""
        };
        format!(
            "{source} -> {destination}{port} {}{family}{reason}",
            finding.kind.word()
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use reachproof_lab::EndpointKind;
    use serde_json::json;

    use super::*;

    fn endpoints() -> Vec<Endpoint> {
        [("a", "10.0.1.1"), ("b", "10.0.1.2")]
            .map(|(name, address)| Endpoint {
                name: name.to_owned(),
                addresses: vec![address.parse().unwrap()],
                kind: EndpointKind::Node,
            })
            .to_vec()
    }

    fn report(kind: &str) -> Value {
        json!({
            "findings": [{
                "kind": kind,
                "flow": {"source": "10.0.1.1", "destination": "10.0.1.2", "protocol": "tcp", "port": 443},
                "reason": null,
            }],
            "expectations": [
                {"name": "nodes reach x", "state": "broken"},
                {"name": "pods reach x", "state": "unverified"},
                {"name": "y", "state": "met"},
            ],
        })
    }

    fn expect(kind: ExpectedKind) -> Expect {
        let finding = ExpectedFinding::try_from(format!("a -> b:443 {}", kind.word())).unwrap();
        Expect {
            exit: 1,
            kinds: BTreeSet::from([kind]),
            contradictions: if kind.is_contradiction() {
                vec![finding.clone()]
            } else {
                Vec::new()
            },
            findings: vec![finding],
            broken: vec!["nodes *".to_owned()],
            unverified: vec!["pods reach x".to_owned()],
        }
    }

    #[test]
    fn a_report_as_the_world_states_has_no_difference() {
        for kind in [ExpectedKind::ConfirmedDeny, ExpectedKind::ContradictionOpen] {
            let found = differences(&expect(kind), &report(kind.word()), 1, &endpoints()).unwrap();
            assert_eq!(found, Vec::<String>::new());
        }
    }

    #[test]
    fn each_difference_is_named() {
        let mut wanted = expect(ExpectedKind::ConfirmedDeny);
        wanted.broken = vec!["z".to_owned()];
        wanted.unverified = Vec::new();
        let found = differences(&wanted, &report("contradiction_open"), 3, &endpoints()).unwrap();
        assert_eq!(
            found,
            [
                "exit code is 3, expected 1",
                "no finding is confirmed_deny",
                "expected `a -> b:443 confirmed_deny`, found a -> b:443 contradiction_open",
                "not expected: a -> b:443 contradiction_open",
                "expectation `z` is not broken",
                "not expected: expectation `nodes reach x` is broken",
                "not expected: expectation `pods reach x` is unverified",
            ]
        );
    }

    #[test]
    fn a_flow_that_was_not_judged_is_a_difference() {
        let mut wanted = expect(ExpectedKind::ConfirmedAllow);
        wanted
            .findings
            .push(ExpectedFinding::try_from("b -> a:443 confirmed_allow".to_owned()).unwrap());
        let found = differences(&wanted, &report("confirmed_allow"), 1, &endpoints()).unwrap();
        assert_eq!(
            found,
            ["expected `b -> a:443 confirmed_allow`, but the flow was not judged"]
        );
    }
}
