//! The file of settings (`reachproof serve --config FILE`).
//!
//! Every error says where: line and column, and the nearest key. Paths in the file are relative to its folder, those of
//! variables of the environment, too. `deploy/schemas/settings.json` describes the file for editors.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use croner::Cron;
use http::Uri;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use reachproof_model::plan::Depth;
use reachproof_verify::ExpectedAgents;
use reachproof_verify::audience::{ACCOUNTS, Account, Installation, InvalidAccount};
use reachproof_verify::credentials::{PAGE_CERTIFICATE_FILE, PAGE_KEY_FILE};
use reachproof_verify::door::CONNECTIONS_PER_ADDRESS;
use reachproof_verify::yaml::{Fault, Fields, FileError, Node, opened};
use thiserror::Error;

use crate::schedule::{Schedule, Trigger};
use crate::store::Place;

pub use variables::Variables;

mod variables;

/// What the file says that it is.
pub const KIND: &str = "Service";

const FILE_KEYS: [&str; 10] = [
    "apiVersion",
    "kind",
    "world",
    "agents",
    "web",
    "store",
    "expectations",
    "claims",
    "schedules",
    "alert",
];

/// Keys of `world`: each is the argument of that name of every other command.
pub const WORLD_KEYS: [&str; 7] = [
    "cluster",
    "region",
    "profile",
    "snapshot",
    "kubeconfig",
    "context",
    "settle",
];
const AGENT_KEYS: [&str; 9] = [
    "listen",
    "credentials",
    "secret",
    "publish",
    "installation",
    "accounts",
    "connections-per-address",
    "expect",
    "wait",
];
const WEB_KEYS: [&str; 7] = [
    "listen",
    "names",
    "report",
    "certificate",
    "key",
    "read-token-file",
    "start-token-file",
];
const STORE_KEYS: [&str; 4] = ["path", "url", "keep-runs", "keep-days"];
const SCHEDULE_KEYS: [&str; 7] = ["name", "cron", "zone", "jitter", "when", "every", "scope"];
const ALERT_KEYS: [&str; 2] = ["url", "form"];

/// Longest wait or interval that can be set: a week. Whoever waits longer has forgotten it.
pub const INTERVAL_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Shortest time between two readings of the cluster, which cost calls of the AWS APIs.
pub const EVERY_MIN: Duration = Duration::from_secs(60);

/// Most schedules: each has metrics of its own.
pub const SCHEDULES_MAX: usize = 16;

/// Default of `web.listen`: this machine alone.
const WEB_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7080);

/// Default of `agents.listen` (ARCHITECTURE, "Agents and ports").
const AGENTS_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7443);

/// Settings cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is wrong, or cannot be read.
    #[error(transparent)]
    File(FileError),
    /// A variable of the environment is wrong.
    #[error("{name}: {what}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong, and what would be right.
        what: String,
    },
}

/// All settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Arguments that name the world, as `--cluster` and its value.
    pub world: Vec<(&'static str, String)>,
    /// How long the cluster must not have changed before the probes; absent: as `verify` does it.
    pub settle: Option<Duration>,
    /// Agents and their port.
    pub agents: AgentSettings,
    /// Page, API and metrics.
    pub web: WebSettings,
    /// Where everything is remembered, and how long.
    pub store: StoreSettings,
    /// File of expectations.
    pub expectations: Option<PathBuf>,
    /// Whether each run judges the claims of the catalogue.
    pub claims: bool,
    /// When runs are due.
    pub schedules: Vec<Schedule>,
    /// Who is told of a new verdict.
    pub alert: Option<AlertSettings>,
}

/// Agents and their port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSettings {
    /// Where they dial in.
    pub listen: SocketAddr,
    /// Directory of CA and keys.
    pub credentials: PathBuf,
    /// Secret of the cluster in which they are kept, by namespace and name.
    pub secret: Option<(String, String)>,
    /// ConfigMaps of the cluster in which agents find the CA, by namespace and name.
    pub publish: Vec<(String, String)>,
    /// Which installation the agents belong to.
    pub installation: Installation,
    /// Service accounts that agents in the cluster have.
    pub accounts: Vec<Account>,
    /// Connections that one peer address may have at once.
    pub connections_per_address: usize,
    /// Who is expected.
    pub expect: ExpectedAgents,
    /// Longest wait for them in each run.
    pub wait: Duration,
}

