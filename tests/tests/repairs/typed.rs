//! The commands of a proposal, done to a world as AWS would do them to a network.

use std::collections::HashMap;

use reachproof_lab::world::World;
use reachproof_lab::world::notation::{AclLine, RouteTarget, Rule};

/// Does what one command of the AWS CLI says; every flag must be one that is understood.
pub(crate) fn done(world: &mut World, command: &str) {
    let command = command.replace('\'', "");
    let mut words = command.split_whitespace();
    assert_eq!((words.next(), words.next()), (Some("aws"), Some("ec2")));
    let verb = words.next().unwrap();
    let flags = flags(words.collect());
    match verb {
        "authorize-security-group-ingress" => rule(world, &flags, "from"),
        "authorize-security-group-egress" => rule(world, &flags, "to"),
        "create-network-acl-entry" => entry(world, &flags),
        "create-route" | "replace-route" => route(world, &flags, verb),
        other => panic!("{other} is no command of a proposal"),
    }
}

/// Values by flag; a flag without a value has an empty one.
fn flags(words: Vec<&str>) -> HashMap<&str, &str> {
    let mut found = HashMap::new();
    let mut words = words.into_iter().peekable();
    while let Some(flag) = words.next() {
        assert!(flag.starts_with("--"), "{flag}");
        let value = words.next_if(|word| !word.starts_with("--"));
        found.insert(flag, value.unwrap_or_default());
    }
    found
}

fn name<'v>(id: &'v str, prefix: &str) -> &'v str {
    let name = id.strip_prefix(prefix);
    name.unwrap_or_else(|| panic!("{id} does not begin with {prefix}"))
}

/// What stands behind `key` up to the next `,`, `]` or `}`.
fn part<'v>(text: &'v str, key: &str) -> Option<&'v str> {
    let (_, rest) = text.split_once(key)?;
    rest.split([',', ']', '}']).next()
}

fn rule(world: &mut World, flags: &HashMap<&str, &str>, word: &str) {
    let (traffic, peer) = match flags.get("--ip-permissions") {
        Some(permission) => {
            let port = |key| part(permission, key).unwrap();
            let protocol = part(permission, "IpProtocol=").unwrap();
            let traffic = format!("{protocol} {}-{}", port("FromPort="), port("ToPort="));
            let group = part(permission, "GroupId=").map(|id| name(id, "sg-"));
            let network = part(permission, "CidrIpv6=").or_else(|| part(permission, "CidrIp="));
            (traffic, group.or(network).unwrap())
        }
        None => {
            let group = flags.get("--source-group").map(|id| name(id, "sg-"));
            let peer = group.or_else(|| flags.get("--cidr").copied());
            let traffic = format!("{} {}", flags["--protocol"], flags["--port"]);
            (traffic, peer.unwrap())
        }
    };
    let rule = Rule::try_from(format!("{traffic} {word} {peer}")).unwrap();
    let group = name(flags["--group-id"], "sg-");
    let group = world.security_groups.get_mut(group).unwrap();
    match word {
        "from" => group.ingress.push(rule),
        _ => group.egress.push(rule),
    }
}

fn entry(world: &mut World, flags: &HashMap<&str, &str>) {
    let protocol = match flags["--protocol"] {
        "6" => "tcp",
        "17" => "udp",
        other => panic!("protocol {other}"),
    };
    let range = flags["--port-range"];
    let ports = (part(range, "From=").unwrap(), part(range, "To=").unwrap());
    let block = flags
        .get("--cidr-block")
        .or_else(|| flags.get("--ipv6-cidr-block"));
    let is_ingress = flags.contains_key("--ingress");
    assert!(is_ingress || flags.contains_key("--egress"));
    let line = AclLine::try_from(format!(
        "{} {} {protocol} {}-{} {} {}",
        flags["--rule-number"],
        flags["--rule-action"],
        ports.0,
        ports.1,
        if is_ingress { "from" } else { "to" },
        block.unwrap()
    ));
    let list = name(flags["--network-acl-id"], "acl-");
    let list = world.acls.get_mut(list).unwrap();
    match is_ingress {
        true => list.ingress.push(line.unwrap()),
        false => list.egress.push(line.unwrap()),
    }
}

fn route(world: &mut World, flags: &HashMap<&str, &str>, verb: &str) {
    let table = name(flags["--route-table-id"], "rtb-");
    let table = world.route_tables.get_mut(table).unwrap();
    let destination = flags["--destination-cidr-block"].parse().unwrap();
    let peering = name(flags["--vpc-peering-connection-id"], "pcx-");
    let target = RouteTarget::Peering(peering.to_owned());
    let before = table.routes.insert(destination, target);
    assert_eq!(before.is_some(), verb == "replace-route", "{destination}");
}
