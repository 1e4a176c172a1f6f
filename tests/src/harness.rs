//! A small test harness for tests that must run in namespaces of their own.
//!
//! The usual harness starts threads before a test can isolate itself. This one isolates first, then runs its cases, and
//! prints what the usual one would. It knows the filters and flags that `cargo test` passes on.

use std::error::Error;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use reachproof_lab::{Isolation, is_isolating, isolate};

/// What a case ends with.
pub type CaseResult = Result<(), Box<dyn Error>>;

/// What must be made before the program is isolated: there is no network and no cache afterwards.
pub type Preparation = fn() -> CaseResult;

/// One test.
#[derive(Clone, Copy)]
pub struct Case {
    /// A sentence about behaviour.
    pub name: &'static str,
    /// Why it only runs when asked for; `None` for an ordinary test.
    pub ignored: Option<&'static str>,
    /// The test.
    pub run: fn() -> CaseResult,
}

/// Which cases the arguments ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Selection {
    filters: Vec<String>,
    exact: bool,
    list: bool,
    ordinary_left_out: bool,
    ignored_included: bool,
}

impl Selection {
    fn read(arguments: impl Iterator<Item = String>) -> Self {
        let mut selection = Selection::default();
        for argument in arguments {
            match argument.as_str() {
                "--exact" => selection.exact = true,
                "--list" => selection.list = true,
                "--include-ignored" => selection.ignored_included = true,
                "--ignored" => {
                    selection.ignored_included = true;
                    selection.ordinary_left_out = true;
                }
                flag if flag.starts_with('-') => {}
                filter => selection.filters.push(filter.to_owned()),
            }
        }
        selection
    }

    /// Whether the filters let a name pass.
    fn names(&self, name: &str) -> bool {
        let fits = |filter: &String| {
            if self.exact {
                filter == name
            } else {
                name.contains(filter)
            }
        };
        self.filters.is_empty() || self.filters.iter().any(fits)
    }

    fn runs(&self, case: &Case) -> bool {
        match case.ignored {
            Some(_) => self.ignored_included,
            None => !self.ordinary_left_out,
        }
    }
}

/// Prepares once, isolates the program, and runs those of `cases` that its arguments ask for, one after the other.
///
/// To be called first thing in `main`. Ends with failure if a case or the preparation fails, or the program cannot be
/// isolated.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a harness says what it runs"
)]
pub fn run_cases(prepare: Preparation, cases: &[Case]) -> ExitCode {
    let selection = Selection::read(std::env::args().skip(1));
    let named: Vec<&Case> = cases
        .iter()
        .filter(|case| selection.names(case.name))
        .collect();
    if selection.list {
        named
            .iter()
            .for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    let wanted = named.iter().any(|case| selection.runs(case));
    if wanted
        && !is_isolating()
        && let Err(error) = prepare()
    {
        eprintln!("{}", explain(error.as_ref()));
        return ExitCode::FAILURE;
    }
    match isolate() {
        Ok(Isolation::Inside) => {}
        Ok(Isolation::Finished(code)) => return code,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    let failed = run_all(&named, &selection, cases.len() - named.len());
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Says to a process that it runs one case of a program whose cases run side by side.
const ALONE: &str = "REACHPROOF_CASE_ALONE";

/// As [`run_cases`], but every case is a process of its own with its own namespaces, and `together` of them run at a time:
/// for cases that mostly wait.
pub fn run_cases_together(prepare: Preparation, cases: &[Case], together: usize) -> ExitCode {
    if std::env::var_os(ALONE).is_some() {
        return run_cases(|| Ok(()), cases);
    }
    let selection = Selection::read(std::env::args().skip(1));
    let named: Vec<&Case> = cases
        .iter()
        .filter(|case| selection.names(case.name))
        .collect();
    let wanted: Vec<&Case> = named
        .iter()
        .copied()
        .filter(|case| selection.runs(case))
        .collect();
    if selection.list || wanted.is_empty() {
        return run_cases(prepare, cases);
    }
    let failed = match prepare() {
        Ok(()) => run_together(&wanted, together),
        Err(error) => {
            say_on_stderr(&explain(error.as_ref()));
            return ExitCode::FAILURE;
        }
    };
    conclude(Counts {
        passed: wanted.len() - failed,
        failed,
        ignored: named.len() - wanted.len(),
        filtered: cases.len() - named.len(),
    });
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs cases in processes of their own; returns how many failed.
#[expect(clippy::print_stdout, reason = "a harness says what it runs")]
fn run_together(wanted: &[&Case], together: usize) -> usize {
    println!("\nrunning {} tests", wanted.len());
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..together.max(1) {
            scope.spawn(|| {
                while let Some(case) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let said = match run_alone(case.name) {
                        Ok(notes) => format!("ok <{:.1} s>{notes}", start.elapsed().as_secs_f32()),
                        Err(said) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            format!("FAILED\n{said}")
                        }
                    };
                    println!("test {} ... {said}", case.name);
                }
            });
        }
    });
    failed.into_inner()
}