/// Page, API and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSettings {
    /// Where they are served.
    pub listen: SocketAddr,
    /// Names for which the CA of the agents signs a certificate at each start; empty: none does.
    pub names: Vec<String>,
    /// ConfigMap of the cluster in which the last run is kept for whoever cannot reach the page, by namespace and name.
    pub report: Option<(String, String)>,
    /// Certificate chain and key, both PEM; TLS where they are given. With [`Self::names`] they are made there.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// File with the token of whoever may read.
    pub read_token: Option<PathBuf>,
    /// File with the token of whoever may also start runs.
    pub start_token: Option<PathBuf>,
}

/// Where everything is remembered, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The database.
    pub place: Place,
    /// Runs that are kept at most, without limit of age.
    pub keep_runs: u32,
    /// Days that a run is kept at most.
    pub keep_days: u32,
}

/// Who is told of a new verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertSettings {
    /// Where it is posted.
    pub url: Uri,
    /// In which form.
    pub form: AlertForm,
}

/// The form of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertForm {
    /// An object of our own.
    Json,
    /// What Slack and those that speak like it take: an object with `text`.
    Slack,
}

impl Config {
    /// Reads the file; what `variables` say goes before it.
    ///
    /// # Errors
    /// [`ConfigError`] for a file that cannot be read, and for the first thing that is wrong.
    pub fn open(path: &Path, variables: &Variables) -> Result<Self, ConfigError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        opened(path, |text| Self::parse(text, folder, variables)).map_err(|error| match error {
            FileError::Fault { fault, .. } if variables.of(&fault).is_some() => {
                ConfigError::Variable {
                    name: variables.of(&fault).unwrap_or_default().to_owned(),
                    what: fault.what,
                }
            }
            error @ (FileError::Fault { .. } | FileError::Read { .. }) => ConfigError::File(error),
        })
    }

    /// Reads the text of a file in `folder`.
    ///
    /// # Errors
    /// [`Fault`] for the first thing that is wrong.
    pub fn parse(text: &str, folder: &Path, variables: &Variables) -> Result<Self, Fault> {
        let mut root = Node::parse(text)?;
        variables.lay_over(&mut root);
        let fields = Fields::of(&root, &FILE_KEYS, "a file of settings")?;
        fields.is_kind(KIND)?;
        let (world, settle) = world(fields.needed("world")?, folder)?;
        let agents = agents(fields.get("agents"), folder)?;
        Ok(Self {
            world,
            settle,
            web: web(fields.get("web"), folder, &agents.credentials)?,
            agents,
            store: store(fields.get("store"), folder)?,
            expectations: file(fields.get("expectations"), folder)?,
            claims: truth(fields.get("claims"))?.unwrap_or(false),
            schedules: schedules(&fields)?,
            alert: fields.get("alert").map(alert).transpose()?,
        })
    }
}

