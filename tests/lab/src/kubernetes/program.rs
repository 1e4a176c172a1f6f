//! The binary of the control plane: built once, kept by its content.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ring::digest::{Context, SHA256};

use crate::kubernetes::identity::hexadecimal;
use crate::kubernetes::process::write_public;
use crate::kubernetes::{KubernetesError, make_private_folder};

/// What it is built from.
const SOURCES: [(&str, &str); 5] = [
    ("etcd.go", include_str!("../../kubernetes/etcd.go")),
    ("go.mod", include_str!("../../kubernetes/go.mod")),
    ("go.sum", include_str!("../../kubernetes/go.sum")),
    ("main.go", include_str!("../../kubernetes/main.go")),
    ("populate.go", include_str!("../../kubernetes/populate.go")),
];

const BINARY: &str = "controlplane";

/// The control plane's binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// Finds the binary that was built before from these sources.
    #[must_use]
    pub fn find() -> Option<Self> {
        let path = folder(&cache().ok()?).join(BINARY);
        path.is_file().then_some(Self { path })
    }

    /// Finds the binary, or builds it.
    ///
    /// The first build takes minutes; `progress` is told before it begins. Two that build at once wait for each other.
    /// To be called outside [`isolate`](crate::isolate()): Go fetches modules.
    ///
    /// # Errors
    /// [`KubernetesError::NoGo`] and [`KubernetesError::NoCache`] say what is missing, [`KubernetesError::Build`] what
    /// the compiler said.
    pub fn build(progress: impl FnOnce(&str)) -> Result<Self, KubernetesError> {
        let cache = cache()?;
        make_private_folder(&cache)?;
        let lock = cache.join("control-plane.lock");
        let locked = fs::File::create(&lock).and_then(|file| file.lock().map(|()| file));
        let _locked = locked.map_err(|source| KubernetesError::File { path: lock, source })?;
        if let Some(program) = Self::find() {
            return Ok(program);
        }
        let go = go().ok_or(KubernetesError::NoGo)?;
        progress("building the control plane (once; about 9 minutes of processor time)");
        build(&go, &folder(&cache))?;
        Self::find().ok_or_else(|| KubernetesError::Build {
            said: "it left no binary".to_owned(),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Builds in a folder beside, so that a build that is stopped leaves nothing that looks finished.
fn build(go: &Path, folder: &Path) -> Result<(), KubernetesError> {
    let work = folder.with_extension("building");
    make_private_folder(&work)?;
    for (name, text) in SOURCES {
        write_public(&work.join(name), text)?;
    }
    let built = Command::new(go)
        .current_dir(&work)
        .env("CGO_ENABLED", "0")
        // A workspace of somebody else's, further up, is none of ours.
        .env("GOWORK", "off")
        .args(arguments())
        .output()
        .map_err(|source| KubernetesError::Start {
            program: "go".to_owned(),
            source,
        })?;
    if !built.status.success() {
        let said = String::from_utf8_lossy(&built.stderr);
        let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
        let begin = lines.len().saturating_sub(10);
        let said = lines.get(begin..).unwrap_or_default().join("; ");
        return Err(KubernetesError::Build { said });
    }
    fs::rename(&work, folder).map_err(|source| KubernetesError::File {
        path: folder.to_owned(),
        source,
    })
}

/// Without its version the server calls itself `v0.0.0-master`, and clients that compare versions refuse it.
fn arguments() -> Vec<OsString> {
    let version = version();
    let minor = version.split('.').nth(1).unwrap_or_default();
    let mut flags = vec!["-s".to_owned(), "-w".to_owned()];
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        let values = [
            ("gitVersion", version),
            ("gitMajor", "1"),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
            ("gitCommit", "0000000"),
            ("buildDate", "1970-01-01T00:00:00Z"),
        ];
        flags.extend(values.map(|(name, value)| format!("-X {package}.{name}={value}")));
    }
    let build = ["build", "-trimpath", "-o", BINARY, "-ldflags"];
    let mut arguments: Vec<OsString> = build.map(OsString::from).to_vec();
    arguments.extend([OsString::from(flags.join(" ")), OsString::from(".")]);
    arguments
}

/// Version of Kubernetes in `go.mod`: `v1.36.3`.
fn version() -> &'static str {
    let sources = SOURCES.iter().find(|(name, _)| *name == "go.mod");
    let lines = sources.map(|(_, text)| text.lines()).into_iter().flatten();
    let mut versions =
        lines.filter_map(|line| line.split_once("k8s.io/kubernetes ").map(|it| it.1));
    let after = versions.next().unwrap_or_default();
    after.split_whitespace().next().unwrap_or_default()
}

/// Names the folder by all that decides what the binary is.
fn folder(cache: &Path) -> PathBuf {
    let mut digest = Context::new(&SHA256);
    for (name, text) in SOURCES {
        digest.update(name.as_bytes());
        digest.update(&[0]);
        digest.update(text.as_bytes());
        digest.update(&[0]);
    }
    for argument in arguments() {
        digest.update(argument.as_encoded_bytes());
        digest.update(&[0]);
    }
    let name = hexadecimal(digest.finish().as_ref());
    cache.join(format!(
        "control-plane-{}",
        name.get(..32).unwrap_or_default()
    ))
}

/// Outside the repository, so that no clone builds it again.
fn cache() -> Result<PathBuf, KubernetesError> {
    let absolute = |variable| {
        env::var_os(variable)
            .map(PathBuf::from)
            .filter(|it| it.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    Ok(cache.ok_or(KubernetesError::NoCache)?.join("reachproof"))
}

fn go() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = [PathBuf::from("/usr/local/go/bin")];
    env::split_paths(&path)
        .chain(usual)
        .map(|it| it.join("go"))
        .find(|it| it.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_built_with_the_version_of_its_module() {
        assert!(
            version().split('.').count() == 3 && version().starts_with("v1."),
            "{}",
            version()
        );
        let flags = arguments();
        let flags = flags
            .iter()
            .map(|it| it.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        assert!(flags.contains("version.gitVersion="), "{flags}");
    }

    #[test]
    fn the_binary_is_kept_under_the_digest_of_its_sources() {
        let folder = folder(Path::new("/cache"));
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let digest = name.strip_prefix("control-plane-").unwrap();
        assert!(
            digest.len() == 32 && digest.bytes().all(|it| it.is_ascii_hexdigit()),
            "{name}"
        );
    }
}
