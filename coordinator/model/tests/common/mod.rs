//! Worlds for tests: the base world of the vectors (SEMANTICS J), changed where a test says so.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use reachproof_model::describe::{Described, parse};
use reachproof_model::flow::Flow;
use reachproof_model::predict::predict;
use reachproof_model::snapshot::{Decoded, Direction, Snapshot};
use serde_json::{Map, Value, json};

/// Primary address of the node n1.
pub(crate) const NODE_A: &str = "10.0.1.20";
/// Primary address of the node n2.
pub(crate) const NODE_B: &str = "10.0.2.20";
/// An address of the peered VPC.
pub(crate) const PEERED: &str = "10.1.0.5";
/// An address behind the transit gateway.
pub(crate) const BEHIND_TGW: &str = "10.2.0.5";
/// Interface of host h1 in A1: 10.0.1.20, .21, 10.0.1.64/28, 2600:1f14:abc:1::20; carries S.
pub(crate) const N1: &str = "eni-26badc5944ee168e8";
/// Second interface (trunk) of host h1 in A1: 10.0.1.30, .31; carries S.
pub(crate) const N1B: &str = "eni-fafed2d2f60a92493";
/// Interface of host h2 in A2: 10.0.2.20, .21; carries D.
pub(crate) const N2: &str = "eni-2214d974d6ac558dc";
/// Branch interface on h1's trunk in A1: 10.0.1.90; carries POD.
pub(crate) const BR1: &str = "eni-7ac3f2286edea9ff7";
/// Interface in W, behind the peering: 10.1.0.5; carries D.
pub(crate) const W1: &str = "eni-38633667c32fd6392";
/// Interface in T, behind the transit gateway: 10.2.0.5; carries D.
pub(crate) const T1: &str = "eni-4ff60fbb678386d0e";
/// The cluster's VPC, 10.0.0.0/16.
pub(crate) const V: &str = "vpc-fa574ace0d415a857";
/// The peered VPC, 10.1.0.0/16.
pub(crate) const W: &str = "vpc-ef6281a96b43e9e5c";
/// Subnet 10.0.1.0/24 of V in us-east-1a.
pub(crate) const A1: &str = "subnet-2aaad292072536358";
/// Subnet 10.0.2.0/24 of V in us-east-1b.
pub(crate) const A2: &str = "subnet-e8939e979649a582e";
/// Group S: all out.
pub(crate) const S: &str = "sg-1a83901efb85ef63b";
/// Group D: tcp/8080 in from 10.0.0.0/16.
pub(crate) const D: &str = "sg-14a6709cdfea6b7c6";
/// Group POD: all out.
pub(crate) const POD: &str = "sg-d5b5038e760180ed7";
/// Network ACL of A1 and A2: everything passes.
pub(crate) const OPEN: &str = "acl-15dc45697764cfea9";
/// Route table of V.
pub(crate) const RT_V: &str = "rtb-82dfeec2d7cd50ffa";
/// Route table of W.
pub(crate) const RT_W: &str = "rtb-b281fbdf206e3345f";
/// Peering of V and W.
pub(crate) const PCX: &str = "pcx-309d0e5b679a8a007";
/// Transit gateway of V and T.
pub(crate) const TGW: &str = "tgw-a9d9ec8f03c31710a";

/// A snapshot as JSON.
#[derive(Clone)]
pub(crate) struct World {
    answers: Map<String, Value>,
}

impl World {
    /// The base world with D admitting tcp/8080 from the VPC; rules are named by group and position.
    pub(crate) fn base() -> Self {
        static BASE: OnceLock<Map<String, Value>> = OnceLock::new();
        let answers = BASE.get_or_init(|| {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/A01.json");
            let mut vector = parse(&fs::read_to_string(file).unwrap()).unwrap();
            let answers = vector["snapshot"].as_object_mut().unwrap();
            answers.remove("describe-security-group-rules");
            std::mem::take(answers)
        });
        Self {
            answers: answers.clone(),
        }
    }

