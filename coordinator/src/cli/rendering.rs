//! How a report is written: by which formats, to which files, and which exit code follows.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use reachproof_verify::Report;
use reachproof_verify::report::human::{Colour, Details, Terminal, View};
use reachproof_verify::report::{Allowed, FailOn, Format, FormatError};

use super::CliError;
use super::browser;
use super::report_file::{Destination, ReportFile, format};
use crate::console::{self, FILE_WIDTH};

/// What is made of a report, fresh or saved.
#[derive(Debug, Clone, Args)]
pub(super) struct Rendering {
    /// Format of the report on standard output
    #[arg(short, long, value_name = "FORMAT", value_parser = format(), default_value = "table")]
    output: &'static Format,
    /// Shows the evidence of every flow, or of those whose line holds these words, like '10.0.1.20 tcp/443'
    #[arg(long, value_name = "WORDS", num_args = 0..=1)]
    details: Option<Option<String>>,
    /// Writes the report to a file as well; may be repeated
    #[arg(long, value_name = "KIND=FILE", value_parser = ReportFile::parse)]
    report: Vec<ReportFile>,
    /// Required flows that may stay unverified before the exit code is 3
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_inconclusive: usize,
    /// Expected agents that may be missing before the exit code is 3
    #[arg(long, value_name = "N", default_value_t = 0)]
    allow_missing: usize,
    /// Earlier report, a file, or a run of the coordinator: what changed since then in the model and finding by finding is said,
    /// and no other seed and scope are taken than its own
    #[arg(long, value_name = "FILE|RUN")]
    baseline: Option<PathBuf>,
    /// What the exit code is 1 for; new ones are those that the report of --baseline does not have
    #[arg(long, value_enum, default_value_t = FailOnArgument::Any)]
    fail_on: FailOnArgument,
    /// Shows the report in a browser: that of BROWSER, else the one that xdg-open knows
    #[arg(long)]
    open: bool,
    /// Exits with 0 whatever the report says; with 2 only if there is none
    #[arg(long)]
    exit_zero: bool,
}

/// What a run fails for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOnArgument {
    /// Every contradiction and every broken expectation
    Any,
    /// Those that the report of --baseline does not have
    New,
    /// Broken expectations alone
    Expectation,
}

impl From<FailOnArgument> for FailOn {
    fn from(argument: FailOnArgument) -> Self {
        match argument {
            FailOnArgument::Any => Self::Any,
            FailOnArgument::New => Self::New,
            FailOnArgument::Expectation => Self::Expectation,
        }
    }
}

/// The same with its files open, so that what cannot be written fails before anything is done.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    rendering: &'a Rendering,
    files: Vec<(&'a ReportFile, Destination)>,
    earlier: Option<Report>,
}

impl Rendering {
    /// Makes sure that every file can get the report, and reads the earlier one.
    ///
    /// # Errors
    /// When one cannot, and when there is nothing to be new against.
    pub(super) fn prepare(&self) -> Result<Prepared<'_>, CliError> {
        self.prepared(saved)
    }

    /// The same where the earlier report may be that of a run, which `kept` knows.
    ///
    /// # Errors
    /// As [`Self::prepare`], and those of `kept`.
    pub(super) fn prepare_with(
        &self,
        kept: impl FnOnce(&str) -> Result<Report, CliError>,
    ) -> Result<Prepared<'_>, CliError> {
        self.prepared(|named| match self.earlier_run() {
            Some(run) => kept(run),
            None => saved(named),
        })
    }

    /// The run that is named as the earlier one: what is no file.
    pub(super) fn earlier_run(&self) -> Option<&str> {
        let named = self.baseline.as_deref()?;
        if named.exists() { None } else { named.to_str() }
    }

    fn prepared(
        &self,
        read: impl FnOnce(&Path) -> Result<Report, CliError>,
    ) -> Result<Prepared<'_>, CliError> {
        if self.fail_on == FailOnArgument::New && self.baseline.is_none() {
            return Err(CliError::NoBaseline);
        }
        let earlier = self.baseline.as_deref().map(read).transpose()?;
        let files = self.report.iter();
        let files = files.map(|file| {
            let opened = file.open().map_err(|source| CliError::Unwritable {
                path: file.path.clone(),
                source,
            });
            Ok((file, opened?))
        });
        Ok(Prepared {
            rendering: self,
            files: files.collect::<Result<_, CliError>>()?,
            earlier,
        })
    }

    /// Name of the format on standard output.
    pub(super) fn format(&self) -> &'static str {
        self.output.name
    }

    /// The exit code in the place of `code`.
    pub(super) const fn code(&self, code: u8) -> u8 {
        if self.exit_zero { 0 } else { code }
    }

    /// What the exit code depends on.
    pub(super) fn allowed(&self) -> Allowed {
        Allowed {
            fail_on: self.fail_on.into(),
            unverified_max: self.max_inconclusive,
            missing_max: self.allow_missing,
        }
    }
}

impl Prepared<'_> {
    /// The report of the earlier run.
    pub(super) fn earlier(&self) -> Option<&Report> {
        self.earlier.as_ref()
    }

    /// Writes `report` to the files and to standard output; returns the exit code that it stands for.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn finish(self, report: &mut Report) -> Result<u8, CliError> {
        if let Some(earlier) = &self.earlier {
            report.compare_with(earlier);
        }
        let allowed = self.rendering.allowed();
        for (file, destination) in self.files {
            // A file is to be searched later: it has everything.
            let view = View {
                terminal: file_terminal(),
                details: Details::All,
                allowed,
            };
            let fill = |out: &mut dyn Write| file.format.write(report, &view, out);
            destination
                .write::<FormatError>(fill)
                .map_err(|source| CliError::ReportFile {
                    path: file.path.clone(),
                    source,
                })?;
        }
        let view = View {
            terminal: terminal(),
            details: Details::asked(self.rendering.details.clone()),
            allowed,
        };
        show(self.rendering.output, report, &view)?;
        if self.rendering.open {
            browser::open(report, &view)?;
        }
        Ok(self.rendering.code(report.exit_code(allowed)))
    }
}

/// Writes `report` to standard output.
fn show(format: &Format, report: &Report, view: &View) -> Result<(), FormatError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = format
        .write(report, view, &mut out)
        .and_then(|()| Ok(out.flush()?));
    shown.or_else(|error| if error.is_left() { Ok(()) } else { Err(error) })
}

/// Reads a saved report.
pub(super) fn saved(path: &Path) -> Result<Report, CliError> {
    Report::open(path).map_err(|source| CliError::SavedReport {
        path: path.to_owned(),
        source,
    })
}

/// What standard output can show.
fn terminal() -> Terminal {
    Terminal {
        width: u16::try_from(console::width(FILE_WIDTH.into())).unwrap_or(FILE_WIDTH),
        colour: console::colour(),
    }
}

/// What a file can show.
pub(super) fn file_terminal() -> Terminal {
    Terminal {
        width: FILE_WIDTH,
        colour: Colour::Plain,
    }
}
