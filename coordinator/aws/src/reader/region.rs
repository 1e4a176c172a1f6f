//! The lists of one Region and how they lead to each other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::call::{Call, SECOND_PAGE_SIZE};
use crate::collected::{Collected, text};
use crate::ec2::{Ec2, FILTER_VALUES_MAX, filter};
use crate::error::CallError;
use crate::reader::{Filed, Listed};

/// What was read in one Region.
///
/// Ids of groups and prefix lists can only be asked for in their own Region, so each is closed by itself.
pub(crate) struct Region<'a> {
    pub(crate) name: &'a str,
    pub(crate) ec2: &'a Ec2<'a>,
    pub(crate) collected: Collected,
}

/// Lists, and files for single ids.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) lists: Vec<Listed>,
    pub(crate) files: Vec<Filed>,
    /// Ids that came with different contents.
    pub(crate) differing: Vec<String>,
}

impl<'a> Region<'a> {
    /// Starts with nothing read.
    pub(crate) fn new(name: &'a str, ec2: &'a Ec2<'a>) -> Self {
        Self {
            name,
            ec2,
            collected: Collected::default(),
        }
    }

    /// The VPCs that peerings and transit-gateway attachments lead to, by Region, without `own`.
    ///
    /// Whatever the state of a peering: a flow from behind a deleted one is still to be judged. Attachments are in the
    /// Region of their gateway.
    pub(crate) fn far_vpcs(&self, own: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut regions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut add = |region: &str, vpc: &str| {
            if vpc != own {
                regions
                    .entry(region.to_owned())
                    .or_default()
                    .insert(vpc.to_owned());
            }
        };
        for peering in self.collected.items(Call::VpcPeeringConnections) {
            for side in ["RequesterVpcInfo", "AccepterVpcInfo"]
                .iter()
                .filter_map(|side| peering.get(side))
            {
                if let Some(vpc) = text(side, "VpcId") {
                    add(text(side, "Region").unwrap_or(self.name), vpc);
                }
            }
        }
        for attachment in self.collected.items(Call::TransitGatewayVpcAttachments) {
            if let Some(vpc) = text(attachment, "VpcId") {
                add(self.name, vpc);
            }
        }
        regions
    }

    /// The groups that interfaces, the cluster, node groups and associations name; those not read with their VPC have
    /// been created in another one [H.1].
    pub(crate) fn groups_wanted(&self, cluster: &Collected) -> BTreeSet<String> {
        let mut wanted = self.collected.mentions(Call::NetworkInterfaces, "GroupId");
        wanted.extend(
            self.collected
                .ids(Call::SecurityGroupVpcAssociations, "GroupId"),
        );
        let config = cluster
            .file("describe-cluster")
            .and_then(|file| file.pointer("/cluster/resourcesVpcConfig"));
        let home = config
            .and_then(|config| text(config, "vpcId"))
            .map(str::to_owned);
        // The cluster's groups are to be asked for in the cluster's Region only.
        if let (Some(config), Some(home)) = (config, home)
            && self.collected.ids(Call::Vpcs, "VpcId").contains(&home)
        {
            wanted.extend(text(config, "clusterSecurityGroupId").map(str::to_owned));
            let further = config
                .get("securityGroupIds")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            wanted.extend(further.filter_map(Value::as_str).map(str::to_owned));
        }
        wanted
    }
}