/// What names the world, and how long it must have stood still.
type World = (Vec<(&'static str, String)>, Option<Duration>);

fn world(node: &Node, folder: &Path) -> Result<World, Fault> {
    let fields = Fields::of(node, &WORLD_KEYS, "`world`")?;
    let mut arguments = Vec::new();
    for key in WORLD_KEYS.into_iter().filter(|key| *key != "settle") {
        let Some(value) = fields.get(key) else {
            continue;
        };
        let text = if ["snapshot", "kubeconfig"].contains(&key) {
            folder.join(value.text()?).display().to_string()
        } else {
            value.text()?.to_owned()
        };
        arguments.push((key, text));
    }
    if fields.get("cluster").is_none() && fields.get("snapshot").is_none() {
        return Err(node.fault("`world` needs `cluster`, or `snapshot`".to_owned()));
    }
    Ok((arguments, interval(fields.get("settle"))?))
}

fn agents(node: Option<&Node>, folder: &Path) -> Result<AgentSettings, Fault> {
    let fields = node.map(|node| Fields::of(node, &AGENT_KEYS, "`agents`"));
    let fields = fields.transpose()?;
    let get = |name| fields.as_ref().and_then(|fields| fields.get(name));
    Ok(AgentSettings {
        listen: address(get("listen"))?.unwrap_or(AGENTS_LISTEN),
        credentials: file(get("credentials"), folder)?
            .unwrap_or_else(|| folder.join("reachproof-credentials")),
        secret: get("secret").map(pair).transpose()?,
        publish: pairs(get("publish"))?,
        installation: get("installation")
            .map(installation)
            .transpose()?
            .unwrap_or_default(),
        accounts: accounts(get("accounts"))?,
        connections_per_address: count(get("connections-per-address"))?
            .unwrap_or(CONNECTIONS_PER_ADDRESS),
        expect: expected(get("expect"))?,
        wait: interval(get("wait"))?.unwrap_or(Duration::from_secs(60)),
    })
}

/// A number of agents, or their kinds.
fn expected(node: Option<&Node>) -> Result<ExpectedAgents, Fault> {
    let Some(node) = node else {
        return Ok(ExpectedAgents::default());
    };
    let text = node.text()?;
    let wrong = || {
        let what = "at least 1, or kinds of agents: node, pod, fargate, as `pod,fargate`";
        node.fault(what.to_owned())
    };
    ExpectedAgents::read(text).ok_or_else(wrong)
}

fn installation(node: &Node) -> Result<Installation, Fault> {
    let (namespace, release) = pair(node)?;
    Ok(Installation { namespace, release })
}

/// `NAMESPACE/NAME`, or a list of some.
fn pairs(node: Option<&Node>) -> Result<Vec<(String, String)>, Fault> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let nodes = node.each("no ConfigMap")?;
    nodes.into_iter().map(pair).collect()
}

/// `NAMESPACE/NAME`.
fn pair(node: &Node) -> Result<(String, String), Fault> {
    let text = node.text()?;
    // The names of objects are those of accounts.
    match text.parse::<Account>() {
        Ok(Account { namespace, name }) => Ok((namespace, name)),
        Err(_) => Err(node.fault(format!(
            "`{text}` is no namespace with a name in it, write it like reachproof/reachproof-ca"
        ))),
    }
}

/// `NAMESPACE/NAME`, or a list of some; those of the printed manifests where none is named.
fn accounts(node: Option<&Node>) -> Result<Vec<Account>, Fault> {
    let read = |node: &Node| {
        let text = node.text()?;
        let wrong = |error: InvalidAccount| node.fault(error.to_string());
        text.parse().map_err(wrong)
    };
    match node {
        Some(node) => node
            .each("no service account")?
            .into_iter()
            .map(read)
            .collect(),
        None => Ok(ACCOUNTS
            .iter()
            .filter_map(|account| account.parse().ok())
            .collect()),
    }
}

fn web(node: Option<&Node>, folder: &Path, credentials: &Path) -> Result<WebSettings, Fault> {
    let fields = node.map(|node| Fields::of(node, &WEB_KEYS, "`web`"));
    let fields = fields.transpose()?;
    let get = |name| fields.as_ref().and_then(|fields| fields.get(name));
    let names = names(get("names"))?;
    let given = certificate(get("certificate"), get("key"), folder)?;
    let tls = match (get("names"), given) {
        (None, given) => given,
        (Some(_), None) => Some((
            credentials.join(PAGE_CERTIFICATE_FILE),
            credentials.join(PAGE_KEY_FILE),
        )),
        (Some(one), Some(_)) => {
            let what = "`names` are for a certificate of the agents' CA: give either them or `certificate` and `key`";
            return Err(one.fault(what.to_owned()));
        }
    };
    let settings = WebSettings {
        listen: address(get("listen"))?.unwrap_or(WEB_LISTEN),
        names,
        report: get("report").map(pair).transpose()?,
        tls,
        read_token: file(get("read-token-file"), folder)?,
        start_token: file(get("start-token-file"), folder)?,
    };
    if let Some(node) = get("listen").or(node).filter(|_| !settings.is_guarded()) {
        let what = "a page that others can reach needs `certificate`, `key` and `start-token-file`: or listen on 127.0.0.1";
        return Err(node.fault(what.to_owned()));
    }
    Ok(settings)
}

/// The files of a certificate of somebody else's CA.
fn certificate(
    certificate: Option<&Node>,
    key: Option<&Node>,
    folder: &Path,
) -> Result<Option<(PathBuf, PathBuf)>, Fault> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some((
            folder.join(certificate.text()?),
            folder.join(key.text()?),
        ))),
        (Some(one), None) => Err(one.fault("`certificate` needs `key` beside it".to_owned())),
        (None, Some(one)) => Err(one.fault("`key` needs `certificate` beside it".to_owned())),
    }
}

