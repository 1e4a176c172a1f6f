//! The programs that a lab stands on, and the one command that installs those that are missing.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program with the packages that bring it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tool {
    program: &'static str,
    /// In Debian and Ubuntu.
    debian: &'static str,
    /// In Fedora and Amazon Linux.
    fedora: &'static str,
    /// In Alpine.
    alpine: &'static str,
}

/// What a lab runs.
const LAB: [Tool; 3] = [
    Tool {
        program: "ip",
        debian: "iproute2",
        fedora: "iproute",
        alpine: "iproute2",
    },
    Tool {
        program: "nft",
        debian: "nftables",
        fedora: "nftables",
        alpine: "nftables",
    },
    Tool {
        program: "nsenter",
        debian: "util-linux",
        fedora: "util-linux",
        alpine: "util-linux",
    },
];

/// What building it takes beside Rust.
const BUILD: [Tool; 1] = [Tool {
    program: "cc",
    debian: "gcc libc6-dev",
    fedora: "gcc",
    alpine: "gcc musl-dev",
}];

/// Where administrators' programs lie when an ordinary user's `PATH` leaves them out.
const SYSTEM_PATHS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// For what programs are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// To run a lab that is built.
    Running,
    /// To build it and run it.
    Building,
}

/// A way to install packages.
struct Installer {
    program: &'static str,
    /// What comes before, where the list of packages may be empty or old.
    refresh: &'static str,
    install: &'static str,
    package: fn(&Tool) -> &'static str,
}

/// Package managers that are asked, in this order.
const INSTALLERS: [Installer; 3] = [
    Installer {
        program: "apt-get",
        refresh: "apt-get update && ",
        install: "apt-get install -y --no-install-recommends",
        package: |tool| tool.debian,
    },
    Installer {
        program: "dnf",
        refresh: "",
        install: "dnf install -y",
        package: |tool| tool.fedora,
    },
    Installer {
        program: "apk",
        refresh: "",
        install: "apk add",
        package: |tool| tool.alpine,
    },
];

/// Programs that are not there, with the command that installs all of them.
#[derive(Debug)]
pub struct ToolError {
    /// The programs.
    pub programs: Vec<&'static str>,
    /// What is to be done, with the command behind a colon; the packages alone where no package manager is known.
    pub remedy: String,
    /// How it went, if it was tried.
    pub tried: Option<io::Result<()>>,
}

impl fmt::Display for ToolError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let programs: Vec<String> = self
            .programs
            .iter()
            .map(|program| format!("`{program}`"))
            .collect();
        let tried = match &self.tried {
            None => String::new(),
            Some(Ok(())) => ", and installing failed".to_owned(),
            Some(Err(error)) => format!(", and installing failed ({error})"),
        };
        let programs = programs.join(", ");
        write!(
            formatter,
            "not installed: {programs}{tried}; {}",
            self.remedy
        )
    }
}

impl std::error::Error for ToolError {}

/// Makes sure that all programs are there: installs what is missing if the user is root and the machine has a package
/// manager that is known here.
///
/// # Errors
/// [`ToolError`], whose last line is the one command that helps.
pub fn ensure_tools(needs: Needs) -> Result<(), ToolError> {
    let missing = missing(needs, |program| find(program).is_some());
    if missing.is_empty() {
        return Ok(());
    }
    let installer = INSTALLERS
        .iter()
        .find(|installer| find(installer.program).is_some());
    let command = command(&missing, installer);
    let tried = installer.filter(|_| is_root()).map(|_| run(&command));
    let missing = self::missing(needs, |program| find(program).is_some());
    if missing.is_empty() {
        return Ok(());
    }
    Err(ToolError {
        programs: missing.iter().map(|tool| tool.program).collect(),
        remedy: match installer {
            Some(_) => format!("run:\n  {command}"),
            None => format!("install the packages:\n  {command}"),
        },
        tried,
    })
}

fn missing(needs: Needs, is_there: impl Fn(&str) -> bool) -> Vec<Tool> {
    let build = match needs {
        Needs::Running => &[][..],
        Needs::Building => &BUILD[..],
    };
    let tools = LAB.iter().chain(build);
    tools
        .filter(|tool| !is_there(tool.program))
        .copied()
        .collect()
}

/// Finds a program in `PATH` or where administrators' programs lie.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let listed = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&listed)
        .chain(SYSTEM_PATHS.iter().map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The kernel gives each process its folder under its effective user.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|folder| folder.uid() == 0)
}

fn run(command: &str) -> io::Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdout(Stdio::null());
    // Whether it helped is seen by what is there afterwards.
    shell.status().map(|_| ())
}

/// The command line for all of `tools`; their packages alone where no installer is known.
fn command(tools: &[Tool], installer: Option<&Installer>) -> String {
    let Some(installer) = installer else {
        let packages: Vec<&str> = tools.iter().map(|tool| tool.debian).collect();
        return packages.join(" ");
    };
    let packages: Vec<&str> = tools.iter().map(installer.package).collect();
    let line = format!(
        "{}{} {}",
        installer.refresh,
        installer.install,
        packages.join(" ")
    );
    if is_root() {
        line
    } else {
        line.replace(installer.program, &format!("sudo {}", installer.program))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_comes_with_one_command() {
        let missing = missing(Needs::Building, |program| program == "nsenter");
        let of = |name: &str| {
            INSTALLERS
                .iter()
                .find(|installer| installer.program == name)
        };
        let line = |name| command(&missing, of(name)).replace("sudo ", "");
        assert_eq!(
            line("apt-get"),
            "apt-get update && apt-get install -y --no-install-recommends iproute2 nftables gcc libc6-dev"
        );
        assert_eq!(line("dnf"), "dnf install -y iproute nftables gcc");
        assert_eq!(line("apk"), "apk add iproute2 nftables gcc musl-dev");
        let error = ToolError {
            programs: missing.iter().map(|tool| tool.program).collect(),
            remedy: format!("run:\n  {}", line("apk")),
            tried: None,
        };
        assert_eq!(
            error.to_string(),
            "not installed: `ip`, `nft`, `cc`; run:\n  apk add iproute2 nftables gcc musl-dev"
        );
    }

    #[test]
    fn what_is_built_already_needs_no_compiler() {
        let programs = |needs| {
            let missing = missing(needs, |_| false);
            missing.iter().map(|tool| tool.program).collect::<Vec<_>>()
        };
        assert_eq!(programs(Needs::Running), ["ip", "nft", "nsenter"]);
        assert_eq!(programs(Needs::Building), ["ip", "nft", "nsenter", "cc"]);
    }

    #[test]
    fn programs_are_found_outside_an_ordinary_path() {
        assert!(find("nft").is_some());
        assert!(find("no-such-program").is_none());
    }
}
