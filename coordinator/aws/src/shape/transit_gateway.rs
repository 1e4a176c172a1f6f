//! Transit gateways, their attachments, route tables and routes.

use aws_sdk_ec2::types::{
    TransitGateway, TransitGatewayOptions, TransitGatewayRoute, TransitGatewayRouteTable,
    TransitGatewayVpcAttachment, TransitGatewayVpcAttachmentOptions,
};
use serde_json::Value;

use crate::shape::Shape;

/// As `describe-transit-gateways` prints it.
pub(crate) fn transit_gateway(gateway: &TransitGateway) -> Value {
    Shape::default()
        .text("TransitGatewayId", &gateway.transit_gateway_id)
        .text("TransitGatewayArn", &gateway.transit_gateway_arn)
        .word("State", gateway.state.as_ref().map(|state| state.as_str()))
        .text("OwnerId", &gateway.owner_id)
        .text("Description", &gateway.description)
        .object("Options", &gateway.options, options)
        .tags("Tags", &gateway.tags)
        .into()
}

fn options(options: &TransitGatewayOptions) -> Value {
    let association = options.default_route_table_association.as_ref();
    let propagation = options.default_route_table_propagation.as_ref();
    let referencing = options.security_group_referencing_support.as_ref();
    Shape::default()
        .texts(
            "TransitGatewayCidrBlocks",
            &options.transit_gateway_cidr_blocks,
        )
        .word(
            "DefaultRouteTableAssociation",
            association.map(|value| value.as_str()),
        )
        .text(
            "AssociationDefaultRouteTableId",
            &options.association_default_route_table_id,
        )
        .word(
            "DefaultRouteTablePropagation",
            propagation.map(|value| value.as_str()),
        )
        .text(
            "PropagationDefaultRouteTableId",
            &options.propagation_default_route_table_id,
        )
        .word(
            "SecurityGroupReferencingSupport",
            referencing.map(|value| value.as_str()),
        )
        .into()
}

/// As `describe-transit-gateway-vpc-attachments` prints it.
pub(crate) fn vpc_attachment(attachment: &TransitGatewayVpcAttachment) -> Value {
    Shape::default()
        .text(
            "TransitGatewayAttachmentId",
            &attachment.transit_gateway_attachment_id,
        )
        .text("TransitGatewayId", &attachment.transit_gateway_id)
        .text("VpcId", &attachment.vpc_id)
        .text("VpcOwnerId", &attachment.vpc_owner_id)
        .word(
            "State",
            attachment.state.as_ref().map(|state| state.as_str()),
        )
        .texts("SubnetIds", &attachment.subnet_ids)
        .object("Options", &attachment.options, attachment_options)
        .tags("Tags", &attachment.tags)
        .into()
}

fn attachment_options(options: &TransitGatewayVpcAttachmentOptions) -> Value {
    let referencing = options.security_group_referencing_support.as_ref();
    Shape::default()
        .word(
            "SecurityGroupReferencingSupport",
            referencing.map(|value| value.as_str()),
        )
        .word(
            "Ipv6Support",
            options.ipv6_support.as_ref().map(|value| value.as_str()),
        )
        .word(
            "ApplianceModeSupport",
            options
                .appliance_mode_support
                .as_ref()
                .map(|value| value.as_str()),
        )
        .into()
}

/// As `describe-transit-gateway-route-tables` prints it.
pub(crate) fn route_table(table: &TransitGatewayRouteTable) -> Value {
    Shape::default()
        .text(
            "TransitGatewayRouteTableId",
            &table.transit_gateway_route_table_id,
        )
        .text("TransitGatewayId", &table.transit_gateway_id)
        .word("State", table.state.as_ref().map(|state| state.as_str()))
        .boolean(
            "DefaultAssociationRouteTable",
            table.default_association_route_table,
        )
        .boolean(
            "DefaultPropagationRouteTable",
            table.default_propagation_route_table,
        )
        .tags("Tags", &table.tags)
        .into()
}

/// As `search-transit-gateway-routes` prints it.
pub(crate) fn route(route: &TransitGatewayRoute) -> Value {
    Shape::default()
        .text("DestinationCidrBlock", &route.destination_cidr_block)
        .text("PrefixListId", &route.prefix_list_id)
        .list(
            "TransitGatewayAttachments",
            &route.transit_gateway_attachments,
            |attachment| {
                let kind = attachment.resource_type.as_ref();
                Shape::default()
                    .text(
                        "TransitGatewayAttachmentId",
                        &attachment.transit_gateway_attachment_id,
                    )
                    .text("ResourceId", &attachment.resource_id)
                    .word("ResourceType", kind.map(|kind| kind.as_str()))
                    .into()
            },
        )
        .word("Type", route.r#type.as_ref().map(|kind| kind.as_str()))
        .word("State", route.state.as_ref().map(|state| state.as_str()))
        .into()
}
