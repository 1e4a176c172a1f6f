//! Network interfaces and instances.

use serde_json::{Value, json};

use super::{ACCOUNT, Draft};

impl Draft {
    /// Everything that owns an address.
    pub fn hosts(&mut self) {
        for number in 0..self.size.hosts {
            self.host(number);
        }
        self.control_plane();
        self.fargate();
        self.outsiders();
    }

    /// One to three groups of a VPC; now and then none, or one that nobody described.
    fn carried(&mut self, vpc: &str) -> Value {
        let own: Vec<String> = self
            .groups
            .iter()
            .filter(|it| it.0 == vpc)
            .map(|it| it.1.clone())
            .collect();
        let mut carried: Vec<String> = (0..=self.dice.below(2))
            .map(|_| self.dice.pick(&own).clone())
            .collect();
        match self.dice.below(60) {
            0 => carried.clear(),
            1 => carried.push("sg-ghost".to_owned()),
            2 => carried.push("sg-guest".to_owned()),
            _ => {}
        }
        carried.sort();
        carried.dedup();
        json!(
            carried
                .iter()
                .map(|id| json!({"GroupId": id}))
                .collect::<Vec<_>>()
        )
    }

    /// A fresh IPv4 address of a subnet.
    fn address(&mut self, subnet: usize) -> String {
        let subnet = &mut self.subnets[subnet];
        let address = format!("{}.{}", subnet.stem, subnet.next);
        subnet.next += 1;
        self.addresses.push(address.clone());
        address
    }

    /// An interface in a subnet, not attached to anything.
    pub fn eni(&mut self, id: &str, subnet: usize, addresses: usize) -> Value {
        let vpc = self.subnets[subnet].vpc;
        let primary = self.address(subnet);
        let mut all = vec![json!({"PrivateIpAddress": primary, "Primary": true})];
        for _ in 1..addresses {
            let address = self.address(subnet);
            all.push(json!({"PrivateIpAddress": address, "Primary": false}));
        }
        let mut v6 = Vec::new();
        if let Some(stem) = self.subnets[subnet].stem_v6.clone()
            && self.dice.chance(60)
        {
            let address = format!("{stem}::{:x}", self.subnets[subnet].next);
            self.addresses.push(address.clone());
            v6.push(json!({"Ipv6Address": address}));
        }
        json!({
            "NetworkInterfaceId": id, "VpcId": vpc, "SubnetId": self.subnets[subnet].id,
            "OwnerId": ACCOUNT, "Status": "in-use", "InterfaceType": "interface",
            "SourceDestCheck": true, "Description": "", "PrivateIpAddress": primary,
            "PrivateIpAddresses": all, "Ipv6Addresses": v6, "Groups": self.carried(vpc),
            "TagSet": [],
        })
    }

    /// Delegates a /28, and an /80 where the subnet has IPv6.
    fn delegate(&mut self, eni: &mut Value, place: usize) {
        let subnet = &mut self.subnets[place];
        if subnet.next_prefix >= 8 {
            return;
        }
        let first = 112 + 16 * subnet.next_prefix;
        subnet.next_prefix += 1;
        let number = subnet.next_prefix;
        eni["Ipv4Prefixes"] = json!([{"Ipv4Prefix": format!("{}.{first}/28", subnet.stem)}]);
        let inside = format!("{}.{}", subnet.stem, first + 5);
        self.addresses.push(inside);
        if let Some(stem) = subnet.stem_v6.clone() {
            eni["Ipv6Prefixes"] = json!([{"Ipv6Prefix": format!("{stem}:{number:x}::/80")}]);
            self.addresses.push(format!("{stem}:{number:x}::7"));
        }
    }