/// Reads what lies in `vpcs` (1 to [`FILTER_VALUES_MAX`]), all of one Region.
pub(crate) async fn vpcs(ec2: &Ec2<'_>, vpcs: &[String]) -> Vec<Listed> {
    let subject = vpcs.join(",");
    let within = filter("vpc-id", vpcs);
    let (found, subnets, interfaces, groups, tables, acls, reservations, associations) = tokio::join!(
        Box::pin(ec2.vpcs(&subject, &within)),
        Box::pin(ec2.subnets(&subject, &within)),
        Box::pin(ec2.network_interfaces(&subject, &within)),
        Box::pin(ec2.security_groups(&subject, &within)),
        Box::pin(ec2.route_tables(&subject, &within)),
        Box::pin(ec2.network_acls(&subject, &within)),
        Box::pin(ec2.reservations(&subject, &within)),
        Box::pin(ec2.security_group_vpc_associations(&subject, &within)),
    );
    let mut lists = vec![
        (Call::Vpcs, found),
        (Call::Subnets, subnets),
        (Call::NetworkInterfaces, interfaces),
        (Call::SecurityGroups, groups),
        (Call::RouteTables, tables),
        (Call::NetworkAcls, acls),
        (Call::Instances, reservations),
        (Call::SecurityGroupVpcAssociations, associations),
    ];
    for vpc in vpcs {
        lists.push((
            Call::StaleSecurityGroups,
            ec2.stale_security_groups(vpc).await,
        ));
    }
    lists
}

/// Reads the peerings of `vpcs` (1 to [`FILTER_VALUES_MAX`], all of one Region) from both sides, and their
/// transit-gateway attachments.
pub(crate) async fn links(ec2: &Ec2<'_>, vpcs: &[String]) -> Vec<Listed> {
    let subject = vpcs.join(",");
    let (requested, accepted) = (
        filter("requester-vpc-info.vpc-id", vpcs),
        filter("accepter-vpc-info.vpc-id", vpcs),
    );
    let within = filter("vpc-id", vpcs);
    let (requested, accepted, attachments) = tokio::join!(
        Box::pin(ec2.vpc_peering_connections(&subject, &requested)),
        Box::pin(ec2.vpc_peering_connections(&subject, &accepted)),
        Box::pin(ec2.transit_gateway_vpc_attachments(&subject, &within)),
    );
    vec![
        (Call::VpcPeeringConnections, requested),
        (Call::VpcPeeringConnections, accepted),
        (Call::TransitGatewayVpcAttachments, attachments),
    ]
}

/// Reads the route tables of `vpcs`, all of one Region, once more: nothing else says how many there are, and a subnet
/// whose own table is missing would be judged by the main one [C.1].
pub(crate) async fn route_tables_again(
    ec2: &Ec2<'_>,
    vpcs: &BTreeSet<String>,
) -> Result<BTreeSet<String>, CallError> {
    let vpcs: Vec<&String> = vpcs.iter().collect();
    let mut found = BTreeSet::new();
    for chunk in vpcs.chunks(FILTER_VALUES_MAX) {
        let subject = format!("{} VPCs, again", chunk.len());
        let within = filter("vpc-id", chunk);
        let tables = ec2.route_tables_again(&subject, &within).await?;
        let ids = tables
            .iter()
            .filter_map(|table| text(table, "RouteTableId"));
        found.extend(ids.map(str::to_owned));
    }
    Ok(found)
}

/// Reads the transit gateways that attachments and routes name and that are not known yet: options, all attachments,
/// route tables and routes.
pub(crate) async fn transit_gateways(ec2: &Ec2<'_>, known: &Collected) -> Answers {
    let mut ids = known.ids(Call::TransitGatewayVpcAttachments, "TransitGatewayId");
    ids.extend(known.mentions(Call::RouteTables, "TransitGatewayId"));
    let read = known.ids(Call::TransitGateways, "TransitGatewayId");
    let mut answers = Answers::default();
    if ids.is_empty() && known.has(Call::TransitGatewayVpcAttachments) {
        // Named by nothing, there are none that matter: an empty answer, not a gap.
        for call in [Call::TransitGateways, Call::TransitGatewayRouteTables] {
            answers.lists.push((call, Ok(Vec::new())));
        }
    }
    let ids: Vec<String> = ids.difference(&read).cloned().collect();
    for chunk in ids.chunks(FILTER_VALUES_MAX) {
        let subject = chunk.join(",");
        let of = filter("transit-gateway-id", chunk);
        let (gateways, attachments, tables) = tokio::join!(
            Box::pin(ec2.transit_gateways(&subject, &of)),
            Box::pin(ec2.transit_gateway_vpc_attachments(&subject, &of)),
            Box::pin(ec2.transit_gateway_route_tables(&subject, &of)),
        );
        for table in tables
            .iter()
            .flatten()
            .filter_map(|table| text(table, "TransitGatewayRouteTableId"))
        {
            let routes = ec2.transit_gateway_routes(table).await;
            let file = routes.map(|routes| {
                Some(json!({ "Routes": routes, "AdditionalRoutesAvailable": false }))
            });
            answers
                .files
                .push((format!("search-transit-gateway-routes.{table}"), file));
        }
        answers.lists.push((Call::TransitGateways, gateways));
        answers
            .lists
            .push((Call::TransitGatewayVpcAttachments, attachments));
        answers
            .lists
            .push((Call::TransitGatewayRouteTables, tables));
    }
    answers
}

