//! The real binaries `reachproof` and `reachproof-agent` as processes in a lab.

use std::error::Error;
use std::fs;
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use reachproof_lab::world::World;
use reachproof_model::plan::Depth;
use reachproof_tests::agents::{AgentProgram, Agents, Dial, token};
use reachproof_tests::binaries::{binary, build};
use reachproof_tests::coordinator::Coordinator;
use reachproof_tests::harness::{Case, CaseResult, run_cases_together};
use reachproof_tests::judge::differences;
use reachproof_tests::stage::Stage;
use reachproof_verify::credentials::{CA_CERTIFICATE_FILE, TOKEN_LIFE};
use reachproof_verify::report::FORMATS;
use reachproof_verify::{Credentials, SystemRandomness};
use serde_json::Value;

/// Longest wait for agents where all of them come.
const WAIT: Duration = Duration::from_secs(60);

/// Wait for agents where some never come.
const WAIT_IN_VAIN: Duration = Duration::from_secs(6);

/// How long the cut lasts: longer than an agent's first attempts to come back.
const CUT: Duration = Duration::from_secs(3);

/// Cases that run at a time: they mostly wait.
const TOGETHER: usize = 3;

fn main() -> ExitCode {
    run_cases_together(
        || Ok(build()?),
        &[
            Case {
                name: "the_binaries_end_as_the_world_states",
                ignored: None,
                run: end_as_stated,
            },
            Case {
                name: "expectations_of_ones_own_are_judged_on_the_wire",
                ignored: None,
                run: judge_own,
            },
            Case {
                name: "rules_show_every_tuple_with_fewer_flows_than_the_mesh",
                ignored: None,
                run: cover_rules,
            },
            Case {
                name: "a_run_that_is_stopped_stops_its_agents_and_ends_with_2",
                ignored: None,
                run: stop,
            },
            Case {
                name: "an_agent_with_a_wrong_token_a_wrong_ca_or_none_is_refused",
                ignored: None,
                run: refuse,
            },
            Case {
                name: "a_stream_cut_in_the_middle_of_a_run_changes_no_verdict",
                ignored: None,
                run: cut,
            },
            Case {
                name: "a_coordinator_that_was_paused_for_a_minute_changes_no_verdict",
                ignored: Some("needs two minutes"),
                run: pause,
            },
            Case {
                name: "a_half_open_stream_is_noticed_and_changes_no_verdict",
                ignored: Some("needs a minute"),
                run: half_open,
            },
            Case {
                name: "a_killed_agent_is_said_to_be_lost_and_no_finding_rests_on_it_alone",
                ignored: Some("needs a minute"),
                run: kill_agent,
            },
            Case {
                name: "an_agent_that_never_came_is_explained_by_the_way_to_the_coordinator",
                ignored: None,
                run: explain_absence,
            },
        ],
        TOGETHER,
    )
}

/// Runs a world to its end with the binaries; `during` is called once the agents are started.
fn play(
    world: &World,
    wait: Duration,
    during: impl FnOnce(&Stage) -> CaseResult,
) -> Result<(u8, Value, Stage), Box<dyn Error>> {
    let stage = Stage::up(world)?;
    let (coordinator, agents) = under_way(&stage, wait, Depth::Mesh)?;
    during(&stage)?;
    let (exit, report) = coordinator.finish()?;
    drop(agents);
    Ok((exit, report, stage))
}

/// A run on its way: the coordinator, with as much to try as `scope` says, and an agent at each of the world's places.
fn under_way(
    stage: &Stage,
    wait: Duration,
    scope: Depth,
) -> Result<(Coordinator, Agents), Box<dyn Error>> {
    let program = binary("reachproof")?;
    let (coordinator, dial) = Coordinator::start_with(stage, &program, wait, scope)?;
    let agent = binary("reachproof-agent")?;
    let agent = AgentProgram::Agent(&agent);
    let agents = Agents::start(stage, agent, &dial, &stage.expanded.agents)?;
    Ok((coordinator, agents))
}