/// Names of hosts, or addresses; at least one where they are given.
fn names(node: Option<&Node>) -> Result<Vec<String>, Fault> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let read = |node: &Node| {
        let text = node.text()?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        if text.is_empty() || !text.bytes().all(fits) {
            return Err(node.fault(format!("`{text}` is no name of a host, nor an address")));
        }
        Ok(text.to_owned())
    };
    node.each("no name")?.into_iter().map(read).collect()
}

impl WebSettings {
    /// Whether strangers are kept out: nobody else reaches the port, or TLS and a token are needed.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.listen.ip().is_loopback() || (self.tls.is_some() && self.start_token.is_some())
    }
}

fn store(node: Option<&Node>, folder: &Path) -> Result<StoreSettings, Fault> {
    let fields = node.map(|node| Fields::of(node, &STORE_KEYS, "`store`"));
    let fields = fields.transpose()?;
    let get = |name| fields.as_ref().and_then(|fields| fields.get(name));
    Ok(StoreSettings {
        place: place(get("path"), get("url"), folder)?,
        keep_runs: positive(get("keep-runs"))?.unwrap_or(1_000),
        keep_days: positive(get("keep-days"))?.unwrap_or(90),
    })
}

fn place(path: Option<&Node>, url: Option<&Node>, folder: &Path) -> Result<Place, Fault> {
    let Some(node) = url else {
        let path = file(path, folder)?;
        return Ok(Place::File(
            path.unwrap_or_else(|| folder.join("reachproof.db")),
        ));
    };
    if path.is_some() {
        return Err(node.fault("a store has either `path` or `url`".to_owned()));
    }
    match Place::of(node.text()?, folder) {
        Place::File(_) => {
            let what = "`url` begins with postgres://; a file is a `path`";
            Err(node.fault(what.to_owned()))
        }
        server @ Place::Server(_) => Ok(server),
    }
}

fn schedules(fields: &Fields<'_>) -> Result<Vec<Schedule>, Fault> {
    let mut all: Vec<Schedule> = Vec::new();
    for node in fields.list("schedules")? {
        let schedule = schedule(node)?;
        if all.iter().any(|one| one.name == schedule.name) {
            let what = format!(
                "`{}` stands twice: give each schedule a name of its own",
                schedule.name
            );
            return Err(node.fault(what));
        }
        if all.len() == SCHEDULES_MAX {
            return Err(node.fault(format!("more than {SCHEDULES_MAX} schedules")));
        }
        all.push(schedule);
    }
    Ok(all)
}

fn schedule(node: &Node) -> Result<Schedule, Fault> {
    let fields = Fields::of(node, &SCHEDULE_KEYS, "a schedule")?;
    let scopes = Depth::ALL.map(|depth| (depth.as_str(), depth));
    let scope = fields.get("scope");
    let scope = scope
        .map(|node| node.one_of("scope", &scopes))
        .transpose()?;
    let trigger = match (fields.get("cron"), fields.get("when")) {
        (Some(cron), None) => {
            let what = "`every` is of `when: snapshot-changed`, a cron pattern says when by itself";
            refuse(&fields, &["every"], what)?;
            on_the_clock(cron, &fields)?
        }
        (None, Some(when)) => {
            refuse(
                &fields,
                &["zone", "jitter"],
                "`zone` and `jitter` are of `cron`",
            )?;
            when.one_of("when", &[("snapshot-changed", ())])?;
            let every = fields.needed("every")?;
            let found = interval(Some(every))?.unwrap_or_default();
            if found < EVERY_MIN {
                return Err(every.fault(format!("`every` is at least {} s", EVERY_MIN.as_secs())));
            }
            Trigger::SnapshotChanged { every: found }
        }
        _ => return Err(node.fault("a schedule has either `cron` or `when`".to_owned())),
    };
    Ok(Schedule {
        name: name(fields.needed("name")?)?,
        trigger,
        scope,
    })
}

