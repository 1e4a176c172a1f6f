"""Starts moto on a port of the loopback, with what a reader of EKS networks needs and moto 5.2.5 lacks.

    server.py PORT

Each part below replaces one thing of moto; what is not replaced is moto's own.
"""

import random
import sys

from moto.core.responses import ActionResult, BaseResponse
from moto.core.utils import camelcase_to_underscores
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.elastic_network_interfaces import NetworkInterface, NetworkInterfaceBackend
from moto.ec2.models.network_acls import NetworkAclBackend
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.responses import EC2Response
from moto.eks.models import EKSBackend

# The account that control-plane and Fargate interfaces are attached from: not the user's.
AWS_ACCOUNT = "444455556666"


def refuse(code, message):
    """An error in the form of EC2, with status 400."""
    error = EC2ClientError(message)
    error.code = code
    return error


# Pages. moto answers one page whatever MaxResults says. Operation: key of the list, smallest and largest page.
PAGED = {
    "describe_dhcp_options": ("DhcpOptions", 5, 1000),
    "describe_instances": ("Reservations", 1, 1000),
    "describe_managed_prefix_lists": ("PrefixLists", 1, 100),
    "describe_network_acls": ("NetworkAcls", 5, 1000),
    "describe_network_interfaces": ("NetworkInterfaces", 5, 1000),
    "describe_route_tables": ("RouteTables", 5, 100),
    "describe_security_group_rules": ("SecurityGroupRules", 5, 1000),
    "describe_security_groups": ("SecurityGroups", 5, 1000),
    "describe_subnets": ("Subnets", 5, 1000),
    "describe_transit_gateway_vpc_attachments": ("TransitGatewayVpcAttachments", 5, 1000),
    "describe_transit_gateways": ("TransitGateways", 5, 1000),
    "describe_vpc_peering_connections": ("VpcPeeringConnections", 5, 1000),
    "describe_vpcs": ("Vpcs", 5, 1000),
    "get_managed_prefix_list_entries": ("Entries", 1, 100),
}


def in_pages(operation, key, smallest, largest):
    """Cuts the answer of an operation into pages; refuses a page size that AWS refuses."""
    whole = getattr(EC2Response, operation)

    def paged(self):
        size = self._get_param("MaxResults")
        token = self._get_param("NextToken")
        if size is not None and not smallest <= int(size) <= largest:
            raise refuse("InvalidParameterValue", f"Value ( {size} ) for parameter maxResults is invalid.")
        by_id = operation == "describe_network_interfaces" and self._get_param("NetworkInterfaceIds", [])
        if size is not None and by_id:
            raise refuse(
                "InvalidParameterCombination",
                "The parameter networkInterfaceIdsSet cannot be used with the parameter maxResults",
            )
        answer = whole(self)
        if not isinstance(answer, ActionResult) or not isinstance(answer._result, dict):
            return answer
        items = list(answer._result[key])
        start = int(token.split("-")[1]) if token else 0
        end = start + int(size) if size else len(items)
        answer._result = {**answer._result, key: items[start:end]}
        if end < len(items):
            answer._result["NextToken"] = f"next-{end}"
        return answer

    paged.__name__ = operation
    setattr(EC2Response, operation, paged)


# Prefixes on interfaces. moto accepts them and forgets them.
create_without_prefixes = EC2Response.create_network_interface
assign_without_prefixes = EC2Response.assign_private_ip_addresses


def create_with_prefixes(self):
    answer = create_without_prefixes(self)
    prefixes = self._get_param("Ipv4Prefixes", [])
    interface = answer._result["NetworkInterface"]
    interface.ipv4_prefixes = [{"Ipv4Prefix": prefix["Ipv4Prefix"]} for prefix in prefixes]
    return answer


