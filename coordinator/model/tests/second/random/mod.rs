//! Random worlds as describe answers, small or large, that reach every gate and every reason of SEMANTICS K.

mod cloud;
mod flows;
mod groups;
mod hosts;
mod kube;
mod lists;
mod wide;

use serde_json::{Map, Value, json};

#[allow(unused_imports, reason = "not every target asks about flows")]
pub use flows::flow;
#[allow(unused_imports, reason = "not every target needs many ports")]
pub use wide::{WIDE_PORTS, wide};

/// A sequence that follows from its seed alone (splitmix64, public domain).
pub struct Dice(u64);

impl Dice {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// How large a world is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Subnets of the cluster's VPC, 1 to 200.
    pub subnets: usize,
    /// EC2 instances in it, each with one to three interfaces; at most 8 for each subnet in a small world.
    pub hosts: usize,
    /// Security groups of that VPC.
    pub groups: usize,
}

impl Size {
    /// A few hundred interfaces.
    pub const LARGER: Self = Self {
        subnets: 12,
        hosts: 90,
        groups: 16,
    };

    /// About 2,000 interfaces.
    pub const LARGEST: Self = Self {
        subnets: 120,
        hosts: 1_050,
        groups: 60,
    };

    /// Small enough for thousands a second.
    pub const SMALL: Self = Self {
        subnets: 2,
        hosts: 3,
        groups: 4,
    };
}

/// A world under construction.
pub struct Draft {
    pub dice: Dice,
    pub size: Size,
    pub vpcs: Vec<Vpc>,
    pub subnets: Vec<Subnet>,
    pub enis: Vec<Value>,
    pub instances: Vec<Value>,
    /// Groups by VPC.
    pub groups: Vec<(String, String)>,
    pub files: Map<String, Value>,
    /// Addresses that somebody owns.
    pub addresses: Vec<String>,
}

pub struct Vpc {
    pub id: &'static str,
    pub cidr: &'static str,
    pub cidr_v6: Option<&'static str>,
}

pub struct Subnet {
    pub id: String,
    pub vpc: &'static str,
    /// `10.0.1`, the first three bytes.
    pub stem: String,
    pub stem_v6: Option<String>,
    pub zone: &'static str,
    /// Next free last byte.
    pub next: usize,
    /// Next free delegated prefix.
    pub next_prefix: usize,
}

/// A random world with what it takes to ask about it.
pub struct World {
    /// The describe answers.
    pub snapshot: Map<String, Value>,
    /// Addresses that somebody owns.
    pub addresses: Vec<String>,
    /// Ids of the interfaces.
    pub interfaces: Vec<String>,
}

/// Account of the cluster.
pub const ACCOUNT: &str = "111122223333";
/// Zones of the Region.
pub const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];

/// The world of a seed.
pub fn world(seed: u64, size: Size) -> World {
    let mut draft = Draft {
        dice: Dice::new(seed),
        size,
        vpcs: Vec::new(),
        subnets: Vec::new(),
        enis: Vec::new(),
        instances: Vec::new(),
        groups: Vec::new(),
        files: Map::new(),
        addresses: Vec::new(),
    };
    draft.networks();
    draft.groups();
    draft.hosts();
    draft.acls();
    draft.prefix_lists();
    draft.route_tables();
    draft.peerings();
    draft.transit_gateways();
    draft.kubernetes();
    draft.finish()
}