    /// No answer at all.
    pub(crate) fn empty() -> Self {
        Self {
            answers: Map::new(),
        }
    }

    /// The thing of that id in an answer, to change it.
    pub(crate) fn item(&mut self, stem: &str, id: &str) -> &mut Value {
        self.list(stem)
            .iter_mut()
            .find(|item| item.as_object().unwrap().values().any(|value| value == id))
            .unwrap_or_else(|| panic!("{stem} has no {id}"))
    }

    /// The things of an answer, to change them.
    pub(crate) fn list(&mut self, stem: &str) -> &mut Vec<Value> {
        let answer = self.answers.get_mut(stem).unwrap().as_object_mut();
        let mut lists = answer.unwrap().values_mut();
        lists.find_map(Value::as_array_mut).unwrap()
    }

    /// Sets a field of a thing.
    pub(crate) fn set(mut self, stem: &str, id: &str, field: &str, value: Value) -> Self {
        self.item(stem, id)[field] = value;
        self
    }

    /// Removes a field of a thing.
    pub(crate) fn unset(mut self, stem: &str, id: &str, field: &str) -> Self {
        self.item(stem, id).as_object_mut().unwrap().remove(field);
        self
    }

    /// Adds a thing to the list of an answer.
    pub(crate) fn push(mut self, stem: &str, list: &str, value: Value) -> Self {
        self.answers[stem][list].as_array_mut().unwrap().push(value);
        self
    }

    /// Sets a whole answer.
    pub(crate) fn file(mut self, stem: &str, answer: Value) -> Self {
        self.answers.insert(stem.to_owned(), answer);
        self
    }

    /// Removes a whole answer.
    pub(crate) fn without(mut self, stem: &str) -> Self {
        self.answers.remove(stem);
        self
    }

    /// Sets the ingress rules of a group.
    pub(crate) fn ingress(self, group: &str, permissions: Value) -> Self {
        self.set(
            "describe-security-groups",
            group,
            "IpPermissions",
            permissions,
        )
    }

    /// Sets the egress rules of a group.
    pub(crate) fn egress(self, group: &str, permissions: Value) -> Self {
        self.set(
            "describe-security-groups",
            group,
            "IpPermissionsEgress",
            permissions,
        )
    }

    /// Sets the groups of an interface.
    pub(crate) fn carries(self, interface: &str, groups: &[&str]) -> Self {
        let groups: Vec<_> = groups
            .iter()
            .map(|group| json!({"GroupId": group}))
            .collect();
        self.set(
            "describe-network-interfaces",
            interface,
            "Groups",
            json!(groups),
        )
    }

