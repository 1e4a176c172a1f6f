//! Routes, peerings and transit gateways.

use serde_json::{Value, json};

use super::{ACCOUNT, Draft};

impl Draft {
    /// A main table for each VPC, and some for single subnets.
    pub fn route_tables(&mut self) {
        let mut tables = Vec::new();
        for place in 0..self.vpcs.len() {
            if self.dice.chance(98) {
                let routes = self.routes(place);
                let vpc = self.vpcs[place].id;
                let mut main = json!({"Main": true});
                if self.dice.chance(3) {
                    main["AssociationState"] = json!({"State": "associating"});
                }
                tables.push(json!({
                    "RouteTableId": format!("rtb-{}", &vpc[4..]), "VpcId": vpc, "Routes": routes,
                    "Associations": [main],
                }));
            }
        }
        for place in 0..self.subnets.len() {
            if self.dice.chance(25) {
                let vpc = self.subnets[place].vpc;
                let routes = self.routes(self.vpcs.iter().position(|it| it.id == vpc).unwrap());
                let id = self.subnets[place].id.clone();
                let mut association = json!({"Main": false, "SubnetId": id});
                if self.dice.chance(20) {
                    let word = *self.dice.pick(&[
                        "associated",
                        "associated",
                        "disassociated",
                        "disassociating",
                        "failed",
                    ]);
                    association["AssociationState"] = json!({"State": word});
                }
                tables.push(json!({
                    "RouteTableId": format!("rtb-{}", &id[7..]), "VpcId": vpc, "Routes": routes,
                    "Associations": [association],
                }));
            }
        }
        self.file("describe-route-tables", json!({"RouteTables": tables}));
    }

    fn routes(&mut self, vpc: usize) -> Vec<Value> {
        let (id, cidr, cidr_v6) = {
            let vpc = &self.vpcs[vpc];
            (vpc.id, vpc.cidr, vpc.cidr_v6)
        };
        let mut routes = vec![json!({"DestinationCidrBlock": cidr, "GatewayId": "local"})];
        if let Some(cidr) = cidr_v6 {
            routes.push(json!({"DestinationIpv6CidrBlock": cidr, "GatewayId": "local"}));
        }
        let far: &[(&str, &str)] = match id {
            "vpc-v" => &[
                ("10.1.0.0/16", "pcx-1"),
                ("10.2.0.0/16", "tgw-1"),
                ("2600:1f14:abd::/56", "pcx-1"),
                ("2600:1f14:abe::/56", "tgw-1"),
            ],
            "vpc-w" => &[
                ("10.0.0.0/16", "pcx-1"),
                ("2600:1f14:abc::/56", "pcx-1"),
                ("10.2.0.0/16", "tgw-1"),
            ],
            "vpc-t" => &[
                ("10.0.0.0/16", "tgw-1"),
                ("10.1.0.0/16", "tgw-1"),
                ("2600:1f14:abc::/56", "tgw-1"),
            ],
            _ => &[("10.1.0.0/16", "tgw-1")],
        };
        for (cidr, usual) in far {
            if self.dice.chance(88) {
                let target = if self.dice.chance(80) {
                    (*usual).to_owned()
                } else {
                    self.target()
                };
                routes.push(self.route(cidr, &target));
            }
        }
        if self.dice.chance(70) {
            let target = self.target();
            routes.push(self.route("0.0.0.0/0", &target));
        }
        if self.dice.chance(50) {
            let target = *self
                .dice
                .pick(&["eigw-1", "eigw-1", "core-1", "eni-mb", "tgw-1"]);
            routes.push(self.route("::/0", target));
        }
        self.special_routes(&mut routes);
        let turn = self.dice.below(routes.len());
        routes.rotate_left(turn);
        routes
    }

