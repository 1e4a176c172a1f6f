//! One reading, from the cluster's name to the last prefix list.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::call::{Call, Necessity};
use crate::collected::{Collected, text};
use crate::connection::Connection;
use crate::consistency::hidden_acls;
use crate::ec2::{Ec2, FILTER_VALUES_MAX, filter};
use crate::eks::Eks;
use crate::error::{CallError, Failure, ReadError};
use crate::reader::region::{self, Region};
use crate::reader::{Filed, Listed, ReadGap, missing};
use crate::session::Session;

/// One reading on its way from the cluster's name to the last prefix list.
pub(crate) struct Walk<'a> {
    connection: &'a Connection,
    session: &'a Session<'a>,
    cluster: &'a str,
    pub(crate) collected: Collected,
    pub(crate) gaps: BTreeSet<ReadGap>,
}

impl<'a> Walk<'a> {
    /// Starts with nothing read.
    pub(crate) fn new(
        connection: &'a Connection,
        cluster: &'a str,
        session: &'a Session<'a>,
    ) -> Self {
        Self {
            connection,
            session,
            cluster,
            collected: Collected::default(),
            gaps: BTreeSet::new(),
        }
    }

    /// Reads everything, in the order in which one answer leads to the next.
    pub(crate) async fn run(&mut self) -> Result<(), ReadError> {
        let connection = self.connection;
        let eks = Eks::new(connection.eks(), self.cluster, self.session);
        let cluster = eks
            .cluster()
            .await
            .map_err(|error| self.without_cluster(error))?
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
            Box::pin(region::links(&ec2, own)),
            Box::pin(node_groups(&eks)),
        );
        self.take(&mut home.collected, vpcs)?;
        if home.collected.items(Call::Vpcs).next().is_none() {
            return Err(ReadError::VpcMissing { vpc });
        }
        self.take(&mut home.collected, links)?;
        self.take_files(groups)?;
        self.take_dns(&ec2, &vpc, &home.collected).await?;
        self.take_gateways(&mut home).await?;

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
        for vpc in hidden_acls(&self.collected) {
            let is_in = |acl: &Value| text(acl, "VpcId") == Some(&vpc);
            self.collected.drop_items(Call::NetworkAcls, is_in);
            let call = Call::NetworkAcls;
            self.gaps.insert(ReadGap::Hidden { call, vpc });
        }
        Ok(())
    }

    /// Says that there is no such cluster, where that is what the failure means.
    fn without_cluster(&self, error: CallError) -> ReadError {
        if let Failure::NotFound { source } = error.failure {
            return ReadError::NoSuchCluster {
                cluster: self.cluster.to_owned(),
                region: self.connection.region().to_owned(),
                source,
            };
        }
        ReadError::from(error)
    }

    /// Reads the transit gateways that a Region's answers name.
    async fn take_gateways(&mut self, region: &mut Region<'_>) -> Result<(), ReadError> {
        let gateways = Box::pin(region::transit_gateways(region.ec2, &region.collected)).await;
        self.take(&mut region.collected, gateways.lists)?;
        self.take_files(gateways.files)
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

    /// Reads VPCs beyond the cluster's own, all of one Region or none, with their own peerings and transit gateways: a
    /// reply may take another way back. What lies behind those is not read. Says whether there are any.
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
        for chunk in wanted.chunks(FILTER_VALUES_MAX) {
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
        for chunk in visible.chunks(FILTER_VALUES_MAX) {
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
            let links = region::links(region.ec2, chunk).await;
            self.take(&mut far, links)?;
        }
        region.collected.merge(far);
        self.take_gateways(region).await?;
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
        region.collected.disagree(lists.differing);
        let vpcs = region.collected.ids(Call::Vpcs, "VpcId");
        let tables = region.collected.ids(Call::RouteTables, "RouteTableId");
        let again = region::route_tables_again(region.ec2, &vpcs).await?;
        let differing = tables.symmetric_difference(&again).cloned();
        region.collected.disagree(differing.collect::<Vec<_>>());
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
            | Failure::Unresolved { .. }
            | Failure::Unreachable { .. }
            | Failure::Refused { .. }
            | Failure::TokenRepeated { .. }
            | Failure::PagesUnending { .. } => return Err(error.into()),
        };
        self.gaps.insert(gap);
        Ok(())
    }
}

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
        | Failure::Unresolved { .. }
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
