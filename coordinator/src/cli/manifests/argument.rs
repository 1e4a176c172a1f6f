//! The forms that arguments have.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use super::labels::PLACE_LABEL;

/// Most bytes of a namespace, of the name of a label and of its value \[Kubernetes, Names; Labels\].
const NAME_MAX: usize = 63;

/// Most bytes of what stands before the name of a label, and of a host name.
const PREFIX_MAX: usize = 253;

/// Where agents dial, with its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CoordinatorAddress {
    /// Name or address, the latter of IPv6 in brackets.
    host: String,
    port: u16,
}

impl CoordinatorAddress {
    /// A port of the Service of this name and namespace.
    pub(super) fn of_service((name, namespace): (&str, &str), port: u16) -> Self {
        Self {
            host: format!("{name}.{namespace}.svc"),
            port,
        }
    }

    /// The address, where it is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether it is the name of a Service, which the cluster's DNS alone resolves.
    pub(super) fn is_service(&self) -> bool {
        self.host.ends_with(".svc")
    }
}

impl fmt::Display for CoordinatorAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// A text that is not HOST:PORT.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not HOST:PORT, write it like 10.0.1.5:7443 or [2001:db8::5]:7443")]
pub(crate) struct InvalidCoordinatorAddress {
    text: String,
}

impl FromStr for CoordinatorAddress {
    type Err = InvalidCoordinatorAddress;

    /// Reads HOST:PORT. An address on which one can listen, but that nobody can dial, is refused.
    fn from_str(text: &str) -> Result<Self, InvalidCoordinatorAddress> {
        let invalid = || InvalidCoordinatorAddress {
            text: text.to_owned(),
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port: u16 = port.parse().map_err(|_| invalid())?;
        let six = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let dialled = match (six, host.parse::<IpAddr>()) {
            (Some(six), _) => six
                .parse::<Ipv6Addr>()
                .is_ok_and(|address| !address.is_unspecified()),
            (None, Ok(address)) => address.is_ipv4() && !address.is_unspecified(),
            (None, Err(_)) => is_dotted_name(host),
        };
        if dialled && port != 0 {
            Ok(Self {
                host: host.to_owned(),
                port,
            })
        } else {
            Err(invalid())
        }
    }
}

/// Pods as a Fargate profile selects them: a namespace and a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FargatePods {
    /// Namespace of the pods.
    pub(super) namespace: String,
    /// Key of the label.
    pub(super) key: String,
    /// Value of the label, possibly empty.
    pub(super) value: String,
}

impl fmt::Display for FargatePods {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}={}", self.namespace, self.key, self.value)
    }
}

/// A text that is not NAMESPACE/LABEL=VALUE.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum InvalidFargatePods {
    /// It has another form.
    #[error("`{text}` is not NAMESPACE/LABEL=VALUE, write it like reachproof/subnet=a")]
    Form {
        /// The text.
        text: String,
    },
    /// The label is one that the manifests set themselves.
    #[error("the label `{key}` tells the agents apart, choose another one for the Fargate profile")]
    Taken {
        /// Key of the label.
        key: String,
    },
}

impl FromStr for FargatePods {
    type Err = InvalidFargatePods;