/// Fails if a report is not as its world states.
fn judge(world: &World, exit: u8, report: &Value, stage: &Stage) -> CaseResult {
    let found = differences(&world.expect, report, exit, stage.lab.endpoints())?;
    if found.is_empty() {
        Ok(())
    } else {
        Err(found.join("\n").into())
    }
}

/// Twelve expectations over the default world, of which eight are seen on the wire: the others have the
/// control plane or UDP among them, or are broken.
fn judge_own() -> CaseResult {
    let stage = Stage::up(&World::builtin("default")?)?;
    let program = binary("reachproof")?;
    let mut command = stage.coordinator_command(&program)?;
    command
        .arg("verify")
        .arg("--snapshot")
        .arg(stage.snapshot());
    let own = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../coordinator/tests/expectations/right.yaml"
    );
    command.args(["--expectations", own]);
    let expected = Coordinator::expect_all(&stage)?;
    let (coordinator, dial) =
        Coordinator::spawn(&stage, command, expected.as_os_str(), WAIT, Depth::Mesh)?;
    let agent = binary("reachproof-agent")?;
    let agent = AgentProgram::Agent(&agent);
    let agents = Agents::start(&stage, agent, &dial, &stage.expanded.agents)?;
    let (exit, report) = coordinator.finish()?;
    drop(agents);
    let judged = report.get("expectations").and_then(Value::as_array);
    let judged = judged.ok_or("the report has no expectations")?;
    let mut met = 0;
    let mut wrong = Vec::new();
    for one in judged {
        let of = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, state) = (of("name"), of("state"));
        let is_broken =
            name.starts_with("broken: ") && name != "broken: only one outsider has the port";
        met += usize::from(name.contains(": ") && state == "met");
        let is_right = match state {
            "met" | "predicted" => !is_broken,
            "broken" => is_broken,
            _ => false,
        };
        if !is_right {
            wrong.push(format!("{one}"));
        }
    }
    if exit != 1 || met < 8 || judged.len() < 15 || !wrong.is_empty() {
        let told = wrong.join("\n");
        return Err(format!("exit {exit}, {met} met of {}: {told}", judged.len()).into());
    }
    Ok(())
}

