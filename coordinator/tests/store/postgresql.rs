//! A server of PostgreSQL of its own, by a user without rights: it refuses root.

use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

/// Where Debian and others put the programs, a folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Who the server runs as where the test is root.
const NOBODY: u32 = 65534;

/// Longest time for a start, with recovery after a crash.
const START_MAX: Duration = Duration::from_secs(60);

/// A server on loopback and on a socket of its own; killed when dropped.
pub(crate) struct Server {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Server {
    /// Makes the folder of a server, and starts it.
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        if geteuid().is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = Self {
            programs: programs()?,
            folder,
            port,
            process: None,
        };
        let made = server
            .program("initdb")
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-sync",
                "-D",
            ])
            .arg(server.data())
            .output()?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
        }
        server.again()?;
        Ok(server)
    }

    /// Starts it, if it does not run, and waits until it takes connections.
    pub(crate) fn again(&mut self) -> Result<(), Box<dyn Error>> {
        let log = fs::File::create(self.folder.path().join("log"))?;
        let process = self
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .args([
                "-p",
                &self.port.to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
                "-k",
            ])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.process = Some(process);
        let end = Instant::now() + START_MAX;
        loop {
            let ready = self
                .program("pg_isready")
                .args(["-q", "-p", &self.port.to_string(), "-h"])
                .arg(self.folder.path())
                .status()?;
            if ready.success() {
                return Ok(());
            }
            if Instant::now() > end {
                let log = fs::read_to_string(self.folder.path().join("log"))?;
                return Err(format!("PostgreSQL does not start: {log}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it at once, as a crash does: nothing is written any more, and the next start recovers.
    pub(crate) fn crash(&mut self) -> Result<(), Box<dyn Error>> {
        if let Some(mut process) = self.process.take() {
            let pid = Pid::from_raw(i32::try_from(process.id())?);
            kill(pid, Signal::SIGQUIT)?;
            process.wait()?;
        }
        Ok(())
    }

    /// The database, by its socket.
    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://postgres@localhost:{}/postgres?host={}",
            self.port,
            self.folder.path().display()
        )
    }

    /// Serves TLS from the next start on, with a certificate for `localhost`; returns the URL that asks for it.
    pub(crate) fn with_tls(&mut self) -> Result<String, Box<dyn Error>> {
        self.crash()?;
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, key) = (
            self.data().join("server.crt"),
            self.data().join("server.key"),
        );
        fs::write(&certificate, signed.cert.pem())?;
        fs::write(&key, signed.signing_key.serialize_pem())?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        if geteuid().is_root() {
            chown(&certificate, Some(NOBODY), Some(NOBODY))?;
            chown(&key, Some(NOBODY), Some(NOBODY))?;
        }
        // Whoever does not speak TLS is refused.
        fs::write(
            self.data().join("pg_hba.conf"),
            "hostssl all all 127.0.0.1/32 trust\nlocal all all trust\n",
        )?;
        let settings = self.data().join("postgresql.auto.conf");
        fs::write(settings, "ssl = on\n")?;
        self.again()?;
        Ok(format!(
            "postgres://postgres@localhost:{}/postgres?sslmode=verify-full&sslrootcert={}",
            self.port,
            certificate.display()
        ))
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        let mut command = if geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command
                .args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")])
                .arg("--clear-groups")
                .arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir("/");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that ended already cannot be ended.
        let _ended = self.crash();
    }
}

/// The folder of the programs of the newest version.
fn programs() -> Result<PathBuf, Box<dyn Error>> {
    let missing = || format!("no PostgreSQL in {VERSIONS}: install the package postgresql");
    let versions = fs::read_dir(Path::new(VERSIONS)).map_err(|_| missing())?;
    let folders = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let found = folders
        .filter(|folder| folder.join("initdb").is_file())
        .max();
    Ok(found.ok_or_else(missing)?)
}
