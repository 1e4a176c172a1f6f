//! The catalogue of claims, judged by the worlds that come along and by changes of them, and the document that it makes:
//! `REACHPROOF_CLAIMS=write cargo test -p reachproof-tests --test claims` writes docs/claims.md anew.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use reachproof_lab::world::World as LabWorld;
use reachproof_model::claim::judge::judge;
use reachproof_model::claim::{ClaimVerdict, EvidenceKind, JudgedClaim, Wire, World};
use reachproof_model::describe::Described;
use reachproof_model::snapshot::Snapshot;
use reachproof_tests::binaries::{binary, build};
use reachproof_verify::claims::catalogue;
use reachproof_verify::report::claims::counts;
use serde_json::{Map, Value, json};

type Answers = Map<String, Value>;

/// A change of a world's answers.
type Edit = fn(&mut Answers);

/// A claim with a world in which it holds, and one in which it fails where there can be one without a run.
struct Case {
    id: &'static str,
    holds: (&'static str, Edit),
    fails: Option<(&'static str, Edit)>,
}

const fn case(id: &'static str, holds: &'static str, fails: Option<(&'static str, Edit)>) -> Case {
    changed(id, (holds, as_it_is), fails)
}

const fn changed(
    id: &'static str,
    holds: (&'static str, Edit),
    fails: Option<(&'static str, Edit)>,
) -> Case {
    Case { id, holds, fails }
}

const BOTH: &str = "node-sg-and-control-plane-sg";

/// Every claim that answers of the APIs or the model decide.
const CASES: [Case; 50] = [
    case(
        "S01",
        "default",
        Some(("default", third_group_on_control_plane)),
    ),
    case(
        "S02",
        "default",
        Some(("default", control_plane_without_cluster_group)),
    ),
    case(
        "S03",
        "default",
        Some(("default", fargate_with_outsider_group)),
    ),
    case(
        "S04",
        "default",
        Some(("default", node_with_outsider_group)),
    ),
    case("S05", "node-sg", Some(("node-sg", node_with_both_groups))),
    case("S06", "default", Some(("default", renamed_cluster_group))),
    case("S07", "default", Some(("default", nobody_admitted))),
    case(
        "S09",
        BOTH,
        Some((BOTH, control_plane_with_cluster_group_alone)),
    ),
    case("S10", BOTH, Some((BOTH, node_with_additional_group))),
    case(
        "S11",
        "default",
        Some(("default", third_group_on_control_plane)),
    ),
    case(
        "S13",
        BOTH,
        Some((BOTH, control_plane_with_cluster_group_alone)),
    ),
    case("S14", "node-sg", Some(("node-sg", fargate_with_node_group))),
    case("S15", "pod-sg", Some(("peering", as_it_is))),
    case("S16", "node-sg", Some(("node-sg", kubelet_not_admitted))),
    case(
        "S17",
        "default",
        Some((BOTH, node_with_additional_group_alone)),
    ),
    case("S18", "node-sg", Some(("node-sg", acl_that_denies_all))),
    case("S19", "default", Some(("default", nobody_admitted))),
    case("S20", "default", Some(("default", nobody_admitted))),
    case("S21", "default", Some(("default", nobody_admitted))),
    case("DOC01", "default", Some(("default", renamed_cluster_group))),
    case("DOC02", "default", Some(("default", nobody_admitted))),
    case("DOC03", "default", Some(("default", out_to_itself_alone))),
    case("DOC04", "default", Some(("peered-client", as_it_is))),
    changed(
        "DOC05",
        ("default", out_to_itself_alone),
        Some(("default", out_to_itself_on_443_alone)),
    ),
    case(
        "DOC07",
        "default",
        Some(("default", cluster_group_without_tags)),
    ),
    case("DOC08", "default", Some(("node-sg", as_it_is))),
    case("DOC09", "default", Some(("node-sg", as_it_is))),
    case("DOC10", "default", Some(("default", acl_that_denies_all))),
    case(
        "DOC11",
        BOTH,
        Some((BOTH, control_plane_with_cluster_group_alone)),
    ),
    case("DOC12", BOTH, Some((BOTH, node_with_additional_group))),
    case(
        "DOC13",
        "default",
        Some(("default", out_to_itself_on_443_alone)),
    ),
    changed(
        "DOC16",
        ("default", hybrid_nodes_admitted),
        Some(("default", hybrid_nodes)),
    ),
    changed(
        "DOC17",
        ("node-sg", old_version),
        Some(("default", old_version)),
    ),
    case("DOC19", "default", Some(("default", another_description))),
    case(
        "DOC21",
        "default",
        Some(("default", cluster_in_subnet_a_alone)),
    ),
    changed(
        "DOC22",
        ("default", control_plane_in_subnet_a_alone),
        Some(("default", unreached_control_plane_in_subnet_a_alone)),
    ),
    changed(
        "DOC26",
        ("default", dns_support),
        Some(("default", no_dns_support)),
    ),
    case("DOC28", "pod-sg", Some(("peering", as_it_is))),
    case("DOC29", "peering", None),
    case(
        "DOC30",
        "pod-sg",
        Some(("pod-sg", branch_with_cluster_group)),
    ),
    case("DOC31", "pod-sg", Some(("pod-sg", acl_that_denies_all))),
    case(
        "DOC34",
        "default",
        Some(("default", fargate_with_outsider_group)),
    ),
    case("DOC35", "pod-sg", Some(("pod-sg", batch_not_admitted))),
    case(
        "DOC38",
        "nacl-ephemeral",
        Some(("nacl-ephemeral", nobody_admitted)),
    ),
    changed(
        "DOC41",
        ("default", few_public_networks),
        Some(("default", few_public_networks_and_nobody_admitted)),
    ),
    case(
        "P-01",
        "default",
        Some(("default", third_group_on_control_plane)),
    ),
    case("P-02", "default", Some(("default", foreign_api_server))),
    case("P-03", "default", Some(("default", one_api_server))),
    case("P-04", BOTH, Some((BOTH, fargate_with_additional_group))),
    case("P-21", "dual-stack", Some(("dual-stack", acl_without_ipv6))),
];

fn as_it_is(_: &mut Answers) {}

/// Items of a list in an answer.
fn items<'a>(answers: &'a mut Answers, stem: &str, list: &str) -> &'a mut Vec<Value> {
    answers[stem][list].as_array_mut().unwrap()
}

/// The interface that has an address.
fn interface<'a>(answers: &'a mut Answers, address: &str) -> &'a mut Value {
    let all = items(answers, "describe-network-interfaces", "NetworkInterfaces");
    let has = |interface: &&mut Value| {
        let own = interface["PrivateIpAddresses"].as_array().unwrap();
        own.iter().any(|own| own["PrivateIpAddress"] == address)
    };
    all.iter_mut().find(has).unwrap()
}

fn carry(answers: &mut Answers, address: &str, groups: &[&str]) {
    let groups: Vec<Value> = groups
        .iter()
        .map(|id| json!({"GroupId": id, "GroupName": id}))
        .collect();
    interface(answers, address)["Groups"] = Value::Array(groups);
}

fn group<'a>(answers: &'a mut Answers, id: &str) -> &'a mut Value {
    // Rules are then named by their position, and stand in one answer alone.
    answers.remove("describe-security-group-rules");
    let all = items(answers, "describe-security-groups", "SecurityGroups");
    all.iter_mut().find(|group| group["GroupId"] == id).unwrap()
}

