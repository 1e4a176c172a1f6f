//! Keys, certificates and tokens of one control plane.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::kubernetes::process::{write_private, write_public};
use crate::kubernetes::{Front, KubernetesError, Settings, make_private_folder};

/// Names by which every cluster's API server is called from inside.
const NAMES: [&str; 4] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "localhost",
];

/// What the caller of a control plane needs of its secrets; the rest lies in the folder.
#[derive(Debug)]
pub(super) struct Identity {
    ca: String,
    pub(super) admin_token: String,
}

/// A client: file name, common name, group.
const CLIENTS: [(&str, &str, &str); 3] = [
    (
        "kubelet-client",
        "kube-apiserver-kubelet-client",
        "system:masters",
    ),
    ("controller-manager", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
];

impl Identity {
    /// Makes everything and writes it below `folder`.
    ///
    /// # Errors
    /// [`KubernetesError::Certificate`], [`KubernetesError::File`], [`KubernetesError::Random`].
    pub(super) fn make(
        folder: &Path,
        fronts: &[Front],
        settings: &Settings,
    ) -> Result<Self, KubernetesError> {
        make_private_folder(folder)?;
        let issuer = authority(folder)?;
        let mut server = params("kube-apiserver", "", ExtendedKeyUsagePurpose::ServerAuth);
        server.subject_alt_names = server_names(fronts, settings)?;
        issue(folder, "apiserver", &server, &issuer)?;
        for (file, name, group) in CLIENTS {
            issue(
                folder,
                file,
                &params(name, group, ExtendedKeyUsagePurpose::ClientAuth),
                &issuer,
            )?;
        }
        let account = key("service-account")?;
        write_private(
            &folder.join("service-account.key"),
            &account.serialize_pem(),
        )?;
        write_public(
            &folder.join("service-account.pub"),
            &account.public_key_pem(),
        )?;
        let admin_token = random_token()?;
        write_private(
            &folder.join("tokens.csv"),
            &format!("{admin_token},admin,admin,system:masters\n"),
        )?;
        let path = folder.join("ca.crt");
        let ca = std::fs::read_to_string(&path)
            .map_err(|source| KubernetesError::File { path, source })?;
        Ok(Self { ca, admin_token })
    }

    /// The authority's certificate as a kubeconfig holds it: PEM in base64.
    pub(super) fn ca_base64(&self) -> String {
        base64(self.ca.as_bytes())
    }
}

fn refused(name: &str) -> impl FnOnce(rcgen::Error) -> KubernetesError + use<> {
    let name = name.to_owned();
    move |source| KubernetesError::Certificate { name, source }
}

fn key(name: &str) -> Result<KeyPair, KubernetesError> {
    KeyPair::generate().map_err(refused(name))
}

fn authority(folder: &Path) -> Result<Issuer<'static, KeyPair>, KubernetesError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "lab");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = key("ca")?;
    let certificate = params.self_signed(&key).map_err(refused("ca"))?;
    write_public(&folder.join("ca.crt"), &certificate.pem())?;
    Ok(Issuer::new(params, key))
}

fn params(name: &str, group: &str, purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
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

fn issue(
    folder: &Path,
    name: &str,
    params: &CertificateParams,
    issuer: &Issuer<'static, KeyPair>,
) -> Result<(), KubernetesError> {
    let key = key(name)?;
    let certificate = params.signed_by(&key, issuer).map_err(refused(name))?;
    write_public(&folder.join(format!("{name}.crt")), &certificate.pem())?;
    write_private(&folder.join(format!("{name}.key")), &key.serialize_pem())
}

fn server_names(fronts: &[Front], settings: &Settings) -> Result<Vec<SanType>, KubernetesError> {
    let names = NAMES
        .iter()
        .map(|name| (*name).to_owned())
        .chain(settings.names.iter().cloned());
    let mut all = Vec::new();
    for name in names {
        let name = name.as_str().try_into().map_err(refused("apiserver"))?;
        all.push(SanType::DnsName(name));
    }
    let own = fronts.iter().flat_map(|front| [front.address, front.bind]);
    // The service `default/kubernetes` has the first address of the range.
    let service = settings.service_range.hosts().next();
    all.extend(
        own.chain(service)
            .filter(|it: &IpAddr| !it.is_unspecified())
            .map(SanType::IpAddress),
    );
    Ok(all)
}

/// 256 bits in hexadecimal.
fn random_token() -> Result<String, KubernetesError> {
    let mut bytes = [0_u8; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| KubernetesError::Random)?;
    Ok(hexadecimal(&bytes))
}

/// Two lower-case digits for each byte.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Base64 with padding (RFC 4648, section 4): a kubeconfig's only encoding of a certificate.
fn base64(bytes: &[u8]) -> String {
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
    fn tokens_have_256_bits_and_are_never_the_same() {
        let (one, other) = (random_token().unwrap(), random_token().unwrap());
        assert_eq!(one.len(), 64);
        assert_ne!(one, other);
    }
}
