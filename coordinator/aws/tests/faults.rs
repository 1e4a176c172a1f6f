//! A server that misbehaves, one fault at a time: each has its outcome, and none leaves a part that passes for the whole.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use reachproof_aws::{Call, Connection, Failure, Necessity, ReadError, ReadGap, Reading};
use serde_json::{Value, json};
use support::{Asked, CLUSTER, Fault, Replay, World, read, read_with, settings};

fn world() -> World {
    World::of_vector("A17").with_everything()
}

/// The reading of the same world without any fault.
async fn whole() -> Reading {
    read_with(world(), |_| Fault::None).await.unwrap()
}

/// Reads the world with `fault` at every request for `action`.
async fn read_with_fault_at(action: &'static str, fault: Fault) -> Result<Reading, ReadError> {
    read_with(world(), move |asked| {
        if asked.action == action {
            fault.clone()
        } else {
            Fault::None
        }
    })
    .await
}

fn failure(outcome: Result<Reading, ReadError>) -> Failure {
    match outcome {
        Err(ReadError::Call(error)) => error.failure,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("the reading went well"),
    }
}

#[tokio::test]
async fn throttling_of_four_calls_in_five_delays_a_whole_reading() {
    let throttled = |asked: &Asked| {
        if asked.earlier_of_all.is_multiple_of(5) {
            Fault::None
        } else if asked.action.starts_with("ec2:") {
            Fault::Error(503, "RequestLimitExceeded", "Request limit exceeded.")
        } else {
            Fault::Error(429, "ThrottlingException", "Rate exceeded.")
        }
    };
    let reading = read_with(world(), throttled).await.unwrap();
    assert_eq!(reading.answers, whole().await.answers);
    assert!(reading.gaps.is_empty(), "{:?}", reading.gaps);
}

