//! Where AWS is, who asks, and at what pace.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::config::SharedCredentialsProvider;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use crate::body::ClosedBody;
use crate::error::{READING_TIME_MAX, ReadError};

/// How patient the reader is. The defaults suit AWS; tests are faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Attempts of one request by the SDK, at least 1. Its *standard* mode: the adaptive one fell to one request in
    /// tens of seconds after two throttled answers (ARCHITECTURE, "Reading AWS").
    pub attempts: u32,
    /// The first pause between attempts; doubles, with jitter.
    pub first_backoff: Duration,
    /// The longest pause between attempts.
    pub longest_backoff: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long one attempt may take, the transfer of its answer included. A page of 1,000 interfaces took 1 s to 3 s
    /// in the emulator; the SDK itself would wait for ever.
    pub attempt_timeout: Duration,
    /// How long one request may take with all its attempts.
    pub request_timeout: Duration,
    /// How long a whole reading goes on asking while it is throttled.
    pub reading_time_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(150),
            reading_time_max: READING_TIME_MAX,
        }
    }
}

/// What the user says about AWS; everything absent comes from the environment and the profile.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The Region of the cluster.
    pub region: Option<String>,
    /// The profile of `~/.aws/config`.
    pub profile: Option<String>,
    /// One address that serves every API, for emulators and tests; `AWS_ENDPOINT_URL` does the same.
    pub endpoint: Option<String>,
    /// Credentials from somewhere else than the SDK's chain.
    pub credentials: Option<SharedCredentialsProvider>,
    /// Timeouts and retries.
    pub pace: Pace,
}

/// A way to ask AWS: credentials, Region, HTTP client and pace.
///
/// Credentials come from the SDK's chain: environment, profile (static, assumed role, SSO, process), web identity
/// (IRSA), container (EKS Pod Identity), instance metadata (ARCHITECTURE, "Reading AWS"). They are loaded with the
/// first call. A profile that cannot be used ends the chain: `AWS_PROFILE` in a pod can hide its role.
#[derive(Clone, Debug)]
pub struct Connection {
    config: SdkConfig,
    pub(crate) pace: Pace,
}

impl Connection {
    /// Finds out the Region and prepares the client. Makes no call, except that a Region which nobody names is asked of
    /// the instance metadata.
    ///
    /// # Errors
    /// [`ReadError::RegionUnknown`].
    pub async fn open(settings: &Settings) -> Result<Self, ReadError> {
        let connection = Self::load(settings).await;
        if connection.config.region().is_none() {
            return Err(ReadError::RegionUnknown);
        }
        Ok(connection)
    }

    /// The same, whether or not somebody names the Region.
    pub(crate) async fn load(settings: &Settings) -> Self {
        let pace = settings.pace;
        // One TLS stack: rustls with ring, handed in, so that the SDK's own defaults are not linked (ARCHITECTURE,
        // "Reading AWS").
        let client = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let retries = RetryConfig::standard()
            .with_max_attempts(pace.attempts)
            .with_initial_backoff(pace.first_backoff)
            .with_max_backoff(pace.longest_backoff);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(pace.connect_timeout)
            .read_timeout(pace.attempt_timeout)
            .operation_attempt_timeout(pace.attempt_timeout)
            .operation_timeout(pace.request_timeout)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(client)
            .retry_config(retries)
            .timeout_config(timeouts);
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(endpoint) = &settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(credentials) = &settings.credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        let config = loader.load().await;
        Self { config, pace }
    }

    /// The Region of the cluster; empty where nobody names it.
    pub fn region(&self) -> &str {
        self.config.region().map_or("", Region::as_ref)
    }

    /// What gives out the credentials.
    pub(crate) fn credentials(&self) -> Option<SharedCredentialsProvider> {
        self.config.credentials_provider()
    }

    /// A client of EC2 in `region`; peerings lead into other Regions.
    pub(crate) fn ec2(&self, region: &str) -> aws_sdk_ec2::Client {
        let config = aws_sdk_ec2::config::Builder::from(&self.config)
            .region(Region::new(region.to_owned()))
            .interceptor(ClosedBody)
            .build();
        aws_sdk_ec2::Client::from_conf(config)
    }

    /// A client of EKS in the cluster's Region.
    pub(crate) fn eks(&self) -> aws_sdk_eks::Client {
        aws_sdk_eks::Client::new(&self.config)
    }
}
