//! Ten kinds of change, and what is to be said of each.

use std::collections::BTreeMap;
use std::error::Error;

use reachproof_lab::world::notation::{AclLine, RouteTarget, Rule};
use reachproof_lab::world::{Drift, Expanded, SecurityGroup, World};
use reachproof_tests::harness::CaseResult;
use serde_json::json;

use super::play;

/// One change.
pub(crate) struct Change {
    pub(crate) name: &'static str,
    pub(crate) run: fn() -> CaseResult,
    pub(crate) does: fn(&mut World) -> Result<Expanded, Box<dyn Error>>,
    pub(crate) model: &'static [&'static str],
    pub(crate) findings: &'static [&'static str],
    /// Exit codes for `--fail-on any`, `new` and `expectation`.
    pub(crate) exits: [u8; 3],
}

macro_rules! changes {
    ($($place:literal $name:ident: $does:expr, $model:expr, $findings:expr, $exits:expr;)*) => {
        pub(crate) const CHANGES: [Change; 10] = [$(Change {
            name: stringify!($name),
            run: || play(&CHANGES[$place]),
            does: $does,
            model: &$model,
            findings: &$findings,
            exits: $exits,
        }),*];
    };
}

fn group<'w>(world: &'w mut World, name: &str) -> Result<&'w mut SecurityGroup, Box<dyn Error>> {
    Ok(world.security_groups.get_mut(name).ok_or("no such group")?)
}

fn rule(text: &str) -> Result<Rule, Box<dyn Error>> {
    Ok(Rule::try_from(text.to_owned())?)
}

