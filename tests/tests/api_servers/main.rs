//! The direction that only API servers can show: real ones, behind the X-ENIs of a world, connect to kubelets, agents and
//! target ports when `reachproof verify` asks them to.

mod faults;
mod rights;
mod signs;
mod worlds;

use std::net::IpAddr;
use std::process::ExitCode;

use reachproof_lab::kubernetes::Program;
use reachproof_model::claim::ClaimVerdict;
use reachproof_tests::binaries;
use reachproof_tests::dialling::Outcome;
use reachproof_tests::harness::{Case, CaseResult, run_cases_together};
use reachproof_tests::play::{Seen, addresses_of};
use reachproof_tests::stage::Stage;
use reachproof_tests::truth::lies;
use reachproof_verify::Report;
use reachproof_verify::claims::catalogue;
use serde::Deserialize as _;
use serde_json::Value;

const NEEDS_GO: Option<&str> = Some("needs Go to build a control plane");

/// Cases that run at a time: they wait for API servers that wait for silence.
const TOGETHER: usize = 3;

/// How many worlds [`worlds::every_world`] plays; without it all, and what takes longest is not left out.
const SAMPLE: &str = "REACHPROOF_DIAL_WORLDS";

/// A case by its name.
const fn case(name: &'static str, run: fn() -> CaseResult) -> Case {
    Case {
        name,
        ignored: NEEDS_GO,
        run,
    }
}

fn main() -> ExitCode {
    // The longest first: they run beside each other.
    let mut cases = vec![
        case(
            "target_ports_are_told_apart_and_a_firewall_contradicts_nobody",
            worlds::webhooks,
        ),
        case(
            "a_contradiction_is_of_the_interface_that_is_closed_alone",
            worlds::control_plane_drift,
        ),
        case(
            "a_kubelet_without_an_agent_beside_it_is_reached_by_the_log_of_a_pod",
            worlds::logs,
        ),
        case(
            "every_kubelet_is_met_from_every_interface_and_without_the_right_predicted",
            rights::rights,
        ),
        case(
            "every_dial_of_every_world_is_what_the_kernel_counted",
            worlds::every_world,
        ),
        case(
            "a_proxy_that_answers_proves_nothing_and_without_an_agent_of_its_class_a_backend_is_predicted",
            faults::proxied,
        ),
        case(
            "an_api_server_that_is_stopped_in_the_middle_proves_nothing",
            faults::stopped,
        ),
        case(
            "a_right_that_is_taken_in_the_middle_proves_nothing",
            faults::forbidden,
        ),
        case(
            "another_api_server_behind_an_address_proves_nothing",
            faults::another,
        ),
        case(
            "a_source_that_is_translated_proves_nothing",
            faults::translated,
        ),
    ];
    if std::env::var_os(SAMPLE).is_none() {
        // A run waits minutes for agents that do not come back.
        cases.push(case(
            "a_pod_that_is_deleted_in_the_middle_proves_nothing",
            faults::deleted,
        ));
        cases.push(case(
            "without_the_right_agents_find_the_same_in_every_world",
            rights::every_world,
        ));
    }
    run_cases_together(build, &cases, TOGETHER)
}

/// Outside the lab, from which neither Go nor cargo could fetch anything.
fn build() -> CaseResult {
    Program::build(|text| println!("{text}"))?;
    Ok(binaries::build()?)
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> CaseResult {
    if holds { Ok(()) } else { Err(what().into()) }
}

/// State of an expectation and how many of its flows are met and predicted, by the beginning of its name and subject.
fn expectation(report: &Value, name: &str, subject: &str) -> Outcome<(String, u64, u64, u64)> {
    let all = report["expectations"].as_array().into_iter().flatten();
    let found = all.into_iter().find(|one| {
        let own = one.get("subject").and_then(Value::as_str);
        one["name"] == name && own.unwrap_or_default().contains(subject)
    });
    let found = found.ok_or_else(|| format!("no expectation {name} {subject}"))?;
    let count = |field: &str| found[field].as_u64().unwrap_or_default();
    let state = found["state"].as_str().unwrap_or_default().to_owned();
    Ok((
        state,
        count("met") + count("by_class"),
        count("predicted"),
        count("broken"),
    ))
}

/// Claims that say where API servers send from.
const FROM_THE_INTERFACE: [&str; 3] = ["DOC27", "P-30", "P-31"];

/// Fails unless every one of them is `wanted` in a report.
fn sends_from_the_interface(report: &Value, wanted: ClaimVerdict) -> CaseResult {
    let mut report = Report::from_json(&report.to_string())?;
    ensure(report.judge(&catalogue()?), || {
        "the report has no world".to_owned()
    })?;
    let of_api_servers = report.claims.iter();
    let of_api_servers =
        of_api_servers.filter(|claim| FROM_THE_INTERFACE.contains(&claim.id.as_str()));
    let found: Vec<_> = of_api_servers
        .map(|claim| (&claim.id, claim.verdict, &claim.reason))
        .collect();
    println!("  {found:?}");
    let is_right = found.len() == FROM_THE_INTERFACE.len()
        && found.iter().all(|(_, verdict, _)| *verdict == wanted);
    ensure(is_right, || format!("wanted {wanted}: {found:?}"))
}

/// Fails with what API servers found and the wire, asked from their interfaces, does not bear out.
fn borne_out(stage: &Stage, report: &Value) -> CaseResult {
    let findings = report.get("findings").and_then(Value::as_array);
    let findings = findings.into_iter().flatten();
    let own = findings.filter(|finding| finding.get("source_control_plane").is_some());
    let seen: Result<Vec<Seen>, _> = own.map(Seen::deserialize).collect();
    let false_ones = lies(stage, &seen?)?;
    ensure(false_ones.is_empty(), || false_ones.join("\n"))
}

/// The first address of an endpoint.
fn address(stage: &Stage, name: &str) -> Outcome<IpAddr> {
    let addresses = addresses_of(stage, name)?;
    Ok(*addresses.first().ok_or("no address")?)
}