    fn from_str(text: &str) -> Result<Self, InvalidFargatePods> {
        let form = || InvalidFargatePods::Form {
            text: text.to_owned(),
        };
        let (namespace, label) = text.split_once('/').ok_or_else(form)?;
        let (key, value) = label.split_once('=').ok_or_else(form)?;
        if !is_name(namespace) || !is_label_key(key) || !(value.is_empty() || is_label_word(value))
        {
            return Err(form());
        }
        if key == PLACE_LABEL {
            return Err(InvalidFargatePods::Taken {
                key: key.to_owned(),
            });
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// Reads the reference of an image; what a registry makes of it is not known here.
///
/// # Errors
/// A text for people.
pub(super) fn image(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.chars().all(|character| character.is_ascii_graphic()) {
        return Err(format!(
            "`{text}` is no image, write it like REGISTRY/NAME:TAG"
        ));
    }
    Ok(text.to_owned())
}

/// Reads the times of a CronJob: five fields, or one of its words. What a field may hold is for the API server to say.
///
/// # Errors
/// A text for people.
pub(super) fn cron(text: &str) -> Result<String, String> {
    let is_field = |field: &str| {
        let mut bytes = field.bytes();
        bytes.all(|byte| byte.is_ascii_alphanumeric() || b"*/,-?".contains(&byte))
    };
    let fields: Vec<&str> = text.split_whitespace().collect();
    let is_word = text.strip_prefix('@').is_some_and(is_label_word);
    if is_word || (fields.len() == 5 && fields.into_iter().all(is_field)) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` is no schedule, write it like '*/30 * * * *' or @hourly"
    ))
}

/// Reads the ARN of an IAM role.
///
/// # Errors
/// A text for people.
pub(super) fn role(text: &str) -> Result<String, String> {
    let is_printable = text.chars().all(|character| character.is_ascii_graphic());
    if text.starts_with("arn:") && text.contains(":role/") && is_printable {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` is no role, write it like arn:aws:iam::123456789012:role/NAME"
    ))
}

/// Whether a text is a name of lower-case letters, digits and `-` (RFC 1123 label).
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_MAX).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a text is names with dots between them (RFC 1123 subdomain).
fn is_dotted_name(text: &str) -> bool {
    text.len() <= PREFIX_MAX && text.split('.').all(is_name)
}

/// Whether a text is the key of a label: a name, possibly with a prefix.
fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dotted_name(prefix) && is_label_word(name),
        None => is_label_word(text),
    }
}

/// Whether a text is the name of a label, or a value that is not empty.
fn is_label_word(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= NAME_MAX
        && text.bytes().all(inner)
        && is_end(text.bytes().next())
        && is_end(text.bytes().next_back())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_coordinator_is_a_host_that_can_be_dialled_and_a_port() {
        for text in [
            "10.0.1.5:7443",
            "[2001:db8::5]:7443",
            "verify.reachproof.svc:1",
        ] {
            let read: CoordinatorAddress = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
        for text in [
            "",
            "10.0.1.5",
            ":7443",
            "10.0.1.5:0",
            "10.0.1.5:65536",
            "0.0.0.0:7443",
            "[::]:7443",
            "2001:db8::5:7443",
            "https://a:7443",
            "a b:7443",
        ] {
            assert!(text.parse::<CoordinatorAddress>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn fargate_pods_are_a_namespace_and_a_label() {
        for text in ["fargate/app=a", "a-1/example.com/On_fargate=Yes.1", "n/k="] {
            let read: FargatePods = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
        for text in [
            "",
            "fargate",
            "fargate/app",
            "/app=a",
            "Far/app=a",
            "f/=a",
            "f/-a=b",
            "f/a=b c",
            "f/a/b/c=d",
            "f/a=b=c",
        ] {
            assert!(text.parse::<FargatePods>().is_err(), "{text:?}");
        }
        let error = format!("f/{PLACE_LABEL}=pod")
            .parse::<FargatePods>()
            .unwrap_err();
        assert!(matches!(error, InvalidFargatePods::Taken { .. }));
    }

    #[test]
    fn a_schedule_has_five_fields_or_is_a_word() {
        for text in ["*/30 * * * *", "0 6 * * MON-FRI", "@hourly"] {
            assert!(cron(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "30m",
            "* * * *",
            "* * * * * *",
            "* * * * $",
            "@",
            "@a b",
        ] {
            assert!(cron(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_role_is_an_arn() {
        assert!(role("arn:aws:iam::123456789012:role/reader").is_ok());
        for text in [
            "",
            "reader",
            "arn:aws:iam::123456789012:user/reader",
            "arn:aws:iam::1:role/a b",
        ] {
            assert!(role(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_image_is_one_printable_word() {
        assert!(image("1.dkr.ecr.eu-central-1.amazonaws.com/agent:1").is_ok());
        for text in ["", "a b", "a\nb"] {
            assert!(image(text).is_err(), "{text:?}");
        }
    }
}
