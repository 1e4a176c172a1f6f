//! What is read, in which order, and what is said about what could not be.

mod region;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::call::{Call, Necessity};
use crate::collected::{Collected, text};
use crate::connection::Connection;
use crate::consistency::contradictions;
use crate::ec2::{Ec2, filter};
use crate::eks::Eks;
use crate::error::{CallError, Failure, ReadError};
use crate::session::{CallRecord, Progress, Session};
use region::Region;

/// How often a cluster is read while its answers contradict each other. A change seen by one call and not yet by
/// another is over within seconds [EC2M: eventual consistency]; what lasts longer is a page that never comes.
const READINGS_MAX: usize = 3;

/// A cluster and what surrounds it, as AWS tells it.
#[derive(Debug)]
pub struct Reading {
    /// Stems to answers, as a snapshot directory has them (DESIGN 5); sorted, and the same for the same world.
    pub answers: Map<String, Value>,
    /// What could not be read. Nothing of it is in `answers`, so that the model takes it for unknown.
    pub gaps: Vec<ReadGap>,
    /// The calls of all readings, in the order of their ends.
    pub calls: Vec<CallRecord>,
    /// How long it took.
    pub took: Duration,
    /// How often the cluster was read until its answers fitted together, from 1.
    pub readings: usize,
}

/// Something that the snapshot lacks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReadGap {
    /// A call was refused for want of a permission.
    Refused {
        /// Which call.
        call: Call,
        /// What it asked for.
        subject: String,
    },
    /// A call asked for something that is not there, or not for this account.
    NotFound {
        /// Which call.
        call: Call,
        /// What it asked for.
        subject: String,
    },
    /// The service holds back a part of a list; all of it is left out.
    Incomplete {
        /// Which call.
        call: Call,
        /// What it asked for.
        subject: String,
    },
    /// VPCs that peerings or transit gateways lead to are left out, with everything in them.
    VpcsLeftOut {
        /// Their ids, comma-separated.
        vpcs: String,
        /// Their Region.
        region: String,
        /// Why, in words.
        reason: String,
    },
}

impl fmt::Display for ReadGap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { call, subject } => write!(
                formatter,
                "{call} was refused for `{subject}`: allow it as in statement `{}` of deploy/iam-policy.json",
                call.statement()
            ),
            Self::NotFound { call, subject } => {
                write!(
                    formatter,
                    "{call} finds no `{subject}`: it is gone, or belongs to another account"
                )
            }
            Self::Incomplete { call, subject } => {
                write!(
                    formatter,
                    "{call} gives only a part of `{subject}`, which is therefore left out"
                )
            }
            Self::VpcsLeftOut {
                vpcs,
                region,
                reason,
            } => {
                write!(
                    formatter,
                    "`{vpcs}` in `{region}` and what is in it is left out: {reason}"
                )
            }
        }
    }
}

/// Whether the cluster is at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterState {
    /// `ACTIVE`, `UPDATING` and so on, as EKS spells it [D.7].
    pub status: String,
    /// The Kubernetes version. Its update recreates the control-plane interfaces [D.1].
    pub version: String,
    /// The platform version.
    pub platform_version: String,
}

impl ClusterState {
    /// Whether no update is in progress.
    pub fn is_at_rest(&self) -> bool {
        self.status == "ACTIVE"
    }
}

/// Reads the state of the cluster alone: one call, for the end of a run [H.3].
///
/// # Errors
/// [`ReadError::Call`] when the call fails, [`ReadError::FieldMissing`] when the answer holds no cluster.
pub async fn cluster_state(
    connection: &Connection,
    cluster: &str,
) -> Result<ClusterState, ReadError> {
    let session = Session::start(connection.pace, &|_| {});
    let answer = Eks::new(connection.eks(), cluster, &session)
        .cluster()
        .await?;
    let answer = answer.ok_or_else(|| missing(cluster, "cluster"))?;
    let field = |key: &str| text(&answer, key).unwrap_or_default().to_owned();
    Ok(ClusterState {
        status: field("status"),
        version: field("version"),
        platform_version: field("platformVersion"),
    })
}

