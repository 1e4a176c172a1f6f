//! The HTML report in a real browser: Chromium opens the file from disk, with nothing to connect to.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use reachproof_model::finding::FindingKind;
use reachproof_verify::Report;
use reachproof_verify::report::json::render;
use serde_json::{Value, json};

/// What looks for barriers, from npm.
const AXE: &str = "axe-core@4.14.1";

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

/// The page of a saved report.
fn page(report: &Path, home: &Path) -> String {
    let file = home.join("report.html");
    let output = Command::new(env!("CARGO_BIN_EXE_reachproof"))
        .arg("report")
        .arg(report)
        .arg("--report")
        .arg(format!("html={}", file.display()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    fs::read_to_string(file).unwrap()
}

/// A report of the lab's world `drift-open`.
fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("verify/tests/old/report.json.gz")
}

/// A report of a flow between each of 100 sources and 100 destinations, all of classes of their own.
fn of_10_000_pairs(home: &Path) -> PathBuf {
    let mut report = Report::open(&recorded()).unwrap();
    let (label, pattern) = (
        report.endpoints.values().next().unwrap().clone(),
        report.findings.clone(),
    );
    let address = |network: u32, number: usize| {
        IpAddr::V4(Ipv4Addr::from(network + u32::try_from(number).unwrap()))
    };
    report.findings = (0..10_000)
        .zip(pattern.iter().cycle())
        .map(|(number, finding)| {
            let mut finding = finding.clone();
            finding.flow.source = address(0x0a00_0000, number % 100);
            finding.flow.destination = address(0x0a01_0000, number / 100);
            for end in [finding.flow.source, finding.flow.destination] {
                let mut label = label.clone();
                label.name = format!("node-{end}");
                label.class = format!("node group {end}");
                report.endpoints.insert(end, label);
            }
            finding.prediction.flow = finding.flow.clone();
            finding
        })
        .collect();
    // What needs attention first, as in every report.
    report.findings.sort_by_key(|finding| finding.kind);
    report.expectations.clear();
    report.causes.clear();
    let path = home.join("large.json");
    fs::write(&path, render(&report).unwrap()).unwrap();
    path
}

/// The page with the data of a matrix of 500 x 500 classes in the place of its own.
fn with_500_classes(page: &str) -> String {
    let names: Vec<String> = (0..500)
        .map(|number| format!("class {number:03}"))
        .collect();
    let ends: Vec<[usize; 2]> = (0..500).map(|number| [number, number]).collect();
    let kinds = FindingKind::ALL.map(FindingKind::as_str);
    let column = |of: fn(usize) -> usize| -> Vec<usize> { (0..250_000).map(of).collect() };
    let flows = json!({
        "kind": column(|number| number % 6),
        "source": column(|number| number / 500),
        "destination": column(|number| number % 500),
        "line": column(|_| 0),
        "gates": [],
        "attempts": [],
    });
    let data = json!({"strings": names, "kinds": kinds, "ends": ends, "flows": flows});
    let begin = page.find("id=\"data\">").unwrap() + "id=\"data\">".len();
    let end = begin + page[begin..].find("</script>").unwrap();
    format!("{}{data}{}", &page[..begin], &page[end..])
}

/// The page without its policy and with axe in it, which leaves what it finds at the root of the page.
fn with_axe(page: &str, home: &Path) -> String {
    let installed = Command::new("npm")
        .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
        .arg(home)
        .arg(AXE)
        .output()
        .unwrap();
    assert!(installed.status.success(), "{installed:?}");
    let axe = fs::read_to_string(home.join("node_modules/axe-core/axe.min.js")).unwrap();
    let policy = page
        .find("<meta http-equiv=\"Content-Security-Policy\"")
        .unwrap();
    let rest = policy + page[policy..].find('>').unwrap() + 1;
    let run = "axe.run(document).then((found) => { const serious = found.violations\
        .filter((one) => ['serious', 'critical'].includes(one.impact))\
        .map((one) => `${one.id}: ${one.nodes[0].html}`);\
        document.documentElement.dataset.rules = found.passes.length + found.violations.length;\
        document.documentElement.dataset.serious = serious.length;\
        document.documentElement.dataset.found = serious.join(' | '); });";
    // A function as replacement: axe has `$&` in it.
    let scripts = format!("<script>{axe}</script><script type=\"module\">{run}</script></body>");
    format!("{}{}", &page[..policy], &page[rest..]).replacen("</body>", &scripts, 1)
}

#[test]
#[ignore = "needs Chromium"]
fn a_page_of_10_000_pairs_is_small_and_500_classes_are_painted() {
    let home = tempfile::tempdir().unwrap();
    let large = page(&of_10_000_pairs(home.path()), home.path());
    println!("10,000 pairs: {} KiB", large.len() >> 10);
    assert!(large.len() <= 2 << 20, "{} KiB", large.len() >> 10);
    let file = home.path().join("report.html");
    for (text, flows) in [(large.clone(), 10_000), (with_500_classes(&large), 250_000)] {
        fs::write(&file, text).unwrap();
        let opened = open(&file, home.path());
        assert_eq!(left(&opened.page, "flows"), flows);
        // A busy machine takes longer: the figure is for docs/figures.md.
        let painted = left(&opened.page, "painted");
        println!("{flows} flows: painted in {painted} ms (goal 300)");
    }
}

#[test]
#[ignore = "needs Chromium and npm"]
fn axe_finds_nothing_serious_in_the_page() {
    let home = tempfile::tempdir().unwrap();
    let text = with_axe(&page(&recorded(), home.path()), home.path());
    let file = home.path().join("report.html");
    fs::write(&file, text).unwrap();
    let opened = open(&file, home.path());
    let found = opened.page.split("data-found=\"").nth(1);
    let found = found.unwrap_or_default().split('"').next();
    assert!(left(&opened.page, "rules") > 20, "axe did not look");
    assert_eq!(left(&opened.page, "serious"), 0, "{found:?}");
}

#[test]
#[ignore = "needs Chromium"]
fn the_page_paints_every_flow_asks_for_nothing_and_complains_about_nothing() {
    let home = tempfile::tempdir().unwrap();
    page(&recorded(), home.path());
    let file = home.path().join("report.html");
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
