//! The examination against a server that allows some things.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod support;

use reachproof_aws::Call;
use reachproof_aws::doctor::{
    CLUSTER as CLUSTER_LINE, CREDENTIALS, ENDPOINT, Examination, INTERFACES, RIGHTS, SUBJECTS,
    examine, open,
};
use reachproof_model::examination::{Check, CheckState};
use support::{Asked, CLUSTER, Fault, Replay, World, settings};

async fn examined(
    world: World,
    fault: impl Fn(&Asked) -> Fault + Send + Sync + 'static,
    cluster: &str,
) -> Examination {
    let replay = Replay::start(world, fault).await;
    let mut examination = Examination::default();
    let settings = settings(replay.address());
    let connection = open(&settings, &mut examination).await.unwrap();
    examine(&connection, cluster, &mut examination).await;
    examination
}

/// The one line that says that something is missing, which is the last but for what does not need it.
fn missing(examination: &Examination) -> &Check {
    let all = examination.checks.iter();
    let missing: Vec<_> = all
        .filter(|line| line.state == CheckState::Missing)
        .collect();
    let [line] = missing.as_slice() else {
        panic!("{examination:#?}")
    };
    line
}

fn subjects(examination: &Examination) -> Vec<&str> {
    examination.checks.iter().map(|line| line.subject).collect()
}

#[tokio::test]
async fn everything_is_ok_where_everything_is_allowed() {
    let found = examined(World::of_vector("A17"), |_| Fault::None, CLUSTER).await;
    assert!(
        found.checks.iter().all(|line| line.state == CheckState::Ok),
        "{found:#?}"
    );
    assert_eq!(subjects(&found), SUBJECTS);
    assert!(found.endpoint.is_some() && !found.control_plane.is_empty());
}

#[tokio::test]
async fn a_denied_action_is_missing_and_names_the_statement() {
    for call in Call::ALL {
        let denied = move |asked: &Asked| {
            if asked.action == call.action() {
                let code = if asked.action.starts_with("ec2:") {
                    "UnauthorizedOperation"
                } else {
                    "AccessDeniedException"
                };
                Fault::Error(403, code, "denied")
            } else {
                Fault::None
            }
        };
        let found = examined(World::of_vector("A17"), denied, CLUSTER).await;
        let line = missing(&found);
        assert_eq!(line.subject, RIGHTS);
        assert!(line.detail.contains(call.action()), "{line:?}");
        assert_eq!(
            line.remedy,
            format!(
                "allow {call} as in `{}` of deploy/iam-policy.json",
                call.statement()
            )
        );
    }
}

#[tokio::test]
async fn actions_that_are_denied_together_are_one_cause() {
    let denied = |asked: &Asked| match asked.action.as_str() {
        "ec2:DescribeSubnets" | "ec2:DescribeVpcs" => {
            Fault::Error(403, "UnauthorizedOperation", "denied")
        }
        "eks:ListNodegroups" => Fault::Error(403, "AccessDeniedException", "denied"),
        _ => Fault::None,
    };
    let found = examined(World::of_vector("A17"), denied, CLUSTER).await;
    assert_eq!(
        missing(&found).remedy,
        "allow eks:ListNodegroups, ec2:DescribeVpcs, ec2:DescribeSubnets as in `ReachproofReadCluster` and \
         `ReachproofReadNetwork` of deploy/iam-policy.json"
    );
}

#[tokio::test]
async fn a_cluster_that_is_not_there_ends_the_examination() {
    let found = examined(World::of_vector("A17"), |_| Fault::None, "other").await;
    let line = missing(&found);
    assert_eq!(line.subject, CLUSTER_LINE);
    assert_eq!(line.detail, "there is no cluster `other` in `us-east-1`");
    assert_eq!(found.checks.last(), Some(line));
}

#[tokio::test]
async fn credentials_that_aws_refuses_are_missing_and_nothing_further_is_asked() {
    for (status, code) in [
        (403, "ExpiredTokenException"),
        (403, "UnrecognizedClientException"),
    ] {
        let refused = move |_: &Asked| Fault::Error(status, code, "no");
        let replay = Replay::start(World::of_vector("A17"), refused).await;
        let mut found = Examination::default();
        let settings = settings(replay.address());
        let connection = open(&settings, &mut found).await.unwrap();
        examine(&connection, CLUSTER, &mut found).await;
        assert_eq!(missing(&found).subject, CREDENTIALS);
        assert!(
            replay
                .log()
                .iter()
                .all(|asked| asked.action == "eks:DescribeCluster"),
            "{code}"
        );
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_missing_and_nothing_further_is_asked() {
    let found = examined(World::of_vector("A17"), |_| Fault::Hang, CLUSTER).await;
    let line = missing(&found);
    assert_eq!(line.subject, ENDPOINT);
    assert_eq!(found.checks.last(), Some(line));
    assert_eq!(line.detail, "no answer in time");
}

#[tokio::test]
async fn a_cluster_without_control_plane_interfaces_is_told() {
    let mut world = World::of_vector("A17");
    for interface in world.list_mut("describe-network-interfaces", "NetworkInterfaces") {
        interface["Description"] = "Amazon EKS demo-2".into();
    }
    let found = examined(world, |_| Fault::None, CLUSTER).await;
    assert_eq!(missing(&found).subject, INTERFACES);
    assert!(found.control_plane.is_empty() && !found.addresses.is_empty());
}

#[tokio::test]
async fn a_permission_that_cannot_be_tried_is_unknown() {
    let broken = |asked: &Asked| {
        if asked.action == "ec2:DescribeSubnets" {
            Fault::Html(500)
        } else {
            Fault::None
        }
    };
    let found = examined(World::of_vector("A17"), broken, CLUSTER).await;
    let line = found.checks.iter().find(|line| line.subject == RIGHTS);
    let line = line.unwrap();
    assert_eq!(line.state, CheckState::Unknown);
    assert!(line.detail.contains("ec2:DescribeSubnets"), "{line:?}");
}
