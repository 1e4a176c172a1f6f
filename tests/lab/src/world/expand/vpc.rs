//! VPCs, subnets, route tables and peerings.

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::{ACCOUNT, Expansion, REGION, dangling, tags};
use crate::world::WorldError;
use crate::world::network::{RouteTable, Subnet, Vpc};
use crate::world::notation::RouteTarget;

/// Whether a route table is the one that subnets use which name none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TableRole {
    Main,
    Named,
}

impl Expansion<'_> {
    pub(super) fn add_vpcs(self, answers: &mut Map<String, Value>) -> Result<(), WorldError> {
        let vpcs = self
            .world
            .vpcs
            .iter()
            .map(|(name, vpc)| vpc_answer(name, vpc));
        answers.insert(
            "describe-vpcs".to_owned(),
            json!({"Vpcs": vpcs.collect::<Value>()}),
        );
        let subnets: Value = self.subnet_answers();
        answers.insert("describe-subnets".to_owned(), json!({"Subnets": subnets}));
        let acls = self.acl_answers()?;
        answers.insert(
            "describe-network-acls".to_owned(),
            json!({"NetworkAcls": acls}),
        );
        let tables = self.route_table_answers()?;
        answers.insert(
            "describe-route-tables".to_owned(),
            json!({"RouteTables": tables}),
        );
        let peerings = self.peering_answers()?;
        answers.insert(
            "describe-vpc-peering-connections".to_owned(),
            json!({"VpcPeeringConnections": peerings}),
        );
        answers.insert(
            "describe-transit-gateways".to_owned(),
            json!({"TransitGateways": []}),
        );
        answers.insert(
            "describe-transit-gateway-vpc-attachments".to_owned(),
            json!({"TransitGatewayVpcAttachments": []}),
        );
        Ok(())
    }

    fn subnet_answers(self) -> Value {
        let subnets = self.world.vpcs.iter().flat_map(|(vpc_name, vpc)| {
            vpc.subnets.iter().map(move |(name, subnet)| {
                let v6 = subnet
                    .cidrs
                    .iter()
                    .filter(|cidr| matches!(cidr, IpNet::V6(_)))
                    .map(|cidr| {
                        json!({
                            "AssociationId": format!("subnet-cidr-assoc-{name}"),
                            "Ipv6CidrBlock": cidr,
                            "Ipv6CidrBlockState": {"State": "associated"},
                        })
                    });
                json!({
                    "SubnetId": format!("subnet-{name}"),
                    "VpcId": format!("vpc-{vpc_name}"),
                    "CidrBlock": first_v4(&subnet.cidrs),
                    "AvailabilityZone": format!("{REGION}{}", subnet.zone),
                    "OwnerId": ACCOUNT,
                    "State": "available",
                    "Ipv6CidrBlockAssociationSet": v6.collect::<Value>(),
                    "Tags": tags(&[("Name", name)]),
                })
            })
        });
        subnets.collect()
    }

    fn route_table_answers(self) -> Result<Vec<Value>, WorldError> {
        let mut answers = Vec::new();
        let mut with_main = Vec::new();
        for (name, table) in &self.world.route_tables {
            let place = format!("route table `{name}`");
            let (vpc_name, vpc) = self.vpc_of(&place, table.vpc.as_ref())?;
            let role = if table.main {
                TableRole::Main
            } else {
                TableRole::Named
            };
            if role == TableRole::Main {
                with_main.push(vpc_name);
            }
            let named = subnets_with(vpc, |subnet| subnet.routes.as_ref() == Some(name));
            let routes = self.routes(&place, vpc, table)?;
            answers.push(route_table_answer((name, role), vpc_name, &routes, &named));
        }
        for (vpc_name, vpc) in &self.world.vpcs {
            for (subnet_name, subnet) in &vpc.subnets {
                if let Some(table) = &subnet.routes
                    && !self.world.route_tables.contains_key(table)
                {
                    return Err(dangling(
                        &format!("subnet `{subnet_name}`"),
                        "route table",
                        table,
                    ));
                }
            }
            if !with_main.contains(&vpc_name.as_str()) {
                let routes = local_routes(vpc);
                let name = format!("main-{vpc_name}");
                answers.push(route_table_answer(
                    (&name, TableRole::Main),
                    vpc_name,
                    &routes,
                    &[],
                ));
            }
        }
        Ok(answers)
    }

    fn routes(self, place: &str, vpc: &Vpc, table: &RouteTable) -> Result<Vec<Value>, WorldError> {
        let mut routes = local_routes(vpc);
        for (cidr, target) in &table.routes {
            let (key, id, state) = match target {
                RouteTarget::Peering(name) if !self.world.peerings.contains_key(name) => {
                    return Err(dangling(place, "peering", name));
                }
                RouteTarget::Peering(name) => {
                    ("VpcPeeringConnectionId", format!("pcx-{name}"), "active")
                }
                RouteTarget::Nat => ("NatGatewayId", "nat-world".to_owned(), "active"),
                RouteTarget::Internet => ("GatewayId", "igw-world".to_owned(), "active"),
                RouteTarget::Blackhole => ("NatGatewayId", "nat-gone".to_owned(), "blackhole"),
            };
            let mut route = json!({"State": state, "Origin": "CreateRoute", key: id});
            if let Some(route) = route.as_object_mut() {
                route.insert(destination_key(cidr).to_owned(), json!(cidr));
            }
            routes.push(route);
        }
        Ok(routes)
    }

    fn peering_answers(self) -> Result<Vec<Value>, WorldError> {
        let side = |name: &String, vpc: &String| match self.world.vpcs.get(vpc) {
            None => Err(dangling(&format!("peering `{name}`"), "VPC", vpc)),
            Some(found) => Ok(json!({
                "VpcId": format!("vpc-{vpc}"),
                "OwnerId": ACCOUNT,
                "Region": REGION,
                "CidrBlock": first_v4(&found.cidrs),
            })),
        };
        let peerings = self.world.peerings.iter().map(|(name, peering)| {
            Ok(json!({
                "VpcPeeringConnectionId": format!("pcx-{name}"),
                "Status": {"Code": "active", "Message": "Active"},
                "RequesterVpcInfo": side(name, &peering.requester)?,
                "AccepterVpcInfo": side(name, &peering.accepter)?,
                "Tags": tags(&[("Name", name)]),
            }))
        });
        peerings.collect()
    }
}