    /// Replaces the routes of a table beside the local one.
    pub(crate) fn routes(mut self, table: &str, routes: Value) -> Self {
        let item = self.item("describe-route-tables", table);
        let local: Vec<_> = item["Routes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|route| route["GatewayId"] == "local")
            .cloned()
            .collect();
        let all: Vec<_> = local
            .into_iter()
            .chain(routes.as_array().unwrap().clone())
            .collect();
        item["Routes"] = json!(all);
        self
    }

    /// Gives a subnet an ACL of its own; entries are (egress, number, action, protocol, ports).
    pub(crate) fn acl(mut self, subnet: &str, entries: Value) -> Self {
        for acl in self.answers["describe-network-acls"]["NetworkAcls"]
            .as_array_mut()
            .unwrap()
        {
            acl["Associations"]
                .as_array_mut()
                .unwrap()
                .retain(|association| association["SubnetId"] != subnet);
        }
        let acl = json!({
            "NetworkAclId": format!("acl-of-{subnet}"), "VpcId": V, "IsDefault": false, "Entries": entries,
            "Associations": [{"SubnetId": subnet}],
        });
        self.push("describe-network-acls", "NetworkAcls", acl)
    }

    /// The variables of the VPC CNI, to change them.
    pub(crate) fn variables(&mut self) -> &mut Value {
        &mut self.answers["aws-node"]["spec"]["template"]["spec"]["containers"][0]["env"]
    }

    /// Sets a variable of the VPC CNI.
    pub(crate) fn cni(mut self, name: &str, value: &str) -> Self {
        let variables = self.variables().as_array_mut().unwrap();
        variables.retain(|variable| variable["name"] != name);
        variables.push(json!({"name": name, "value": value}));
        self
    }

    /// The world as answers.
    pub(crate) fn described(&self) -> Described {
        Described::from(self.answers.clone())
    }

    /// Decodes the world.
    pub(crate) fn decoded(&self) -> Decoded {
        Snapshot::decode(&self.described()).unwrap()
    }

    /// What the model says about a flow, as the fields of `expect` in the vectors.
    pub(crate) fn says(&self, flow: Value) -> Value {
        let flow = Flow::from_json(&flow).unwrap();
        serde_json::to_value(predict(&self.decoded().snapshot, &flow).verdict).unwrap()
    }

    /// What the model says about tcp/8080 between two addresses.
    pub(crate) fn tcp(&self, source: &str, destination: &str) -> Value {
        self.says(tcp(source, destination))
    }
}

/// A flow to tcp/8080.
pub(crate) fn tcp(source: &str, destination: &str) -> Value {
    json!({"source": source, "destination": destination, "protocol": "tcp", "port": 8080})
}

/// A flow to tcp/8080 out of a pod's network namespace.
pub(crate) fn pod(source: &str, destination: &str) -> Value {
    json!({"source": source, "destination": destination, "protocol": "tcp", "port": 8080, "source_kind": "pod"})
}

/// A permission for tcp/8080 from or to a network.
pub(crate) fn network(cidr: &str) -> Value {
    json!({"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "IpRanges": [{"CidrIp": cidr}]})
}

/// A permission for tcp/8080 from or to a group of our account.
pub(crate) fn group(id: &str) -> Value {
    json!({"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080,
        "UserIdGroupPairs": [{"GroupId": id, "UserId": "111122223333"}]})
}

/// An entry of a network ACL for TCP ports from or to everywhere.
pub(crate) fn entry(direction: Direction, number: u32, action: &str, ports: (u16, u16)) -> Value {
    json!({"RuleNumber": number, "Protocol": "6", "RuleAction": action, "Egress": direction == Direction::Egress,
        "CidrBlock": "0.0.0.0/0", "PortRange": {"From": ports.0, "To": ports.1}})
}

/// An entry of a network ACL for everything.
pub(crate) fn all(direction: Direction, number: u32, action: &str) -> Value {
    json!({"RuleNumber": number, "Protocol": "-1", "RuleAction": action, "Egress": direction == Direction::Egress, "CidrBlock": "0.0.0.0/0"})
}

/// A deny at a security group.
pub(crate) fn denied(gate: &str, at: &str) -> Value {
    json!({"verdict": "deny", "gate": gate, "at": at})
}

/// A deny at a route.
pub(crate) fn no_way(gate: &str, reason: &str) -> Value {
    json!({"verdict": "deny", "gate": gate, "reason": reason})
}

/// An unknown without rules.
pub(crate) fn unknown(reason: &str) -> Value {
    json!({"verdict": "unknown", "reason": reason})
}

/// An unknown with the rules that could not be resolved.
pub(crate) fn unresolved(rules: &[&str]) -> Value {
    json!({"verdict": "unknown", "reason": "unresolved-rule", "rules": rules})
}

/// An allow by S's only egress rule and D's first ingress rule.
pub(crate) fn allowed() -> Value {
    json!({"verdict": "allow", "rules": [format!("{S}.out[0]"), format!("{D}.in[0]")]})
}