fn end_as_stated() -> CaseResult {
    let world = World::builtin("node-sg")?;
    let (exit, report, stage) = play(&world, WAIT, |_| Ok(()))?;
    judge(&world, exit, &report, &stage)?;
    let findings = report.get("findings").and_then(Value::as_array);
    let findings = findings.map_or(0, Vec::len);
    for format in &FORMATS {
        let text = fs::read_to_string(stage.log(format.name))?;
        let is_right = match format.name {
            "table" => text.contains("FAIL  1 cause breaks 6 required flows"),
            "json" => serde_json::from_str::<Value>(&text)? == report,
            "ndjson" => text.lines().count() == findings,
            "csv" => text.lines().count() == findings + 1,
            "html" => {
                text.contains("<span class=\"mark\">FAIL</span> 1 cause breaks 6 required flows")
            }
            "markdown" => text.starts_with("## FAIL: 1 cause breaks 6 required flows\n"),
            "markdown-short" => text.starts_with("## FAIL: 1 cause breaks 6 required flows\n"),
            "github" => text
                .starts_with("::notice title=reachproof%3A FAIL::1 cause breaks 6 required flows"),
            "junit" => text.contains(r#"<failure message="broken: 4 broken">node group workers"#),
            _ => false,
        };
        if !is_right {
            return Err(format!("{} is wrong: {text}", format.name).into());
        }
    }
    Ok(())
}

/// What `rules` promises, seen in the report of a run that tried no more.
fn cover_rules() -> CaseResult {
    let world = World::builtin("default")?;
    let stage = Stage::up(&world)?;
    let (coordinator, agents) = under_way(&stage, WAIT, Depth::Rules)?;
    let (exit, report) = coordinator.finish()?;
    drop(agents);
    if exit != world.expect.exit {
        return Err(format!("exit {exit}: {report}").into());
    }
    let at = |path: &str| report.pointer(path).cloned().unwrap_or_default();
    if at("/run/scope") != "rules" {
        return Err(format!("the run is {}", at("/run")).into());
    }
    let coverage = at("/coverage/relation");
    for share in ["tuples", "sources", "targets"] {
        let share = coverage.get(share).ok_or("the coverage lacks a share")?;
        if share.get("all") != share.get("shown") || share.get("all") == Some(&Value::from(0)) {
            return Err(format!("not all was shown: {coverage}").into());
        }
    }
    let listed = |list: &str| at(&format!("/coverage/relation/rules/{list}"));
    if listed("missing") != Value::Array(Vec::new()) {
        return Err(format!("rules are missing: {}", listed("missing")).into());
    }
    let named = listed("shown").as_array().map_or(0, Vec::len);
    if named == 0 {
        return Err("no rule was shown".into());
    }
    let flows = at("/coverage/flows_planned").as_u64();
    match flows {
        Some(flows) if flows < MESH_FLOWS => Ok(()),
        Some(_) | None => Err(format!("{flows:?} flows are no fewer than the mesh has").into()),
    }
}

/// Flows between the agents of the world `default`, and from them to the control plane, when every pair is tried.
const MESH_FLOWS: u64 = 100;

/// How long agents may go on after the end of a run (security.md, "Limits of probing").
const STOP_MAX: Duration = Duration::from_secs(2);

/// Longer than the time between two attempts of a probe: who goes on is seen.
const NEXT_ATTEMPT: Duration = Duration::from_secs(6);

/// Asks the coordinator to end in the middle of a run, as Ctrl-C and as a supervisor do.
fn stop() -> CaseResult {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let world = World::builtin("default")?;
        let stage = Stage::up(&world)?;
        let (coordinator, agents) = under_way(&stage, WAIT, Depth::Mesh)?;
        for place in &stage.expanded.agents {
            stage.lab.within(&place.endpoint, || {
                count_probes().map_err(|error| error.to_string())
            })??;
        }
        stage.await_listeners()?;
        std::thread::sleep(STOP_MAX);
        let before = probes_of_all(&stage)?;
        coordinator.signal(signal)?;
        let (exit, said) = coordinator.end()?;
        std::thread::sleep(STOP_MAX);
        let stopped = probes_of_all(&stage)?;
        std::thread::sleep(NEXT_ATTEMPT);
        let after = probes_of_all(&stage)?;
        drop(agents);
        if exit != Some(2) || !said.contains("stopped before the run was over") {
            return Err(format!("{signal}: exit {exit:?}, {said}").into());
        }
        if before == 0 || after != stopped {
            let counts = format!("{before} before, {stopped} when stopped, {after} after");
            return Err(format!("{signal}: agents went on: {counts}").into());
        }
    }
    Ok(())
}

/// Rules that count the SYNs which leave a host, all but those to the coordinator.
const COUNT_RULES: &str = "add table inet probes
add chain inet probes output { type filter hook output priority 0; }
add rule inet probes output tcp flags & (syn | ack) == syn tcp dport != 7443 counter";

/// Counts probes from now on in the namespace that the thread is in.
fn count_probes() -> CaseResult {
    nft(COUNT_RULES).map(|_| ())
}

/// Sums up the SYNs of all agents.
fn probes_of_all(stage: &Stage) -> Result<u64, Box<dyn Error>> {
    let mut sum = 0;
    for place in &stage.expanded.agents {
        let rules = stage.lab.within(&place.endpoint, || {
            nft("list table inet probes").map_err(|error| error.to_string())
        })??;
        sum += counted(&rules).ok_or_else(|| format!("no counter in {rules}"))?;
    }
    Ok(sum)
}

/// The packets of the first counter of some rules.
fn counted(rules: &str) -> Option<u64> {
    let rest = rules.split("counter packets ").nth(1)?;
    rest.split(' ').next()?.parse().ok()
}