fn vpc_answer(name: &str, vpc: &Vpc) -> Value {
    let block = |key: &str, cidr: &IpNet| json!({key: cidr, format!("{key}State"): {"State": "associated"}});
    let v4 = vpc.cidrs.iter().filter(|cidr| matches!(cidr, IpNet::V4(_)));
    let v6 = vpc.cidrs.iter().filter(|cidr| matches!(cidr, IpNet::V6(_)));
    json!({
        "VpcId": format!("vpc-{name}"),
        "OwnerId": ACCOUNT,
        "State": "available",
        "IsDefault": false,
        "CidrBlock": first_v4(&vpc.cidrs),
        "CidrBlockAssociationSet": v4.map(|cidr| block("CidrBlock", cidr)).collect::<Value>(),
        "Ipv6CidrBlockAssociationSet": v6.map(|cidr| block("Ipv6CidrBlock", cidr)).collect::<Value>(),
        "Tags": tags(&[("Name", name)]),
    })
}

fn first_v4(cidrs: &[IpNet]) -> Option<&IpNet> {
    cidrs.iter().find(|cidr| matches!(cidr, IpNet::V4(_)))
}

pub(super) fn subnets_with(vpc: &Vpc, wanted: impl Fn(&Subnet) -> bool) -> Vec<&String> {
    vpc.subnets
        .iter()
        .filter(|(_, subnet)| wanted(subnet))
        .map(|(name, _)| name)
        .collect()
}

fn destination_key(cidr: &IpNet) -> &'static str {
    match cidr {
        IpNet::V4(_) => "DestinationCidrBlock",
        IpNet::V6(_) => "DestinationIpv6CidrBlock",
    }
}

fn local_routes(vpc: &Vpc) -> Vec<Value> {
    let routes = vpc.cidrs.iter().map(|cidr| {
        json!({
            destination_key(cidr): cidr,
            "GatewayId": "local",
            "State": "active",
            "Origin": "CreateRouteTable",
        })
    });
    routes.collect()
}

/// The main association names no subnet (C.1).
fn route_table_answer(
    (name, role): (&str, TableRole),
    vpc: &str,
    routes: &[Value],
    subnets: &[&String],
) -> Value {
    let id = format!("rtb-{name}");
    let association = |suffix: &str| {
        json!({
            "Main": false,
            "RouteTableAssociationId": format!("rtbassoc-{name}-{suffix}"),
            "RouteTableId": id,
            "AssociationState": {"State": "associated"},
        })
    };
    let mut associations: Vec<Value> = Vec::new();
    if role == TableRole::Main {
        let mut association = association("main");
        set(&mut association, "Main", json!(true));
        associations.push(association);
    }
    for subnet in subnets {
        let mut association = association(subnet);
        set(
            &mut association,
            "SubnetId",
            json!(format!("subnet-{subnet}")),
        );
        associations.push(association);
    }
    json!({
        "RouteTableId": id,
        "VpcId": format!("vpc-{vpc}"),
        "OwnerId": ACCOUNT,
        "Routes": routes,
        "PropagatingVgws": [],
        "Associations": associations,
    })
}

/// Sets one field of a JSON object.
pub(super) fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}
