//! `reachproof serve`: a coordinator that stays.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser};
use reachproof_kube::storage::Storage;
use reachproof_model::claim::Wire;
use reachproof_model::snapshot::Snapshot;
use reachproof_service::keeper::Keeper;
use reachproof_service::store::Place;
use reachproof_service::{Config, ConfigError, Parts, ServiceError, Variables};
use reachproof_verify::credentials::{certify_page, end_run};
use reachproof_verify::expectations::{ExpectationFile, day_of};
use reachproof_verify::source::anew;
use reachproof_verify::token::Clock;
use reachproof_verify::yaml::FileError;
use reachproof_verify::{Credentials, EntrySettings, RunError, SystemRandomness};
use thiserror::Error;

use super::CliError;
use super::claims::all_claims;
use super::exit_code::ExitCode;
use super::wiring::{control_plane, first_reading, interrupted, reviewer};
use crate::console;
use crate::source::SourceArguments;
use crate::stored::{self, KeptIn, StoredError};

/// How long the world must have stood still unless the file says otherwise, as `verify` does it.
const SETTLE: Duration = Duration::from_secs(60);

/// What `serve` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// File of settings: YAML with `apiVersion: reachproof/v1` and `kind: Service`
    #[arg(long, value_name = "FILE", env = "REACHPROOF_CONFIG")]
    config: PathBuf,
    /// Where agents dial in, in place of `agents.listen`
    #[arg(long, value_name = "[ADDRESS:]PORT", env = "REACHPROOF_LISTEN", value_parser = super::listen::listen)]
    listen: Option<SocketAddr>,
    /// Where page, API and metrics are served, in place of `web.listen`
    #[arg(long, value_name = "ADDRESS:PORT", env = "REACHPROOF_WEB")]
    web: Option<SocketAddr>,
    /// The store, in place of `store.path` and `store.url`
    #[arg(
        long,
        value_name = "FILE|URL",
        env = "REACHPROOF_STORE",
        hide_env_values = true
    )]
    store: Option<String>,
    /// Says whether the file of settings can be used, and ends
    #[arg(long)]
    check: bool,
    /// Says that the network is a lab: what is seen there is no evidence about AWS
    #[arg(long)]
    lab: bool,
}

/// The service cannot start or go on.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    /// The file of settings cannot be used.
    #[error(transparent)]
    Config(ConfigError),
    /// `world` names none.
    #[error("`{}` names no world: {reason}", path.display())]
    World {
        /// The file.
        path: PathBuf,
        /// What the arguments of that name say.
        reason: String,
    },
    /// A page that others can reach has neither TLS nor a token.
    #[error(
        "--web {address} is reached by others: give `web` in the file `certificate`, `key` and `start-token-file`, or listen on 127.0.0.1"
    )]
    Unguarded {
        /// Where it would listen.
        address: SocketAddr,
    },
    /// Credentials that are kept in the cluster.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// The service itself.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// The keys of `world` as the arguments of these names.
#[derive(Debug, Parser)]
struct World {
    #[command(flatten)]
    source: SourceArguments,
}

/// Serves until somebody stops it.
///
/// # Errors
/// When the service cannot start, or agents can no longer come in; the exit code is then 2.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let config = config(arguments)?;
    let source = source(&arguments.config, &config)?;
    if arguments.check {
        println!("{} can be used", arguments.config.display());
        return Ok(ExitCode::Answered);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let served = runtime.block_on(serve(&config, &source, arguments.lab));
    // A reading that somebody interrupted does not keep the process.
    runtime.shutdown_background();
    served.map(|()| ExitCode::Answered)
}

/// The settings: arguments go before variables of the environment, and those before the file.
fn config(arguments: &Arguments) -> Result<Config, CliError> {
    let variables = Variables::read(|name| std::env::var(name).ok());
    let mut config = Config::open(&arguments.config, &variables).map_err(ServeError::Config)?;
    if let Some(listen) = arguments.listen {
        config.agents.listen = listen;
    }
    if let Some(store) = &arguments.store {
        config.store.place = Place::of(store, Path::new(""));
    }
    if let Some(address) = arguments.web {
        config.web.listen = address;
        if !config.web.is_guarded() {
            return Err(ServeError::Unguarded { address }.into());
        }
    }
    Ok(config)
}