changes! {
    0 a_rule_is_added: |world| {
        group(world, "app")?.ingress.push(rule("tcp 8080 from 10.0.1.0/24")?);
        Ok(world.expand()?)
    }, [
        "+ sg-app ingress tcp/8080 10.0.1.0/24 (sgr-app-in-03)",
        "gained: node group workers [node] in a 10.0.1.0/24 -> nodes [app] in b 10.0.2.0/24 tcp/8080",
        "gained: control plane [eks-cluster-sg-demo-1234567890] in a 10.0.1.0/24 -> nodes [app] in b 10.0.2.0/24 tcp/8080",
        "widened towards addresses of nobody: 1",
    ], [
        "node-1 -> app 8080: confirmed deny to confirmed allow",
    ], [0, 0, 0];
    1 a_rule_is_removed: |world| {
        group(world, "cluster")?.ingress.pop();
        Ok(world.expand()?)
    }, [
        "- sg-cluster ingress tcp/443 sg-node (sgr-cluster-in-03)",
        "lost: node group workers [node] in a 10.0.1.0/24 -> control plane [eks-cluster-sg-demo-1234567890] in a 10.0.1.0/24 tcp/443",
        "lost: node group workers [node] in a 10.0.1.0/24 -> control plane [eks-cluster-sg-demo-1234567890] in b 10.0.2.0/24 tcp/443",
        "lost: node group workers [node] in b 10.0.2.20/32 -> control plane [eks-cluster-sg-demo-1234567890] in a 10.0.1.0/24 tcp/443",
        "lost: node group workers [node] in b 10.0.2.20/32 -> control plane [eks-cluster-sg-demo-1234567890] in b 10.0.2.0/24 tcp/443",
    ], [
        "node-1 -> control plane, control plane 443: confirmed allow to confirmed deny (problem)",
        "node-2 -> control plane, control plane 443: confirmed allow to confirmed deny (problem)",
    ], [1, 1, 1];
    2 a_rule_is_replaced: |world| {
        group(world, "db")?.ingress[1] = rule("tcp 5432 from 10.0.2.0/24")?;
        Ok(world.expand()?)
    }, [
        "- sg-db ingress tcp/5432 10.0.0.0/16 (sgr-db-in-02)",
        "+ sg-db ingress tcp/5432 10.0.2.0/24 (sgr-db-in-02)",
        "lost: node group workers [node] in a 10.0.1.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/5432",
        "lost: control plane [eks-cluster-sg-demo-1234567890] in a 10.0.1.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/5432",
        "narrowed towards addresses of nobody: 3",
    ], [
        "node-1 -> db, standby 5432: confirmed allow to confirmed deny",
    ], [0, 0, 0];
    3 a_group_is_swapped: |world| {
        let host = world.hosts.get_mut("app").ok_or("no app")?;
        host.interfaces[0].groups = Some(vec!["closed".to_owned()]);
        Ok(world.expand()?)
    }, [
        "- eni-app carries sg-app",
        "+ eni-app carries sg-closed",
        "lost: nodes [closed] in b 10.0.2.0/24 -> control plane [eks-cluster-sg-demo-1234567890] in a 10.0.1.0/24 tcp/443",
        "lost: nodes [closed] in b 10.0.2.0/24 -> control plane [eks-cluster-sg-demo-1234567890] in b 10.0.2.0/24 tcp/443",
        "lost: node group workers [node] in b 10.0.2.20/32 -> nodes [closed] in b 10.0.2.0/24 tcp/8080",
    ], [
        "app -> control plane, control plane 443: confirmed allow to confirmed deny",
        "node-2 -> app 8080: confirmed allow to confirmed deny",
    ], [0, 0, 0];
    4 an_acl_entry_is_added: |world| {
        let acl = world.acls.get_mut("b").ok_or("no acl")?;
        acl.ingress.push(AclLine::try_from("90 deny all from 10.1.0.0/16".to_owned())?);
        Ok(world.expand()?)
    }, [
        "+ acl-b ingress 90 deny all 10.1.0.0/16",
        "lost: nodes [app] in b 10.0.2.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/5432",
        "lost: nodes [app] in b 10.0.2.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/7500",
        "lost: nodes [db] in db 10.1.0.0/24 -> nodes [app] in b 10.0.2.0/24 tcp/7500",
        "lost: nodes [db] in db 10.1.0.0/24 -> node group workers [node] in b 10.0.2.20/32 tcp/7500",
        "lost: node group workers [node] in b 10.0.2.20/32 -> nodes [db] in db 10.1.0.0/24 tcp/5432",
        "lost: node group workers [node] in b 10.0.2.20/32 -> nodes [db] in db 10.1.0.0/24 tcp/7500",
        "lost: control plane [eks-cluster-sg-demo-1234567890] in b 10.0.2.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/5432",
        "lost: control plane [eks-cluster-sg-demo-1234567890] in b 10.0.2.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/7500",
        "narrowed towards addresses of nobody: 60",
    ], [
        "app -> db, standby 5432: confirmed allow to confirmed deny",
        "app -> db, standby 7500: confirmed allow to confirmed deny",
        "db -> app, node-2 7500: confirmed allow to confirmed deny",
        "node-2 -> db, standby 5432: confirmed allow to confirmed deny",
        "node-2 -> db, standby 7500: confirmed allow to confirmed deny",
        "standby -> app, node-2 7500: confirmed allow to confirmed deny",
        "denied at another gate: 22",
    ], [0, 0, 0];
    5 a_route_is_blackholed: |world| {
        let table = world.route_tables.get_mut("main").ok_or("no table")?;
        table.routes.insert("10.1.0.0/16".parse()?, RouteTarget::Blackhole);
        Ok(world.expand()?)
    }, [
        "- rtb-main 10.1.0.0/16 -> pcx-main-shared (active)",
        "+ rtb-main 10.1.0.0/16 -> nat-gone (blackhole)",
        "lost: nodes [app] in b 10.0.2.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/5432",
        "lost: nodes [app] in b 10.0.2.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/7500",
        "lost: nodes [db] in db 10.1.0.0/24 -> nodes [app] in b 10.0.2.0/24 tcp/7500",
        "lost: nodes [db] in db 10.1.0.0/24 -> node group workers [node] in a 10.0.1.0/24 tcp/7500",
        "lost: nodes [db] in db 10.1.0.0/24 -> node group workers [node] in b 10.0.2.20/32 tcp/7500",
        "lost: node group workers [node] in a 10.0.1.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/5432",
        "lost: node group workers [node] in a 10.0.1.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/7500",
        "lost: node group workers [node] in b 10.0.2.20/32 -> nodes [db] in db 10.1.0.0/24 tcp/5432",
        "lost: node group workers [node] in b 10.0.2.20/32 -> nodes [db] in db 10.1.0.0/24 tcp/7500",
        "lost: control plane [eks-cluster-sg-demo-1234567890] in a 10.0.1.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/5432",
        "lost: control plane [eks-cluster-sg-demo-1234567890] in a 10.0.1.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/7500",
        "lost: control plane [eks-cluster-sg-demo-1234567890] in b 10.0.2.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/5432",
        "lost: control plane [eks-cluster-sg-demo-1234567890] in b 10.0.2.0/24 -> nodes [db] in db 10.1.0.0/24 tcp/7500",
        "narrowed towards addresses of nobody: 144",
    ], [
        "app -> db, standby 5432: confirmed allow to confirmed deny",
        "app -> db, standby 7500: confirmed allow to confirmed deny",
        "db -> app, node-1, node-2 7500: confirmed allow to confirmed deny",
        "node-1 -> db, standby 5432: confirmed allow to confirmed deny",
        "node-1 -> db, standby 7500: confirmed allow to confirmed deny",
        "node-2 -> db, standby 5432: confirmed allow to confirmed deny",
        "node-2 -> db, standby 7500: confirmed allow to confirmed deny",
        "standby -> app, node-1, node-2 7500: confirmed allow to confirmed deny",
        "denied at another gate: 24",
    ], [0, 0, 0];
    6 a_prefix_list_gets_an_entry: |world| {
        let list = world.prefix_lists.get_mut("clients").ok_or("no list")?;
        list.push("10.0.1.20/32".parse()?);
        Ok(world.expand()?)
    }, [
        "+ pl-clients lists 10.0.1.20/32",
        "gained: node group workers [node] in a 10.0.1.20/32 -> nodes [app] in b 10.0.2.0/24 tcp/8080",
    ], [
        "node-1 -> app 8080: confirmed deny to confirmed allow",
    ], [0, 0, 0];
    7 the_wire_alone_drifts: |world| {
        let mut app = group(world, "app")?.clone();
        app.ingress.pop();
        world.drift = Some(Drift {
            security_groups: [("app".to_owned(), app)].into(),
            acls: BTreeMap::new(),
        });
        Ok(world.expand()?)
    }, [], [
        "node-2 -> app 8080: confirmed allow to contradiction closed (problem)",
    ], [1, 1, 0];
    8 nothing_changes: |world| Ok(world.expand()?), [], [], [0, 0, 0];
    9 only_a_description_changes: |world| {
        let mut expanded = world.expand()?;
        let groups = expanded.plan.snapshot.get_mut("describe-security-groups");
        let groups = groups.and_then(|answer| answer["SecurityGroups"].as_array_mut());
        for group in groups.ok_or("no security groups")? {
            group["Description"] = json!("described anew");
        }
        Ok(expanded)
    }, [], [], [0, 0, 0];
}
