//! The lists of one Region and how they lead to each other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::call::Call;
use crate::collected::{Collected, text};
use crate::ec2::{Ec2, FILTER_VALUES_MAX, filter};
use crate::reader::walk::{Filed, Listed};

/// What was read in one Region.
///
/// Ids of groups and prefix lists can only be asked for in their own Region, so each is closed by itself.
pub(crate) struct Region<'a> {
    pub(crate) name: &'a str,
    pub(crate) ec2: &'a Ec2<'a>,
    pub(crate) collected: Collected,
}

/// Lists, and files for single ids.
pub(crate) struct Answers {
    pub(crate) lists: Vec<Listed>,
    pub(crate) files: Vec<Filed>,
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

/// Reads the peerings of `vpc` from both sides, and its transit-gateway attachments.
pub(crate) async fn links(ec2: &Ec2<'_>, vpc: &str) -> Vec<Listed> {
    let (requested, accepted) = (
        filter("requester-vpc-info.vpc-id", &[vpc]),
        filter("accepter-vpc-info.vpc-id", &[vpc]),
    );
    let within = filter("vpc-id", &[vpc]);
    let (requested, accepted, attachments) = tokio::join!(
        Box::pin(ec2.vpc_peering_connections(vpc, &requested)),
        Box::pin(ec2.vpc_peering_connections(vpc, &accepted)),
        Box::pin(ec2.transit_gateway_vpc_attachments(vpc, &within)),
    );
    vec![
        (Call::VpcPeeringConnections, requested),
        (Call::VpcPeeringConnections, accepted),
        (Call::TransitGatewayVpcAttachments, attachments),
    ]
}

/// Reads the transit gateways that attachments and routes name: options, all attachments, route tables and routes.
pub(crate) async fn transit_gateways(ec2: &Ec2<'_>, known: &Collected) -> Answers {
    let mut ids = known.ids(Call::TransitGatewayVpcAttachments, "TransitGatewayId");
    ids.extend(known.mentions(Call::RouteTables, "TransitGatewayId"));
    let ids: Vec<String> = ids.into_iter().collect();
    let mut answers = Answers {
        lists: Vec::new(),
        files: Vec::new(),
    };
    if ids.is_empty() && known.has(Call::TransitGatewayVpcAttachments) {
        // Named by nothing, there are none that matter: an empty answer, not a gap.
        for call in [Call::TransitGateways, Call::TransitGatewayRouteTables] {
            answers.lists.push((call, Ok(Vec::new())));
        }
    }
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
    let mut answers = Answers {
        lists: Vec::new(),
        files: Vec::new(),
    };
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
        let entries = ec2
            .prefix_list_entries(&list)
            .await
            .map(|entries| Some(json!({ "Entries": entries })));
        answers
            .files
            .push((format!("get-managed-prefix-list-entries.{list}"), entries));
    }
    answers
}

fn counted(groups: usize) -> String {
    if groups == 1 {
        "1 group".to_owned()
    } else {
        format!("{groups} groups")
    }
}
