//! A snapshot as a server sees it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

/// Stems to answers, as in a snapshot directory.
#[derive(Clone, Debug)]
pub struct World(pub Map<String, Value>);

impl World {
    /// The snapshot of one vector, such as `A01`.
    pub fn of_vector(id: &str) -> Self {
        Self::of_file(&vectors().join(format!("{id}.json")))
    }

    /// The snapshot in a vector's file.
    pub fn of_file(path: &std::path::Path) -> Self {
        let vector: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        Self(vector["snapshot"].as_object().unwrap().clone())
    }

    /// The answers that are AWS's.
    pub fn aws(&self) -> Map<String, Value> {
        let of_aws = |stem: &str| {
            ["describe-", "get-", "search-"]
                .iter()
                .any(|start| stem.starts_with(start))
        };
        self.0
            .iter()
            .filter(|(stem, _)| of_aws(stem))
            .map(|(stem, answer)| (stem.clone(), answer.clone()))
            .collect()
    }

    /// The answers that are not AWS's.
    pub fn kubernetes(&self) -> Map<String, Value> {
        let aws = self.aws();
        self.0
            .iter()
            .filter(|(stem, _)| !aws.contains_key(*stem))
            .map(|(stem, answer)| (stem.clone(), answer.clone()))
            .collect()
    }

    /// One list, by stem and key; empty when it is not there.
    pub fn list(&self, stem: &str, key: &str) -> Vec<Value> {
        self.0
            .get(stem)
            .and_then(|answer| answer[key].as_array())
            .cloned()
            .unwrap_or_default()
    }

    /// One list, to be changed.
    pub fn list_mut(&mut self, stem: &str, key: &str) -> &mut Vec<Value> {
        self.0[stem][key].as_array_mut().unwrap()
    }

    /// Adds a node group and a Fargate profile, a transit-gateway route table with a route, and DHCP options, none of
    /// which the vectors have: every call then has something to answer.
    #[must_use]
    pub fn with_everything(mut self) -> Self {
        let gateway =
            self.list("describe-transit-gateways", "TransitGateways")[0]["TransitGatewayId"]
                .clone();
        let further = json!({
            "describe-nodegroup.ng": { "nodegroup": {
                "nodegroupName": "ng", "clusterName": "demo", "status": "ACTIVE", "subnets": [],
                "resources": { "remoteAccessSecurityGroup": "sg-00000000000000000" },
                "launchTemplate": { "id": "lt-1", "name": "t", "version": "3" } } },
            "describe-fargate-profile.fp": { "fargateProfile": {
                "fargateProfileName": "fp", "clusterName": "demo", "status": "ACTIVE", "subnets": [],
                "selectors": [ { "namespace": "a", "labels": { "b": "c" } } ] } },
            "describe-transit-gateway-route-tables": { "TransitGatewayRouteTables": [
                { "TransitGatewayRouteTableId": "tgw-rtb-1", "TransitGatewayId": gateway, "State": "available",
                  "DefaultAssociationRouteTable": true, "DefaultPropagationRouteTable": true } ] },
            "search-transit-gateway-routes.tgw-rtb-1": { "AdditionalRoutesAvailable": false, "Routes": [
                { "DestinationCidrBlock": "10.2.0.0/16", "Type": "propagated", "State": "active",
                  "TransitGatewayAttachments": [ { "TransitGatewayAttachmentId": "tgw-attach-1", "ResourceId": "vpc-1",
                    "ResourceType": "vpc" } ] } ] },
            "describe-dhcp-options": { "DhcpOptions": [
                { "DhcpOptionsId": "dopt-1", "OwnerId": "111122223333", "DhcpConfigurations": [
                    { "Key": "domain-name-servers", "Values": [ { "Value": "AmazonProvidedDNS" } ] } ] } ] },
        });
        self.0.extend(further.as_object().unwrap().clone());
        for vpc in self.list_mut("describe-vpcs", "Vpcs") {
            vpc["DhcpOptionsId"] = json!("dopt-1");
        }
        self
    }

    /// The VPC that the cluster names.
    pub fn home(&self) -> String {
        let vpc = &self.0["describe-cluster"]["cluster"]["resourcesVpcConfig"]["vpcId"];
        vpc.as_str().unwrap().to_owned()
    }