    /// Prefix lists, overrides of `local`, propagated routes.
    fn special_routes(&mut self, routes: &mut Vec<Value>) {
        if self.dice.chance(30) {
            routes.push(json!({
                "DestinationPrefixListId": "pl-s3", "GatewayId": "vpce-1", "State": "active",
            }));
        }
        if self.dice.chance(10) {
            let list = *self.dice.pick(&["pl-a", "pl-b", "pl-6", "pl-x"]);
            let target = self.target();
            let mut route = self.route("0.0.0.0/0", &target);
            route
                .as_object_mut()
                .unwrap()
                .remove("DestinationCidrBlock");
            route["DestinationPrefixListId"] = json!(list);
            routes.push(route);
        }
        if self.dice.chance(4) {
            let hop = *self.dice.pick(&["10.0.1.10", "10.0.1.250"]);
            routes.push(json!({
                "DestinationCidrBlock": "10.1.0.0/20", "IpAddress": hop, "State": "active",
                "Origin": "Advertisement",
            }));
        }
        if self.dice.chance(4) {
            // Nothing is longer than a whole address.
            routes.push(self.route("10.1.1.10/32", "pcx-1"));
        }
        if self.dice.chance(12) {
            let cidr = *self.dice.pick(&["10.0.1.0/24", "10.0.2.0/24"]);
            let target = *self.dice.pick(&["eni-mb", "vpce-2", "nat-1"]);
            routes.push(self.route(cidr, target));
        }
        if self.dice.chance(15) {
            let cidr = *self
                .dice
                .pick(&["10.1.0.0/16", "0.0.0.0/0", "10.1.1.0/24", "10.2.0.0/16"]);
            let is_twice = routes.iter().any(|it| it["DestinationCidrBlock"] == cidr);
            let target = if is_twice || self.dice.chance(50) {
                "vgw-1".to_owned()
            } else {
                self.target()
            };
            let mut route = self.route(cidr, &target);
            route["Origin"] = json!("EnableVgwRoutePropagation");
            routes.push(route);
        }
    }

    fn target(&mut self) -> String {
        let targets = [
            "nat-1", "nat-1", "igw-1", "vgw-1", "tgw-1", "pcx-1", "pcx-2", "pcx-3", "eni-mb",
            "i-0", "vpce-2", "core-1", "lgw-1", "cagw-1", "tgw-1", "new-1", "pcx-gone",
        ];
        (*self.dice.pick(&targets)).to_owned()
    }

    fn route(&mut self, cidr: &str, target: &str) -> Value {
        let key = match target.split('-').next().unwrap() {
            "nat" => "NatGatewayId",
            "tgw" => "TransitGatewayId",
            "pcx" => "VpcPeeringConnectionId",
            "eni" => "NetworkInterfaceId",
            "i" => "InstanceId",
            "core" => "CoreNetworkArn",
            "lgw" => "LocalGatewayId",
            "cagw" => "CarrierGatewayId",
            "eigw" => "EgressOnlyInternetGatewayId",
            "new" => "OdbNetworkArn",
            _ => "GatewayId",
        };
        let destination = if cidr.contains(':') {
            "DestinationIpv6CidrBlock"
        } else {
            "DestinationCidrBlock"
        };
        let state = match self.dice.below(30) {
            0 => "blackhole",
            1 => "filtered",
            _ => "active",
        };
        json!({destination: cidr, key: target, "State": state, "Origin": "CreateRoute"})
    }

    /// `pcx-1` between V and W, `pcx-2` to a VPC that is not described, `pcx-3` between V and T.
    pub fn peerings(&mut self) {
        let mut all = Vec::new();
        let sides = [
            ("pcx-1", ("vpc-v", "10.0.0.0/16"), ("vpc-w", "10.1.0.0/16")),
            (
                "pcx-2",
                ("vpc-v", "10.0.0.0/16"),
                ("vpc-far", "10.9.0.0/16"),
            ),
            ("pcx-3", ("vpc-t", "10.2.0.0/16"), ("vpc-v", "10.0.0.0/16")),
        ];
        for (id, one, two) in sides {
            let code = *self.dice.pick(&[
                "active", "active", "active", "active", "active", "deleted", "expired",
            ]);
            let region = if self.dice.chance(85) {
                "us-east-1"
            } else {
                "eu-west-1"
            };
            let mut one = json!({"VpcId": one.0, "OwnerId": ACCOUNT, "CidrBlock": one.1});
            let mut two = json!({"VpcId": two.0, "OwnerId": ACCOUNT, "CidrBlock": two.1});
            if self.dice.chance(80) {
                one["Region"] = json!("us-east-1");
                two["Region"] = json!(region);
            }
            if self.dice.chance(30) {
                two.as_object_mut().unwrap().remove("CidrBlock");
            }
            all.push(json!({
                "VpcPeeringConnectionId": id, "Status": {"Code": code},
                "RequesterVpcInfo": one, "AccepterVpcInfo": two,
            }));
        }
        if self.dice.chance(97) {
            self.file(
                "describe-vpc-peering-connections",
                json!({"VpcPeeringConnections": all}),
            );
        }
    }

