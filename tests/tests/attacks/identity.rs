//! Agents that are not who they say, or that are alone.

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use reachproof_lab::world::World;
use reachproof_model::plan::Depth;
use reachproof_tests::agents::{AgentProgram, Agents};
use reachproof_tests::binaries::binary;
use reachproof_tests::coordinator::{Coordinator, Launch};
use reachproof_tests::harness::CaseResult;
use reachproof_tests::play::{Play, WAIT};
use reachproof_tests::stage::Stage;
use reachproof_tests::truth::{all_are, assert_no_lies};
use serde_json::Value;

use crate::rogue::Rogue;

/// Wait for agents where some never come.
const WAIT_IN_VAIN: Duration = Duration::from_secs(8);

/// Makes a token by the binary, as an operator does, with `more` arguments.
fn token(
    stage: &Stage,
    name: &str,
    addresses: &[IpAddr],
    more: &[&str],
) -> Result<String, Box<dyn Error>> {
    let mut command = Command::new(binary("reachproof")?);
    command.args(["token", "--name", name, "--kind", "node", "--credentials"]);
    command.arg(stage.credentials()).args(more);
    for address in addresses {
        command.arg("--address").arg(address.to_string());
    }
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?.trim().to_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
}

/// Starts a second agent `name` in the network of `endpoint` that claims `addresses`.
fn start_claiming(
    play: &Play,
    endpoint: &str,
    name: &str,
    addresses: &[IpAddr],
) -> Result<Started, Box<dyn Error>> {
    let file = play.stage.log(&format!("{name}.token"));
    fs::write(&file, token(&play.stage, name, addresses, &[])?)?;
    let program = binary("reachproof-agent")?;
    let mut command = play.stage.lab.command(endpoint, program.as_os_str())?;
    command
        .args([
            "run",
            "--coordinator",
            &format!("https://{}", play.dial.address),
        ])
        .args([OsStr::new("--ca"), play.dial.ca.as_os_str()])
        .args([OsStr::new("--token-file"), file.as_os_str()])
        .args(["--name", name, "--kind", "node", "--policy"])
        .arg(play.stage.policy())
        .stderr(fs::File::create(play.stage.log(name))?);
    for address in addresses {
        command.args(["--address", &address.to_string()]);
    }
    Ok(Started(command.spawn()?))
}

/// A process that ends with its owner.
struct Started(std::process::Child);