def assign_with_prefixes(self):
    prefixes = self._get_param("Ipv4Prefixes", [])
    count = self._get_int_param("Ipv4PrefixCount", 0)
    if not prefixes and not count:
        return assign_without_prefixes(self)
    interface = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
    base = interface.subnet.cidr_block.rsplit(".", 1)[0]
    taken = {
        prefix["Ipv4Prefix"]
        for other in self.ec2_backend.enis.values()
        for prefix in getattr(other, "ipv4_prefixes", [])
    }
    for last in range(16, 240, 16):
        if count and f"{base}.{last}/28" not in taken:
            prefixes = prefixes + [f"{base}.{last}/28"]
            count -= 1
    added = [{"Ipv4Prefix": prefix} for prefix in prefixes]
    interface.ipv4_prefixes = getattr(interface, "ipv4_prefixes", []) + added
    return ActionResult({"NetworkInterfaceId": interface.id, "AssignedIpv4Prefixes": added})


# Filters. An unknown one is an error of EC2 and not a page of HTML; those of peerings select.
filter_value = NetworkInterface.get_filter_value
all_peerings = EC2Response.describe_vpc_peering_connections


def filter_value_or_error(self, name, method_name=None):
    if name == "interface-type":
        return self.interface_type
    if name == "attachment.instance-owner-id":
        return self.owner_id
    if name == "addresses.private-ip-address":
        return [address["PrivateIpAddress"] for address in self.private_ip_addresses]
    try:
        return filter_value(self, name, method_name)
    except Exception as error:
        if type(error).__name__ == "FilterNotImplementedError":
            raise refuse("InvalidParameterValue", f"The filter '{name}' is invalid") from error
        raise


def selected_peerings(self):
    answer = all_peerings(self)
    filters = self._filters_from_querystring()

    def is_selected(peering):
        values = {
            "requester-vpc-info.vpc-id": peering.vpc.id,
            "accepter-vpc-info.vpc-id": peering.peer_vpc.id,
            "vpc-peering-connection-id": peering.id,
        }
        return all(values.get(name) in wanted for name, wanted in filters.items())

    answer._result["VpcPeeringConnections"] = [
        peering for peering in answer._result["VpcPeeringConnections"] if is_selected(peering)
    ]
    return answer


# Operations that moto does not have.
def stale_groups(self):
    backend = self.ec2_backend
    vpc = self._get_param("VpcId")
    groups = {group.id: group for of_vpc in backend.groups.values() for group in of_vpc.values()}
    joined = {
        frozenset((peering.vpc.id, peering.peer_vpc.id))
        for peering in backend.vpc_pcxs.values()
        if peering._status.code == "active"
    }

    def leads_nowhere(reference):
        group = groups.get(reference.get("GroupId"))
        return group is None or (group.vpc_id != vpc and frozenset((vpc, group.vpc_id)) not in joined)

    def stale(rules):
        return [
            {
                "IpProtocol": rule.ip_protocol,
                "FromPort": rule.from_port,
                "ToPort": rule.to_port,
                "UserIdGroupPairs": [rule.source_group],
            }
            for rule in rules
            if rule.source_group and leads_nowhere(rule.source_group)
        ]

    found = []
    for group in groups.values():
        ingress, egress = stale(group.ingress_rules), stale(group.egress_rules)
        if group.vpc_id == vpc and (ingress or egress):
            found.append(
                {
                    "GroupId": group.id,
                    "GroupName": group.name,
                    "Description": group.description,
                    "VpcId": vpc,
                    "StaleIpPermissions": ingress,
                    "StaleIpPermissionsEgress": egress,
                }
            )
    return ActionResult({"StaleSecurityGroupSet": found})


# moto cuts a dictionary when it is told a page size, and names the answer otherwise than its own serialiser.
def transit_gateway_routes(self):
    table = self._get_param("TransitGatewayRouteTableId")
    routes = self.ec2_backend.search_transit_gateway_routes(table, self._filters_from_querystring())
    named = [{key[0].upper() + key[1:]: value for key, value in route.items()} for route in routes]
    return ActionResult({"Routes": named, "AdditionalRoutesAvailable": False})


call_action = BaseResponse.call_action


def call_or_refuse(self):
    """An action that is not there is an error of EC2 and not a page of HTML."""
    action = self._get_action() if isinstance(self, EC2Response) else None
    if action and not hasattr(EC2Response, camelcase_to_underscores(action)):
        error = refuse("InvalidAction", f"The action {action} is not valid for this web service.")
        return self.serialized(ActionResult(error))
    return call_action(self)