/// Four agents try to attach with something that is not right; the others attach.
fn refuse() -> CaseResult {
    let world = World::builtin("default")?;
    let stage = Stage::up(&world)?;
    let (coordinator, dial) = Coordinator::start(&stage, &binary("reachproof")?, WAIT_IN_VAIN)?;
    let agent = binary("reachproof-agent")?;
    let other = stage.log("other-credentials");
    let credentials = Credentials::in_directory(&other, &SystemRandomness::default())?;
    let foreign = Dial {
        ca: other.join(CA_CERTIFICATE_FILE),
        ..dial.clone()
    };
    let mut agents = Agents::default();
    for place in &stage.expanded.agents {
        let mut own = &dial;
        match place.endpoint.as_str() {
            "node-1" => {
                let now = SystemTime::now();
                dial.give(place, &token(&credentials, place, now, TOKEN_LIFE)?)?;
            }
            "node-2" => own = &foreign,
            "web" => dial.give(place, "")?,
            "fargate-b" => fs::remove_file(dial.token(place))?,
            _ => {}
        }
        agents.add(&stage, AgentProgram::Agent(&agent), own, place)?;
    }
    let (exit, report) = coordinator.finish()?;
    drop(agents);
    let present = names(&report, "present")?;
    let missing = names(&report, "missing")?;
    if present != ["fargate-a", "outsider-a", "outsider-b"] {
        return Err(format!("present: {present:?}, exit {exit}").into());
    }
    if missing != ["fargate-b", "node-1", "node-2", "web"] {
        return Err(format!("missing: {missing:?}").into());
    }
    Ok(())
}

