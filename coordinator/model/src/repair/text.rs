//! Changes as commands of the AWS CLI and as Terraform.
//!
//! People paste them into a shell: a character of the snapshot that no id of AWS has is shown as `?`.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::change::{Change, NewEntry, NewPeer, NewRoute, NewRule, NewTarget, Replaces};
use crate::net::PortRange;
use crate::snapshot::{Direction, IcmpRange, Readable, Traffic};

impl Change {
    /// Returns the command of the AWS CLI that makes the change.
    #[must_use]
    pub fn aws_cli(&self) -> String {
        match self {
            Self::Rule(rule) => rule.plain().aws_cli(),
            Self::Entry(entry) => entry.plain().aws_cli(),
            Self::Route(route) => route.plain().aws_cli(),
        }
    }

    /// Returns the Terraform resource that makes the change.
    #[must_use]
    pub fn terraform(&self) -> String {
        match self {
            Self::Rule(rule) => rule.plain().terraform(),
            Self::Entry(entry) => entry.plain().terraform(),
            Self::Route(route) => route.plain().terraform(),
        }
    }
}

/// An id with nothing in it that a shell or Terraform could take for its own.
fn plain(id: &str) -> String {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_' | '.');
    id.chars()
        .map(|one| if is_plain(one) { one } else { '?' })
        .collect()
}

/// Protocol word, first and last port, or ICMP type and code, as security groups and lists have them (A.2, B.2).
struct Packets {
    word: String,
    number: String,
    first: i32,
    last: i32,
    has_ports: bool,
}

fn packets(traffic: &Traffic) -> Packets {
    let named = |word: &str, number: u8, (first, last): (i32, i32)| Packets {
        word: word.to_owned(),
        number: number.to_string(),
        first,
        last,
        has_ports: true,
    };
    let ports = |range: &Readable<PortRange>| match range {
        Readable::Is(range) => (i32::from(range.first()), i32::from(range.last())),
        Readable::Unread => (0, i32::from(u16::MAX)),
    };
    let icmp = |range: &Readable<IcmpRange>| match range {
        Readable::Is(range) => (
            range.kind.map_or(-1, i32::from),
            range.code.map_or(-1, i32::from),
        ),
        Readable::Unread => (-1, -1),
    };
    match traffic {
        Traffic::Tcp(range) => named("tcp", crate::flow::TCP, ports(range)),
        Traffic::Udp(range) => named("udp", crate::flow::UDP, ports(range)),
        Traffic::Icmp(range) => named("icmp", crate::flow::ICMP, icmp(range)),
        Traffic::IcmpV6(range) => named("icmpv6", crate::flow::ICMPV6, icmp(range)),
        Traffic::Protocol(number) => Packets {
            has_ports: false,
            ..named(&number.to_string(), *number, (-1, -1))
        },
        Traffic::All | Traffic::Unread => Packets {
            number: "-1".to_owned(),
            has_ports: false,
            ..named("-1", 0, (-1, -1))
        },
    }
}

/// A name of a Terraform resource out of words of the change.
fn resource_name(parts: &[&str]) -> String {
    let joined = parts.join("_");
    joined
        .chars()
        .map(|one| {
            if one.is_ascii_alphanumeric() || one == '-' {
                one
            } else {
                '_'
            }
        })
        .collect()
}

fn resource(kind: &str, name: &str, fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let mut text = format!("resource \"{kind}\" \"{name}\" {{\n");
    for (key, value) in fields {
        // Writing to a String cannot fail.
        let _written = writeln!(text, "  {key:width$} = {value}");
    }
    text.push('}');
    text
}

fn quoted(text: impl std::fmt::Display) -> String {
    format!("\"{text}\"")
}

impl NewRule {
    fn plain(&self) -> Self {
        Self {
            group: plain(self.group.as_str()).into(),
            peer: match &self.peer {
                NewPeer::Group(group, account) => NewPeer::Group(
                    plain(group.as_str()).into(),
                    account.as_ref().map(|id| plain(id.as_str()).into()),
                ),
                NewPeer::Network(network) => NewPeer::Network(*network),
            },
            ..self.clone()
        }
    }

