//! Where a store is: a file of SQLite on this machine, or a database of a PostgreSQL server.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// How URLs of PostgreSQL begin \[PostgreSQL, 34.1.1.2 Connection URIs\].
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Where a store is. Its text never has the password of a URL.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// A file of SQLite.
    File(PathBuf),
    /// A database of a server.
    Server(ServerUrl),
}

/// The URL of a database.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

impl Place {
    /// What `text` names: a URL of PostgreSQL, else a file, relative to `folder`.
    #[must_use]
    pub fn of(text: &str, folder: &Path) -> Self {
        if SCHEMES.iter().any(|scheme| text.starts_with(scheme)) {
            Self::Server(ServerUrl(text.to_owned()))
        } else {
            Self::File(folder.join(text))
        }
    }
}

impl ServerUrl {
    /// The URL as it is dialled: over TLS with a certificate that is that server's, unless it says how, or does not leave this
    /// machine. What the driver takes without a word is no TLS where the server has none \[PostgreSQL, 34.19.3 `prefer`\].
    pub(super) fn dialled(&self) -> String {
        let Self(url) = self;
        if url.contains("sslmode=") || self.is_local() {
            return url.clone();
        }
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}sslmode=verify-full")
    }

    /// Whether the server is on this machine: a socket, or an address of loopback. A host that comes from elsewhere is none.
    fn is_local(&self) -> bool {
        let (_, query) = self.0.split_once('?').unwrap_or_default();
        let names_host = |word: &&str| word.starts_with("host=") || word.starts_with("hostaddr=");
        let mut hosts = query.split('&').filter(names_host).peekable();
        if hosts.peek().is_some() {
            return hosts.all(is_socket);
        }
        let host = self.host();
        let address: Option<IpAddr> = host.parse().ok();
        host == "localhost"
            || host.to_ascii_lowercase().starts_with("%2f")
            || address.is_some_and(|address| address.is_loopback())
    }

    /// Scheme, and all behind it but the query.
    fn parts(&self) -> (&str, &str) {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        (scheme, rest.split(['?', '#']).next().unwrap_or_default())
    }

    fn host(&self) -> &str {
        let (_, rest) = self.parts();
        let authority = rest.split('/').next().unwrap_or_default();
        let authority = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        }
    }
}

fn is_socket(parameter: &str) -> bool {
    parameter.starts_with("host=/") || parameter.to_ascii_lowercase().starts_with("host=%2f")
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Server(url) => {
                let (scheme, rest) = url.parts();
                // A password that is not written as URLs want it may have any character.
                let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
                write!(formatter, "{scheme}://{place}")
            }
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Place({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialled(text: &str) -> String {
        match Place::of(text, Path::new("")) {
            Place::Server(url) => url.dialled(),
            Place::File(path) => path.display().to_string(),
        }
    }

    #[test]
    fn a_url_is_told_without_its_password_and_other_texts_are_files() {
        for (text, told) in [
            (
                "postgres://me:secret@db.example.com:5432/runs?sslmode=require&password=secret",
                "postgres://db.example.com:5432/runs",
            ),
            (
                "postgresql://me:secret/secret@secret@db/runs",
                "postgresql://db/runs",
            ),
            ("postgres:///runs?host=/run/pg", "postgres:///runs"),
            ("runs.db", "/data/runs.db"),
        ] {
            let place = Place::of(text, Path::new("/data"));
            assert!(!format!("{place} {place:?}").contains("secret"));
            assert_eq!(place.to_string(), told);
        }
    }

    #[test]
    fn a_server_elsewhere_is_asked_for_its_certificate() {
        for (text, added) in [
            ("postgres://me@db.example.com/runs", "?sslmode=verify-full"),
            (
                "postgres://me@10.0.0.5:5432/runs?application_name=x",
                "&sslmode=verify-full",
            ),
            (
                "postgres://me@localhost.example.com/runs",
                "?sslmode=verify-full",
            ),
            (
                "postgres://me@db.example.com/a@localhost/runs",
                "?sslmode=verify-full",
            ),
            (
                "postgres://me@localhost/runs?host=db.example.com",
                "&sslmode=verify-full",
            ),
            ("postgres:///runs", "?sslmode=verify-full"),
            ("postgres://me@db/runs?sslmode=disable", ""),
            ("postgres://me@localhost/runs", ""),
            ("postgres://me@127.0.0.1:5433/runs", ""),
            ("postgres://me@[::1]:5433/runs", ""),
            ("postgres://me@[2001:db8::1]/runs", "?sslmode=verify-full"),
            ("postgres:///runs?host=/run/postgresql", ""),
            ("postgres://%2Frun%2Fpostgresql/runs", ""),
        ] {
            assert_eq!(dialled(text), format!("{text}{added}"));
        }
    }
}