fn cluster(answers: &mut Answers) -> &mut Value {
    &mut answers["describe-cluster"]["cluster"]
}

const X_ENIS: [&str; 2] = ["10.0.1.10", "10.0.2.10"];

fn third_group_on_control_plane(answers: &mut Answers) {
    carry(answers, X_ENIS[1], &["sg-cluster", "sg-outsider"]);
}

fn control_plane_without_cluster_group(answers: &mut Answers) {
    carry(answers, X_ENIS[1], &["sg-outsider"]);
}

fn control_plane_with_cluster_group_alone(answers: &mut Answers) {
    carry(answers, X_ENIS[0], &["sg-cluster"]);
}

fn fargate_with_outsider_group(answers: &mut Answers) {
    carry(answers, "10.0.1.50", &["sg-outsider"]);
}

fn fargate_with_node_group(answers: &mut Answers) {
    carry(answers, "10.0.1.50", &["sg-node"]);
}

fn additional(answers: &mut Answers) -> String {
    let groups = &cluster(answers)["resourcesVpcConfig"]["securityGroupIds"];
    groups[0].as_str().unwrap().to_owned()
}

fn fargate_with_additional_group(answers: &mut Answers) {
    let additional = additional(answers);
    carry(answers, "10.0.1.50", &["sg-cluster", &additional]);
}

