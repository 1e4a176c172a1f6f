//! The two programs that a lab stands on: `ip` of iproute2 and `nft` of nftables.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

/// Each program with the package that has it, the same in Debian, Fedora and Alpine unless noted.
const TOOLS: [Tool; 3] = [
    Tool {
        program: "ip",
        package: "iproute2",
        fedora: "iproute",
    },
    Tool {
        program: "nft",
        package: "nftables",
        fedora: "nftables",
    },
    Tool {
        program: "nsenter",
        package: "util-linux",
        fedora: "util-linux",
    },
];
/// Where administrators' programs lie when an ordinary user's `PATH` leaves them out.
const SYSTEM_PATHS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

struct Tool {
    program: &'static str,
    package: &'static str,
    fedora: &'static str,
}

/// Why a program that the lab needs is not there.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is missing and cannot be installed from here.
    #[error("`{program}` is not installed; run: {command}")]
    Missing {
        /// The program.
        program: &'static str,
        /// What installs it.
        command: String,
    },
    /// It was to be installed and that failed.
    #[error("`{program}` is not installed and installing it failed; run: {command}")]
    NotInstalled {
        /// The program.
        program: &'static str,
        /// What was tried.
        command: String,
        /// Why it could not be started, if it could not.
        #[source]
        source: Option<std::io::Error>,
    },
}

/// A way to install packages.
struct Installer {
    program: &'static str,
    arguments: &'static str,
}

/// Package managers that are asked, in this order.
const INSTALLERS: [Installer; 3] = [
    Installer {
        program: "apt-get",
        arguments: "install -y --no-install-recommends",
    },
    Installer {
        program: "dnf",
        arguments: "install -y",
    },
    Installer {
        program: "apk",
        arguments: "add",
    },
];

/// Makes sure that `ip`, `nft` and `nsenter` are there: installs what is missing if the user is root and the
/// machine has a package manager that is known here.
///
/// # Errors
/// [`ToolError`], whose text is the one command that helps.
pub fn ensure_tools() -> Result<(), ToolError> {
    for tool in &TOOLS {
        if find(tool.program).is_none() {
            install(tool)?;
        }
    }
    Ok(())
}

/// Finds a program in `PATH` or where administrators' programs lie.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let listed = env::var_os("PATH").unwrap_or_default();
    env::split_paths(OsStr::new(&listed))
        .chain(SYSTEM_PATHS.iter().map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn install(tool: &Tool) -> Result<(), ToolError> {
    let installer = INSTALLERS
        .iter()
        .find(|installer| find(installer.program).is_some());
    let command = command(tool, installer);
    let program = tool.program;
    let Some(installer) = installer.filter(|_| geteuid().is_root()) else {
        return Err(ToolError::Missing { program, command });
    };
    let status = Command::new(installer.program)
        .args(installer.arguments.split(' '))
        .arg(package(tool, installer.program))
        .stdout(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() && find(program).is_some() => Ok(()),
        Ok(_) => Err(ToolError::NotInstalled {
            program,
            command,
            source: None,
        }),
        Err(source) => Err(ToolError::NotInstalled {
            program,
            command,
            source: Some(source),
        }),
    }
}

fn package(tool: &Tool, installer: &str) -> &'static str {
    if installer == "dnf" {
        tool.fedora
    } else {
        tool.package
    }
}

fn command(tool: &Tool, installer: Option<&Installer>) -> String {
    let sudo = if geteuid().is_root() { "" } else { "sudo " };
    match installer {
        Some(installer) => {
            format!(
                "{sudo}{} {} {}",
                installer.program,
                installer.arguments,
                package(tool, installer.program)
            )
        }
        None => format!(
            "the package manager of this machine to install `{}`",
            tool.package
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed lookup fails the test")]

    use super::*;

    #[test]
    fn a_missing_program_comes_with_the_command_that_installs_it() {
        let tool = TOOLS.first().unwrap();
        let command = command(tool, INSTALLERS.get(1));
        assert!(command.ends_with("dnf install -y iproute"), "{command}");
    }

    #[test]
    fn programs_are_found_outside_an_ordinary_path() {
        assert!(find("nft").is_some());
        assert!(find("no-such-program").is_none());
    }
}
