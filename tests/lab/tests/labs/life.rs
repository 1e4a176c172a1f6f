//! The end of a lab.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reachproof_lab::{Lab, LabPlan};

use crate::{address, run, snapshot};

/// Set for the program that is killed in the middle; its value marks the processes below it.
pub(crate) const HOLD: &str = "REACHPROOF_LAB_TEST_HOLD";
/// How long the kernel may take to clean up.
const CLEAN_UP_MAX: Duration = Duration::from_secs(10);

/// Builds a lab with a process in it, says so, and waits to be killed.
#[expect(clippy::exit, reason = "whoever waited for it has no use for its end")]
pub(crate) fn hold() -> ! {
    let lab = Lab::up(&LabPlan {
        snapshot: snapshot("A01"),
        ..LabPlan::default()
    })
    .unwrap();
    let host = lab.endpoint_at(address("10.0.1.20")).unwrap().name.clone();
    let mut sleep = lab
        .command(&host, OsStr::new("sleep"))
        .unwrap()
        .arg("600")
        .spawn()
        .unwrap();
    println!("up");
    sleep.wait().unwrap();
    std::process::exit(0)
}

pub(crate) fn nothing_is_left_when_the_program_is_killed() {
    for signal in ["KILL", "TERM", "INT"] {
        let mark = format!("{signal}-{}", std::process::id());
        // Whoever starts the tests in the background leaves them without SIGINT; a person at a terminal has it.
        let mut held = Command::new("env")
            .arg("--default-signal")
            .arg(std::env::current_exe().unwrap())
            .env(HOLD, &mark)
            .env_remove("REACHPROOF_LAB_STAGE")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(held.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "up\n");
        let before = marked_at_least(4, &mark);
        assert!(before >= 4, "{before} processes of a lab that is up");
        run(Command::new("kill"), &format!("-{signal} {}", held.id()));
        let started = Instant::now();
        while marked(&mark) > 0 {
            assert!(
                started.elapsed() < CLEAN_UP_MAX,
                "{} processes left after {signal}",
                marked(&mark)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        held.wait().unwrap();
        println!(
            "  {signal}: {before} processes gone in {:.2} s",
            started.elapsed().as_secs_f64()
        );
    }
}

/// How many living processes carry `mark`, once they are `wanted` or [`CLEAN_UP_MAX`] is over.
///
/// A process that is just being started shows no environment for a moment.
fn marked_at_least(wanted: usize, mark: &str) -> usize {
    let started = Instant::now();
    loop {
        let count = marked(mark);
        if count >= wanted || started.elapsed() >= CLEAN_UP_MAX {
            return count;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many living processes carry `mark` in their environment.
fn marked(mark: &str) -> usize {
    let needle = format!("{HOLD}={mark}");
    let processes = fs::read_dir("/proc")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("environ"));
    processes
        .filter_map(|path| fs::read(path).ok())
        .filter(|environment| {
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == needle.as_bytes())
        })
        .count()
}