fn node_with_additional_group(answers: &mut Answers) {
    let additional = additional(answers);
    carry(answers, "10.0.1.20", &["sg-node", &additional]);
}

fn node_with_additional_group_alone(answers: &mut Answers) {
    let additional = additional(answers);
    carry(answers, "10.0.1.20", &[&additional]);
}

fn node_with_outsider_group(answers: &mut Answers) {
    carry(answers, "10.0.1.20", &["sg-outsider"]);
}

fn node_with_both_groups(answers: &mut Answers) {
    carry(answers, "10.0.1.20", &["sg-node", "sg-cluster"]);
}

fn branch_with_cluster_group(answers: &mut Answers) {
    carry(answers, "10.0.1.90", &["sg-orders", "sg-cluster"]);
}

fn renamed_cluster_group(answers: &mut Answers) {
    group(answers, "sg-cluster")["GroupName"] = json!("my-cluster");
}

fn cluster_group_without_tags(answers: &mut Answers) {
    group(answers, "sg-cluster")["Tags"] = json!([]);
}

fn nobody_admitted(answers: &mut Answers) {
    group(answers, "sg-cluster")["IpPermissions"] = json!([]);
}

fn kubelet_not_admitted(answers: &mut Answers) {
    let group = group(answers, "sg-node");
    let rules = group["IpPermissions"].as_array_mut().unwrap();
    rules.retain(|rule| rule["IpProtocol"] == "tcp" && rule["FromPort"] == 443);
}

fn batch_not_admitted(answers: &mut Answers) {
    group(answers, "sg-batch")["IpPermissions"] = json!([]);
}

/// A rule of the cluster group for itself.
fn to_itself(protocol: &str, port: Option<u16>) -> Value {
    let mut rule = json!({
        "IpProtocol": protocol,
        "UserIdGroupPairs": [{"GroupId": "sg-cluster"}],
        "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": [],
    });
    if let Some(port) = port {
        rule["FromPort"] = json!(port);
        rule["ToPort"] = json!(port);
    }
    rule
}

fn out_to_itself_alone(answers: &mut Answers) {
    group(answers, "sg-cluster")["IpPermissionsEgress"] = json!([to_itself("-1", None)]);
}

fn out_to_itself_on_443_alone(answers: &mut Answers) {
    group(answers, "sg-cluster")["IpPermissionsEgress"] = json!([to_itself("tcp", Some(443))]);
}

fn acl_that_denies_all(answers: &mut Answers) {
    for acl in items(answers, "describe-network-acls", "NetworkAcls") {
        for entry in acl["Entries"].as_array_mut().unwrap() {
            entry["RuleAction"] = json!("deny");
        }
    }
}

fn acl_without_ipv6(answers: &mut Answers) {
    for acl in items(answers, "describe-network-acls", "NetworkAcls") {
        let entries = acl["Entries"].as_array_mut().unwrap();
        entries
            .retain(|entry| entry.get("Ipv6CidrBlock").is_none() || entry["RuleAction"] == "deny");
    }
}

fn hybrid_nodes(answers: &mut Answers) {
    cluster(answers)["remoteNetworkConfig"] =
        json!({"remoteNodeNetworks": [{"cidrs": ["192.168.0.0/16"]}]});
}

fn hybrid_nodes_admitted(answers: &mut Answers) {
    hybrid_nodes(answers);
    let group = group(answers, "sg-cluster");
    group["IpPermissions"].as_array_mut().unwrap().push(json!({
        "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443,
        "IpRanges": [{"CidrIp": "192.168.0.0/16"}],
        "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": [],
    }));
}

fn old_version(answers: &mut Answers) {
    cluster(answers)["version"] = json!("1.14");
}

fn another_description(answers: &mut Answers) {
    interface(answers, X_ENIS[1])["Description"] = json!("Amazon EKS other");
}

fn subnet_of(answers: &mut Answers, address: &str) -> Value {
    interface(answers, address)["SubnetId"].clone()
}

fn cluster_in_subnet_a_alone(answers: &mut Answers) {
    let subnet = subnet_of(answers, X_ENIS[0]);
    cluster(answers)["resourcesVpcConfig"]["subnetIds"] = json!([subnet]);
}