impl Drop for Started {
    fn drop(&mut self) {
        // One that ended by itself cannot be killed; there is nobody to tell.
        let _already_ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A second agent, whose name sorts first, claims the address of `node-1` with a token of its own.
pub(crate) fn claimed_twice() -> CaseResult {
    let mut play = Play::open(&World::builtin("default")?, WAIT)?;
    let address: IpAddr = "10.0.1.20".parse()?;
    let _twin = start_claiming(&play, "coredns", "aaa", &[address])?;
    std::thread::sleep(Duration::from_secs(2));
    play.start_agents(&[])?;
    let ended = play.end()?;
    assert_no_lies(&ended)?;
    let own = ended.findings.iter().filter(|finding| {
        let flow = &finding.flow;
        (flow.source == address || flow.destination == address)
            && !["bypass", "not_observed"].contains(&finding.kind.as_str())
            && finding.flow.protocol == "tcp"
    });
    let own: Vec<_> = own.collect();
    all_are("disputed", &own, 1, |finding| {
        finding.is_inconclusive(&["address-disputed", "bypass-silent"])
    })
}

/// One agent that can show nothing: no expectation is met by the model's word.
pub(crate) fn alone() -> CaseResult {
    let stage = Stage::up(&World::builtin("default")?)?;
    let (program, agent) = (binary("reachproof")?, binary("reachproof-agent")?);
    let launch = Launch {
        program: &program,
        snapshot: &stage.snapshot(),
        expect: OsStr::new("1"),
        wait: WAIT,
        scope: Depth::Mesh,
    };
    let (coordinator, dial) = Coordinator::launch(&stage, &launch)?;
    let mut agents = Agents::default();
    let mut places = stage.expanded.agents.iter();
    let place = places.find(|place| place.endpoint == "outsider-a");
    let place = place.ok_or("the world has no outsider")?;
    agents.add(&stage, AgentProgram::Agent(&agent), &dial, place)?;
    let (exit, report) = coordinator.finish()?;
    drop(agents);
    let states = |word: &str| {
        let all = report.get("expectations").and_then(Value::as_array);
        let fits = |one: &&Value| one.get("state").and_then(Value::as_str) == Some(word);
        all.into_iter().flatten().filter(fits).count()
    };
    let (met, unverified) = (states("met"), states("unverified"));
    if exit == 3 && met == 0 && unverified > 0 {
        return Ok(());
    }
    Err(format!("exit {exit}, {met} met, {unverified} unverified").into())
}

/// A process with one good token greets as each of the seven agents.
pub(crate) fn seven_greetings() -> CaseResult {
    let play = Play::open(&World::builtin("default")?, WAIT_IN_VAIN)?;
    let places = play.stage.expanded.agents.clone();
    let first = places.first().ok_or("the world has no agents")?;
    let token = fs::read_to_string(play.dial.token(first))?;
    let rogue = Rogue::at(&play.dial, token.trim())?;
    let mut refused = Vec::new();
    let mut links = Vec::new();
    for place in &places {
        match rogue.greet(place) {
            Ok(link) => links.push((place.endpoint.clone(), link)),
            Err(status) => refused.push((place.endpoint.clone(), status)),
        }
    }
    // Nobody is left who could be waited for.
    let taken: Vec<String> = links.into_iter().map(|(name, _link)| name).collect();
    let (exit, said) = play.coordinator.end()?;
    drop(play.agents);
    if taken != [first.endpoint.clone()] {
        return Err(format!("taken as {taken:?}").into());
    }
    if exit == Some(0) {
        return Err("exit 0".into());
    }
    for (name, status) in &refused {
        if !status.contains("differs from the identity") {
            return Err(format!("{name} is refused with another word: {status}").into());
        }
    }
    if !said.contains("refused") && !said.contains("differs") {
        return Err(format!("the coordinator says nothing of it: {said}").into());
    }
    Ok(())
}

/// A token for one run alone comes back in the next run with the same credentials; one for all of them is taken.
pub(crate) fn finished_run() -> CaseResult {
    let stage = Stage::up(&World::builtin("default")?)?;
    let program = binary("reachproof")?;
    let mut places = stage.expanded.agents.iter();
    let place = places.find(|place| place.endpoint == "node-1");
    let place = place.ok_or("the world has no node-1")?;
    let made = |more: &[&str]| token(&stage, &place.endpoint, &place.addresses, more);
    let (once, lasting) = (made(&["--once"])?, made(&[])?);
    let mut answers = Vec::new();
    let mut said = String::new();
    for _ in 0..2 {
        let (coordinator, dial) = Coordinator::start(&stage, &program, WAIT)?;
        for token in [&once, &lasting] {
            let answer = Rogue::at(&dial, token)?.greet(place);
            answers.push(answer.map_or_else(|status| status, |_link| "taken".to_owned()));
        }
        coordinator.signal(Signal::SIGTERM)?;
        said = coordinator.end()?.1;
    }
    let over = "the token was made for one run and that is over";
    let is_refused = answers.get(2).is_some_and(|answer| answer.contains(over));
    answers.remove(2);
    if !is_refused || answers != ["taken"; 3] || !said.contains(over) {
        return Err(format!("refused: {is_refused}, others {answers:?}; {said}").into());
    }
    Ok(())
}

/// Agents with good tokens for addresses that are nobody's: others must never be told to call them.
pub(crate) fn strange_addresses() -> CaseResult {
    let strange = ["127.0.0.1", "224.0.0.1", "10.0.1.77", "0.0.0.0"];
    let mut play = Play::open(&World::builtin("default")?, WAIT)?;
    let mut running = Vec::new();
    for (number, address) in strange.iter().enumerate() {
        let name = format!("strange-{number}");
        let made = start_claiming(&play, "coredns", &name, &[address.parse()?]);
        running.push((name, made));
    }
    play.start_agents(&[])?;
    let ended = play.end()?;
    assert_no_lies(&ended)?;
    let present = ended.report.pointer("/agents/present");
    let present = present.map(Value::to_string).unwrap_or_default();
    if present.contains("\"strange-") {
        return Err(format!("somebody without an interface is present: {present}").into());
    }
    let refused = ended.report.pointer("/agents/refused/listed");
    let mut refused = refused.and_then(Value::as_array).into_iter().flatten();
    let is_named = refused.any(|one| {
        let says = |field: &str, word: &str| {
            let text = one.get(field).and_then(Value::as_str);
            text.is_some_and(|text| text.contains(word))
        };
        says("name", "strange-2") && says("reason", "10.0.1.77")
    });
    if !is_named {
        return Err("the report does not name who was refused".into());
    }
    for address in strange {
        let address: IpAddr = address.parse()?;
        let mut flows = ended.findings.iter().map(|finding| &finding.flow);
        if let Some(flow) = flows.find(|flow| flow.destination == address || flow.source == address)
        {
            return Err(format!("nobody's address is in a flow: {flow:?}").into());
        }
    }
    for (name, made) in running {
        // Some addresses get no token in the first place.
        if made.is_ok() && !was_refused(&ended.stage.log(&name))? {
            return Err(format!("{name} was not refused").into());
        }
    }
    Ok(())
}

/// Whether an agent's log says that it was not let in, or that it would not even ask.
fn was_refused(log: &Path) -> Result<bool, Box<dyn Error>> {
    let log = fs::read_to_string(log)?;
    let words = ["refused", "not an address of", "address"];
    Ok(words.iter().any(|word| log.contains(word)) && !log.contains("assignment taken"))
}