    fn aws_cli(&self) -> String {
        let way = match self.direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        let packets = packets(&self.traffic);
        let start = format!(
            "aws ec2 authorize-security-group-{way} --group-id {}",
            self.group
        );
        let is_one_port = matches!(self.traffic, Traffic::Tcp(_) | Traffic::Udp(_));
        let port = if packets.first == packets.last {
            packets.first.to_string()
        } else {
            format!("{}-{}", packets.first, packets.last)
        };
        // The short form knows neither references outbound, nor other accounts, nor IPv6.
        match (&self.peer, self.direction) {
            (NewPeer::Group(group, None), Direction::Ingress) if is_one_port => format!(
                "{start} --protocol {} --port {port} --source-group {group}",
                packets.word
            ),
            (NewPeer::Network(network @ IpNet::V4(_)), _) if is_one_port => {
                format!(
                    "{start} --protocol {} --port {port} --cidr {network}",
                    packets.word
                )
            }
            (peer, _) => {
                let peer = match peer {
                    NewPeer::Group(group, None) => {
                        format!("UserIdGroupPairs=[{{GroupId={group}}}]")
                    }
                    NewPeer::Group(group, Some(account)) => {
                        format!("UserIdGroupPairs=[{{GroupId={group},UserId={account}}}]")
                    }
                    NewPeer::Network(network @ IpNet::V4(_)) => {
                        format!("IpRanges=[{{CidrIp={network}}}]")
                    }
                    NewPeer::Network(network @ IpNet::V6(_)) => {
                        format!("Ipv6Ranges=[{{CidrIpv6={network}}}]")
                    }
                };
                let ports = if packets.has_ports {
                    format!("FromPort={},ToPort={},", packets.first, packets.last)
                } else {
                    String::new()
                };
                format!(
                    "{start} --ip-permissions 'IpProtocol={},{ports}{peer}'",
                    packets.word
                )
            }
        }
    }

    fn terraform(&self) -> String {
        let (kind, way) = match self.direction {
            Direction::Ingress => ("aws_vpc_security_group_ingress_rule", "from"),
            Direction::Egress => ("aws_vpc_security_group_egress_rule", "to"),
        };
        let packets = packets(&self.traffic);
        let (peer, peer_field) = match &self.peer {
            NewPeer::Group(group, account) => {
                let value = match account {
                    Some(account) => format!("{account}/{group}"),
                    None => group.to_string(),
                };
                (
                    group.to_string(),
                    ("referenced_security_group_id", quoted(value)),
                )
            }
            NewPeer::Network(network @ IpNet::V4(_)) => {
                (network.to_string(), ("cidr_ipv4", quoted(network)))
            }
            NewPeer::Network(network @ IpNet::V6(_)) => {
                (network.to_string(), ("cidr_ipv6", quoted(network)))
            }
        };
        let mut fields = vec![
            ("security_group_id", quoted(&self.group)),
            peer_field,
            ("ip_protocol", quoted(&packets.word)),
        ];
        if packets.has_ports {
            fields.push(("from_port", packets.first.to_string()));
            fields.push(("to_port", packets.last.to_string()));
        }
        let port = packets.first.to_string();
        let name = resource_name(&[&packets.word, &port, way, &peer]);
        resource(kind, &name, &fields)
    }
}

impl NewEntry {
    fn plain(&self) -> Self {
        Self {
            acl: plain(self.acl.as_str()).into(),
            ..self.clone()
        }
    }

    fn aws_cli(&self) -> String {
        let packets = packets(&self.traffic);
        let way = match self.direction {
            Direction::Ingress => "--ingress",
            Direction::Egress => "--egress",
        };
        let what = match &self.traffic {
            Traffic::Icmp(_) | Traffic::IcmpV6(_) => {
                format!(
                    " --icmp-type-code Type={},Code={}",
                    packets.first, packets.last
                )
            }
            Traffic::Tcp(_) | Traffic::Udp(_) => {
                format!(" --port-range From={},To={}", packets.first, packets.last)
            }
            Traffic::All | Traffic::Protocol(_) | Traffic::Unread => String::new(),
        };
        let block = match self.network {
            IpNet::V4(_) => "--cidr-block",
            IpNet::V6(_) => "--ipv6-cidr-block",
        };
        format!(
            "aws ec2 create-network-acl-entry --network-acl-id {} {way} --rule-number {} --protocol {}{what} {block} {} --rule-action allow",
            self.acl, self.rule_number, packets.number, self.network
        )
    }