/// Reads `cluster` and everything that can decide a flow of it: its VPC, the VPCs that peerings and transit gateways
/// lead to as far as this account sees them, and what rules and routes refer to.
///
/// Calls at most [`CALLS_IN_FLIGHT_MAX`](crate::CALLS_IN_FLIGHT_MAX) at once and follows every list to its end. Answers
/// that contradict each other are read again, the whole cluster up to [`READINGS_MAX`] times. `progress` is told of
/// each call that has ended well.
///
/// Decides nothing: which interfaces are the control plane's [D.1] is the model's to say.
///
/// # Errors
/// [`ReadError`] when an essential answer cannot be had, when any call fails otherwise than by a refusal, or when
/// answers go on contradicting each other. Nothing of what was read is handed out then.
pub async fn read(
    connection: &Connection,
    cluster: &str,
    progress: &Progress<'_>,
) -> Result<Reading, ReadError> {
    let session = Session::start(connection.pace, progress);
    let mut pause = connection.pace.first_backoff;
    for readings in 1..=READINGS_MAX {
        let mut walk = Walk::new(connection, cluster, &session);
        walk.run().await?;
        let Some(contradiction) = contradictions(&walk.collected).into_iter().next() else {
            let Walk {
                collected, gaps, ..
            } = walk;
            let (calls, took) = session.finish();
            return Ok(Reading {
                answers: collected.into_answers(),
                gaps: gaps.into_iter().collect(),
                calls,
                took,
                readings,
            });
        };
        if readings == READINGS_MAX {
            let contradiction = contradiction.to_string();
            return Err(ReadError::Contradictory {
                readings,
                contradiction,
            });
        }
        tracing::warn!(%contradiction, readings, "answers contradict each other, reading again");
        tokio::time::sleep(pause).await;
        pause = (pause * 4).min(connection.pace.longest_backoff);
    }
    // Invariant: the last reading has returned above.
    Err(ReadError::Contradictory {
        readings: READINGS_MAX,
        contradiction: "no reading was made".to_owned(),
    })
}

/// One reading on its way from the cluster's name to the last prefix list.
struct Walk<'a> {
    connection: &'a Connection,
    session: &'a Session<'a>,
    cluster: &'a str,
    collected: Collected,
    gaps: BTreeSet<ReadGap>,
}

impl<'a> Walk<'a> {
    fn new(connection: &'a Connection, cluster: &'a str, session: &'a Session<'a>) -> Self {
        Self {
            connection,
            session,
            cluster,
            collected: Collected::default(),
            gaps: BTreeSet::new(),
        }
    }

    async fn run(&mut self) -> Result<(), ReadError> {
        let connection = self.connection;
        let eks = Eks::new(connection.eks(), self.cluster, self.session);
        let cluster = eks
            .cluster()
            .await?
            .ok_or_else(|| missing(self.cluster, "cluster"))?;
        let vpc = cluster
            .pointer("/resourcesVpcConfig/vpcId")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let vpc = vpc.ok_or_else(|| missing(self.cluster, "resourcesVpcConfig.vpcId"))?;
        self.collected
            .add_file("describe-cluster".to_owned(), json!({ "cluster": cluster }));

        let ec2 = Ec2::new(connection.ec2(connection.region()), self.session);
        let mut home = Region::new(connection.region(), &ec2);
        let own = std::slice::from_ref(&vpc);
        let (vpcs, links, groups) = tokio::join!(
            Box::pin(region::vpcs(&ec2, own)),
            Box::pin(region::links(&ec2, &vpc)),
            Box::pin(node_groups(&eks)),
        );
        self.take(&mut home.collected, vpcs)?;
        if home.collected.items(Call::Vpcs).next().is_none() {
            return Err(ReadError::VpcMissing { vpc });
        }
        self.take(&mut home.collected, links)?;
        self.take_files(groups)?;
        self.take_dns(&ec2, &vpc, &home.collected).await?;
        let gateways = Box::pin(region::transit_gateways(&ec2, &home.collected)).await;
        self.take(&mut home.collected, gateways.lists)?;
        self.take_files(gateways.files)?;

        let mut regions = BTreeMap::new();
        for (region, vpcs) in home.far_vpcs(&vpc) {
            regions
                .entry(region)
                .or_insert_with(BTreeSet::new)
                .extend(vpcs);
        }
        if let Some(vpcs) = regions.remove(connection.region()) {
            self.read_far(&mut home, vpcs).await?;
        }
        self.close(home).await?;
        for (name, vpcs) in regions {
            let ec2 = Ec2::new(connection.ec2(&name), self.session);
            let mut region = Region::new(&name, &ec2);
            if self.read_far(&mut region, vpcs).await? {
                self.close(region).await?;
            }
        }
        Ok(())
    }