# Network ACLs that a user makes end with a deny, as in AWS.
create_open_acl = NetworkAclBackend.create_network_acl


def create_closed_acl(self, vpc_id, tags=None, default=False):
    acl = create_open_acl(self, vpc_id, tags, default)
    for egress in () if default else (True, False):
        self.create_network_acl_entry(
            network_acl_id=acl.id,
            rule_number=32767,
            protocol="-1",
            rule_action="deny",
            egress=egress,
            cidr_block="0.0.0.0/0",
            icmp_code=None,
            icmp_type=None,
            port_range_from=None,
            port_range_to=None,
            ipv6_cidr_block=None,
        )
    return acl


# A cluster has a security group of its own, and says in which VPC it is.
create_bare_cluster = EKSBackend.create_cluster


def create_cluster(self, *arguments, **named):
    cluster = create_bare_cluster(self, *arguments, **named)
    backend = ec2_backends[self.account_id][self.region_name]
    config = dict(cluster.resources_vpc_config)
    vpc = backend.get_subnet(config["subnetIds"][0]).vpc_id
    name = f"eks-cluster-sg-{cluster.name}-{random.randint(1, 9**9)}"
    group = backend.create_security_group(name, "EKS created security group applied to ENI", vpc_id=vpc)
    backend.authorize_security_group_ingress(group.id, "-1", None, None, [], source_groups=[{"GroupId": group.id}])
    config.update(vpcId=vpc, clusterSecurityGroupId=group.id)
    cluster.resources_vpc_config = config
    return cluster


# Interfaces that AWS attaches itself are in use, from an account of AWS and to no instance that the user has.
class AttachedByAws:
    instance_id = None
    instance_owner_id = AWS_ACCOUNT
    device_index = 1
    network_card_index = 0
    delete_on_termination = False
    status = "attached"
    attach_time = None

    def __init__(self, interface):
        self.attachment_id = "ela-attach-" + interface.id[4:]


own_attachment = NetworkInterface.attachment.fget
create_interface = NetworkInterfaceBackend.create_network_interface


def is_of_aws(interface):
    return interface.description.startswith(("Amazon EKS ", "fargate-"))


def create_interface_in_use(self, *arguments, **named):
    interface = create_interface(self, *arguments, **named)
    if is_of_aws(interface):
        interface.status = "in-use"
    return interface


def replace():
    """Puts all the above in the place of what moto has."""
    EC2Response.create_network_interface = create_with_prefixes
    EC2Response.assign_private_ip_addresses = assign_with_prefixes
    NetworkInterface.get_filter_value = filter_value_or_error
    EC2Response.describe_vpc_peering_connections = selected_peerings
    EC2Response.describe_stale_security_groups = stale_groups
    EC2Response.describe_security_group_vpc_associations = lambda self: ActionResult(
        {"SecurityGroupVpcAssociations": []}
    )
    EC2Response.search_transit_gateway_routes = transit_gateway_routes
    EC2Response.call_action = call_or_refuse
    SecurityGroupRule.group_owner_id = property(lambda rule: rule.owner_id)
    SecurityGroupRule.description = property(
        lambda rule: rule.ip_range.get("Description") or rule.source_group.get("Description")
    )
    SecurityGroupRule.referenced_group_info = property(
        lambda rule: {key: value for key, value in rule.source_group.items() if key != "Description"} or None
    )
    NetworkAclBackend.create_network_acl = create_closed_acl
    EKSBackend.create_cluster = create_cluster
    NetworkInterface.attachment = property(
        lambda interface: AttachedByAws(interface) if is_of_aws(interface) else own_attachment(interface)
    )
    NetworkInterfaceBackend.create_network_interface = create_interface_in_use
    for operation, (key, smallest, largest) in PAGED.items():
        in_pages(operation, key, smallest, largest)


if __name__ == "__main__":
    from moto.server import main

    replace()
    main(["-H", "127.0.0.1", "-p", sys.argv[1]])