    /// The items of `action` that its filters and parameters select, and the key of their list.
    pub fn select(
        &self,
        action: &str,
        asked: &BTreeMap<String, String>,
    ) -> Option<(&'static str, Vec<Value>)> {
        let (stem, key) = match action {
            "DescribeVpcs" => ("describe-vpcs", "Vpcs"),
            "DescribeSubnets" => ("describe-subnets", "Subnets"),
            "DescribeNetworkInterfaces" => ("describe-network-interfaces", "NetworkInterfaces"),
            "DescribeSecurityGroups" => ("describe-security-groups", "SecurityGroups"),
            "DescribeRouteTables" => ("describe-route-tables", "RouteTables"),
            "DescribeNetworkAcls" => ("describe-network-acls", "NetworkAcls"),
            "DescribeInstances" => ("describe-instances", "Reservations"),
            "DescribeSecurityGroupRules" => ("describe-security-group-rules", "SecurityGroupRules"),
            "DescribeStaleSecurityGroups" => {
                ("describe-stale-security-groups", "StaleSecurityGroupSet")
            }
            "DescribeSecurityGroupVpcAssociations" => (
                "describe-security-group-vpc-associations",
                "SecurityGroupVpcAssociations",
            ),
            "DescribeVpcPeeringConnections" => {
                ("describe-vpc-peering-connections", "VpcPeeringConnections")
            }
            "DescribeManagedPrefixLists" => ("describe-managed-prefix-lists", "PrefixLists"),
            "GetManagedPrefixListEntries" => ("get-managed-prefix-list-entries", "Entries"),
            "DescribeTransitGateways" => ("describe-transit-gateways", "TransitGateways"),
            "DescribeTransitGatewayVpcAttachments" => (
                "describe-transit-gateway-vpc-attachments",
                "TransitGatewayVpcAttachments",
            ),
            "DescribeTransitGatewayRouteTables" => (
                "describe-transit-gateway-route-tables",
                "TransitGatewayRouteTables",
            ),
            "SearchTransitGatewayRoutes" => ("search-transit-gateway-routes", "Routes"),
            "DescribeDhcpOptions" => ("describe-dhcp-options", "DhcpOptions"),
            _ => return None,
        };
        let own = asked
            .get("PrefixListId")
            .or_else(|| asked.get("TransitGatewayRouteTableId"));
        let items = match own {
            // An id that the world does not have is an error of the service, not an empty list.
            Some(id) => self.0.get(&format!("{stem}.{id}"))?[key]
                .as_array()
                .cloned()?,
            None => self.list(stem, key),
        };
        let filters = filters(asked);
        let vpc = asked.get("VpcId");
        let selected = items.into_iter().filter(|item| {
            vpc.is_none_or(|vpc| item["VpcId"] == **vpc)
                && filters.iter().all(|(name, values)| {
                    values.iter().any(|value| self.matches(item, name, value))
                })
        });
        Some((key, selected.collect()))
    }

    fn matches(&self, item: &Value, filter: &str, value: &str) -> bool {
        match filter {
            "vpc-id" if item.get("Instances").is_some() => self.instances_are_in(item, value),
            "vpc-id" => item["VpcId"] == value,
            "group-id" => item["GroupId"] == value,
            "transit-gateway-id" => item["TransitGatewayId"] == value,
            "prefix-list-id" => item["PrefixListId"] == value,
            "dhcp-options-id" => item["DhcpOptionsId"] == value,
            "requester-vpc-info.vpc-id" => item["RequesterVpcInfo"]["VpcId"] == value,
            "accepter-vpc-info.vpc-id" => item["AccepterVpcInfo"]["VpcId"] == value,
            "state" => item["State"] == value,
            _ => panic!("the reader filters by `{filter}`, which this server does not know"),
        }
    }

    /// The vectors' instances do not name their VPC; their interfaces do.
    fn instances_are_in(&self, reservation: &Value, vpc: &str) -> bool {
        let interfaces = self.list("describe-network-interfaces", "NetworkInterfaces");
        let of = |id: &Value| {
            interfaces
                .iter()
                .find(|one| one["NetworkInterfaceId"] == *id)
        };
        reservation["Instances"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|instance| {
                let first = &instance["NetworkInterfaces"][0]["NetworkInterfaceId"];
                instance["VpcId"] == vpc
                    || of(first).is_some_and(|interface| interface["VpcId"] == vpc)
            })
    }
}

/// `Filter.1.Name`, `Filter.1.Value.1` and so on.
fn filters(asked: &BTreeMap<String, String>) -> Vec<(String, Vec<String>)> {
    (1..)
        .map_while(|number| {
            let name = asked.get(&format!("Filter.{number}.Name"))?;
            let values = (1..).map_while(|value| {
                asked
                    .get(&format!("Filter.{number}.Value.{value}"))
                    .cloned()
            });
            Some((name.clone(), values.collect()))
        })
        .collect()
}

/// Where the vectors are: in `tests/vectors` of the workspace that holds this package.
pub fn vectors() -> PathBuf {
    let package = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .ancestors()
        .map(|above| above.join("tests/vectors"))
        .find(|directory| directory.is_dir())
        .unwrap()
}

/// Whether a world is what two accounts see, put together by hand: no reader of one account gets that.
pub fn is_of_two_accounts(world: &World) -> bool {
    let views = "describe-vpc-peering-connections.";
    world.0.keys().any(|stem| stem.starts_with(views))
}

/// The files of all vectors, sorted.
pub fn vector_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(vectors())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "json"));
    files.sort();
    files
}