    /// An instance with its interfaces.
    fn host(&mut self, number: usize) {
        let subnet = self.dice.below(self.size.subnets);
        let id = format!("i-{number}");
        let listed_only = self.dice.chance(5);
        let odd_device = self.dice.chance(6);
        let mut enis = Vec::new();
        let addresses = 1 + self.dice.below(2);
        let mut primary = self.eni(&format!("eni-h{number}p"), subnet, addresses);
        if self.dice.chance(60) {
            self.delegate(&mut primary, subnet);
        }
        let address = primary["PrivateIpAddress"].clone();
        if !listed_only {
            primary["Attachment"] = json!({"InstanceId": id, "NetworkCardIndex": 0});
            if !odd_device {
                primary["Attachment"]["DeviceIndex"] = json!(0);
            }
        }
        if self.dice.chance(3) {
            // Its primary interface is not visible.
            primary["Attachment"] = Value::Null;
            primary.as_object_mut().unwrap().remove("Attachment");
        } else {
            enis.push(primary["NetworkInterfaceId"].clone());
        }
        self.enis.push(primary);
        if self.dice.chance(50) {
            enis.extend(self.secondary(number, &id, subnet));
        }
        let listed: Vec<Value> = enis
            .iter()
            .map(|eni| json!({"NetworkInterfaceId": eni}))
            .collect();
        let mut instance = json!({
            "InstanceId": id, "State": {"Name": "running"}, "NetworkInterfaces": listed,
        });
        if self.dice.chance(95) {
            instance["PrivateIpAddress"] = address;
        }
        self.instances.push(instance);
    }

    /// A secondary interface, at times a trunk with branches.
    fn secondary(&mut self, number: usize, instance: &str, subnet: usize) -> Vec<Value> {
        let trunk_id = format!("eni-h{number}s");
        let addresses = 1 + self.dice.below(2);
        let mut secondary = self.eni(&trunk_id, subnet, addresses);
        if self.dice.chance(50) {
            self.delegate(&mut secondary, subnet);
        }
        secondary["Attachment"] =
            json!({"InstanceId": instance, "DeviceIndex": 1, "NetworkCardIndex": 0});
        if self.dice.chance(60) {
            secondary["InterfaceType"] = json!("trunk");
            for place in 0..=self.dice.below(2) {
                let mut branch = self.eni(&format!("eni-h{number}b{place}"), subnet, 1);
                branch["InterfaceType"] = json!("branch");
                let trunk = if self.dice.chance(95) {
                    &trunk_id
                } else {
                    "eni-invisible"
                };
                branch["TagSet"] =
                    json!([{"Key": "vpcresources.k8s.aws/trunk-eni-id", "Value": trunk}]);
                if self.dice.chance(30) {
                    branch["Groups"] = secondary["Groups"].clone();
                }
                self.enis.push(branch);
            }
        }
        self.enis.push(secondary);
        vec![json!(trunk_id)]
    }

    fn control_plane(&mut self) {
        for number in 0..2 {
            let subnet = self.dice.below(self.size.subnets);
            let mut eni = self.eni(&format!("eni-x{number}"), subnet, 1);
            eni["Description"] = json!("Amazon EKS demo");
            eni["Attachment"] = json!({"InstanceOwnerId": "444455556666", "DeviceIndex": 1});
            self.enis.push(eni);
        }
    }

    fn fargate(&mut self) {
        let subnet = self.dice.below(self.size.subnets);
        let eni = self.eni("eni-f0", subnet, 1);
        self.enis.push(eni);
    }

    /// Interfaces of the other VPCs, and one that forwards for others.
    fn outsiders(&mut self) {
        for subnet in self.size.subnets..self.subnets.len() {
            for number in 0..2 {
                let id = format!("eni-o{subnet}{number}");
                let mut eni = self.eni(&id, subnet, 1);
                if number == 0 && self.dice.chance(30) {
                    self.delegate(&mut eni, subnet);
                }
                self.enis.push(eni);
            }
        }
        let subnet = self.dice.below(self.size.subnets);
        let mut middlebox = self.eni("eni-mb", subnet, 1);
        middlebox["SourceDestCheck"] = json!(false);
        self.enis.push(middlebox);
    }
}