    /// `tgw-1` with attachments, at times with route tables of its own.
    pub fn transit_gateways(&mut self) {
        let word = |yes: bool| if yes { "enable" } else { "disable" };
        let (association, propagation, references) = (
            self.dice.chance(90),
            self.dice.chance(90),
            self.dice.chance(80),
        );
        if self.dice.chance(93) {
            self.file(
                "describe-transit-gateways",
                json!({"TransitGateways": [{
                    "TransitGatewayId": "tgw-1", "State": "available",
                    "Options": {
                        "DefaultRouteTableAssociation": word(association),
                        "DefaultRouteTablePropagation": word(propagation),
                        "SecurityGroupReferencingSupport": word(references),
                    },
                }]}),
            );
        }
        let mut attachments = Vec::new();
        for (vpc, percent) in [("vpc-v", 93), ("vpc-t", 93), ("vpc-w", 40)] {
            if !self.dice.chance(percent) {
                continue;
            }
            let members: Vec<String> = self
                .subnets
                .iter()
                .filter(|it| it.vpc == vpc)
                .map(|it| it.id.clone())
                .collect();
            let kept = if self.dice.chance(75) {
                members.len()
            } else {
                1 + self.dice.below(members.len())
            };
            let references = word(self.dice.chance(90));
            attachments.push(json!({
                "TransitGatewayAttachmentId": format!("tgw-attach-{}", &vpc[4..]),
                "TransitGatewayId": "tgw-1", "VpcId": vpc, "State": "available",
                "SubnetIds": members[..kept],
                "Options": {"SecurityGroupReferencingSupport": references},
            }));
        }
        if self.dice.chance(25) {
            self.gateway_tables(&mut attachments);
        }
        self.file(
            "describe-transit-gateway-vpc-attachments",
            json!({"TransitGatewayVpcAttachments": attachments}),
        );
    }

    fn gateway_tables(&mut self, attachments: &mut [Value]) {
        let mut named = Vec::new();
        for attachment in attachments.iter_mut() {
            let id = attachment["TransitGatewayAttachmentId"].clone();
            match self.dice.below(4) {
                0 => attachment["Association"] = json!({"TransitGatewayRouteTableId": "tgw-rtb-2"}),
                1 => named.push(json!({"TransitGatewayAttachmentId": id})),
                _ => {}
            }
        }
        self.file(
            "describe-transit-gateway-route-tables",
            json!({"TransitGatewayRouteTables": [
                {
                    "TransitGatewayRouteTableId": "tgw-rtb-1", "TransitGatewayId": "tgw-1",
                    "DefaultAssociationRouteTable": true,
                },
                {
                    "TransitGatewayRouteTableId": "tgw-rtb-2", "TransitGatewayId": "tgw-1",
                    "DefaultAssociationRouteTable": false, "Associations": named,
                },
            ]}),
        );
        for table in ["tgw-rtb-1", "tgw-rtb-2"] {
            let mut routes = Vec::new();
            for (cidr, vpc) in [
                ("10.0.0.0/16", "v"),
                ("10.1.0.0/16", "w"),
                ("10.2.0.0/16", "t"),
                ("10.2.1.0/24", "v"),
                ("2600:1f14:abc::/56", "v"),
                ("2600:1f14:abe::/56", "t"),
                ("0.0.0.0/0", "v"),
            ] {
                if !self
                    .dice
                    .chance(if cidr == "10.2.1.0/24" { 10 } else { 85 })
                {
                    continue;
                }
                let state = if self.dice.chance(92) {
                    "active"
                } else {
                    "blackhole"
                };
                routes.push(json!({
                    "DestinationCidrBlock": cidr, "State": state, "Type": "propagated",
                    "TransitGatewayAttachments": [
                        {"TransitGatewayAttachmentId": format!("tgw-attach-{vpc}")},
                    ],
                }));
            }
            if self.dice.chance(95) {
                self.file(
                    &format!("search-transit-gateway-routes.{table}"),
                    json!({"Routes": routes}),
                );
            }
        }
    }
}
