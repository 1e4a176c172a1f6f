//! The examination against a server that allows some things.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod support;

use reachproof_aws::Call;
use reachproof_aws::doctor::{Check, CheckState, examine};
use support::{Asked, CLUSTER, Fault, Replay, World, settings};

async fn lines(
    world: World,
    fault: impl Fn(&Asked) -> Fault + Send + Sync + 'static,
    cluster: &str,
) -> Vec<Check> {
    let replay = Replay::start(world, fault).await;
    examine(&settings(replay.address()), cluster).await
}

fn state(lines: &[Check], subject: &str) -> CheckState {
    lines
        .iter()
        .find(|line| line.subject == subject)
        .unwrap()
        .state
}

#[tokio::test]
async fn everything_is_ok_where_everything_is_allowed() {
    let lines = lines(World::of_vector("A17"), |_| Fault::None, CLUSTER).await;
    assert!(
        lines.iter().all(|line| line.state == CheckState::Ok),
        "{lines:#?}"
    );
    for call in Call::ALL {
        assert_eq!(state(&lines, call.action()), CheckState::Ok);
    }
    assert_eq!(lines.last().unwrap().subject, "control-plane interfaces");
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
        let lines = lines(World::of_vector("A17"), denied, CLUSTER).await;
        let line = lines
            .iter()
            .find(|line| line.subject == call.action())
            .unwrap();
        assert_eq!(line.state, CheckState::Missing, "{line:?}");
        assert!(line.mend.contains(call.statement()), "{line:?}");
        let others = lines
            .iter()
            .filter(|line| line.state == CheckState::Missing)
            .count();
        assert_eq!(others, 1, "{lines:#?}");
    }
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_missing_and_its_interfaces_are_unknown() {
    let lines = lines(World::of_vector("A17"), |_| Fault::None, "other").await;
    assert_eq!(state(&lines, "cluster"), CheckState::Missing);
    assert_eq!(
        state(&lines, "control-plane interfaces"),
        CheckState::Unknown
    );
    assert_eq!(state(&lines, "eks:DescribeCluster"), CheckState::Ok);
}

#[tokio::test]
async fn a_cluster_without_control_plane_interfaces_is_told() {
    let mut world = World::of_vector("A17");
    for interface in world.list_mut("describe-network-interfaces", "NetworkInterfaces") {
        interface["Description"] = "Amazon EKS demo-2".into();
    }
    let lines = lines(world, |_| Fault::None, CLUSTER).await;
    assert_eq!(
        state(&lines, "control-plane interfaces"),
        CheckState::Missing
    );
}

#[tokio::test]
async fn a_permission_that_cannot_be_tried_is_unknown() {
    let lines = lines(
        World::of_vector("A17"),
        |asked| {
            if asked.action == "ec2:DescribeSubnets" {
                Fault::Html(500)
            } else {
                Fault::None
            }
        },
        CLUSTER,
    )
    .await;
    assert_eq!(state(&lines, "ec2:DescribeSubnets"), CheckState::Unknown);
}
