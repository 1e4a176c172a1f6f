//! A transit gateway: a router between VPCs, with a routing table for each attachment (C.7).

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::blueprint::{Blueprint, Forwarding, Table};
use crate::cloud::Cloud;
use crate::describe::TransitGatewayVpcAttachment;
use crate::error::LabError;
use crate::exempt;
use crate::path::attachment;

/// The table of the first attachment.
const TABLE_ATTACHMENTS: u32 = 100;

/// Draws all transit gateways that have attachments, and links them to their VPCs.
///
/// # Errors
/// [`LabError::InvalidName`], [`LabError::DuplicateName`].
pub(crate) fn draw(blueprint: &mut Blueprint, cloud: &Cloud) -> Result<(), LabError> {
    for gateway in gateways(cloud) {
        let namespace = blueprint.add(&gateway, Forwarding::On)?;
        namespace.blackhole_rest(Table::Main);
        namespace.nft = exempt::silence(cloud, None);
        link(blueprint, cloud, &gateway);
    }
    Ok(())
}

/// The table that packets from `vpc` are routed by in `gateway`.
pub(crate) fn table(cloud: &Cloud, gateway: &str, vpc: &str) -> Option<u32> {
    let attached = attachments(cloud, gateway);
    let place = attached
        .iter()
        .position(|attachment| attachment.vpc_id == vpc)?;
    (TABLE_ATTACHMENTS..).nth(place)
}

/// Ids of the transit gateways that have attachments.
fn gateways(cloud: &Cloud) -> Vec<String> {
    let mut ids: Vec<String> = cloud
        .attachments
        .iter()
        .map(|attachment| attachment.transit_gateway_id.clone())
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

fn attachments<'a>(cloud: &'a Cloud, gateway: &str) -> Vec<&'a TransitGatewayVpcAttachment> {
    cloud
        .attachments
        .iter()
        .filter(|attached| {
            attachment(cloud, gateway, &attached.vpc_id).is_some_and(|first| {
                first.transit_gateway_attachment_id == attached.transit_gateway_attachment_id
            })
        })
        .collect()
}

/// Links a gateway to its VPCs; each attachment has a table of its own.
fn link(blueprint: &mut Blueprint, cloud: &Cloud, gateway: &str) {
    let attached = attachments(cloud, gateway);
    let mut down: BTreeMap<String, String> = BTreeMap::new();
    for attachment in &attached {
        let (Some(vpc), Some(own)) = (
            blueprint.namespaces.get(&attachment.vpc_id),
            blueprint.namespaces.get(gateway),
        ) else {
            continue;
        };
        let (near, far) = (own.device("v"), vpc.device("u"));
        blueprint.link((Some(gateway), &near), (Some(&attachment.vpc_id), &far));
        down.insert(attachment.vpc_id.clone(), near);
    }
    let Some(namespace) = blueprint.namespaces.get_mut(gateway) else {
        return;
    };
    for (number, attachment) in (TABLE_ATTACHMENTS..).zip(&attached) {
        let table = Table::Numbered(number);
        namespace.blackhole_rest(table);
        for (network, vpc) in gateway_routes(cloud, gateway, attachment) {
            match vpc.and_then(|vpc| down.get(&vpc)) {
                Some(device) => namespace.route(network, device, table),
                None => namespace.blackhole(network, table),
            }
        }
    }
}

/// The routes that packets of an attachment see, each with the VPC it leads to.
///
/// With route tables in the snapshot: the associated one, else the default one. Without: all attached VPCs, if the
/// gateway associates and propagates by default.
fn gateway_routes(
    cloud: &Cloud,
    gateway: &str,
    attached: &TransitGatewayVpcAttachment,
) -> Vec<(IpNet, Option<String>)> {
    let mut tables = cloud
        .gateway_tables
        .iter()
        .filter(|table| table.transit_gateway_id == gateway)
        .peekable();
    if tables.peek().is_none() {
        return default_routes(cloud, gateway);
    }
    let associated = attached
        .association
        .as_ref()
        .map(|association| &association.transit_gateway_route_table_id);
    let default = tables.find(|table| table.default_association_route_table);
    let id = associated.or(default.map(|table| &table.transit_gateway_route_table_id));
    let routes = id
        .and_then(|id| cloud.gateway_routes.get(id))
        .into_iter()
        .flatten();
    routes
        .filter_map(|route| {
            let active = route.state.as_deref().is_none_or(|state| state == "active");
            let target = route.transit_gateway_attachments.first().filter(|_| active);
            let vpc = target.and_then(|target| {
                let id = &target.transit_gateway_attachment_id;
                cloud
                    .attachments
                    .iter()
                    .find(|other| other.transit_gateway_attachment_id == *id)
            });
            Some((
                route.destination_cidr_block?.trunc(),
                vpc.map(|attachment| attachment.vpc_id.clone()),
            ))
        })
        .collect()
}

/// The routes of a gateway without tables in the snapshot.
fn default_routes(cloud: &Cloud, gateway: &str) -> Vec<(IpNet, Option<String>)> {
    let described = cloud
        .transit_gateways
        .iter()
        .find(|described| described.transit_gateway_id == gateway);
    let enabled = |option: Option<&String>| option.is_some_and(|word| word == "enable");
    let open = described
        .and_then(|described| described.options.as_ref())
        .is_some_and(|options| {
            enabled(options.default_route_table_association.as_ref())
                && enabled(options.default_route_table_propagation.as_ref())
        });
    let vpcs = cloud
        .vpcs
        .iter()
        .filter(|vpc| open && attachment(cloud, gateway, &vpc.vpc_id).is_some());
    vpcs.flat_map(|vpc| {
        vpc.networks()
            .into_iter()
            .map(|network| (network, Some(vpc.vpc_id.clone())))
    })
    .collect()
}
