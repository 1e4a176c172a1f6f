//! Transit gateways, their attachments and route tables.

use super::{Decoder, Item};
use crate::describe::{Fault, Node};
use crate::id::{AttachmentId, SubnetId, TransitGatewayId, TransitGatewayRouteTableId, VpcId};
use crate::net::network;
use crate::snapshot::{
    Consequence, DefaultTables, Gap, GapKind, ReferenceSupport, RouteLead, RouteOrigin, RouteState,
    TableRole, TransitGateway, TransitGatewayRoute, TransitGatewayRouteTable, VpcAttachment,
};

const CONSEQUENCE: Consequence = Consequence::TransitGatewayUnknown;
/// Stem of the files with the routes, each with the table's id behind a dot.
const ROUTES: &str = "search-transit-gateway-routes";
/// Type of an attachment behind which a network function stands.
const NETWORK_FUNCTION: &str = "network-function";
/// States of an attachment in which it carries traffic [EC2M TransitGatewayAttachmentState].
const ATTACHED: [&str; 2] = ["available", "modifying"];

impl<'a> Decoder<'a> {
    pub(super) fn transit_gateways(&mut self) {
        let rows = self.rows("describe-transit-gateways", "TransitGateways");
        let (items, _) = self.things(rows, "TransitGatewayId", CONSEQUENCE);
        for item in items {
            let Some(node) = item.sole() else {
                let id = TransitGatewayId::from(item.id);
                self.snapshot.contradicted_gateways.insert(id);
                continue;
            };
            if let Some(gateway) = self.read(transit_gateway(item.id, node), CONSEQUENCE) {
                self.note_default_tables(&gateway);
                self.snapshot
                    .transit_gateways
                    .insert(gateway.id.clone(), gateway);
            }
        }
        self.attachments();
        self.transit_gateway_tables();
    }

    fn note_default_tables(&mut self, gateway: &TransitGateway) {
        let tables = "describe-transit-gateway-route-tables";
        let is_assumed = gateway.default_tables == DefaultTables::Both
            && self.described.family(tables).next().is_none();
        if is_assumed {
            self.gaps.push(Gap {
                file: tables.to_owned(),
                path: String::new(),
                id: Some(gateway.id.to_string()),
                kind: GapKind::Assumed {
                    value: "all attachments reach each other through the default table".to_owned(),
                },
                consequence: Consequence::None,
            });
        }
    }

    fn attachments(&mut self) {
        let rows = self.rows(
            "describe-transit-gateway-vpc-attachments",
            "TransitGatewayVpcAttachments",
        );
        let (items, _) = self.things(rows, "TransitGatewayAttachmentId", CONSEQUENCE);
        for item in items {
            let Some(node) = item.sole() else {
                self.contradict_attachment(&item);
                continue;
            };
            let attachment = self.read(attachment(item.id, node), CONSEQUENCE);
            self.snapshot.attachments.extend(attachment.flatten());
        }
    }

    /// Remembers what contradicting views of an attachment may join.
    fn contradict_attachment(&mut self, item: &Item<'a>) {
        let named = |field: &str| -> Vec<&'a str> {
            let nodes = item.descriptions.iter();
            nodes
                .filter_map(|node| node.text(field).ok().flatten())
                .collect()
        };
        for gateway in named("TransitGatewayId") {
            let vpcs = named("VpcId").into_iter();
            let pairs = vpcs.map(|vpc| (TransitGatewayId::from(gateway), VpcId::from(vpc)));
            self.snapshot.contradicted_attachments.extend(pairs);
        }
    }

    fn transit_gateway_tables(&mut self) {
        let stem = "describe-transit-gateway-route-tables";
        if self.described.family(stem).next().is_none() {
            return;
        }
        let rows = self.rows(stem, "TransitGatewayRouteTables");
        let (items, _) = self.things(rows, "TransitGatewayRouteTableId", CONSEQUENCE);
        let mut tables = Vec::new();
        for item in items {
            let Some(node) = item.sole() else {
                let gateways = item.descriptions.iter();
                let gateways = gateways.filter_map(|node| node.text("TransitGatewayId").ok()?);
                let gateways = gateways.map(TransitGatewayId::from);
                self.snapshot.contradicted_gateways.extend(gateways);
                continue;
            };
            if let Some(mut table) = self.read(table(item.id, node), CONSEQUENCE) {
                table.routes = self.transit_gateway_routes(item.id);
                tables.push(table);
            }
        }
        self.snapshot.transit_gateway_tables = Some(tables);
    }

    /// The routes of a table, or nothing if they were not read to the end.
    fn transit_gateway_routes(&mut self, id: &str) -> Option<Vec<TransitGatewayRoute>> {
        let stem = format!("{ROUTES}.{id}");
        let described = self.described;
        let (stem, answer) = described.iter().find(|(key, _)| **key == stem)?;
        let file = Node::file(stem, answer);
        let more = self.read(file.flag("AdditionalRoutesAvailable"), CONSEQUENCE)?;
        if more == Some(true) {
            self.note(file.fault(GapKind::Truncated), CONSEQUENCE);
            return None;
        }
        let mut routes = Vec::new();
        for node in self.read(file.list("Routes"), CONSEQUENCE)? {
            let state = self.route_state(&node);
            routes.push(self.read(transit_gateway_route(&node, state), CONSEQUENCE)?);
        }
        Some(routes)
    }
}

