//! Two hosts lose their link for a while, in a world whose wire is open where the model denies.

use std::time::Duration;

use reachproof_lab::world::World;
use reachproof_lab::world::notation::Rule;
use reachproof_tests::harness::CaseResult;
use reachproof_tests::play::{LINK_DOWN, LINK_UP, Play, WAIT, wire};
use reachproof_tests::truth::assert_no_lies;

/// Who loses the link.
const HOSTS: [&str; 2] = ["node-2", "outsider-a"];

/// Time until then, so that whoever is to be heard before the silence was heard.
const BEFORE: Duration = Duration::from_secs(4);

/// For how long: longer than the attempts of a flow take together.
const OUTAGE: Duration = Duration::from_secs(32);

/// The world `default`, whose wire admits every port that the model denies.
pub(crate) fn open_wire() -> Result<World, Box<dyn std::error::Error>> {
    let mut world = World::builtin("default")?;
    let mut open = world.security_groups.clone();
    for group in open.values_mut() {
        group.ingress = vec![Rule::try_from("all from 10.0.0.0/16".to_owned())?];
        group.egress = vec![Rule::try_from("all to 0.0.0.0/0".to_owned())?];
    }
    world.drift = Some(reachproof_lab::world::Drift {
        security_groups: open,
        acls: std::collections::BTreeMap::new(),
    });
    Ok(world)
}

pub(crate) fn of_two_hosts() -> CaseResult {
    let mut play = Play::open(&open_wire()?, WAIT)?;
    play.start_agents(&["--starts-per-second-max", "1"])?;
    play.stage.await_listeners()?;
    std::thread::sleep(BEFORE);
    for host in HOSTS {
        wire(&play.stage, host, LINK_DOWN)?;
    }
    std::thread::sleep(OUTAGE);
    for host in HOSTS {
        wire(&play.stage, host, LINK_UP)?;
    }
    let ended = play.end()?;
    assert_no_lies(&ended)?;
    let unheard = ended.findings.iter().filter(|finding| {
        finding.is_inconclusive(&["source-unheard", "target-unheard", "not-repeated"])
    });
    if unheard.count() == 0 {
        return Err(format!("the outage left no trace: {}", ended.summary()).into());
    }
    Ok(())
}