    /// Reads the DNS settings of the cluster's VPC, which private endpoints need [D.5].
    async fn take_dns(
        &mut self,
        ec2: &Ec2<'_>,
        vpc: &str,
        home: &Collected,
    ) -> Result<(), ReadError> {
        let options: Vec<String> = home.ids(Call::Vpcs, "DhcpOptionsId").into_iter().collect();
        let attributes = ec2.vpc_attributes(vpc).await;
        self.take_files(vec![(
            format!("describe-vpc-attribute.{vpc}"),
            attributes.map(Some),
        )])?;
        if !options.is_empty() {
            let answer = ec2
                .dhcp_options(vpc, &filter("dhcp-options-id", &options))
                .await;
            let mut collected = std::mem::take(&mut self.collected);
            let taken = self.take(&mut collected, vec![(Call::DhcpOptions, answer)]);
            self.collected = collected;
            taken?;
        }
        Ok(())
    }

    /// Reads VPCs beyond the cluster's own, all of one Region or none; says whether there are any.
    ///
    /// A VPC of another account is not in the answer, a Region can be closed to the account or to this network: both
    /// leave a gap. Throttling, expired credentials and broken lists fail the reading as they do at home.
    async fn read_far(
        &mut self,
        region: &mut Region<'_>,
        vpcs: BTreeSet<String>,
    ) -> Result<bool, ReadError> {
        let wanted: Vec<String> = vpcs.iter().cloned().collect();
        let away = region.name != self.connection.region();
        let mut far = Collected::default();
        let mut visible = Vec::new();
        for chunk in wanted.chunks(crate::ec2::FILTER_VALUES_MAX) {
            match region
                .ec2
                .vpcs(&chunk.join(","), &filter("vpc-id", chunk))
                .await
            {
                Ok(found) => visible.extend(
                    found
                        .iter()
                        .filter_map(|vpc| text(vpc, "VpcId"))
                        .map(str::to_owned),
                ),
                Err(error) if leaves_far_out(&error, away) => {
                    self.leave_out(&wanted, region.name, error.to_string());
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let hidden: Vec<String> = wanted
            .iter()
            .filter(|vpc| !visible.contains(vpc))
            .cloned()
            .collect();
        if !hidden.is_empty() {
            self.leave_out(
                &hidden,
                region.name,
                "it belongs to another account or is gone".to_owned(),
            );
        }
        for chunk in visible.chunks(crate::ec2::FILTER_VALUES_MAX) {
            let answers = region::vpcs(region.ec2, chunk).await;
            let refused = answers.iter().find_map(|(call, answer)| {
                answer.as_ref().err().filter(|error| {
                    call.necessity() == Necessity::Essential && leaves_far_out(error, away)
                })
            });
            if let Some(error) = refused {
                self.leave_out(&visible, region.name, error.to_string());
                return Ok(false);
            }
            self.take(&mut far, answers)?;
        }
        region.collected.merge(far);
        Ok(!visible.is_empty())
    }

    fn leave_out(&mut self, vpcs: &[String], region: &str, reason: String) {
        let vpcs = vpcs.join(",");
        self.gaps.insert(ReadGap::VpcsLeftOut {
            vpcs,
            region: region.to_owned(),
            reason,
        });
    }

    /// Reads what the answers of a Region refer to, and takes the Region over.
    async fn close(&mut self, mut region: Region<'_>) -> Result<(), ReadError> {
        let wanted = region.groups_wanted(&self.collected);
        let groups = region::security_groups(region.ec2, &wanted).await;
        self.take(&mut region.collected, groups)?;
        let known = region.collected.ids(Call::SecurityGroups, "GroupId");
        for group in wanted.difference(&known) {
            self.gaps.insert(ReadGap::NotFound {
                call: Call::SecurityGroups,
                subject: group.clone(),
            });
        }
        let rules = region::security_group_rules(region.ec2, &known).await;
        self.take(&mut region.collected, rules)?;
        let lists = region::prefix_lists(region.ec2, &region.collected).await;
        self.take(&mut region.collected, lists.lists)?;
        self.take_files(lists.files)?;
        self.collected.merge(region.collected);
        Ok(())
    }

    /// Takes lists over; a refused one that is not essential becomes a gap.
    fn take(&mut self, into: &mut Collected, answers: Vec<Listed>) -> Result<(), ReadError> {
        for (call, answer) in answers {
            match answer {
                Ok(items) => into.add(call, items),
                Err(error) => self.gap(error)?,
            }
        }
        Ok(())
    }

    /// Takes answers for single ids over; a refused one that is not essential becomes a gap.
    fn take_files(&mut self, files: Vec<Filed>) -> Result<(), ReadError> {
        for (name, answer) in files {
            match answer {
                Ok(Some(answer)) => self.collected.add_file(name, answer),
                Ok(None) => {}
                Err(error) => self.gap(error)?,
            }
        }
        Ok(())
    }

    fn gap(&mut self, error: CallError) -> Result<(), ReadError> {
        if error.call.necessity() == Necessity::Essential {
            return Err(error.into());
        }
        let CallError { call, subject, .. } = &error;
        let (call, subject) = (*call, subject.clone());
        let gap = match error.failure {
            Failure::Denied { .. } => ReadGap::Refused { call, subject },
            Failure::NotFound { .. } => ReadGap::NotFound { call, subject },
            Failure::Incomplete => ReadGap::Incomplete { call, subject },
            Failure::Expired { .. }
            | Failure::CredentialsInvalid { .. }
            | Failure::CredentialsMissing { .. }
            | Failure::ClockSkewed { .. }
            | Failure::Throttled { .. }
            | Failure::TimedOut { .. }
            | Failure::Cut { .. }
            | Failure::Unreachable { .. }
            | Failure::Refused { .. }
            | Failure::TokenRepeated { .. }
            | Failure::PagesUnending { .. } => return Err(error.into()),
        };
        self.gaps.insert(gap);
        Ok(())
    }
}

/// A list that was asked for, and its items or why there are none.
pub(crate) type Listed = (Call, Result<Vec<Value>, CallError>);

/// A file of the snapshot for one id, and its content or why there is none; `None` for an empty answer.
pub(crate) type Filed = (String, Result<Option<Value>, CallError>);

/// Reads the managed node groups and Fargate profiles, one after the other: there are few, and two calls are enough.
async fn node_groups(eks: &Eks<'_>) -> Vec<Filed> {
    let mut files = Vec::new();
    match eks.nodegroup_names().await {
        Ok(names) => {
            for name in names {
                let answer = eks.nodegroup(&name).await;
                let answer = answer.map(|group| group.map(|group| json!({ "nodegroup": group })));
                files.push((format!("describe-nodegroup.{name}"), answer));
            }
        }
        Err(error) => files.push(("describe-nodegroup".to_owned(), Err(error))),
    }
    match eks.fargate_profile_names().await {
        Ok(names) => {
            for name in names {
                let answer = eks.fargate_profile(&name).await;
                let answer = answer
                    .map(|profile| profile.map(|profile| json!({ "fargateProfile": profile })));
                files.push((format!("describe-fargate-profile.{name}"), answer));
            }
        }
        Err(error) => files.push(("describe-fargate-profile".to_owned(), Err(error))),
    }
    files
}

/// Whether a failure leaves VPCs beyond the cluster's own out instead of ending the reading.
fn leaves_far_out(error: &CallError, away: bool) -> bool {
    match error.failure {
        Failure::Denied { .. } | Failure::NotFound { .. } => true,
        Failure::CredentialsInvalid { .. }
        | Failure::Unreachable { .. }
        | Failure::TimedOut { .. } => away,
        Failure::Expired { .. }
        | Failure::CredentialsMissing { .. }
        | Failure::ClockSkewed { .. }
        | Failure::Throttled { .. }
        | Failure::Cut { .. }
        | Failure::Refused { .. }
        | Failure::TokenRepeated { .. }
        | Failure::PagesUnending { .. }
        | Failure::Incomplete => false,
    }
}

fn missing(cluster: &str, field: &'static str) -> ReadError {
    ReadError::FieldMissing {
        call: Call::Cluster,
        subject: cluster.to_owned(),
        field,
    }
}
