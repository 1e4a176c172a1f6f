//! Random worlds with more port intervals than a word has bits: rows take several words, as those of a real cluster do.

use serde_json::{Value, json};

use super::{Dice, Size, World, world};

/// Ports at which something begins or ends in a wide world, beside those that every world has.
pub const WIDE_PORTS: std::ops::Range<usize> = 20_000..20_400;

/// A rule or an entry begins every so many of them.
const STEP: usize = 5;

/// The small world of a seed with many narrow rules and entries of network ACLs.
pub fn wide(seed: u64) -> World {
    let mut world = world(seed, Size::SMALL);
    let mut dice = Dice::new(seed ^ 0x77);
    for port in WIDE_PORTS.step_by(STEP) {
        let last = port + dice.below(2 * STEP);
        if dice.chance(75) {
            rule(&mut world, &mut dice, (port, last));
        } else {
            entry(&mut world, &mut dice, (port, last));
        }
    }
    world
}

/// Adds a rule to a group.
fn rule(world: &mut World, dice: &mut Dice, (first, last): (usize, usize)) {
    let groups = world.snapshot["describe-security-groups"]["SecurityGroups"].as_array_mut();
    let groups = groups.unwrap();
    let place = dice.below(groups.len());
    let key = *dice.pick(&["IpPermissions", "IpPermissionsEgress"]);
    let network = *dice.pick(&["0.0.0.0/0", "10.0.0.0/16", "10.0.1.0/24", "10.0.1.10/32"]);
    groups[place][key].as_array_mut().unwrap().push(json!({
        "IpProtocol": "tcp", "FromPort": first, "ToPort": last, "IpRanges": [{"CidrIp": network}],
        "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": [],
    }));
}

/// Adds an entry to a network ACL, before all others or after them.
fn entry(world: &mut World, dice: &mut Dice, (first, last): (usize, usize)) {
    let lists = world.snapshot["describe-network-acls"]["NetworkAcls"].as_array_mut();
    let lists = lists.unwrap();
    let place = dice.below(lists.len());
    let entries = lists[place]["Entries"].as_array_mut().unwrap();
    let number = |entry: &Value| entry["RuleNumber"].as_u64().unwrap();
    let egress = dice.chance(50);
    let free = (1..30_000).find(|wanted| entries.iter().all(|entry| number(entry) != *wanted));
    entries.push(json!({
        "RuleNumber": free.unwrap(), "Protocol": "6", "Egress": egress, "CidrBlock": "0.0.0.0/0",
        "RuleAction": *dice.pick(&["allow", "deny"]), "PortRange": {"From": first, "To": last},
    }));
}
