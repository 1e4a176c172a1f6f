//! What the store promises, with processes that are killed and servers that crash: what a call has returned from is there, once
//! and whole; one process leads.
//!
//! `REACHPROOF_KILLS=N` kills so often (20 by default), at instants that `REACHPROOF_SEED` repeats.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "../serve/http.rs"]
#[expect(dead_code, reason = "alerts are a matter of the other test")]
mod http;
mod postgresql;
mod runs;
mod service;

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use reachproof_service::store::leader::{Attempt, Lead};
use reachproof_service::store::{Place, RunState, Store, StoreError};

use serde_json::Value;

use self::postgresql::Server;
use self::service::Service;

/// Tells the writer, which is this program once more, which store it writes to until it is killed.
const WRITES_TO: &str = "REACHPROOF_STORE_OF_WRITER";

/// How many times a writer is killed unless `REACHPROOF_KILLS` says so.
const KILLS: u64 = 20;

/// Longest time that a writer lives.
const LIFE_MAX_MS: u64 = 400;

fn place(text: &str) -> Place {
    Place::of(text, Path::new("/"))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The next number of a sequence that `seed` begins (SplitMix64).
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Stores one run after another, and says so of each once the store has it: for ever, if this is the writer that is killed.
#[tokio::test]
async fn a_writer_tells_of_nothing_that_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let given = std::env::var(WRITES_TO).ok();
    let own = folder.path().join("store.db").display().to_string();
    let store = Store::open(&place(given.as_deref().unwrap_or(&own)))
        .await
        .unwrap();
    store.interrupt().await.unwrap();
    let last = store.runs(1).await.unwrap();
    let first = last.first().map_or(0, |run| run.started_at_unix_ms + 1);
    let report = runs::report().unwrap();
    let mut told = Vec::new();
    for number in first.. {
        if given.is_none() && number == 7 {
            break;
        }
        runs::keep(&store, number, &report).await.unwrap();
        told.push(number);
        let mut out = std::io::stdout();
        writeln!(out, "stored {number}").unwrap();
        out.flush().unwrap();
    }
    runs::hold(&store, &told).await.unwrap();
}

