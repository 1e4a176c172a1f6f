//! The HTML report in a real browser: Chromium opens the file from disk, with nothing to connect to.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What Chromium makes of a file: the page after its script, what it logs, and the addresses that it asks for.
struct Opened {
    page: String,
    log: String,
    requests: Vec<String>,
}

fn open(file: &Path, home: &Path) -> Opened {
    let net = home.join("net.json");
    let output = Command::new("chromium")
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
        ])
        .args([
            "--disable-component-update",
            "--disable-background-networking",
        ])
        .args([
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--enable-logging=stderr",
        ])
        .args(["--virtual-time-budget=10000", "--window-size=1280,900"])
        .arg(format!(
            "--user-data-dir={}",
            home.join("profile").display()
        ))
        .arg(format!("--log-net-log={}", net.display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let log: Value = serde_json::from_str(&fs::read_to_string(&net).unwrap()).unwrap();
    let start = &log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"];
    let events = log["events"].as_array().unwrap().iter();
    let asked = events.filter(|event| event["type"] == *start);
    let asked = asked.filter_map(|event| event["params"]["url"].as_str());
    // The browser itself asks its maker about accounts and components: those are not of the page.
    let of_page = asked.filter(|url| !url.contains(".google") && !url.contains("gvt1.com"));
    Opened {
        page: String::from_utf8(output.stdout).unwrap(),
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
        requests: of_page.map(str::to_owned).collect(),
    }
}

/// What the script left at the root of the page.
fn left(page: &str, name: &str) -> usize {
    let begin = page.split(&format!("data-{name}=\"")).nth(1).unwrap();
    begin.split('"').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs Chromium"]
fn the_page_paints_every_flow_asks_for_nothing_and_complains_about_nothing() {
    let home = tempfile::tempdir().unwrap();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("verify/tests/old/report.json.gz");
    let file = home.path().join("report.html");
    let output = Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .arg("report")
        .arg(&recorded)
        .arg("--report")
        .arg(format!("html={}", file.display()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let opened = open(&file, home.path());
    assert_eq!(left(&opened.page, "flows"), 78);
    assert!(
        left(&opened.page, "painted") <= 300,
        "{}",
        left(&opened.page, "painted")
    );
    assert!(
        opened.page.contains("2 contradiction_open")
            || opened.page.contains("contradiction_open (ring): 2")
    );
    let complaints = opened.log.lines().filter(|line| line.contains("CONSOLE"));
    assert_eq!(complaints.collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(opened.requests, Vec::<String>::new());
}