    fn terraform(&self) -> String {
        let packets = packets(&self.traffic);
        let block = match self.network {
            IpNet::V4(_) => "cidr_block",
            IpNet::V6(_) => "ipv6_cidr_block",
        };
        let is_egress = self.direction == Direction::Egress;
        let mut fields = vec![
            ("network_acl_id", quoted(&self.acl)),
            ("egress", is_egress.to_string()),
            ("rule_number", self.rule_number.to_string()),
            ("rule_action", quoted("allow")),
            ("protocol", quoted(&packets.number)),
            (block, quoted(self.network)),
        ];
        let (first, last) = match &self.traffic {
            Traffic::Icmp(_) | Traffic::IcmpV6(_) => ("icmp_type", "icmp_code"),
            Traffic::Tcp(_)
            | Traffic::Udp(_)
            | Traffic::All
            | Traffic::Protocol(_)
            | Traffic::Unread => ("from_port", "to_port"),
        };
        if packets.has_ports {
            fields.push((first, packets.first.to_string()));
            fields.push((last, packets.last.to_string()));
        }
        let way = if is_egress { "out" } else { "in" };
        let number = self.rule_number.to_string();
        let name = resource_name(&[self.acl.as_str(), way, &number]);
        resource("aws_network_acl_rule", &name, &fields)
    }
}

impl NewRoute {
    fn plain(&self) -> Self {
        Self {
            table: plain(self.table.as_str()).into(),
            target: match &self.target {
                NewTarget::Peering(id) => NewTarget::Peering(plain(id.as_str()).into()),
                NewTarget::TransitGateway(id) => {
                    NewTarget::TransitGateway(plain(id.as_str()).into())
                }
            },
            ..self.clone()
        }
    }

    fn aws_cli(&self) -> String {
        let verb = match self.replaces {
            Replaces::Nothing => "create-route",
            Replaces::Route => "replace-route",
        };
        let block = match self.destination {
            IpNet::V4(_) => "--destination-cidr-block",
            IpNet::V6(_) => "--destination-ipv6-cidr-block",
        };
        let target = match self.target {
            NewTarget::TransitGateway(_) => "--transit-gateway-id",
            NewTarget::Peering(_) => "--vpc-peering-connection-id",
        };
        format!(
            "aws ec2 {verb} --route-table-id {} {block} {} {target} {}",
            self.table,
            self.destination,
            self.target.as_str()
        )
    }

    fn terraform(&self) -> String {
        let block = match self.destination {
            IpNet::V4(_) => "destination_cidr_block",
            IpNet::V6(_) => "destination_ipv6_cidr_block",
        };
        let target = match self.target {
            NewTarget::TransitGateway(_) => "transit_gateway_id",
            NewTarget::Peering(_) => "vpc_peering_connection_id",
        };
        let fields = [
            ("route_table_id", quoted(&self.table)),
            (block, quoted(self.destination)),
            (target, quoted(self.target.as_str())),
        ];
        let destination = self.destination.to_string();
        let name = resource_name(&[self.table.as_str(), "to", &destination]);
        resource("aws_route", &name, &fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::PortRange;

    fn rule(direction: Direction, peer: NewPeer) -> Change {
        Change::Rule(NewRule {
            group: "sg-1".into(),
            direction,
            traffic: Traffic::Tcp(Readable::Is(PortRange::between(443, 443))),
            peer,
        })
    }

    #[test]
    fn a_reference_outbound_and_one_to_another_account_take_the_long_form() {
        let out = rule(Direction::Egress, NewPeer::Group("sg-2".into(), None));
        assert_eq!(
            out.aws_cli(),
            "aws ec2 authorize-security-group-egress --group-id sg-1 --ip-permissions \
             'IpProtocol=tcp,FromPort=443,ToPort=443,UserIdGroupPairs=[{GroupId=sg-2}]'"
        );
        let account = Some("111122223333".into());
        let other = rule(Direction::Ingress, NewPeer::Group("sg-2".into(), account));
        assert!(
            other
                .aws_cli()
                .ends_with("[{GroupId=sg-2,UserId=111122223333}]'")
        );
        let text = other.terraform();
        assert!(
            text.contains("referenced_security_group_id = \"111122223333/sg-2\""),
            "{text}"
        );
    }

    #[test]
    fn a_network_of_ipv6_is_named_as_such() {
        let network: IpNet = "2001:db8::1/128".parse().unwrap_or_default();
        let change = rule(Direction::Ingress, NewPeer::Network(network));
        assert!(
            change
                .aws_cli()
                .ends_with("Ipv6Ranges=[{CidrIpv6=2001:db8::1/128}]'")
        );
        assert!(
            change
                .terraform()
                .contains("cidr_ipv6         = \"2001:db8::1/128\"")
        );
    }

    #[test]
    fn an_id_cannot_end_the_command() {
        let change = rule(
            Direction::Ingress,
            NewPeer::Group("sg-2'; reboot #\n".into(), None),
        );
        assert!(
            change
                .aws_cli()
                .ends_with("--source-group sg-2???reboot???")
        );
    }
}