/// Runs one case in a process of its own; returns the figures that it gave, and as error all that the process said.
fn run_alone(name: &str) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args(["--exact", "--include-ignored", name])
        .env(ALONE, "1")
        .output()
        .map_err(|error| error.to_string())?;
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.success() {
        return Ok(notes(&text.concat()));
    }
    Err(text.concat())
}

/// The figures among what a case said, each in a line that begins with two blanks; a line break before each.
fn notes(said: &str) -> String {
    let figures = said.lines().filter(|line| line.starts_with("  "));
    figures.flat_map(|line| ["\n", line]).collect()
}

/// How the cases ended.
struct Counts {
    passed: usize,
    failed: usize,
    ignored: usize,
    filtered: usize,
}

/// The closing line of the usual harness.
#[expect(clippy::print_stdout, reason = "a harness says what it ran")]
fn conclude(counts: Counts) {
    let word = if counts.failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {} failed; {} ignored; 0 measured; {} filtered out\n",
        counts.passed, counts.failed, counts.ignored, counts.filtered
    );
}

#[expect(clippy::print_stderr, reason = "a harness says why it cannot run")]
fn say_on_stderr(text: &str) {
    eprintln!("{text}");
}

/// Runs the cases and says so; returns how many failed. `filtered` counts those that no filter let pass.
#[expect(clippy::print_stdout, reason = "a harness says what it runs")]
fn run_all(named: &[&Case], selection: &Selection, filtered: usize) -> usize {
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    println!("\nrunning {} tests", named.len());
    for case in named {
        if !selection.runs(case) {
            ignored += 1;
            println!(
                "test {} ... ignored, {}",
                case.name,
                case.ignored.unwrap_or("not asked for")
            );
            continue;
        }
        let start = Instant::now();
        match (case.run)() {
            Ok(()) => {
                passed += 1;
                println!(
                    "test {} ... ok <{:.1} s>",
                    case.name,
                    start.elapsed().as_secs_f32()
                );
            }
            Err(error) => {
                failed += 1;
                println!("test {} ... FAILED\n{}", case.name, explain(error.as_ref()));
            }
        }
    }
    conclude(Counts {
        passed,
        failed,
        ignored,
        filtered,
    });
    failed
}

/// An error with its causes, in one line.
#[must_use]
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(arguments: &[&str]) -> Selection {
        Selection::read(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    fn case(ignored: Option<&'static str>) -> Case {
        Case {
            name: "worlds_agree",
            ignored,
            run: || Ok(()),
        }
    }

    #[test]
    fn ignored_cases_run_only_when_asked_for() {
        let (ordinary, long) = (case(None), case(Some("needs minutes")));
        let runs = |arguments: &[&str]| {
            let selection = selection(arguments);
            (selection.runs(&ordinary), selection.runs(&long))
        };
        assert_eq!(runs(&[]), (true, false));
        assert_eq!(runs(&["--ignored"]), (false, true));
        assert_eq!(runs(&["--include-ignored", "--nocapture"]), (true, true));
    }

    #[test]
    fn figures_are_the_lines_that_begin_with_two_blanks() {
        assert_eq!(
            notes("running 1 test\n  7 agents\n  64 kB\ntest a ... ok\n"),
            "\n  7 agents\n  64 kB"
        );
        assert_eq!(notes("test a ... ok\n"), "");
    }

    #[test]
    fn filters_are_parts_of_names_unless_they_are_exact() {
        assert!(selection(&["agree"]).names("worlds_agree"));
        assert!(!selection(&["agree", "--exact"]).names("worlds_agree"));
        assert!(!selection(&["other"]).names("worlds_agree"));
        assert!(selection(&[]).names("worlds_agree"));
    }
}