fn on_the_clock(cron: &Node, fields: &Fields<'_>) -> Result<Trigger, Fault> {
    let text = cron.text()?;
    let pattern: Cron = text
        .parse()
        .map_err(|error| cron.fault(format!("`{text}` is no cron pattern: {error}")))?;
    let zone = match fields.get("zone") {
        None => TimeZone::UTC,
        Some(node) => {
            let name = node.text()?;
            let wrong = |_| {
                node.fault(format!(
                    "no time zone `{name}`: write it like Europe/Berlin"
                ))
            };
            TimeZone::get(name).map_err(wrong)?
        }
    };
    Ok(Trigger::Clock {
        pattern: Box::new(pattern),
        zone,
        jitter: interval(fields.get("jitter"))?.unwrap_or_default(),
    })
}

/// Refuses keys that say nothing here.
fn refuse(fields: &Fields<'_>, names: &[&str], what: &str) -> Result<(), Fault> {
    let found = names.iter().find_map(|name| fields.get(name));
    found.map_or(Ok(()), |node| Err(node.fault(what.to_owned())))
}

/// A name that can stand in a metric: letters, digits and dashes.
fn name(node: &Node) -> Result<String, Fault> {
    let text = node.text()?;
    let right = |character: char| character.is_ascii_alphanumeric() || character == '-';
    if text.is_empty() || text.len() > 40 || !text.chars().all(right) {
        let what = format!("`{text}` is no name: at most 40 letters, digits and dashes");
        return Err(node.fault(what));
    }
    Ok(text.to_owned())
}

fn alert(node: &Node) -> Result<AlertSettings, Fault> {
    let fields = Fields::of(node, &ALERT_KEYS, "`alert`")?;
    let url = fields.needed("url")?;
    let text = url.text()?;
    let wrong = || {
        url.fault(format!(
            "`{text}` is no URL, write it like https://host/path"
        ))
    };
    let found: Uri = text.parse().map_err(|_| wrong())?;
    if !matches!(found.scheme_str(), Some("http" | "https")) || found.host().is_none() {
        return Err(wrong());
    }
    let forms = [("json", AlertForm::Json), ("slack", AlertForm::Slack)];
    let form = fields.get("form").map(|node| node.one_of("form", &forms));
    Ok(AlertSettings {
        url: found,
        form: form.transpose()?.unwrap_or(AlertForm::Json),
    })
}

fn file(node: Option<&Node>, folder: &Path) -> Result<Option<PathBuf>, Fault> {
    node.map(|node| Ok(folder.join(node.text()?))).transpose()
}

fn truth(node: Option<&Node>) -> Result<Option<bool>, Fault> {
    node.map(|node| node.one_of("claims", &[("true", true), ("false", false)]))
        .transpose()
}

fn address(node: Option<&Node>) -> Result<Option<SocketAddr>, Fault> {
    let read = |node: &Node| {
        let text = node.text()?;
        let what = || format!("`{text}` is no address with a port, write it like 127.0.0.1:7080");
        text.parse().map_err(|_| node.fault(what()))
    };
    node.map(read).transpose()
}

/// A duration like `90s` or `5m`.
fn interval(node: Option<&Node>) -> Result<Option<Duration>, Fault> {
    let read = |node: &Node| {
        let text = node.text()?;
        let read = text.parse::<SignedDuration>().ok();
        let found = read.and_then(|duration| Duration::try_from(duration).ok());
        match found {
            None => Err(node.fault(format!("`{text}` is no duration, write it like 90s or 5m"))),
            Some(found) if found > INTERVAL_MAX => {
                Err(node.fault(format!("`{text}` is longer than 7 days")))
            }
            Some(found) => Ok(found),
        }
    };
    node.map(read).transpose()
}

fn number(node: Option<&Node>) -> Result<Option<(&Node, u32)>, Fault> {
    let read = |node: &'_ Node| {
        let text = node.text()?;
        text.parse()
            .map_err(|_| node.fault(format!("`{text}` is no whole number")))
    };
    node.map(|node| Ok((node, read(node)?))).transpose()
}

/// At least one.
fn count(node: Option<&Node>) -> Result<Option<usize>, Fault> {
    Ok(positive(node)?.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
}

fn positive(node: Option<&Node>) -> Result<Option<u32>, Fault> {
    match number(node)? {
        Some((node, 0)) => Err(node.fault("at least 1".to_owned())),
        found => Ok(found.map(|(_, number)| number)),
    }
}

#[cfg(test)]
mod tests;