fn transit_gateway(id: &str, node: &Node<'_>) -> Result<TransitGateway, Fault> {
    let options = node.field("Options");
    let option = |name: &str| {
        options
            .as_ref()
            .map_or(Ok(None), |options| options.text(name))
    };
    let by_default = option("DefaultRouteTableAssociation")? == Some("enable")
        && option("DefaultRouteTablePropagation")? == Some("enable");
    Ok(TransitGateway {
        id: TransitGatewayId::from(id),
        references: references(option("SecurityGroupReferencingSupport")?),
        default_tables: if by_default {
            DefaultTables::Both
        } else {
            DefaultTables::NotBoth
        },
        default_association: option("AssociationDefaultRouteTableId")?
            .map(TransitGatewayRouteTableId::from),
    })
}

/// On unless it says `disable` (K.1 "TGW").
fn references(word: Option<&str>) -> ReferenceSupport {
    if word == Some("disable") {
        ReferenceSupport::Disabled
    } else {
        ReferenceSupport::Enabled
    }
}

/// An attachment; nothing if it carries no traffic.
fn attachment(id: &str, node: &Node<'_>) -> Result<Option<VpcAttachment>, Fault> {
    if node
        .text("State")?
        .is_some_and(|state| !ATTACHED.contains(&state))
    {
        return Ok(None);
    }
    let subnets = node
        .list("SubnetIds")?
        .iter()
        .map(|subnet| subnet.as_text().map(SubnetId::from))
        .collect::<Result<_, _>>()?;
    let word = match node.field("Options") {
        Some(options) => options.text("SecurityGroupReferencingSupport")?,
        None => None,
    };
    let table = match node.field("Association") {
        Some(association) => association.text("TransitGatewayRouteTableId")?,
        None => None,
    };
    Ok(Some(VpcAttachment {
        id: AttachmentId::from(id),
        gateway: TransitGatewayId::from(node.required("TransitGatewayId")?),
        vpc: VpcId::from(node.required("VpcId")?),
        subnets,
        references: references(word),
        table: table.map(TransitGatewayRouteTableId::from),
    }))
}

fn table(id: &str, node: &Node<'_>) -> Result<TransitGatewayRouteTable, Fault> {
    let attachments = node
        .list("Associations")?
        .iter()
        .map(|association| {
            association
                .required("TransitGatewayAttachmentId")
                .map(AttachmentId::from)
        })
        .collect::<Result<_, _>>()?;
    let is_default = node.flag("DefaultAssociationRouteTable")?.unwrap_or(false);
    Ok(TransitGatewayRouteTable {
        id: TransitGatewayRouteTableId::from(id),
        gateway: node.text("TransitGatewayId")?.map(TransitGatewayId::from),
        role: if is_default {
            TableRole::Default
        } else {
            TableRole::Ordinary
        },
        attachments,
        routes: None,
    })
}

fn transit_gateway_route(node: &Node<'_>, state: RouteState) -> Result<TransitGatewayRoute, Fault> {
    let destination = node
        .parsed("DestinationCidrBlock", "a network", network)?
        .ok_or_else(|| node.missing("DestinationCidrBlock"))?;
    let origin = match node.text("Type")? {
        Some("propagated") => RouteOrigin::Propagated,
        Some(_) | None => RouteOrigin::Static,
    };
    let listed = node.list("TransitGatewayAttachments")?;
    let attachments = listed
        .iter()
        .map(|attachment| {
            attachment
                .required("TransitGatewayAttachmentId")
                .map(AttachmentId::from)
        })
        .collect::<Result<_, _>>()?;
    let is_inspected = listed.iter().any(|attachment| {
        let kind = attachment.text("ResourceType").ok().flatten();
        kind == Some(NETWORK_FUNCTION)
    });
    Ok(TransitGatewayRoute {
        destination,
        state,
        origin,
        attachments,
        leads: if is_inspected {
            RouteLead::NetworkFunction
        } else {
            RouteLead::Attachment
        },
    })
}
