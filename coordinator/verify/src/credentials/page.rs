//! The certificate of the page, for whoever has the CA of the agents.

use std::path::Path;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};

use super::kept::replace;
use super::{CA_CERTIFICATE_FILE, CA_KEY_FILE, CredentialsError, read, read_private};

/// Certificate of the page, beside the credentials.
pub const PAGE_CERTIFICATE_FILE: &str = "page.crt";

/// Its key.
pub const PAGE_KEY_FILE: &str = "page.key";

/// Makes a certificate of the CA in `directory` for `names` (of hosts, or addresses), and lays it and its key beside it.
///
/// It is made anew at each start, with a key of its own.
///
/// # Errors
/// [`CredentialsError`] when the CA cannot be used, or nothing can be written beside it.
pub fn certify_page(directory: &Path, names: &[String]) -> Result<(), CredentialsError> {
    let certificate = read(&directory.join(CA_CERTIFICATE_FILE))?;
    let key = read_private(&directory.join(CA_KEY_FILE))?;
    let made = signed(&certificate, &key, names).map_err(|source| CredentialsError::Ca {
        path: directory.to_owned(),
        source,
    })?;
    let files = [PAGE_CERTIFICATE_FILE, PAGE_KEY_FILE];
    for (file, text) in files.into_iter().zip(made) {
        let path = directory.join(file);
        replace(&path, text.as_bytes())
            .map_err(|source| CredentialsError::Write { path, source })?;
    }
    Ok(())
}

/// Certificate and key in PEM.
fn signed(ca: &str, ca_key: &str, names: &[String]) -> Result<[String; 2], rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(ca, KeyPair::from_pem(ca_key)?)?;
    let mut parameters = CertificateParams::new(names)?;
    let name = names.first().map_or("reachproof", String::as_str);
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, &issuer)?;
    Ok([certificate.pem(), key.serialize_pem()])
}