/// Names of the agents that a report lists as `present` or `missing`, sorted.
fn names(report: &Value, list: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let list = report
        .pointer(&format!("/agents/{list}"))
        .and_then(Value::as_array);
    let list = list.ok_or("the report lists no agents")?;
    let names = list
        .iter()
        .filter_map(|agent| agent.get("name")?.as_str().map(str::to_owned));
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

/// Resets every stream once the agents listen for each other, and lets none come back for a while.
fn cut() -> CaseResult {
    let world = World::builtin("default")?;
    let (exit, report, stage) = play(&world, WAIT, |stage| {
        stage.await_listeners()?;
        nft(CUT_RULES)?;
        std::thread::sleep(CUT);
        let rules = nft("list table inet cut")?;
        nft("delete table inet cut")?;
        match counted(&rules) {
            Some(packets) if packets > 0 => Ok(()),
            Some(_) | None => Err(format!("the cut met no packet: {rules}").into()),
        }
    })?;
    judge(&world, exit, &report, &stage)
}

/// How long the coordinator is paused: longer than a dead stream takes to be noticed.
const PAUSED: Duration = Duration::from_secs(60);

/// Pauses the coordinator while the agents probe.
fn pause() -> CaseResult {
    let world = World::builtin("default")?;
    let stage = Stage::up(&world)?;
    let (coordinator, agents) = under_way(&stage, WAIT, Depth::Mesh)?;
    stage.await_listeners()?;
    coordinator.signal(Signal::SIGSTOP)?;
    std::thread::sleep(PAUSED);
    coordinator.signal(Signal::SIGCONT)?;
    let (exit, report) = coordinator.finish()?;
    drop(agents);
    judge(&world, exit, &report, &stage)?;
    streams_were_lost(&stage)?;
    nothing_lost(&report)
}

/// Drops every packet of the streams, both ways, until both ends have noticed.
fn half_open() -> CaseResult {
    let world = World::builtin("default")?;
    let (exit, report, stage) = play(&world, WAIT, |stage| {
        stage.await_listeners()?;
        nft(HALF_OPEN_RULES)?;
        std::thread::sleep(HALF_OPEN);
        nft("delete table inet cut")?;
        Ok(())
    })?;
    judge(&world, exit, &report, &stage)?;
    streams_were_lost(&stage)?;
    nothing_lost(&report)
}

/// How long the streams are half open: until their keep-alive has run out (25 s).
const HALF_OPEN: Duration = Duration::from_secs(28);

/// Rules that drop what comes to the control port and what goes back, without a word.
const HALF_OPEN_RULES: &str = "add table inet cut
add chain inet cut input { type filter hook input priority 0; }
add rule inet cut input tcp dport 7443 drop
add chain inet cut output { type filter hook output priority 0; }
add rule inet cut output tcp sport 7443 drop";

/// Fails if not every agent has noticed that its stream was dead: then nothing was tested.
fn streams_were_lost(stage: &Stage) -> CaseResult {
    for place in &stage.expanded.agents {
        let log = fs::read_to_string(stage.log(&place.endpoint))?;
        if !log.contains("stream lost") {
            return Err(format!("{} did not notice the dead stream: {log}", place.endpoint).into());
        }
    }
    Ok(())
}

/// Fails if a report says that a result was lost, or if attempts of one probe were counted twice.
fn nothing_lost(report: &Value) -> CaseResult {
    let agents = report.pointer("/agents/present").and_then(Value::as_array);
    for agent in agents.ok_or("the report lists no agents")? {
        for count in ["results_lost", "batches_lost"] {
            if agent.get(count).and_then(Value::as_u64).unwrap_or(0) != 0 {
                return Err(format!("an agent lost results: {agent}").into());
            }
        }
    }
    let findings = report.get("findings").and_then(Value::as_array);
    for finding in findings.ok_or("the report has no findings")? {
        let attempts = finding
            .pointer("/observation/attempts")
            .and_then(Value::as_array);
        if attempts.is_some_and(|attempts| attempts.len() > ATTEMPTS_MOST) {
            return Err(format!("attempts were counted twice: {finding}").into());
        }
    }
    Ok(())
}

/// Most attempts of one flow: the ports of a partial one, or the attempts of a silent one.
const ATTEMPTS_MOST: usize = 16;

/// Kills an agent in the middle of its probes: what it had said stands, the rest is inconclusive, never a denial.
fn kill_agent() -> CaseResult {
    let world = World::builtin("default")?;
    let stage = Stage::up(&world)?;
    let (coordinator, mut agents) = under_way(&stage, WAIT, Depth::Mesh)?;
    stage.await_listeners()?;
    agents.kill("web")?;
    let (_, report) = coordinator.finish()?;
    drop(agents);
    let findings = report.get("findings").and_then(Value::as_array);
    let kinds = |kind: &str| {
        let of_kind = |finding: &&Value| finding.get("kind").and_then(Value::as_str) == Some(kind);
        findings.into_iter().flatten().filter(of_kind).count()
    };
    let (closed, inconclusive) = (kinds("contradiction_closed"), kinds("inconclusive"));
    if closed > 0 || inconclusive == 0 {
        return Err(format!("{closed} contradictions closed, {inconclusive} inconclusive").into());
    }
    Ok(())
}

/// Rules that reset what comes to the control port over the management links.
const CUT_RULES: &str = "add table inet cut
add chain inet cut input { type filter hook input priority 0; }
add rule inet cut input tcp dport 7443 counter reject with tcp reset";

/// Gives `nft` a script in the lab's root namespace, where this test runs.
fn nft(script: &str) -> Result<String, Box<dyn Error>> {
    let output = Command::new("nft").arg(script).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
}

/// Agents reach the coordinator through the VPC, and the group of its host admits none of them on 7443.
fn explain_absence() -> CaseResult {
    let mut world = World::builtin("default")?;
    world.coordinator = Some("outsider-a".to_owned());
    let (_, report, _stage) = play(&world, WAIT_IN_VAIN, |_| Ok(()))?;
    let present = names(&report, "present")?;
    if present != ["outsider-a"] {
        return Err(format!("present: {present:?}").into());
    }
    let missing = report.pointer("/agents/missing").and_then(Value::as_array);
    for name in ["web", "fargate-a", "fargate-b"] {
        let agent = missing
            .into_iter()
            .flatten()
            .find(|agent| agent.get("name").and_then(Value::as_str) == Some(name));
        let predicted = |field: &str| {
            let path = format!("/explanation/prediction/{field}");
            agent
                .and_then(|agent| agent.pointer(&path))
                .and_then(Value::as_str)
        };
        let (verdict, gate, at) = (predicted("verdict"), predicted("gate"), predicted("at"));
        if (verdict, gate, at) != (Some("deny"), Some("sg-ingress"), Some("eni-outsider-a")) {
            return Err(format!("{name} is not explained: {agent:?}").into());
        }
    }
    Ok(())
}