/// The world that the file names.
fn source(path: &Path, config: &Config) -> Result<SourceArguments, CliError> {
    let words = config.world.iter();
    let words = words.flat_map(|(name, value)| [format!("--{name}"), value.clone()]);
    let world = World::try_parse_from(std::iter::once("world".to_owned()).chain(words));
    let world = world.map_err(|error| ServeError::World {
        path: path.to_owned(),
        reason: error.kind().to_string(),
    })?;
    Ok(world.source)
}

async fn serve(config: &Config, source: &SourceArguments, lab: bool) -> Result<(), CliError> {
    let random = Arc::new(SystemRandomness::default());
    let world = source.world()?;
    let alone = anew(&world);
    let first = tokio::select! {
        first = first_reading(&alone) => first?,
        () = interrupted() => return Ok(()),
    };
    let decoded = Snapshot::decode(&first.described).map_err(RunError::from)?;
    let cluster = decoded
        .snapshot
        .cluster()
        .map(|cluster| cluster.name.clone());
    let expectations = expectations(config, &decoded.snapshot)?;
    let agents = (&config.agents.installation, &*config.agents.accounts);
    let reviewer = reviewer((source, None), agents, &first).await?;
    let directory = &config.agents.credentials;
    let storage = stored::storage(config, source).await;
    let storage = storage.map_err(ServeError::from)?;
    let credentials = credentials(config, storage.as_ref(), random.as_ref()).await?;
    let keeper = storage.zip(config.web.report.as_ref());
    let keeper =
        keeper.map(|(storage, name)| -> Arc<dyn Keeper> { Arc::new(KeptIn::new(storage, name)) });
    let once = credentials.run.clone();
    let settle = if source.is_saved() {
        Duration::ZERO
    } else {
        config.settle.unwrap_or(SETTLE)
    };
    let parts = Parts {
        world,
        cluster: cluster.filter(|name| !name.is_empty()),
        settle,
        control_plane: control_plane(source).await?,
        expectations,
        claims: if config.claims {
            all_claims(None)?
        } else {
            Vec::new()
        },
        wire: if lab { Wire::Lab } else { Wire::Network },
        keeper,
        random: random.clone(),
        version: env!("REACHPROOF_VERSION"),
    };
    let entry = EntrySettings {
        credentials,
        reviewer,
        connections_per_address: config.agents.connections_per_address,
        clock: Clock::starting(SystemTime::now()),
    };
    let say = |text: &str| console::status().say(text);
    let served = reachproof_service::serve(config, (parts, entry), interrupted(), say).await;
    // However it ended, tokens for it alone are over.
    if let Err(error) = end_run(directory, &once, random.as_ref()) {
        eprintln!("tokens for this run alone stay good for the next: {error}");
    }
    Ok(served.map_err(ServeError::from)?)
}

/// CA and keys, from the cluster where they are kept there; agents and the page get theirs.
async fn credentials(
    config: &Config,
    storage: Option<&Storage>,
    random: &SystemRandomness,
) -> Result<Credentials, CliError> {
    let directory = &config.agents.credentials;
    if let (Some(storage), Some(secret)) = (storage, &config.agents.secret) {
        let completed = stored::complete(storage, secret, directory, random).await;
        completed.map_err(ServeError::from)?;
    }
    let credentials = Credentials::in_directory(directory, random)?;
    if let Some(storage) = storage {
        let published = stored::publish(storage, &config.agents.publish, &credentials).await;
        published.map_err(ServeError::from)?;
    }
    if !config.web.names.is_empty() {
        certify_page(directory, &config.web.names)?;
    }
    Ok(credentials)
}

/// What users expect, once every end of it was found in the world.
fn expectations(config: &Config, snapshot: &Snapshot) -> Result<ExpectationFile, CliError> {
    let Some(path) = &config.expectations else {
        return Ok(ExpectationFile::default());
    };
    let file = ExpectationFile::open(path)?;
    let checked = file.check(snapshot, day_of(SystemTime::now()));
    checked.map_err(|fault| FileError::Fault {
        path: path.display().to_string(),
        fault,
    })?;
    Ok(file)
}