/// Reads the groups of `wanted` by id, in chunks.
pub(crate) async fn security_groups(ec2: &Ec2<'_>, wanted: &BTreeSet<String>) -> Vec<Listed> {
    let wanted: Vec<&String> = wanted.iter().collect();
    let mut lists = Vec::new();
    for chunk in wanted.chunks(FILTER_VALUES_MAX) {
        let answer = ec2
            .security_groups(&counted(chunk.len()), &filter("group-id", chunk))
            .await;
        lists.push((Call::SecurityGroups, answer));
    }
    lists
}

/// Reads the rules of `groups`, in chunks.
pub(crate) async fn security_group_rules(ec2: &Ec2<'_>, groups: &BTreeSet<String>) -> Vec<Listed> {
    let groups: Vec<&String> = groups.iter().collect();
    let mut lists = Vec::new();
    for chunk in groups.chunks(FILTER_VALUES_MAX) {
        let answer = ec2
            .security_group_rules(&counted(chunk.len()), &filter("group-id", chunk))
            .await;
        lists.push((Call::SecurityGroupRules, answer));
    }
    lists
}

/// Reads the prefix lists that rules and routes name, with their entries.
pub(crate) async fn prefix_lists(ec2: &Ec2<'_>, known: &Collected) -> Answers {
    let mut ids = known.mentions(Call::SecurityGroups, "PrefixListId");
    ids.extend(known.mentions(Call::RouteTables, "DestinationPrefixListId"));
    let ids: Vec<String> = ids.into_iter().collect();
    let mut answers = Answers::default();
    if ids.is_empty() {
        answers
            .lists
            .push((Call::ManagedPrefixLists, Ok(Vec::new())));
    }
    for chunk in ids.chunks(FILTER_VALUES_MAX) {
        let lists = ec2
            .managed_prefix_lists(&chunk.join(","), &filter("prefix-list-id", chunk))
            .await;
        answers.lists.push((Call::ManagedPrefixLists, lists));
    }
    for list in ids {
        let entries = entries(ec2, &list).await;
        let entries = entries.map(|(entries, again)| {
            if sorted(&entries) != sorted(&again) {
                answers.differing.push(list.clone());
            }
            Some(json!({ "Entries": entries }))
        });
        answers
            .files
            .push((format!("get-managed-prefix-list-entries.{list}"), entries));
    }
    answers
}

/// Reads the entries of one prefix list twice: nothing else says how many there are, and a missing one would look like a
/// deny.
async fn entries(ec2: &Ec2<'_>, list: &str) -> Result<(Vec<Value>, Vec<Value>), CallError> {
    let first = ec2.prefix_list_entries(list, Call::ManagedPrefixListEntries.page_size());
    let first = first.await?;
    let second = ec2
        .prefix_list_entries(list, Some(SECOND_PAGE_SIZE))
        .await?;
    Ok((first, second))
}

fn sorted(entries: &[Value]) -> Vec<String> {
    let mut sorted: Vec<String> = entries.iter().map(Value::to_string).collect();
    sorted.sort();
    sorted
}

fn counted(groups: usize) -> String {
    if groups == 1 {
        "1 group".to_owned()
    } else {
        format!("{groups} groups")
    }
}
