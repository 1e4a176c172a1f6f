//! The calls of EC2, each with its filter and page size; no answer is judged here.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Filter, VpcAttributeName};
use serde_json::Value;

use crate::call::{Call, SECOND_PAGE_SIZE};
use crate::error::{CallError, Failure};
use crate::session::{Page, Session};
use crate::shape;
use crate::shape::Shape;

/// How many values one filter may have (limit UNSOURCED, H.1; a longer list would be an error of the service).
pub(crate) const FILTER_VALUES_MAX: usize = 200;

/// EC2 in one Region, asked within one session.
pub(crate) struct Ec2<'s> {
    client: Client,
    session: &'s Session<'s>,
}

/// A list that is asked for by filter: the method, the SDK's operation, the call, its items and their shape. Further
/// setters of the request stand in brackets.
macro_rules! lists {
    ($($(#[$doc:meta])* $name:ident = $operation:ident, $call:expr, $items:ident, $shape:path, [$($setter:ident($value:expr)),*];)*) => {
        $($(#[$doc])*
        ///
        /// # Errors
        /// [`CallError`] when a page cannot be had; none is kept then.
        pub(crate) async fn $name(&self, subject: &str, filter: &Filter) -> Result<Vec<Value>, CallError> {
            self.session
                .pages($call, subject, |token| {
                    let request = self
                        .client
                        .$operation()
                        .filters(filter.clone())
                        .set_max_results($call.page_size())
                        $(.$setter($value))*
                        .set_next_token(token);
                    async move {
                        let answer = request.send().await.map_err(Failure::of)?;
                        let items = answer.$items.unwrap_or_default().iter().map($shape).collect();
                        Ok(Page { items, next: answer.next_token })
                    }
                })
                .await
        })*
    };
}

impl<'s> Ec2<'s> {
    /// Asks `client` within `session`.
    pub(crate) fn new(client: Client, session: &'s Session<'s>) -> Self {
        Self { client, session }
    }

    lists! {
        /// Reads VPCs.
        vpcs = describe_vpcs, Call::Vpcs, vpcs, shape::vpc::vpc, [];
        /// Reads subnets.
        subnets = describe_subnets, Call::Subnets, subnets, shape::vpc::subnet, [];
        /// Reads interfaces, those that AWS manages included: an account can hide them by default [H.1].
        network_interfaces = describe_network_interfaces, Call::NetworkInterfaces, network_interfaces,
            shape::network_interface::network_interface, [include_managed_resources(true)];
        /// Reads instances by reservation, those that AWS manages included [H.1].
        reservations = describe_instances, Call::Instances, reservations,
            shape::network_interface::reservation, [include_managed_resources(true)];
        /// Reads security groups with their rules.
        security_groups = describe_security_groups, Call::SecurityGroups, security_groups,
            shape::security_group::security_group, [];
        /// Reads rules with their `sgr-` ids.
        security_group_rules = describe_security_group_rules, Call::SecurityGroupRules, security_group_rules,
            shape::security_group::security_group_rule, [];
        /// Reads which groups are associated with which further VPCs.
        security_group_vpc_associations = describe_security_group_vpc_associations,
            Call::SecurityGroupVpcAssociations, security_group_vpc_associations,
            shape::security_group::vpc_association, [];
        /// Reads network ACLs.
        network_acls = describe_network_acls, Call::NetworkAcls, network_acls, shape::network_acl::network_acl, [];
        /// Reads route tables.
        route_tables = describe_route_tables, Call::RouteTables, route_tables, shape::route_table::route_table, [];
        /// Reads route tables in pages of [`SECOND_PAGE_SIZE`].
        route_tables_again = describe_route_tables, Call::RouteTables, route_tables, shape::route_table::route_table,
            [max_results(SECOND_PAGE_SIZE)];
        /// Reads peering connections, of one side at a time.
        vpc_peering_connections = describe_vpc_peering_connections, Call::VpcPeeringConnections,
            vpc_peering_connections, shape::route_table::vpc_peering_connection, [];
        /// Reads prefix lists without their entries.
        managed_prefix_lists = describe_managed_prefix_lists, Call::ManagedPrefixLists, prefix_lists,
            shape::route_table::managed_prefix_list, [];
        /// Reads transit gateways.
        transit_gateways = describe_transit_gateways, Call::TransitGateways, transit_gateways,
            shape::transit_gateway::transit_gateway, [];
        /// Reads which VPCs are attached to which transit gateways.
        transit_gateway_vpc_attachments = describe_transit_gateway_vpc_attachments,
            Call::TransitGatewayVpcAttachments, transit_gateway_vpc_attachments,
            shape::transit_gateway::vpc_attachment, [];
        /// Reads route tables of transit gateways, without their routes.
        transit_gateway_route_tables = describe_transit_gateway_route_tables, Call::TransitGatewayRouteTables,
            transit_gateway_route_tables, shape::transit_gateway::route_table, [];
        /// Reads DHCP options.
        dhcp_options = describe_dhcp_options, Call::DhcpOptions, dhcp_options, shape::vpc::dhcp_options, [];
    }

    /// Reads the groups of `vpc` with rules that refer to groups gone or out of reach.
    pub(crate) async fn stale_security_groups(&self, vpc: &str) -> Result<Vec<Value>, CallError> {
        self.session
            .pages(Call::StaleSecurityGroups, vpc, |token| {
                let request = self
                    .client
                    .describe_stale_security_groups()
                    .vpc_id(vpc)
                    .set_max_results(Call::StaleSecurityGroups.page_size())
                    .set_next_token(token);
                async move {
                    let answer = request.send().await.map_err(Failure::of)?;
                    let groups = answer.stale_security_group_set.unwrap_or_default();
                    let items = groups
                        .iter()
                        .map(shape::security_group::stale_security_group)
                        .collect();
                    Ok(Page {
                        items,
                        next: answer.next_token,
                    })
                }
            })
            .await
    }

    /// Reads the entries of one prefix list in pages of `page_size`.
    pub(crate) async fn prefix_list_entries(
        &self,
        list: &str,
        page_size: Option<i32>,
    ) -> Result<Vec<Value>, CallError> {
        self.session
            .pages(Call::ManagedPrefixListEntries, list, |token| {
                let request = self
                    .client
                    .get_managed_prefix_list_entries()
                    .prefix_list_id(list)
                    .set_max_results(page_size)
                    .set_next_token(token);
                async move {
                    let answer = request.send().await.map_err(Failure::of)?;
                    let entries = answer.entries.unwrap_or_default();
                    let items = entries
                        .iter()
                        .map(shape::route_table::prefix_list_entry)
                        .collect();
                    Ok(Page {
                        items,
                        next: answer.next_token,
                    })
                }
            })
            .await
    }

    /// Reads the routes of one route table of a transit gateway, in whatever state.
    ///
    /// The call wants a filter; the states are all that exist. An answer that says more routes exist and has no token
    /// is [`Failure::Incomplete`].
    pub(crate) async fn transit_gateway_routes(
        &self,
        table: &str,
    ) -> Result<Vec<Value>, CallError> {
        let states = filter("state", &["active", "blackhole"]);
        self.session
            .pages(Call::TransitGatewayRoutes, table, |token| {
                let request = self
                    .client
                    .search_transit_gateway_routes()
                    .transit_gateway_route_table_id(table)
                    .filters(states.clone())
                    .set_max_results(Call::TransitGatewayRoutes.page_size())
                    .set_next_token(token);
                async move {
                    let answer = request.send().await.map_err(Failure::of)?;
                    if answer.additional_routes_available == Some(true)
                        && answer.next_token.is_none()
                    {
                        return Err(Failure::Incomplete);
                    }
                    let routes = answer.routes.unwrap_or_default();
                    let items = routes.iter().map(shape::transit_gateway::route).collect();
                    Ok(Page {
                        items,
                        next: answer.next_token,
                    })
                }
            })
            .await
    }

    /// Reads whether `vpc` resolves names and names its hosts, which private endpoints need [D.5].
    ///
    /// The API gives one attribute a call; the answers are laid into one object.
    pub(crate) async fn vpc_attributes(&self, vpc: &str) -> Result<Value, CallError> {
        let mut both = Shape::default().text("VpcId", &Some(vpc.to_owned()));
        for attribute in [
            VpcAttributeName::EnableDnsSupport,
            VpcAttributeName::EnableDnsHostnames,
        ] {
            let answer = self
                .session
                .once(Call::VpcAttribute, vpc, || {
                    let request = self
                        .client
                        .describe_vpc_attribute()
                        .vpc_id(vpc)
                        .attribute(attribute.clone());
                    async move { request.send().await.map_err(Failure::of) }
                })
                .await?;
            both = both
                .object(
                    "EnableDnsSupport",
                    &answer.enable_dns_support,
                    shape::vpc::boolean_attribute,
                )
                .object(
                    "EnableDnsHostnames",
                    &answer.enable_dns_hostnames,
                    shape::vpc::boolean_attribute,
                );
        }
        Ok(both.into())
    }
}

/// A filter of EC2: the values are alternatives.
pub(crate) fn filter<S: AsRef<str>>(name: &str, values: &[S]) -> Filter {
    let values = values
        .iter()
        .map(|value| value.as_ref().to_owned())
        .collect();
    Filter::builder()
        .name(name)
        .set_values(Some(values))
        .build()
}