impl Draft {
    /// VPCs and subnets.
    fn networks(&mut self) {
        let v6 = self.dice.chance(70);
        self.vpcs = vec![
            Vpc {
                id: "vpc-v",
                cidr: "10.0.0.0/16",
                cidr_v6: v6.then_some("2600:1f14:abc::/56"),
            },
            Vpc {
                id: "vpc-w",
                cidr: "10.1.0.0/16",
                cidr_v6: v6.then_some("2600:1f14:abd::/56"),
            },
            Vpc {
                id: "vpc-t",
                cidr: "10.2.0.0/16",
                cidr_v6: v6.then_some("2600:1f14:abe::/56"),
            },
        ];
        if self.dice.chance(8) {
            // The same addresses once more: an address may have two owners.
            self.vpcs.push(Vpc {
                id: "vpc-u",
                cidr: "10.0.0.0/16",
                cidr_v6: None,
            });
        }
        for vpc in 0..self.vpcs.len() {
            let count = if vpc == 0 { self.size.subnets } else { 1 };
            for place in 1..=count {
                self.subnet(vpc, place);
            }
        }
        let vpcs: Vec<Value> = self.vpcs.iter().map(vpc_json).collect();
        let subnets: Vec<Value> = self.subnets.iter().map(subnet_json).collect();
        self.file("describe-vpcs", json!({"Vpcs": vpcs}));
        self.file("describe-subnets", json!({"Subnets": subnets}));
    }

    fn subnet(&mut self, vpc: usize, place: usize) {
        let zone = *self.dice.pick(&ZONES);
        let vpc = &self.vpcs[vpc];
        let second = vpc.cidr.trim_end_matches(".0.0/16");
        let stem_v6 = vpc
            .cidr_v6
            .map(|cidr| format!("{}:{place:x}", cidr.trim_end_matches("::/56")));
        self.subnets.push(Subnet {
            id: format!("subnet-{}{place}", &vpc.id[4..]),
            vpc: vpc.id,
            stem: format!("{second}.{place}"),
            stem_v6,
            zone,
            next: 10,
            next_prefix: 0,
        });
    }

    /// Adds a file of the snapshot.
    pub fn file(&mut self, stem: &str, value: Value) {
        self.files.insert(stem.to_owned(), value);
    }

    fn finish(mut self) -> World {
        // The order of an answer means nothing.
        for place in (1..self.enis.len()).rev() {
            let other = self.dice.below(place + 1);
            self.enis.swap(place, other);
        }
        let interfaces = self
            .enis
            .iter()
            .map(|eni| eni["NetworkInterfaceId"].as_str().unwrap().to_owned())
            .collect();
        let enis = std::mem::take(&mut self.enis);
        self.file(
            "describe-network-interfaces",
            json!({"NetworkInterfaces": enis}),
        );
        let instances = std::mem::take(&mut self.instances);
        let reservations = json!([{"ReservationId": "r-1", "Instances": instances}]);
        self.file("describe-instances", json!({"Reservations": reservations}));
        World {
            snapshot: self.files,
            addresses: self.addresses,
            interfaces,
        }
    }
}

fn vpc_json(vpc: &Vpc) -> Value {
    let v6: Vec<Value> = vpc
        .cidr_v6
        .iter()
        .map(|cidr| json!({"Ipv6CidrBlock": cidr, "Ipv6CidrBlockState": {"State": "associated"}}))
        .collect();
    json!({
        "VpcId": vpc.id, "OwnerId": ACCOUNT, "CidrBlock": vpc.cidr, "State": "available",
        "CidrBlockAssociationSet": [
            {"CidrBlock": vpc.cidr, "CidrBlockState": {"State": "associated"}},
        ],
        "Ipv6CidrBlockAssociationSet": v6,
    })
}

fn subnet_json(subnet: &Subnet) -> Value {
    let v6: Vec<Value> = subnet
        .stem_v6
        .iter()
        .map(|stem| {
            json!({
                "Ipv6CidrBlock": format!("{stem}::/64"),
                "Ipv6CidrBlockState": {"State": "associated"},
            })
        })
        .collect();
    let mut json = json!({
        "SubnetId": subnet.id, "VpcId": subnet.vpc, "CidrBlock": format!("{}.0/24", subnet.stem),
        "AvailabilityZone": subnet.zone, "Ipv6CidrBlockAssociationSet": v6,
    });
    // Another account names the same zones otherwise.
    if subnet.vpc == "vpc-t" {
        json["AvailabilityZone"] = json!("us-east-1f");
    }
    json["AvailabilityZoneId"] = json!(format!(
        "use1-az{}",
        subnet.zone.trim_start_matches("us-east-1")
    ));
    json
}