#[tokio::test]
async fn throttling_without_end_is_an_error_after_the_time_of_a_reading() {
    let fault = Fault::Error(503, "RequestLimitExceeded", "Request limit exceeded.");
    let begun = std::time::Instant::now();
    let outcome = read_with_fault_at("ec2:DescribeInstances", fault).await;
    assert!(matches!(failure(outcome), Failure::Throttled { .. }));
    assert!(
        begun.elapsed() < support::quick().reading_time_max + Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn one_status_500_is_retried_and_500_for_ever_is_an_error() {
    let once = |asked: &Asked| {
        if asked.earlier == 0 {
            Fault::Html(500)
        } else {
            Fault::None
        }
    };
    assert_eq!(
        read_with(world(), once).await.unwrap().answers,
        whole().await.answers
    );
    for action in [
        "ec2:DescribeSubnets",
        "ec2:DescribeStaleSecurityGroups",
        "eks:ListNodegroups",
    ] {
        let outcome = read_with_fault_at(action, Fault::Html(500)).await;
        assert!(
            matches!(failure(outcome), Failure::Refused { .. }),
            "{action}"
        );
    }
}

#[tokio::test]
async fn one_hang_is_retried_and_a_server_that_hangs_is_an_error() {
    let once = |asked: &Asked| {
        if asked.action == "ec2:DescribeSubnets" && asked.earlier == 0 {
            Fault::Hang
        } else {
            Fault::None
        }
    };
    assert_eq!(
        read_with(world(), once).await.unwrap().answers,
        whole().await.answers
    );
    let outcome = read_with_fault_at("ec2:DescribeRouteTables", Fault::Hang).await;
    assert!(matches!(failure(outcome), Failure::TimedOut { .. }));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let replay = Replay::start(world(), |_| Fault::None).await;
    let address = replay.address();
    drop(replay);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let connection = Connection::open(&settings(address)).await.unwrap();
    let outcome = reachproof_aws::read(&connection, CLUSTER, &|_| {}).await;
    assert!(matches!(failure(outcome), Failure::Unreachable { .. }));
}

#[tokio::test]
async fn an_empty_page_with_a_token_is_not_the_end() {
    let reading = read_with_fault_at("ec2:DescribeNetworkInterfaces", Fault::EmptyPages(2))
        .await
        .unwrap();
    assert_eq!(reading.answers, whole().await.answers);
}

#[tokio::test]
async fn pages_in_another_order_give_the_same_answers() {
    let reading = read_with(world(), |_| Fault::Reversed(2)).await.unwrap();
    assert_eq!(reading.answers, whole().await.answers);
}

#[tokio::test]
async fn a_repeated_token_is_an_error_in_every_list() {
    for (action, size) in [
        ("ec2:DescribeNetworkInterfaces", 2),
        ("ec2:DescribeSecurityGroupRules", 1),
    ] {
        let outcome = read_with_fault_at(action, Fault::RepeatedToken(size)).await;
        assert!(
            matches!(failure(outcome), Failure::TokenRepeated { .. }),
            "{action}"
        );
    }
}

#[tokio::test]
async fn a_cycle_of_tokens_is_an_error() {
    let outcome = read_with_fault_at("ec2:DescribeNetworkInterfaces", Fault::TokenCycle(2)).await;
    assert!(matches!(failure(outcome), Failure::TokenRepeated { page } if page > 2));
}

#[tokio::test]
async fn a_missing_page_of_lists_that_can_be_checked_is_a_contradiction() {
    for action in [
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:DescribeNetworkAcls",
        "ec2:DescribeSecurityGroupRules",
    ] {
        let outcome = read_with_fault_at(action, Fault::LastPageMissing(1)).await;
        assert!(
            matches!(outcome, Err(ReadError::Contradictory { .. })),
            "{action}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_missing_page_of_groups_is_fetched_by_id() {
    let by_vpc = |asked: &Asked| {
        let by_vpc = asked
            .parameters
            .get("Filter.1.Name")
            .is_some_and(|name| name == "vpc-id");
        if asked.action == "ec2:DescribeSecurityGroups" && by_vpc {
            Fault::LastPageMissing(1)
        } else {
            Fault::None
        }
    };
    let reading = read_with(world(), by_vpc).await.unwrap();
    let groups = |reading: &Reading| {
        reading.answers["describe-security-groups"]["SecurityGroups"]
            .as_array()
            .unwrap()
            .len()
    };
    let attached = world().list("describe-network-interfaces", "NetworkInterfaces");
    for group in attached
        .iter()
        .flat_map(|one| one["Groups"].as_array().unwrap())
    {
        let listed = reading.answers["describe-security-groups"].to_string();
        assert!(listed.contains(group["GroupId"].as_str().unwrap()));
    }
    assert!(groups(&reading) <= groups(&whole().await));
}

#[tokio::test]
async fn a_contradiction_that_passes_is_read_again() {
    let readings = AtomicUsize::new(0);
    let at_first = move |asked: &Asked| {
        if asked.action == "eks:DescribeCluster" {
            readings.fetch_add(1, Ordering::SeqCst);
        }
        let first = readings.load(Ordering::SeqCst) == 1;
        if asked.action == "ec2:DescribeNetworkInterfaces" && first {
            Fault::LastPageMissing(1)
        } else {
            Fault::None
        }
    };
    let reading = read_with(world(), at_first).await.unwrap();
    assert_eq!(reading.readings, 2);
    assert_eq!(reading.answers, whole().await.answers);
}

#[tokio::test]
async fn a_cut_answer_is_read_again_and_one_that_stays_cut_is_an_error() {
    let once = |asked: &Asked| {
        if asked.earlier == 0 {
            Fault::Cut
        } else {
            Fault::None
        }
    };
    let of_ec2 = move |asked: &Asked| {
        if asked.action.starts_with("ec2:") {
            once(asked)
        } else {
            Fault::None
        }
    };
    assert_eq!(
        read_with(world(), of_ec2).await.unwrap().answers,
        whole().await.answers
    );
    for action in [
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeVpcPeeringConnections",
    ] {
        let outcome = read_with_fault_at(action, Fault::Cut).await;
        assert!(matches!(failure(outcome), Failure::Cut { .. }), "{action}");
    }
    let outcome = read_with_fault_at("eks:DescribeCluster", Fault::Cut).await;
    assert!(matches!(failure(outcome), Failure::Refused { .. }));
}

#[tokio::test]
async fn a_wrong_clock_is_named() {
    let skewed = Fault::Error(403, "RequestTimeTooSkewed", "The difference is too large.");
    assert!(matches!(
        failure(read_with_fault_at("ec2:DescribeVpcs", skewed).await),
        Failure::ClockSkewed { .. }
    ));
    let message = "Signature expired: 20261124T000000Z is now earlier than 20261124T000500Z";
    let skewed = Fault::Error(403, "InvalidSignatureException", message);
    let failure = failure(read_with_fault_at("eks:DescribeCluster", skewed).await);
    assert!(
        matches!(failure, Failure::ClockSkewed { .. }),
        "{failure:?}"
    );
}

#[tokio::test]
async fn credentials_that_expire_between_pages_end_the_reading() {
    let expiring = |asked: &Asked| match asked.action.as_str() {
        "ec2:DescribeNetworkInterfaces" if asked.continues() => {
            Fault::Error(400, "RequestExpired", "Request has expired.")
        }
        "ec2:DescribeNetworkInterfaces" => Fault::Pages(2),
        _ => Fault::None,
    };
    let failure = failure(read_with(world(), expiring).await);
    assert!(matches!(failure, Failure::Expired { .. }), "{failure:?}");
}

/// Gives out keys that expire at once, numbered.
#[derive(Debug, Default)]
struct ShortLived(AtomicUsize);

impl ProvideCredentials for ShortLived {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        let expiry = SystemTime::now() + Duration::from_secs(1);
        future::ProvideCredentials::ready(Ok(Credentials::new(
            format!("AKID{number}"),
            "s",
            None,
            Some(expiry),
            "test",
        )))
    }
}

#[tokio::test]
async fn credentials_that_can_be_renewed_are_renewed_between_pages() {
    let replay = Replay::start(world(), |_| Fault::Pages(1)).await;
    let mut settings = settings(replay.address());
    settings.credentials = Some(SharedCredentialsProvider::new(ShortLived::default()));
    let connection = Connection::open(&settings).await.unwrap();
    let reading = reachproof_aws::read(&connection, CLUSTER, &|_| {})
        .await
        .unwrap();
    assert_eq!(reading.answers, whole().await.answers);
    let pages = replay
        .log()
        .into_iter()
        .filter(|asked| asked.action == "ec2:DescribeNetworkInterfaces");
    let keys: std::collections::BTreeSet<String> = pages
        .map(|asked| {
            asked
                .authorization
                .split("Credential=")
                .nth(1)
                .unwrap()
                .split('/')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(keys.len() > 1, "{keys:?}");
}

#[tokio::test]
async fn a_refused_action_is_a_gap_or_an_error_that_names_it_and_its_statement() {
    let whole = whole().await;
    for call in Call::ALL {
        let action = call.action();
        let fault = if action.starts_with("ec2:") {
            Fault::Error(
                403,
                "UnauthorizedOperation",
                "You are not authorized to perform this operation.",
            )
        } else {
            Fault::Error(
                403,
                "AccessDeniedException",
                "User is not authorized to perform this action.",
            )
        };
        match (call.necessity(), read_with_fault_at(action, fault).await) {
            (Necessity::Essential, Err(error)) => {
                let line = error.to_string();
                assert!(
                    line.contains(action) && line.contains(call.statement()),
                    "{line}"
                );
            }
            (Necessity::Optional, Ok(reading)) => {
                let gap = reading
                    .gaps
                    .iter()
                    .find(|gap| matches!(gap, ReadGap::Refused { call: of, .. } if *of == call));
                let line = gap
                    .unwrap_or_else(|| panic!("{action}: {:?}", reading.gaps))
                    .to_string();
                assert!(
                    line.contains(action) && line.contains(call.statement()),
                    "{line}"
                );
                let stem = call.stem().unwrap_or(action);
                assert!(
                    !reading
                        .answers
                        .keys()
                        .any(|key| key.split('.').next() == Some(stem)),
                    "{action}"
                );
                for (stem, answer) in &reading.answers {
                    if call != Call::TransitGatewayVpcAttachments
                        && call != Call::VpcPeeringConnections
                    {
                        assert_eq!(Some(answer), whole.answers.get(stem), "{action}: {stem}");
                    }
                }
            }
            (need, outcome) => panic!("{action} is {need:?}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn an_unknown_cluster_is_an_error_that_says_where_to_look() {
    let replay = Replay::start(world(), |_| Fault::None).await;
    let connection = Connection::open(&settings(replay.address())).await.unwrap();
    let error = reachproof_aws::read(&connection, "demo-2", &|_| {})
        .await
        .unwrap_err();
    let line = error.to_string();
    assert!(
        line.contains("`demo-2`") && line.contains("--region"),
        "{line}"
    );
}

#[tokio::test]
async fn a_peered_vpc_of_another_account_is_a_gap_and_leaves_nothing_behind() {
    let mut world = world();
    let far = world.list("describe-vpc-peering-connections", "VpcPeeringConnections")[0]["AccepterVpcInfo"]["VpcId"].clone();
    world
        .list_mut("describe-vpcs", "Vpcs")
        .retain(|vpc| vpc["VpcId"] != far);
    let replay = Replay::start(world, |_| Fault::None).await;
    let reading = read(&replay).await.unwrap();
    let far = far.as_str().unwrap();
    assert!(
        reading
            .gaps
            .iter()
            .any(|gap| matches!(gap, ReadGap::VpcsLeftOut { vpcs, .. } if vpcs == far)),
        "{:?}",
        reading.gaps
    );
    assert!(
        !reading.answers["describe-subnets"]
            .to_string()
            .contains(far)
    );
}

/// The world with so many route tables and prefix-list entries that they fill two pages.
fn many() -> World {
    let mut world = world();
    let tables = world.list_mut("describe-route-tables", "RouteTables");
    let mut further = tables[0].clone();
    further["Associations"] = json!([]);
    for number in 0..150 {
        further["RouteTableId"] = json!(format!("rtb-{number:017}"));
        tables.push(further.clone());
    }
    let entries = (0..150).map(|number| json!({"Cidr": format!("192.0.2.{number}/32")}));
    let entries: Vec<Value> = entries.collect();
    world.0[ENTRIES] = json!({ "Entries": entries });
    world
}

/// The file of the one prefix list that a rule of A17 names.
const ENTRIES: &str = "get-managed-prefix-list-entries.pl-b412490b1877cea9e";

#[tokio::test]
async fn a_missing_page_of_lists_that_nothing_counts_is_a_contradiction() {
    for action in ["ec2:DescribeRouteTables", "ec2:GetManagedPrefixListEntries"] {
        let fault = move |asked: &Asked| {
            if asked.action == action {
                Fault::LastPageMissing(usize::MAX)
            } else {
                Fault::None
            }
        };
        let outcome = read_with(many(), fault).await;
        assert!(
            matches!(outcome, Err(ReadError::Contradictory { .. })),
            "{action}: {outcome:?}"
        );
        let at_first = move |asked: &Asked| {
            if asked.action == action && asked.earlier == 0 {
                Fault::LastPageMissing(usize::MAX)
            } else {
                Fault::None
            }
        };
        let reading = read_with(many(), at_first).await.unwrap();
        assert_eq!(reading.readings, 2, "{action}");
        let tables = reading.answers["describe-route-tables"]["RouteTables"].as_array();
        assert_eq!(tables.unwrap().len(), 153);
        assert_eq!(
            reading.answers[ENTRIES]["Entries"]
                .as_array()
                .unwrap()
                .len(),
            150
        );
    }
}

#[tokio::test]
async fn a_vpc_without_main_route_table_is_a_contradiction() {
    let mut world = world();
    let home = world.home();
    for table in world.list_mut("describe-route-tables", "RouteTables") {
        if table["VpcId"] == *home {
            table["Associations"] = json!([]);
        }
    }
    let outcome = read_with(world, |_| Fault::None).await;
    let Err(ReadError::Contradictory { contradiction, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(contradiction.contains(&home), "{contradiction}");
}

#[tokio::test]
async fn a_shared_vpc_that_hides_an_acl_shows_none_and_leaves_a_gap() {
    let mut world = world();
    let home = world.home();
    for vpc in world.list_mut("describe-vpcs", "Vpcs") {
        if vpc["VpcId"] == *home {
            vpc["OwnerId"] = json!("444455556666");
        }
    }
    for acl in world.list_mut("describe-network-acls", "NetworkAcls") {
        if acl["VpcId"] == *home {
            acl["Associations"].as_array_mut().unwrap().pop();
        }
    }
    let reading = read_with(world, |_| Fault::None).await.unwrap();
    let hidden = ReadGap::Hidden {
        call: Call::NetworkAcls,
        vpc: home.clone(),
    };
    assert_eq!(reading.gaps, [hidden]);
    let acls = reading.answers["describe-network-acls"]["NetworkAcls"].as_array();
    assert!(acls.unwrap().iter().all(|acl| acl["VpcId"] != *home));
}

#[tokio::test]
async fn a_far_vpc_is_read_with_its_own_transit_gateways() {
    let mut world = world();
    let peering = &world.list("describe-vpc-peering-connections", "VpcPeeringConnections")[0];
    let far = peering["AccepterVpcInfo"]["VpcId"].clone();
    world
        .list_mut("describe-transit-gateways", "TransitGateways")
        .push(json!({
            "TransitGatewayId": "tgw-far", "State": "available", "OwnerId": "111122223333",
        }));
    let attachments = "describe-transit-gateway-vpc-attachments";
    world.list_mut(attachments, "TransitGatewayVpcAttachments").push(json!({
        "TransitGatewayAttachmentId": "tgw-attach-far", "TransitGatewayId": "tgw-far", "VpcId": far,
        "State": "available", "SubnetIds": [],
    }));
    let reading = read_with(world, |_| Fault::None).await.unwrap();
    for stem in ["describe-transit-gateways", attachments] {
        assert!(
            reading.answers[stem].to_string().contains("tgw-far"),
            "{stem}"
        );
    }
}
