//! What standard output and standard error show, for all commands alike: progress, log, colours.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use clap::Args;
use reachproof_verify::report::human::{Colour, ColourWhen};
use reachproof_verify::status::{Amount, StatusLine};
use tracing_subscriber::EnvFilter;

/// What is logged. What the clients of AWS and Kubernetes say of each attempt is in the error that follows, if one does.
const LOG: &str = "warn,aws_config=error,kube_client=off";

/// What is logged with `--verbose`: how each question to a cluster went.
const LOG_VERBOSE: &str = "info,reachproof=debug,reachproof_aws=debug,reachproof_kube=debug,reachproof_verify=debug,\
                           aws_config=info,kube_client=info";

/// Columns of text where nobody looks at a terminal.
pub(crate) const FILE_WIDTH: u16 = 120;

/// What is shown beside the answer.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ConsoleArguments {
    /// Says nothing of what goes on: errors and gaps alone
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Says each thing that goes on, and logs more; RUST_LOG chooses what
    #[arg(short, long, global = true)]
    verbose: bool,
    /// When to show colours: auto, always or never; auto is on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColourWhen,
}

/// The streams of this process.
static CONSOLE: OnceLock<Console> = OnceLock::new();

#[derive(Debug)]
struct Console {
    status: StatusLine,
    colour: ColourWhen,
}

/// Sets up what is shown; to be called once, before anything is.
pub(crate) fn open(arguments: &ConsoleArguments) {
    let amount = Amount::asked(arguments.quiet, arguments.verbose);
    let console = Console {
        status: StatusLine::on_stderr(amount),
        colour: arguments.color,
    };
    // Invariant: nobody asked for the console before.
    let _first = CONSOLE.set(console);
    let log = match amount {
        Amount::Quiet | Amount::Normal => LOG,
        Amount::Verbose => LOG_VERBOSE,
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(log)))
        .with_writer(beside)
        .with_ansi(arguments.color.on(&io::stderr()) == Colour::Shown)
        .with_target(false)
        .init();
}

/// The line that says how far the command is.
pub(crate) fn status() -> &'static StatusLine {
    &console().status
}

/// Whether standard output shows colours.
pub(crate) fn colour() -> Colour {
    console().colour.on(&io::stdout())
}

/// Columns of standard output: of the terminal, else what `COLUMNS` says, else `otherwise`.
pub(crate) fn width(otherwise: usize) -> usize {
    let terminal = || {
        io::stdout()
            .is_terminal()
            .then(terminal_size::terminal_size)
    };
    let terminal = terminal().flatten().map(|(width, _)| width.0.into());
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.or_else(said).unwrap_or(otherwise)
}

fn beside() -> impl Write {
    status().writer()
}

/// The console; one that shows as little as can be where nobody opened it, as in tests.
fn console() -> &'static Console {
    CONSOLE.get_or_init(|| Console {
        status: StatusLine::on_stderr(Amount::Quiet),
        colour: ColourWhen::Never,
    })
}
