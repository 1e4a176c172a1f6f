//! Whether this system lets the user make namespaces, and what helps where it does not.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::tools::is_root;

/// Settings that forbid user namespaces, the value that does, and the command that allows them.
const RESTRICTIONS: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "sudo sysctl -w user.max_user_namespaces=15000",
    ),
];

/// Files that container engines leave in their containers.
const CONTAINER_MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// What lets a container make namespaces. Source: `docker run` reference, "Runtime privilege and Linux capabilities": the
/// default profile for seccomp forbids `unshare` and `mount` without CAP_SYS_ADMIN.
const CONTAINER: &str = "docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined ...";

/// This system does not let the user make namespaces.
#[derive(Debug, PartialEq, Eq)]
pub struct NamespaceError {
    /// The one command that helps, where there is one.
    pub remedy: Option<&'static str>,
}

impl fmt::Display for NamespaceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("this system does not let this user make network namespaces")?;
        match self.remedy {
            Some(remedy) => write!(formatter, "; run:\n  {remedy}"),
            None => formatter.write_str("; try as root, or on a machine that is no container"),
        }
    }
}

impl std::error::Error for NamespaceError {}

/// Tries whether namespaces can be made as a lab makes them: as root without a user namespace, else with one.
///
/// # Errors
/// [`NamespaceError`], whose last line is the one command that helps.
pub fn ensure_namespaces() -> Result<(), NamespaceError> {
    let common = ["--net", "--mount", "--pid", "--fork"];
    let can = |more: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(common).args(more).arg("true");
        unshare
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Where it is missing nothing was tried; the lab itself says what the kernel said.
        unshare.status().map_or(true, |status| status.success())
    };
    if (is_root() && can(&[])) || can(&["--map-root-user"]) {
        return Ok(());
    }
    Err(NamespaceError { remedy: remedy() })
}

/// The command that lifts what forbids namespaces here, if it is known.
#[must_use]
pub fn remedy() -> Option<&'static str> {
    let read = |path: &str| fs::read_to_string(path).ok();
    restriction(read).or_else(|| {
        let marked = CONTAINER_MARKS.iter().any(|path| Path::new(path).exists());
        marked.then_some(CONTAINER)
    })
}

/// The command that lifts the first restriction that is in force.
fn restriction(read: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    RESTRICTIONS
        .iter()
        .find(|(path, forbidding, _)| read(path).is_some_and(|value| value.trim() == *forbidding))
        .map(|(_, _, command)| *command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restriction_in_force_names_the_command_that_lifts_it() {
        let apparmor = |path: &str| path.contains("apparmor").then(|| "1\n".to_owned());
        assert_eq!(
            restriction(apparmor),
            Some("sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")
        );
        let none_left = |path: &str| path.contains("max_user").then(|| "0\n".to_owned());
        assert_eq!(
            restriction(none_left),
            Some("sudo sysctl -w user.max_user_namespaces=15000")
        );
    }

    #[test]
    fn a_system_without_restrictions_gets_no_command() {
        assert_eq!(
            restriction(|path| path.contains("max_user").then(|| "96365\n".to_owned())),
            None
        );
    }

    #[test]
    fn the_command_stands_on_a_line_of_its_own() {
        let error = NamespaceError {
            remedy: Some(CONTAINER),
        };
        let text = error.to_string();
        let last = text.lines().last();
        assert!(last.is_some_and(|line| line.starts_with("  docker run --cap-add")));
    }
}
