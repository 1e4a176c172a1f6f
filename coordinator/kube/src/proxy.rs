//! Which addresses `NO_PROXY` keeps from the proxy.

use std::net::IpAddr;

use http::Uri;
use ipnet::IpNet;
use kube::Config;

/// Takes the proxy away that the environment named, if the environment also says that the API server needs none.
///
/// The client compares `NO_PROXY` with the proxy's own address, so a private endpoint that the operator excepted
/// would still be asked through the proxy (kube 5.0.0).
pub(crate) fn except(config: &mut Config, variable: impl Fn(&str) -> Option<String>) {
    let first = |names: [&str; 2]| {
        names
            .into_iter()
            .filter_map(&variable)
            .find(|it| !it.is_empty())
    };
    let named = first(["HTTPS_PROXY", "https_proxy"]).and_then(|it| it.parse::<Uri>().ok());
    let exceptions = first(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    // A proxy that the kubeconfig names is meant for this cluster alone, and stays.
    if config.proxy_url.is_some() && config.proxy_url == named {
        let host = config.cluster_url.host().unwrap_or_default();
        if exceptions
            .split(',')
            .any(|exception| covers(exception.trim(), host))
        {
            config.proxy_url = None;
        }
    }
}

/// Whether one entry of `NO_PROXY` covers a host: `*`, an address, a block, a name, or a domain with all below it.
fn covers(exception: &str, host: &str) -> bool {
    // A port limits an entry to it; there is one API server, so its port is meant.
    let name = exception
        .rsplit_once(':')
        .map_or(exception, |(name, port)| {
            if port.bytes().all(|it| it.is_ascii_digit()) && !name.contains(':') {
                name
            } else {
                exception
            }
        });
    let bare = |text: &str| {
        text.trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase()
    };
    let (name, host) = (bare(name), bare(host));
    if name == "*" {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        let block = name
            .parse::<IpNet>()
            .ok()
            .or_else(|| Some(IpNet::from(name.parse::<IpAddr>().ok()?)));
        return block.is_some_and(|block| block.contains(&address));
    }
    let domain = name
        .strip_prefix("*.")
        .or_else(|| name.strip_prefix('.'))
        .unwrap_or(&name);
    let below = host
        .strip_suffix(domain)
        .is_some_and(|left| left.ends_with('.'));
    !domain.is_empty() && (below || host == domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proxy that is used for `cluster` with these variables.
    fn used(cluster: &str, own: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        let mut config = Config::new(cluster.parse().unwrap());
        let value = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let named = own.map(str::to_owned).or_else(|| value("HTTPS_PROXY"));
        config.proxy_url = named.map(|it| it.parse().unwrap());
        except(&mut config, value);
        config.proxy_url.map(|it| it.to_string())
    }

    const CLUSTER: &str = "https://ABC.gr7.eu-west-1.eks.amazonaws.com";
    const PROXY: (&str, &str) = ("HTTPS_PROXY", "http://proxy.example.com:3128");

    #[test]
    fn an_excepted_api_server_is_asked_without_the_proxy() {
        for exceptions in [
            "*",
            "x,.eks.amazonaws.com",
            "eks.amazonaws.com",
            "*.amazonaws.com",
            "abc.gr7.eu-west-1.eks.amazonaws.com:443",
        ] {
            assert_eq!(
                used(CLUSTER, None, &[PROXY, ("NO_PROXY", exceptions)]),
                None,
                "{exceptions}"
            );
        }
        assert_eq!(
            used(
                "https://10.0.1.10:443",
                None,
                &[PROXY, ("no_proxy", "10.0.0.0/16")]
            ),
            None
        );
        assert_eq!(
            used(
                "https://[fd00::1]:443",
                None,
                &[PROXY, ("NO_PROXY", "fd00::1")]
            ),
            None
        );
    }

    #[test]
    fn any_other_api_server_is_asked_through_it() {
        for exceptions in ["", "10.0.0.0/8", "ks.amazonaws.com", "example.com", "."] {
            assert!(
                used(CLUSTER, None, &[PROXY, ("NO_PROXY", exceptions)]).is_some(),
                "{exceptions}"
            );
        }
        assert!(
            used(
                "https://10.1.0.1",
                None,
                &[PROXY, ("NO_PROXY", "10.0.0.0/16")]
            )
            .is_some()
        );
    }

    #[test]
    fn a_proxy_of_the_kubeconfig_stays() {
        let variables = [("NO_PROXY", "*")];
        let own = Some("http://bastion.example.com:8080");
        assert!(used(CLUSTER, own, &variables).is_some());
    }
}
