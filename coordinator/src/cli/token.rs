//! `reachproof token`: a token for one agent outside a cluster.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use reachproof_model::observation::{AgentName, InvalidAgentName};
use reachproof_model::plan::AgentKind;
use reachproof_verify::credentials::{CredentialsError, TokenHolder};
use reachproof_verify::token::{InvalidKind, TokenError, kind};
use reachproof_verify::{Credentials, SystemRandomness};
use thiserror::Error;

use super::exit_code::ExitCode;
use super::verify::duration_up_to;
use super::{CREDENTIALS_DIRECTORY, CliError};

/// Longest life of a token: who needs an agent for longer makes a new one.
const LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What `token` is told.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Name of the agent, as its --name
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: AgentName,
    /// Where it runs, as its --kind: node, pod or fargate
    #[arg(long, value_name = "KIND", value_parser = kind_of)]
    kind: AgentKind,
    /// Its addresses in the measured network, as its --address: primary first; all must be in the snapshot
    #[arg(long = "address", value_name = "ADDRESS", required = true, num_args = 1..)]
    addresses: Vec<IpAddr>,
    /// How long the token is valid, at most 720h
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = life)]
    ttl: Duration,
    /// Makes it for one run alone, the one under way or the next with these credentials; later ones refuse it
    #[arg(long)]
    once: bool,
    /// Directory with ca.crt, ca.key and token.key, the same as for verify; made if there is none
    #[arg(long, value_name = "DIRECTORY", default_value = CREDENTIALS_DIRECTORY)]
    credentials: PathBuf,
}

/// The token could not be made.
#[derive(Debug, Error)]
pub(crate) enum TokenFailure {
    /// The key could not be read or made.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// No agent could use it.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Prints the token.
///
/// # Errors
/// [`CliError`] when it cannot be made or written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let token = token(arguments, SystemTime::now())?;
    writeln!(io::stdout(), "{token}")?;
    Ok(ExitCode::Answered)
}

fn token(arguments: &Arguments, now: SystemTime) -> Result<String, TokenFailure> {
    let credentials =
        Credentials::in_directory(&arguments.credentials, &SystemRandomness::default())?;
    let holder = TokenHolder {
        name: &arguments.name,
        kind: arguments.kind,
        addresses: &arguments.addresses,
    };
    Ok(if arguments.once {
        credentials.token_for_one_run(holder, now, arguments.ttl)?
    } else {
        credentials.token(holder, now, arguments.ttl)?
    })
}

fn name(text: &str) -> Result<AgentName, InvalidAgentName> {
    AgentName::try_from(text)
}

fn kind_of(text: &str) -> Result<AgentKind, InvalidKind> {
    kind(text)
}

fn life(text: &str) -> Result<Duration, String> {
    duration_up_to(text, LIFE_MAX)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(more: &[&str]) -> Result<Arguments, clap::Error> {
        let all = ["reachproof", "token"].iter().chain(more);
        let Command::Token(arguments) = Cli::try_parse_from(all)?.command else {
            panic!("another command");
        };
        Ok(arguments)
    }

    #[test]
    fn a_token_needs_a_name_a_kind_and_addresses() {
        let good = [
            "--name",
            "a",
            "--kind",
            "node",
            "--address",
            "10.0.0.1",
            "10.0.0.2",
            "--ttl",
            "1h",
        ];
        let arguments = parsed(&good).unwrap();
        assert_eq!(arguments.addresses.len(), 2);
        assert_eq!(arguments.ttl, Duration::from_secs(3_600));
        for bad in [
            &good[2..],
            &good[..4],
            &["--name", "", "--kind", "node", "--address", "10.0.0.1"],
            &["--name", "a", "--kind", "host", "--address", "10.0.0.1"],
            &["--name", "a", "--kind", "node", "--address", "host"],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
        let long = [&good[..], &["--ttl", "721h"]].concat();
        assert!(parsed(&long).is_err());
    }

    #[test]
    fn a_token_is_printed_for_credentials_that_it_makes() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("credentials");
        let mut arguments =
            parsed(&["--name", "a", "--kind", "pod", "--address", "10.0.0.1"]).unwrap();
        arguments.credentials = directory.clone();
        let now = SystemTime::UNIX_EPOCH;
        let first = token(&arguments, now).unwrap();
        assert!(first.starts_with("rp1."), "{first}");
        assert_eq!(first, token(&arguments, now).unwrap());
        arguments.once = true;
        assert_ne!(first, token(&arguments, now).unwrap());
        assert!(directory.join("token.key").exists());
    }
}