fn control_plane_in_subnet_a_alone(answers: &mut Answers) {
    let subnet = subnet_of(answers, X_ENIS[0]);
    interface(answers, X_ENIS[1])["SubnetId"] = subnet;
}

fn unreached_control_plane_in_subnet_a_alone(answers: &mut Answers) {
    control_plane_in_subnet_a_alone(answers);
    nobody_admitted(answers);
}

fn dns(answers: &mut Answers, is_on: bool) {
    let vpc = interface(answers, X_ENIS[0])["VpcId"].clone();
    let attribute = json!({"VpcId": vpc, "EnableDnsSupport": {"Value": is_on}});
    answers.insert("describe-vpc-attribute".to_owned(), attribute);
}

fn dns_support(answers: &mut Answers) {
    dns(answers, true);
}

fn no_dns_support(answers: &mut Answers) {
    dns(answers, false);
}

fn few_public_networks(answers: &mut Answers) {
    cluster(answers)["resourcesVpcConfig"]["publicAccessCidrs"] = json!(["203.0.113.0/24"]);
}

fn few_public_networks_and_nobody_admitted(answers: &mut Answers) {
    few_public_networks(answers);
    nobody_admitted(answers);
}

/// Lets the EndpointSlice of the API servers list one address alone.
fn listed(answers: &mut Answers, address: &str) {
    let slices = items(answers, "endpointslices", "items");
    let mut slices = slices.iter_mut();
    let slice = slices
        .find(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes");
    slice.unwrap()["endpoints"] = json!([{"addresses": [address], "conditions": {"ready": true}}]);
}

fn foreign_api_server(answers: &mut Answers) {
    listed(answers, "10.0.1.60");
}

fn one_api_server(answers: &mut Answers) {
    listed(answers, X_ENIS[0]);
}

fn answers((world, edit): (&str, Edit)) -> Answers {
    let mut answers = LabWorld::builtin(world)
        .unwrap()
        .expand()
        .unwrap()
        .plan
        .snapshot;
    edit(&mut answers);
    answers
}

fn judged(answers: Answers) -> Vec<JudgedClaim> {
    let described = Described::from(answers);
    let snapshot = Snapshot::decode(&described).unwrap().snapshot;
    let world = World {
        snapshot: &snapshot,
        described: &described,
        findings: &[],
        wire: Wire::Network,
    };
    judge(&catalogue().unwrap(), &world)
}

fn of(claims: &[JudgedClaim], id: &str) -> JudgedClaim {
    claims.iter().find(|claim| claim.id == id).unwrap().clone()
}

#[test]
fn each_claim_holds_in_one_world_and_fails_in_another() {
    let mut worlds = BTreeSet::new();
    let mut wrong = Vec::new();
    for case in CASES {
        let ends = [
            Some((case.holds, ClaimVerdict::Holds)),
            case.fails.map(|world| (world, ClaimVerdict::Fails)),
        ];
        for (world, wanted) in ends.into_iter().flatten() {
            worlds.insert(world.0);
            let found = of(&judged(answers(world)), case.id);
            if found.verdict != wanted {
                wrong.push(format!(
                    "{} in {}: {found:#?}, wanted {wanted}",
                    case.id, world.0
                ));
            }
            assert!(!found.reason.is_empty(), "{}", case.id);
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let failing = CASES.iter().filter(|case| case.fails.is_some()).count();
    println!(
        "  {} claims hold and {failing} of them fail in changes of {} worlds",
        CASES.len(),
        worlds.len()
    );
    assert!(worlds.len() <= 15);
}

#[test]
fn every_other_claim_says_why_it_is_untested_or_not_applicable() {
    let decided: BTreeSet<&str> = CASES.iter().map(|case| case.id).collect();
    let all = judged(answers(("default", as_it_is)));
    let mut counts: BTreeMap<ClaimVerdict, usize> = BTreeMap::new();
    for claim in all
        .iter()
        .filter(|claim| !decided.contains(claim.id.as_str()))
    {
        let is_open = matches!(
            claim.verdict,
            ClaimVerdict::Untested | ClaimVerdict::NotApplicable
        );
        assert!(is_open && !claim.reason.is_empty(), "{claim:?}");
        *counts.entry(claim.verdict).or_default() += 1;
    }
    let others: usize = counts.values().sum();
    assert_eq!(others + decided.len(), all.len());
    assert_eq!((all.len(), others), (77, 27), "{counts:?}");
}

fn output(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[test]
fn a_run_in_the_lab_shows_claims_and_says_that_it_is_a_lab() {
    build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let lab = Path::new(env!("CARGO_BIN_EXE_reachproof-lab"));
    let text = output(lab, &["--check", "--claims", "-o", "json"]);
    fs::write(&file, &text).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["run"]["wire"], "lab");
    let reachproof = binary("reachproof").unwrap();
    let file = file.to_str().unwrap();
    let again: Value = serde_json::from_str(&output(
        &reachproof,
        &["claims", "--report", file, "-o", "json"],
    ))
    .unwrap();
    assert_eq!(again["claims"], report["claims"]);
    let claims: Vec<JudgedClaim> = serde_json::from_value(again["claims"].clone()).unwrap();
    // Silence is seen in a run alone; that nodes reach the control plane was seen, too, and nobody says that it is AWS.
    for (id, said) in [
        ("P-22", "confirmed_deny"),
        ("S19", "confirmed_allow"),
        ("P-02", "confirmed_allow"),
    ] {
        let claim = of(&claims, id);
        assert_eq!(claim.verdict, ClaimVerdict::Holds, "{claim:#?}");
        let seen = claim
            .evidence
            .iter()
            .filter(|one| one.kind == EvidenceKind::Lab);
        let seen: Vec<&str> = seen.map(|one| one.text.as_str()).collect();
        assert!(
            !seen.is_empty() && seen.iter().all(|text| text.contains(said)),
            "{claim:#?}"
        );
    }
    for format in ["table", "markdown", "html"] {
        let text = output(&reachproof, &["claims", "--report", file, "-o", format]);
        assert!(text.contains("no evidence about AWS"), "{text}");
        assert!(text.contains(&counts(&claims)), "{text}");
    }
    let table = output(&reachproof, &["report", file]);
    as_of_a_cluster(&reachproof, report.clone(), folder.path());
    assert!(
        table.contains(&format!("Claims: {}", counts(&claims))),
        "{table}"
    );
}

/// The same report as one of a cluster's own network, and with a wire that does otherwise.
fn as_of_a_cluster(reachproof: &Path, mut report: Value, folder: &Path) {
    let file = folder.join("cluster.json");
    let judged = |report: &Value| -> Vec<JudgedClaim> {
        fs::write(&file, report.to_string()).unwrap();
        let file = file.to_str().unwrap();
        let text = output(reachproof, &["claims", "--report", file, "-o", "json"]);
        let document: Value = serde_json::from_str(&text).unwrap();
        serde_json::from_value(document["claims"].clone()).unwrap()
    };
    report["run"].as_object_mut().unwrap().remove("wire");
    let claims = judged(&report);
    let kinds = |id| {
        of(&claims, id)
            .evidence
            .into_iter()
            .map(|one| one.kind)
            .collect::<Vec<_>>()
    };
    assert!(kinds("P-22").contains(&EvidenceKind::Observed));
    assert!(!kinds("S19").contains(&EvidenceKind::Lab));
    // Closed although it should be open, and closed by a word in place of silence.
    for finding in report["findings"].as_array_mut().unwrap() {
        let kind = match finding["kind"].as_str().unwrap() {
            "confirmed_allow" => "contradiction_closed",
            "confirmed_deny" => {
                let attempt = &mut finding["observation"]["attempts"][0];
                attempt["outcome"] = json!("refused");
                attempt["after_us"] = json!(100);
                continue;
            }
            _ => continue,
        };
        finding["kind"] = json!(kind);
    }
    let claims = judged(&report);
    for id in ["S19", "S20", "P-02", "P-22"] {
        assert_eq!(
            of(&claims, id).verdict,
            ClaimVerdict::Fails,
            "{:#?}",
            of(&claims, id)
        );
    }
}

#[test]
fn all_claims_are_answered_of_a_snapshot_with_the_schema_that_is_published() {
    build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let vector = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/F03.json");
    let vector: Value = serde_json::from_str(&fs::read_to_string(vector).unwrap()).unwrap();
    let world = folder.path().join("world.json");
    fs::write(&world, vector["snapshot"].to_string()).unwrap();
    let own = folder.path().join("own.yaml");
    fs::write(&own, OWN).unwrap();
    let (world, own) = (world.to_str().unwrap(), own.to_str().unwrap());
    let reachproof = binary("reachproof").unwrap();
    let text = output(
        &reachproof,
        &["claims", "--snapshot", world, "--claims", own, "-o", "json"],
    );
    let document: Value = serde_json::from_str(&text).unwrap();
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/schemas/claims.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(faults, Vec::<String>::new());
    let claims: Vec<JudgedClaim> = serde_json::from_value(document["claims"].clone()).unwrap();
    assert_eq!(claims.len(), 78);
    assert!(claims.iter().all(|claim| !claim.reason.is_empty()));
    for (id, wanted) in [
        ("S02", ClaimVerdict::Holds),
        ("S09", ClaimVerdict::Holds),
        ("MINE", ClaimVerdict::Fails),
    ] {
        assert_eq!(of(&claims, id).verdict, wanted, "{:#?}", of(&claims, id));
    }
    let basis = of(&claims, "S18").assumption;
    assert!(basis.is_some_and(|text| text.contains("every running one")));
    let one = output(&reachproof, &["claims", "s02", "--snapshot", world]);
    assert!(
        one.starts_with("S02: The cluster group is on") && one.contains("verdict: holds"),
        "{one}"
    );
}

/// A claim of one's own that fails of vector F03.
const OWN: &str = "apiVersion: reachproof/v1
kind: Claims
claims:
  - id: MINE
    says: Nodes have the cluster group and no other.
    source: us
    date: 2026-11-30
    check:
      - groups: {of: nodes, are: the cluster group}
";

/// The worlds of the article, and what its author asked.
const WORLDS: [(&str, &str); 4] = [
    ("default", "no group for nodes"),
    ("node-sg", "a group for nodes"),
    (
        "node-sg-and-control-plane-sg",
        "that, and a group for the control plane",
    ),
    ("pod-sg", "groups for pods"),
];

/// The document, as the catalogue and the worlds make it.
fn document() -> String {
    let mut text = String::from(HEAD);
    let judged: Vec<Vec<JudgedClaim>> = WORLDS
        .map(|(world, _)| judged(answers((world, as_it_is))))
        .into();
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let names = WORLDS
        .iter()
        .map(|(world, about)| format!("`{world}`: {about}"));
    let header: Vec<String> = ["id".to_owned(), "claim".to_owned()]
        .into_iter()
        .chain(names)
        .collect();
    for (title, prefix) in [
        ("The article", "S"),
        ("The documentation", "DOC"),
        ("What no document says", "P-"),
    ] {
        text.push_str(&format!("\n## {title}\n\n"));
        text.push_str(&row(header.clone()));
        text.push_str(&row(header.iter().map(|_| "---".to_owned()).collect()));
        for (place, claim) in judged[0].iter().enumerate() {
            let is_number = |rest: &str| rest.starts_with(|one: char| one.is_ascii_digit());
            if !claim.id.strip_prefix(prefix).is_some_and(is_number) {
                continue;
            }
            let verdicts = judged.iter().map(|world| {
                let found = &world[place];
                let incomplete = if found.incomplete.is_some() {
                    " ◐"
                } else {
                    ""
                };
                format!("{}{incomplete}", found.verdict)
            });
            let sentence = format!("{} ({}, {})", claim.says, claim.source, claim.date);
            text.push_str(&row([claim.id.clone(), sentence]
                .into_iter()
                .chain(verdicts)
                .collect()));
        }
    }
    text.push_str("\n## What they leave out, and what to do by hand\n\n");
    for claim in catalogue().unwrap() {
        let told = claim
            .omission
            .map(|omission| omission.says)
            .or(claim.by_hand);
        if let Some(told) = told {
            text.push_str(&format!("* **{}** {told}\n", claim.id));
        }
    }
    text
}

const HEAD: &str = include_str!("../../coordinator/model/claims/head.md");

#[test]
fn the_document_of_claims_is_what_catalogue_and_worlds_make() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/claims.md");
    let made = document();
    if env::var_os("REACHPROOF_CLAIMS").is_some() {
        fs::write(&file, &made).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        there == made,
        "docs/claims.md is another: write it anew, as the head of this file says"
    );
}
