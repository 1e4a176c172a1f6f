//! The authority of a cluster: it signs the certificates that its API servers show.
//!
//! One is made for each lab that wants it and lives in memory alone: a world's text stays small, and no key is stored.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Map, Value, json};

/// Names by which every cluster's API server is called from inside.
const NAMES: [&str; 4] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "localhost",
];

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A key or certificate could not be made.
    #[error("cannot make the certificate `{name}`")]
    Certificate {
        /// Whose.
        name: String,
        /// What went wrong.
        #[source]
        source: rcgen::Error,
    },
    /// TLS does not take what was made.
    #[error("cannot serve TLS with the certificate `{name}`")]
    Serve {
        /// Whose.
        name: String,
        /// What went wrong.
        #[source]
        source: rustls::Error,
    },
}

/// A certificate authority. Clones are the same authority.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

struct Inner {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    certificate: String,
}

/// A certificate with its key, both in PEM.
pub(crate) struct Issued {
    /// The certificate.
    pub(crate) certificate: String,
    /// Its key.
    pub(crate) key: String,
}

impl Authority {
    /// Makes one with a key of its own.
    ///
    /// # Errors
    /// [`AuthorityError::Certificate`].
    pub fn make() -> Result<Self, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "lab");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = new_key("ca")?;
        let root = params.self_signed(&key).map_err(refused("ca"))?;
        let certificate = root.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self {
            inner: Arc::new(Inner {
                issuer,
                root: root.der().clone(),
                certificate,
            }),
        })
    }

    /// Its own certificate, in PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.inner.certificate
    }

    /// Its certificate as `describe-cluster` and a kubeconfig hold it: PEM in base64.
    #[must_use]
    pub fn data(&self) -> String {
        base64(self.certificate().as_bytes())
    }

    /// Puts the certificate into the snapshot's `describe-cluster`, in the place of the one there; a cluster that says neither
    /// endpoint nor authority goes on saying neither.
    pub fn publish(&self, snapshot: &mut Map<String, Value>) {
        let cluster = snapshot
            .get_mut("describe-cluster")
            .and_then(|answer| answer.get_mut("cluster")?.as_object_mut());
        const AUTHORITY: &str = "certificateAuthority";
        let says = |cluster: &Map<String, Value>| {
            cluster.contains_key("endpoint") || cluster.contains_key(AUTHORITY)
        };
        if let Some(cluster) = cluster.filter(|cluster| says(cluster)) {
            cluster.insert(AUTHORITY.to_owned(), json!({"data": self.data()}));
        }
    }

    /// Issues a certificate of `params` for `name` with a key of its own.
    ///
    /// # Errors
    /// [`AuthorityError::Certificate`].
    pub(crate) fn issue(
        &self,
        name: &str,
        params: &CertificateParams,
    ) -> Result<Issued, AuthorityError> {
        let key = new_key(name)?;
        let signed = params.signed_by(&key, &self.inner.issuer);
        Ok(Issued {
            certificate: signed.map_err(refused(name))?.pem(),
            key: key.serialize_pem(),
        })
    }

    /// What an API server that is called by `hosts` and `addresses` serves TLS 1.3 with; it asks for no certificate.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn server(
        &self,
        hosts: &[String],
        addresses: &[IpAddr],
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        self.tls("apiserver", &api_server(hosts, addresses)?, None)
    }

    /// What kubelets at `addresses` serve TLS 1.3 with: a certificate is asked for, and whoever has none is let in all the
    /// same, to be refused what is asked.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub(crate) fn kubelets(
        &self,
        addresses: &[IpAddr],
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        const NAME: &str = "kubelet";
        let mut params = params(NAME, "system:nodes", ExtendedKeyUsagePurpose::ServerAuth);
        let names = addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(names);
        let mut roots = RootCertStore::empty();
        roots.add(self.inner.root.clone()).map_err(unserved(NAME))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let callers = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))
            .map_err(unserved(NAME))?;
        self.tls(NAME, &params, Some(callers))
    }

    /// Serves TLS 1.3 with a certificate of `params` for `name`; `callers` says whose certificates are good.
    fn tls(
        &self,
        name: &str,
        params: &CertificateParams,
        callers: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        let key = new_key(name)?;
        let signed = params.signed_by(&key, &self.inner.issuer);
        let chain = vec![signed.map_err(refused(name))?.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unserved(name))?;
        let builder = match callers {
            Some(callers) => builder.with_client_cert_verifier(callers),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(unserved(name))?;
        // Nobody comes back with one.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Authority")
    }
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Authority {}

/// A certificate of an API server, to be signed: every cluster's names, `hosts` and `addresses`.
///
/// # Errors
/// [`AuthorityError::Certificate`] for a host that is no name.
pub(crate) fn api_server(
    hosts: &[String],
    addresses: &[IpAddr],
) -> Result<CertificateParams, AuthorityError> {
    let mut params = params("kube-apiserver", "", ExtendedKeyUsagePurpose::ServerAuth);
    let hosts = hosts.iter().map(String::as_str);
    for name in NAMES.into_iter().chain(hosts) {
        let name = name.try_into().map_err(refused("apiserver"))?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    let addresses = addresses.iter().copied().map(SanType::IpAddress);
    params.subject_alt_names.extend(addresses);
    Ok(params)
}

/// A certificate for `name` in `group`, to be signed.
pub(crate) fn params(
    name: &str,
    group: &str,
    purpose: ExtendedKeyUsagePurpose,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    if !group.is_empty() {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    params.extended_key_usages = vec![purpose];
    params
}

/// The host of the cluster's endpoint, as `describe-cluster` says it.
pub(crate) fn endpoint_host(snapshot: &Map<String, Value>) -> Option<String> {
    let endpoint = snapshot.get("describe-cluster")?.get("cluster")?;
    let endpoint = endpoint.get("endpoint")?.as_str()?;
    let host = endpoint.strip_prefix("https://").unwrap_or(endpoint);
    (!host.is_empty()).then(|| host.to_owned())
}

/// A new key for `name`.
///
/// # Errors
/// [`AuthorityError::Certificate`].
pub(crate) fn new_key(name: &str) -> Result<KeyPair, AuthorityError> {
    KeyPair::generate().map_err(refused(name))
}

fn unserved(name: &str) -> impl FnOnce(rustls::Error) -> AuthorityError + use<> {
    let name = name.to_owned();
    move |source| AuthorityError::Serve { name, source }
}

fn refused(name: &str) -> impl FnOnce(rcgen::Error) -> AuthorityError + use<> {
    let name = name.to_owned();
    move |source| AuthorityError::Certificate { name, source }
}

/// Base64 with padding (RFC 4648, section 4): a kubeconfig's only encoding of a certificate.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for group in bytes.chunks(3) {
        let mut padded = [0_u8; 4];
        for (place, byte) in padded.iter_mut().skip(1).zip(group) {
            *place = *byte;
        }
        let bits = u32::from_be_bytes(padded);
        for (index, shift) in [18_u32, 12, 6, 0].into_iter().enumerate() {
            let digit = usize::try_from((bits >> shift) & 63)
                .ok()
                .and_then(|at| DIGITS.get(at));
            let known = index <= group.len();
            text.push(
                digit
                    .filter(|_| known)
                    .map_or('=', |digit| char::from(*digit)),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let pairs = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ];
        for (plain, encoded) in pairs {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn a_cluster_that_says_its_endpoint_says_its_authority() {
        let authority = Authority::make().unwrap();
        let cluster = |cluster: Value| {
            let mut snapshot = Map::from_iter([("describe-cluster".to_owned(), cluster)]);
            authority.publish(&mut snapshot);
            let data = snapshot.get("describe-cluster").and_then(|answer| {
                answer
                    .pointer("/cluster/certificateAuthority/data")
                    .cloned()
            });
            (data, endpoint_host(&snapshot))
        };
        let said = cluster(json!({"cluster": {"endpoint": "https://abc.example"}}));
        assert_eq!(
            said,
            (
                Some(json!(authority.data())),
                Some("abc.example".to_owned())
            )
        );
        assert_eq!(cluster(json!({"cluster": {"name": "demo"}})), (None, None));
        let real = json!({"cluster": {"certificateAuthority": {"data": "cmVhbA=="}}});
        assert_eq!(cluster(real), (Some(json!(authority.data())), None));
    }

    #[test]
    fn no_two_authorities_are_alike() {
        let one = Authority::make().unwrap();
        assert_eq!(one, one.clone());
        assert_ne!(one, Authority::make().unwrap());
    }
}
