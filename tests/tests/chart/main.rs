//! The Helm chart: what it renders, what it refuses, and that its agents are those of `reachproof manifests`.

#![allow(clippy::indexing_slicing, reason = "tests fail by panicking")]

mod pods;
mod rights;
mod server;
mod values;

use std::process::ExitCode;

use reachproof_tests::binaries;
use reachproof_tests::dialling::Outcome;
use reachproof_tests::harness::{Case, CaseResult, run_cases};
use reachproof_tests::helm::Helm;
use serde_json::Value;

const NEEDS_HELM: Option<&str> = Some("needs Helm, or npm to fetch it");

/// Name and namespace of the release.
const RELEASE: (&str, &str) = ("reachproof", "reachproof");

/// What must be given.
const LEAST: &str = "cluster: {name: demo}\nvpcCidrs: [10.0.0.0/16]\n";

fn main() -> ExitCode {
    let case = |name, run| Case {
        name,
        ignored: NEEDS_HELM,
        run,
    };
    let mut cases = vec![
        case(
            "two_renders_are_identical_and_nothing_is_drawn",
            values::are_rendered_alike,
        ),
        case(
            "wrong_values_are_refused_and_named",
            values::wrong_ones_are_refused,
        ),
        case(
            "every_value_is_explained_and_in_the_schema",
            values::every_one_is_explained,
        ),
        case(
            "versions_of_kubernetes_from_1_30_on_are_taken",
            values::versions_are_taken,
        ),
        case(
            "agents_are_those_of_the_printed_manifests",
            pods::are_those_of_manifests,
        ),
        case(
            "agents_understand_their_policy",
            pods::understand_their_policy,
        ),
        case(
            "every_pod_but_those_in_the_host_network_is_restricted",
            pods::are_restricted,
        ),
        case(
            "the_coordinator_has_these_rights_and_no_others",
            rights::are_these,
        ),
        case(
            "alerts_are_those_of_the_repository",
            rights::alerts_are_those_of_the_repository,
        ),
    ];
    cases.push(Case {
        name: "an_api_server_takes_what_is_rendered",
        ignored: Some("needs Go to build a control plane, and Helm"),
        run: server::takes_what_is_rendered,
    });
    run_cases(build, &cases)
}

/// Outside the lab, from which neither Go, npm nor cargo could fetch anything.
fn build() -> CaseResult {
    Helm::get()?;
    reachproof_lab::kubernetes::Program::build(|text| println!("{text}"))?;
    Ok(binaries::build()?)
}

fn helm() -> Outcome<Helm> {
    Helm::find().ok_or_else(|| "Helm was not fetched".into())
}

/// The objects of a release with these values beside those that must be given.
fn objects(values: &str) -> Outcome<Vec<Value>> {
    let rendered = helm()?.render(RELEASE, &format!("{LEAST}{values}"), &[])?;
    rendered.objects(|text| Ok(yaml_serde::from_str(text)?))
}

/// The objects of a kind.
fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// Fails with what was found if there is something.
fn nothing(found: &[String]) -> CaseResult {
    if found.is_empty() {
        return Ok(());
    }
    Err(found.join("\n").into())
}
