#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use reachproof_model::plan::AgentKind;

use super::*;

const HEAD: &str = "apiVersion: reachproof/v1\nkind: Service\n";

fn parsed(text: &str) -> Result<Config, Fault> {
    parsed_with(text, &Variables::default())
}

fn parsed_with(text: &str, variables: &Variables) -> Result<Config, Fault> {
    let folder = Path::new("/etc/reachproof");
    Config::parse(&format!("{HEAD}{text}"), folder, variables)
}

#[test]
fn little_is_enough_and_paths_are_of_the_files_folder() {
    let config = parsed("world: {snapshot: world.json}\n").unwrap();
    let world = vec![("snapshot", "/etc/reachproof/world.json".to_owned())];
    assert_eq!(config.world, world);
    assert_eq!(
        config.store.place.to_string(),
        "/etc/reachproof/reachproof.db"
    );
    assert_eq!(config.web.listen.to_string(), "127.0.0.1:7080");
    assert_eq!(config.agents.listen.to_string(), "0.0.0.0:7443");
    assert_eq!(config.agents.accounts.len(), 2);
    assert!(config.schedules.is_empty() && config.alert.is_none() && !config.claims);
}

const EVERYTHING: &str = "world: {cluster: demo, region: eu-central-1, settle: 30s}
agents: {listen: '10.0.1.5:7443', credentials: /keys, secret: a/keys, publish: [a/ca, b/ca], installation: a/two, accounts: [a/b], connections-per-address: 64, expect: 7, wait: 2m}
web: {listen: '0.0.0.0:7080', report: a/last, certificate: tls.crt, key: tls.key, read-token-file: read, start-token-file: start}
store: {path: /data/store.db, keep-runs: 10, keep-days: 7}
expectations: expected.yaml
claims: true
schedules:
  - {name: smoke, cron: '*/30 * * * *', zone: Europe/Berlin, jitter: 1m, scope: required}
  - {name: changes, when: snapshot-changed, every: 5m}
alert: {url: 'https://hooks.example.com/x', form: slack}
";

#[test]
fn everything_can_be_set() {
    let config = parsed(EVERYTHING).unwrap();
    assert_eq!(config.settle, Some(Duration::from_secs(30)));
    assert_eq!(config.agents.wait, Duration::from_secs(120));
    assert_eq!(
        (config.agents.expect, config.agents.connections_per_address),
        (ExpectedAgents::Count(7), 64)
    );
    assert_eq!(config.store.place, Place::File("/data/store.db".into()));
    let pods = parsed("world: {cluster: demo}\nagents:\n  expect: pod,fargate\n").unwrap();
    let kinds = BTreeSet::from([AgentKind::Pod, AgentKind::Fargate]);
    assert_eq!(pods.agents.expect, ExpectedAgents::Inventory(kinds));
    let elsewhere = "world: {cluster: demo}\nstore: {url: 'postgres://me:secret@db/runs'}\n";
    let elsewhere = parsed(elsewhere).unwrap().store.place.to_string();
    assert_eq!(elsewhere, "postgres://db/runs");
    assert_eq!((config.store.keep_runs, config.store.keep_days), (10, 7));
    assert_eq!(
        config.agents.secret,
        Some(("a".to_owned(), "keys".to_owned()))
    );
    assert_eq!(config.agents.publish.len(), 2);
    assert_eq!(config.web.report, Some(("a".to_owned(), "last".to_owned())));
    assert_eq!(config.agents.installation.to_string(), "a/two");
    let schedules: Vec<_> = config
        .schedules
        .iter()
        .map(|one| (one.name.as_str(), one.scope))
        .collect();
    assert_eq!(
        schedules,
        [("smoke", Some(Depth::Required)), ("changes", None)]
    );
    assert_eq!(config.alert.unwrap().form, AlertForm::Slack);
}

#[test]
fn a_page_with_names_has_a_certificate_beside_the_credentials() {
    let config = parsed(
        "world: {cluster: demo}
agents: {credentials: /run/keys}
web: {listen: '0.0.0.0:7080', names: [reachproof.example.com, 10.0.0.1], start-token-file: start}
",
    )
    .unwrap();
    assert_eq!(config.web.names, ["reachproof.example.com", "10.0.0.1"]);
    let (certificate, key) = config.web.tls.unwrap();
    assert_eq!(
        (certificate.as_path(), key.as_path()),
        (
            Path::new("/run/keys/page.crt"),
            Path::new("/run/keys/page.key")
        )
    );
}

