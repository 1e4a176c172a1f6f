//! Whether AWS can be read: credentials, Region, cluster, each permission, control-plane interfaces.

mod permission;

use aws_sdk_ec2::config::ProvideCredentials;
use serde_json::Value;

use crate::call::{Call, Necessity};
use crate::collected::text;
use crate::connection::{Connection, Settings};
use crate::ec2::{Ec2, filter};
use crate::eks::Eks;
use crate::error::Failure;
use crate::session::Session;

/// One line of the examination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, such as `region` or `ec2:DescribeSubnets`.
    pub subject: String,
    /// What came of it.
    pub state: CheckState,
    /// What was seen.
    pub detail: String,
    /// What to do about it; empty when nothing is to be done.
    pub mend: String,
}

/// What came of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// It is as it must be.
    Ok,
    /// It is not.
    Missing,
    /// It could not be found out.
    Unknown,
}

impl Check {
    fn ok(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            state: CheckState::Ok,
            detail: detail.into(),
            mend: String::new(),
        }
    }

    fn missing(
        subject: impl Into<String>,
        detail: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            state: CheckState::Missing,
            detail: detail.into(),
            mend: mend.into(),
        }
    }

    fn unknown(
        subject: impl Into<String>,
        detail: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            state: CheckState::Unknown,
            detail: detail.into(),
            mend: mend.into(),
        }
    }
}

/// Examines everything that a reading of `cluster` needs of AWS; always gives every line, in the same order.
///
/// Permissions of EC2 are tried with `DryRun`, which answers whether the call would be allowed without making it
/// \[EC2M\]. Those of EKS are tried by calling; a node group or profile that does not exist is asked for by the name
/// `reachproof-doctor`, and its absence shows the permission.
pub async fn examine(settings: &Settings, cluster: &str) -> Vec<Check> {
    let connection = match Connection::open(settings).await {
        Ok(connection) => connection,
        Err(error) => return vec![Check::missing("region", error.to_string(), "pass --region")],
    };
    let mut checks = vec![
        Check::ok("region", connection.region()),
        credentials(&connection).await,
    ];
    let session = Session::start(connection.pace, &|_| {});
    let eks = Eks::new(connection.eks(), cluster, &session);
    let answer = eks.cluster().await;
    checks.push(match &answer {
        Ok(Some(answer)) => found(answer),
        Ok(None) => Check::unknown("cluster", "the answer is empty", "try again later"),
        Err(error) if matches!(error.failure, Failure::NotFound { .. }) => Check::missing(
            "cluster",
            format!("`{cluster}` is not in `{}`", connection.region()),
            "check --cluster, --region and --profile",
        ),
        Err(error) => Check::unknown(
            "cluster",
            error.to_string(),
            "mend what is missing above and below first",
        ),
    });
    let described = answer.as_ref().ok().and_then(Option::as_ref);
    let vpc = described
        .and_then(|cluster| cluster.pointer("/resourcesVpcConfig/vpcId"))
        .and_then(Value::as_str);
    for call in Call::ALL {
        let tried = permission::try_call(call, &connection, &eks, vpc).await;
        checks.push(permission_of(call, tried.as_ref().copied()));
    }
    checks.push(control_plane(&connection, &session, cluster, described).await);
    checks
}

/// Loads the credentials; nothing of them is shown.
async fn credentials(connection: &Connection) -> Check {
    const SUBJECT: &str = "credentials";
    let mend = "pass --profile, set AWS_PROFILE, or run where a role is given";
    let Some(provider) = connection.credentials() else {
        return Check::missing(SUBJECT, "no provider is configured", mend);
    };
    match provider.provide_credentials().await {
        Ok(credentials) if credentials.expiry().is_some() => {
            Check::ok(SUBJECT, "found, they expire")
        }
        Ok(_) => Check::ok(SUBJECT, "found, they do not expire"),
        Err(error) => Check::missing(SUBJECT, crate::error::causes(&error), mend),
    }
}

fn found(cluster: &Value) -> Check {
    let status = text(cluster, "status").unwrap_or("without status");
    let version = text(cluster, "version").unwrap_or("unknown");
    let detail = format!("{status}, version {version}");
    if status == "ACTIVE" {
        Check::ok("cluster", detail)
    } else {
        Check::unknown(
            "cluster",
            detail,
            "wait until the cluster is ACTIVE: runs in between confirm nothing",
        )
    }
}

fn permission_of(call: Call, outcome: Result<(), &Failure>) -> Check {
    let allow = || {
        format!(
            "allow it as in statement `{}` of deploy/iam-policy.json",
            call.statement()
        )
    };
    match outcome {
        Ok(()) => Check::ok(call.action(), "allowed"),
        Err(Failure::NotFound { .. }) => Check::ok(call.action(), "allowed"),
        Err(Failure::Denied { .. }) => {
            let detail = match call.necessity() {
                Necessity::Essential => "denied, and nothing can be read without it",
                Necessity::Optional => "denied: leaves a gap",
            };
            Check::missing(call.action(), detail, allow())
        }
        Err(failure) => {
            let cause = std::error::Error::source(failure)
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            Check::unknown(
                call.action(),
                format!("{failure}{cause}"),
                "try again when AWS answers",
            )
        }
    }
}

/// Looks for the control plane's interfaces as D.1 says: by their description, exactly, and the cluster's own group.
async fn control_plane(
    connection: &Connection,
    session: &Session<'_>,
    cluster: &str,
    described: Option<&Value>,
) -> Check {
    const SUBJECT: &str = "control-plane interfaces";
    let config = described.and_then(|cluster| cluster.get("resourcesVpcConfig"));
    let Some((vpc, group)) = config.and_then(|config| {
        Some((
            text(config, "vpcId")?,
            text(config, "clusterSecurityGroupId")?,
        ))
    }) else {
        return Check::unknown(
            SUBJECT,
            "the cluster is not known",
            "mend what is missing above first",
        );
    };
    let ec2 = Ec2::new(connection.ec2(connection.region()), session);
    let interfaces = match ec2.network_interfaces(vpc, &filter("vpc-id", &[vpc])).await {
        Ok(interfaces) => interfaces,
        Err(error) => {
            return Check::unknown(
                SUBJECT,
                error.to_string(),
                "mend what is missing above first",
            );
        }
    };
    let description = format!("Amazon EKS {cluster}");
    let in_use = interfaces.iter().filter(|interface| {
        let groups = interface
            .get("Groups")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        text(interface, "Description") == Some(&description)
            && text(interface, "Status") == Some("in-use")
            && groups
                .filter_map(|one| text(one, "GroupId"))
                .any(|one| one == group)
    });
    match in_use.count() {
        0 => Check::missing(
            SUBJECT,
            format!("none in `{vpc}` is described as `{description}` and in `{group}`"),
            "wait until the cluster is ACTIVE, or check that the account owns the subnets",
        ),
        count => Check::ok(SUBJECT, format!("{count} in use in `{vpc}`")),
    }
}
