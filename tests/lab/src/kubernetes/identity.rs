//! Keys, certificates and tokens of one control plane.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::authority::{Authority, api_server, new_key, params};
use crate::kubernetes::process::{write_private, write_public};
use crate::kubernetes::{Front, KubernetesError, Settings, make_private_folder};

/// What the caller of a control plane needs of its secrets; the rest lies in the folder.
#[derive(Debug)]
pub(super) struct Identity {
    authority: Authority,
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
    /// Makes everything, signed by the authority of `settings` or by a new one, and writes it below `folder`.
    ///
    /// # Errors
    /// [`KubernetesError::Authority`], [`KubernetesError::File`], [`KubernetesError::Random`].
    pub(super) fn make(
        folder: &Path,
        fronts: &[Front],
        settings: &Settings,
    ) -> Result<Self, KubernetesError> {
        make_private_folder(folder)?;
        let authority = match &settings.authority {
            Some(authority) => authority.clone(),
            None => Authority::make()?,
        };
        write_public(&folder.join("ca.crt"), authority.certificate())?;
        let server = api_server(&settings.names, &addresses(fronts, settings))?;
        issue(folder, "apiserver", &server, &authority)?;
        for (file, name, group) in CLIENTS {
            issue(
                folder,
                file,
                &params(name, group, ExtendedKeyUsagePurpose::ClientAuth),
                &authority,
            )?;
        }
        let account = new_key("service-account")?;
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
        Ok(Self {
            authority,
            admin_token,
        })
    }

    /// The authority's certificate as a kubeconfig holds it: PEM in base64.
    pub(super) fn ca_base64(&self) -> String {
        self.authority.data()
    }
}

fn issue(
    folder: &Path,
    name: &str,
    params: &CertificateParams,
    authority: &Authority,
) -> Result<(), KubernetesError> {
    let issued = authority.issue(name, params)?;
    write_public(&folder.join(format!("{name}.crt")), &issued.certificate)?;
    write_private(&folder.join(format!("{name}.key")), &issued.key)
}

/// By which addresses the API servers are called.
fn addresses(fronts: &[Front], settings: &Settings) -> Vec<IpAddr> {
    let own = fronts.iter().flat_map(|front| [front.address, front.bind]);
    // The service `default/kubernetes` has the first address of the range.
    let service = settings.service_range.hosts().next();
    own.chain(service)
        .filter(|address| !address.is_unspecified())
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_256_bits_and_are_never_the_same() {
        let (one, other) = (random_token().unwrap(), random_token().unwrap());
        assert_eq!(one.len(), 64);
        assert_ne!(one, other);
    }
}