/// Wrong files, and the line, column and words that say so; the world stands in line 3.
const WRONG: [(&str, &str); 27] = [
    (
        "wold: {cluster: demo}\n",
        "3:1: unknown key `wold`, did you mean `world`?",
    ),
    ("agents: {}\n", "1:1: key `world` is missing"),
    (
        "world: {region: eu}\n",
        "3:8: `world` needs `cluster`, or `snapshot`",
    ),
    (
        "world: {cluster: demo, setle: 1s}\n",
        "3:24: unknown key `setle`, did you mean `settle`?",
    ),
    (
        "world: {cluster: demo, settle: soon}\n",
        "3:32: `soon` is no duration, write it like 90s or 5m",
    ),
    (
        "world: {cluster: demo, settle: 169h}\n",
        "3:32: `169h` is longer than 7 days",
    ),
    (
        "world: {cluster: demo}\nagents: {listen: 7443}\n",
        "4:18: `7443` is no address with a port, write it like 127.0.0.1:7080",
    ),
    (
        "world: {cluster: demo}\nagents: {expect: 0}\n",
        "4:18: at least 1",
    ),
    (
        "world: {cluster: demo}\nagents: {expect: 'pod,hosts'}\n",
        "4:18: at least 1, or kinds of agents: node, pod, fargate",
    ),
    (
        "world: {cluster: demo}\nagents: {accounts: [one]}\n",
        "4:21: ",
    ),
    (
        "world: {cluster: demo}\nweb: {listen: '0.0.0.0:7080'}\n",
        "4:15: a page that others can reach needs",
    ),
    (
        "world: {cluster: demo}\nweb: {certificate: a}\n",
        "4:20: `certificate` needs `key` beside it",
    ),
    (
        "world: {cluster: demo}\nagents: {secret: keys}\n",
        "4:18: `keys` is no namespace with a name in it",
    ),
    (
        "world: {cluster: demo}\nagents: {installation: a/b/c}\n",
        "4:24: `a/b/c` is no namespace with a name in it",
    ),
    (
        "world: {cluster: demo}\nweb: {names: ['*/x']}\n",
        "4:15: `*/x` is no name of a host",
    ),
    (
        "world: {cluster: demo}\nweb: {names: [a], certificate: a, key: b}\n",
        "4:14: `names` are for a certificate of the agents' CA",
    ),
    (
        "world: {cluster: demo}\nstore: {keep-days: many}\n",
        "4:20: `many` is no whole number",
    ),
    (
        "world: {cluster: demo}\nstore: {url: 'mysql://db/runs'}\n",
        "4:14: `url` begins with postgres://; a file is a `path`",
    ),
    (
        "world: {cluster: demo}\nstore: {path: runs.db, url: 'postgres://db/runs'}\n",
        "4:29: a store has either `path` or `url`",
    ),
    (
        "world: {cluster: demo}\nclaims: maybe\n",
        "4:9: `claims` must be one of `true`, `false`, found `maybe`",
    ),
    (
        "world: {cluster: demo}\nschedules: {}\n",
        "4:12: `schedules` must be a list",
    ),
    (
        "world: {cluster: demo}\nschedules:\n  - {name: a, cron: '99 * * * *'}\n",
        "5:21: `99 * * * *` is no cron pattern",
    ),
    (
        "world: {cluster: demo}\nschedules:\n  - {name: a, cron: '0 2 * * *', zone: Mars/Base}\n",
        "5:40: no time zone `Mars/Base`",
    ),
    (
        "world: {cluster: demo}\nschedules:\n  - {name: a, when: snapshot-changed, every: 5s}\n",
        "5:46: `every` is at least 60 s",
    ),
    (
        "world: {cluster: demo}\nschedules:\n  - {name: a, cron: '0 2 * * *', scope: al}\n",
        "5:41: `scope` must be one of `required`, `rules`, `mesh`, found `al`",
    ),
    (
        "world: {cluster: demo}\nschedules:\n  - {name: a, cron: '0 2 * * *'}\n  - {name: a, cron: '0 3 * * *'}\n",
        "6:5: `a` stands twice",
    ),
    (
        "world: {cluster: demo}\nalert: {url: 'ftp://host/x'}\n",
        "4:14: `ftp://host/x` is no URL",
    ),
];

#[test]
fn wrong_files_are_refused_at_the_right_place() {
    for (text, expected) in WRONG {
        let fault = parsed(text)
            .err()
            .map(|fault| fault.to_string())
            .unwrap_or_default();
        assert!(fault.starts_with(expected), "{text}: {fault}");
    }
}

/// Those of the wrong files that only a reader finds: cron, time zone, names that stand twice, a time that is too short or long.
const BEYOND_SCHEMAS: [&str; 5] = ["99 *", "Mars/Base", "0 3 * * *", "every: 5s", "169h"];

#[test]
fn the_published_schema_takes_and_refuses_the_same_files() {
    let schema = include_str!("../../../../deploy/schemas/settings.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let is_valid = |text: &str| {
        let text = format!("{HEAD}{text}");
        let file: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        schema.is_valid(&file)
    };
    assert!(is_valid("world: {snapshot: world.json}\n"));
    assert!(is_valid(EVERYTHING));
    for (text, _) in WRONG {
        let is_beyond = BEYOND_SCHEMAS.iter().any(|part| text.contains(part));
        assert_eq!(is_valid(text), is_beyond, "{text}");
    }
}

#[test]
fn variables_go_before_the_file_and_are_named_where_they_are_wrong() {
    let variables = |set: &[(&str, &str)]| {
        let set: Vec<(String, String)> = set
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Variables::read(|name| {
            let found = set.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        })
    };
    let set = variables(&[
        ("REACHPROOF_WORLD_CLUSTER", "other"),
        ("REACHPROOF_WORLD_REGION", ""),
        ("REACHPROOF_AGENTS_CONNECTIONS_PER_ADDRESS", "9"),
        ("REACHPROOF_STORE_KEEP_DAYS", "3"),
        ("REACHPROOF_CLAIMS", "true"),
        // As Kubernetes sets it for a Service `reachproof-agents`.
        ("REACHPROOF_AGENTS_PORT", "tcp://172.20.0.7:7443"),
    ]);
    let config = parsed_with("world: {cluster: demo, region: eu}\n", &set).unwrap();
    let world = [("cluster", "other"), ("region", "eu")];
    assert_eq!(
        config.world,
        world.map(|(key, value)| (key, value.to_owned()))
    );
    assert_eq!(config.agents.connections_per_address, 9);
    assert_eq!((config.store.keep_days, config.claims), (3, true));

    let set = variables(&[
        ("REACHPROOF_WORLD_CLUSTER", "other"),
        ("REACHPROOF_STORE_KEEP_DAYS", "many"),
    ]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{HEAD}world: {{cluster: demo}}\n")).unwrap();
    let error = Config::open(file.path(), &set).unwrap_err();
    let expected = "REACHPROOF_STORE_KEEP_DAYS: `many` is no whole number";
    assert_eq!(error.to_string(), expected);
}