/// A writer; what it says is read as it comes.
fn writer(place: &str) -> Result<Child, Box<dyn Error>> {
    Ok(Command::new(std::env::current_exe()?)
        .args([
            "--exact",
            "a_writer_tells_of_nothing_that_is_not_stored",
            "--nocapture",
        ])
        .env(WRITES_TO, place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?)
}

/// Kills writers at random instants; `crash` may do something to the store's server before each.
async fn kill_writers(
    text: &str,
    mut crash: impl FnMut(u64) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut seed = number("REACHPROOF_SEED").unwrap_or(u64::from(since_1970.subsec_nanos()));
    let kills = number("REACHPROOF_KILLS").unwrap_or(KILLS);
    println!("REACHPROOF_SEED={seed} REACHPROOF_KILLS={kills}");
    let (mut told, mut interrupted) = (Vec::new(), 0);
    for kill in 0..kills {
        let mut writer = writer(text)?;
        let lines = BufReader::new(writer.stdout.take().ok_or("no stdout")?).lines();
        // It is killed some time after its first word; what it said until then is read to the end.
        let life = Duration::from_millis(next(&mut seed) % LIFE_MAX_MS);
        let mut doom = None;
        let mut writer = Some(writer);
        for line in lines.map_while(Result::ok) {
            let Some((_, stored)) = line.split_once("stored ") else {
                continue;
            };
            told.push(stored.parse()?);
            if let Some(mut writer) = writer.take() {
                doom = Some(std::thread::spawn(move || {
                    std::thread::sleep(life);
                    writer.kill().and_then(|()| writer.wait())
                }));
            }
        }
        let doom = doom.ok_or("the writer said nothing")?.join();
        doom.map_err(|_| "no end of the writer")??;
        crash(kill)?;
        let store = Store::open(&place(text)).await?;
        interrupted += store.interrupt().await?.len();
        if let Place::File(_) = place(text) {
            assert_eq!(store.integrity().await?, "ok");
        }
        // The reports of all runs are read, which takes longer each time: a few times are enough.
        if kill + 1 == kills || kill % (kills / 3).max(1) == 1 {
            runs::hold(&store, &told).await?;
        }
        store.close().await;
    }
    println!(
        "{kills} kills, {} runs stored, {interrupted} interrupted: 0 missing, 0 twice",
        told.len()
    );
    assert!(u64::try_from(told.len())? >= kills);
    Ok(())
}

#[tokio::test]
#[ignore = "kills twenty processes: twenty seconds"]
async fn what_a_killed_process_stored_in_a_file_is_there_once_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db").display().to_string();
    kill_writers(&path, |_| Ok(())).await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL, and kills twenty processes: half a minute"]
async fn what_a_killed_process_stored_in_a_server_that_crashes_is_there_once_and_whole() {
    let mut server = Server::start().unwrap();
    let url = server.url();
    let crash = |kill: u64| {
        if kill % 3 == 2 {
            server.crash()?;
            server.again()?;
        }
        Ok(())
    };
    kill_writers(&url, crash).await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn who_lost_the_lead_writes_nothing_more() {
    let mut server = Server::start().unwrap();
    let report = runs::report().unwrap();
    // By TLS, too: a certificate that is not that server's is none.
    let urls = [server.url(), server.with_tls().unwrap()];
    for (number, url) in (1..).zip(urls) {
        let server = place(&url);
        let mut first = Lead::over(&server, "the first".to_owned());
        assert_eq!(first.attempt().await.unwrap(), Attempt::Leads);
        let old = Store::open(&server).await.unwrap();
        assert_eq!(first.attempt().await.unwrap(), Attempt::Leads);
        let mut second = Lead::over(&server, "the second".to_owned());
        let waits = Attempt::Waits("the first".to_owned());
        assert_eq!(second.attempt().await.unwrap(), waits);
        old.begin(&runs::begun(number)).await.unwrap();
        drop(first);
        let mut led = async || loop {
            if second.attempt().await.unwrap() == Attempt::Leads {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        tokio::time::timeout(Duration::from_secs(2), led())
            .await
            .unwrap();
        let new = Store::open(&server).await.unwrap();
        assert!(!old.leads().await.unwrap() && new.leads().await.unwrap());
        assert_eq!(new.interrupt().await.unwrap().len(), 1);
        for refused in [
            old.begin(&runs::begun(number + 10)).await,
            old.end(&runs::ended(number)).await,
            runs::keep(&old, number, &report).await,
        ] {
            assert!(matches!(refused, Err(StoreError::Deposed)), "{refused:?}");
        }
        let run = new.run(&runs::begun(number).id).await.unwrap().unwrap();
        assert_eq!(run.state, RunState::Interrupted);
        assert!(
            new.run(&runs::begun(number + 10).id)
                .await
                .unwrap()
                .is_none()
        );
        old.close().await;
        new.close().await;
    }
    let untrusted = server.with_tls().unwrap().replace("sslrootcert", "x");
    assert!(matches!(
        Store::open(&place(&untrusted)).await,
        Err(StoreError::Open { .. })
    ));
}

/// Longest time from the end of a leader to the next one.
const TAKES_OVER_MAX: Duration = Duration::from_secs(2);

#[test]
#[ignore = "needs PostgreSQL, and waits for runs: twenty seconds"]
fn a_service_outlives_its_server_and_one_of_two_leads() {
    outlive().unwrap();
}

fn outlive() -> Result<(), Box<dyn Error>> {
    let mut server = Server::start()?;
    let store = format!("url: '{}'", server.url());
    let mut first = Service::start(&store, 2)?;
    first.until_ready(200)?;
    let mut told = vec![first.run()?];
    // The server is away at the end of a run, and comes back.
    let asked = first.ask()?;
    server.crash()?;
    let noticed = first.until_ready(503)?;
    let fault = first.fault().ok_or("the state says nothing")?;
    assert!(fault.contains("the store"), "{fault}");
    std::thread::sleep(Duration::from_secs(3));
    server.again()?;
    let back = first.until_ready(200)?;
    told.push(first.ended(&asked)?);
    println!(
        "the state says after {noticed:.1?} that the server is away, after {back:.1?} that it is back"
    );
    // Another one waits, and leads when the first was killed.
    let second = Service::start(&store, 2)?;
    let waiting = format!("waiting: process {} on ", first.process.id());
    second.until("to wait", || second.said().contains(&waiting).then_some(()))?;
    let under_way = first.ask()?;
    first.until("a run to begin", || first.known(&under_way))?;
    first.kill()?;
    let took = second.until_ready(200)?;
    println!("another one leads {took:.1?} after the leader was killed");
    assert!(took < TAKES_OVER_MAX);
    let interrupted = second.known(&under_way).ok_or("the run is forgotten")?;
    assert_eq!(interrupted.get("state"), Some(&"interrupted".into()));
    told.push(interrupted);
    // Of two that look for a server which was away, one leads, and the other does nothing more.
    let mut pair = [second, Service::start(&store, 2)?];
    let [second, third] = &pair;
    third.until("to wait", || {
        third.said().contains("waiting: process ").then_some(())
    })?;
    server.crash()?;
    second.until_ready(503)?;
    server.again()?;
    let ready = || {
        let ready = [second, third].map(|one| one.ready() == Some(200));
        ready.contains(&true).then_some(ready)
    };
    let (ready, _) = second.until("one to lead", ready)?;
    let leader = usize::from(ready == [false, true]);
    let (leader, other) = match leader {
        0 => (0, 1),
        _ => (1, 0),
    };
    // It may find out a little later, and never says that it is ready meanwhile.
    let leading = pair.get(leader).ok_or("nobody leads")?;
    leading.until("the other to say nothing more", || {
        let said = pair.get(other).and_then(Service::ready);
        assert_ne!(said, Some(200), "two lead");
        said.is_none().then_some(())
    })?;
    if other == 0 {
        let [deposed, leader] = &mut pair;
        let (status, _) = leader.until("the other to end", || {
            deposed.process.try_wait().ok().flatten()
        })?;
        assert_eq!(status.code(), Some(2), "{}", deposed.said());
    }
    let leader = pair.get_mut(leader).ok_or("nobody leads")?;
    told.push(leader.run()?);
    let runs = leader.runs()?;
    for run in told {
        let same: Vec<_> = runs
            .iter()
            .filter(|one| one.get("id") == run.get("id"))
            .collect();
        assert_eq!(same, [&run]);
    }
    Ok(())
}

#[test]
#[ignore = "kills twenty services: a minute"]
fn what_a_killed_service_told_is_told_by_the_next_one() {
    kill_services().unwrap();
}

fn kill_services() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = format!("path: {}", folder.path().join("store.db").display());
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut seed = number("REACHPROOF_SEED").unwrap_or(u64::from(since_1970.subsec_nanos()));
    let kills = number("REACHPROOF_KILLS").unwrap_or(KILLS);
    println!("REACHPROOF_SEED={seed} REACHPROOF_KILLS={kills}");
    let (mut told, mut interrupted): (Vec<Value>, usize) = (Vec::new(), 0);
    for _ in 0..kills {
        // Runs end after a second, so that some are killed in their middle.
        let mut service = Service::start(&store, 1)?;
        service.until_ready(200)?;
        let runs = service.runs()?;
        for run in &told {
            let same = runs.iter().filter(|one| one.get("id") == run.get("id"));
            assert_eq!(same.collect::<Vec<_>>(), [run]);
        }
        service.ask()?;
        std::thread::sleep(Duration::from_millis(next(&mut seed) % 2_500));
        let ended = |run: &Value| run.get("state").is_some_and(|state| state != "running");
        told = service.runs()?.into_iter().filter(ended).collect();
        service.kill()?;
        interrupted = told
            .iter()
            .filter(|run| run.get("state") == Some(&"interrupted".into()))
            .inspect(|run| assert_eq!(run.get("verdict"), Some(&"".into())))
            .count();
    }
    assert!(told.len() > usize::try_from(kills)?, "{told:?}");
    println!(
        "{kills} kills, {} runs told, {interrupted} interrupted: 0 missing, 0 twice",
        told.len()
    );
    Ok(())
}
