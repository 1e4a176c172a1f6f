//! What can go wrong while AWS is read.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::body::CutBody;
use crate::call::Call;

/// AWS could not be read whole; there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Neither flag, environment nor profile names a region.
    #[error("no Region is named; {NO_REGION_REMEDY}")]
    RegionUnknown,
    /// One call failed for good.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The Region has no cluster of that name.
    #[error("{}; {}", no_cluster(.cluster, .region), NO_CLUSTER_REMEDY)]
    NoSuchCluster {
        /// The name that was asked for.
        cluster: String,
        /// Where.
        region: String,
        /// The answer of the service.
        #[source]
        source: SdkFailure,
    },
    /// The answer lacks a field without which nothing can be asked.
    #[error(
        "{call} left out `{field}` of `{subject}`: the cluster may still be in creation, try again later"
    )]
    FieldMissing {
        /// Which call.
        call: Call,
        /// What was asked for.
        subject: String,
        /// The field as the API spells it.
        field: &'static str,
    },
    /// The cluster's VPC is not among the answers.
    #[error(
        "`{vpc}`, the VPC of the cluster, is not visible to this account: use credentials of its owner"
    )]
    VpcMissing {
        /// The VPC that the cluster names.
        vpc: String,
    },
    /// Answers that must agree still differ after every re-reading.
    #[error(
        "the answers of AWS do not fit together after {readings} readings: {contradiction}; \
         wait until the change under way has ended, then start again"
    )]
    Contradictory {
        /// How often the cluster was read.
        readings: usize,
        /// The first contradiction, in words.
        contradiction: String,
    },
}

/// One call that failed, with what it asked for.
#[derive(Debug)]
pub struct CallError {
    /// Which call.
    pub call: Call,
    /// The VPC, cluster, group of ids or list that it asked for.
    pub subject: String,
    /// What happened.
    pub failure: Failure,
}

impl fmt::Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            call,
            subject,
            failure,
        } = self;
        write!(formatter, "cannot call {call} for `{subject}`: {failure}")?;
        match failure.remedy(*call) {
            remedy if remedy.is_empty() => Ok(()),
            remedy => write!(formatter, "; {remedy}"),
        }
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failure.source()
    }
}

/// What happened to a call, as far as the reader acts on it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The credentials do not allow the action.
    #[error("access denied")]
    Denied {
        /// The answer of the service.
        #[source]
        source: SdkFailure,
    },
    /// The credentials are past their end.
    #[error("the credentials have expired")]
    Expired {
        /// The answer of the service.
        #[source]
        source: SdkFailure,
    },
    /// The credentials are not known to AWS.
    #[error("the credentials are not valid")]
    CredentialsInvalid {
        /// The answer of the service.
        #[source]
        source: SdkFailure,
    },
    /// No credentials were found, or their provider failed.
    #[error("no credentials")]
    CredentialsMissing {
        /// What every provider said.
        #[source]
        source: SdkFailure,
    },
    /// The service takes this machine's clock for wrong.
    #[error("the clock of this machine differs too much from that of AWS")]
    ClockSkewed {
        /// The answer of the service.
        #[source]
        source: SdkFailure,
    },
    /// What was asked for does not exist.
    #[error("not found")]
    NotFound {
        /// The answer of the service.
        #[source]
        source: SdkFailure,
    },
    /// The service asks for fewer calls, and went on asking.
    #[error("throttled")]
    Throttled {
        /// The last answer of the service.
        #[source]
        source: SdkFailure,
    },
    /// No answer came in time, in any attempt.
    #[error("no answer in time")]
    TimedOut {
        /// What the client says.
        #[source]
        source: SdkFailure,
    },
    /// The body of the answer broke off.
    #[error("the answer was cut off")]
    Cut {
        /// What the client says.
        #[source]
        source: SdkFailure,
    },
    /// The endpoint's name leads nowhere.
    #[error("the name of the endpoint has no address")]
    Unresolved {
        /// What the client says.
        #[source]
        source: SdkFailure,
    },
    /// No connection could be made.
    #[error("AWS cannot be reached")]
    Unreachable {
        /// What the client says.
        #[source]
        source: SdkFailure,
    },
    /// Any other answer.
    #[error("refused")]
    Refused {
        /// The answer of the service.
        #[source]
        source: SdkFailure,
    },
    /// A page's continuation was handed out before: the list has no end or is not whole.
    #[error("page {page} repeats an earlier continuation token")]
    TokenRepeated {
        /// The page, from 1.
        page: usize,
    },
    /// More pages than any account can fill.
    #[error("the list did not end within {limit} pages")]
    PagesUnending {
        /// The cap, in pages.
        limit: usize,
    },
    /// Fewer items than the service says there are, and no way to the rest.
    #[error("the service says that more items exist but does not hand them out")]
    Incomplete,
}

/// The error of the SDK in one line: its code and message, or its causes joined by colons.
#[derive(Debug, thiserror::Error)]
#[error("{line}")]
pub struct SdkFailure {
    line: String,
    code: Option<String>,
}

impl SdkFailure {
    /// The error code of the service, such as `UnauthorizedOperation`, when the answer carried one.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }
}

impl Failure {
    /// Sorts an error of the SDK by what has to follow.
    pub(crate) fn of<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let code = error.code().map(str::to_owned);
        let message = error.message().map(str::to_owned);
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        let timed_out = matches!(error, SdkError::TimeoutError(_));
        let dispatch_failed = matches!(error, SdkError::DispatchFailure(_));
        let causes = causes(&error);
        let cut = causes.contains("IncompleteBody")
            || causes.contains("body is incomplete")
            || has_cause::<CutBody>(&error);
        let line = line(code.as_deref(), message.as_deref(), status, &causes);
        // A provider's failure reaches us as one of the connection, which it is not.
        let no_credentials = has_cause::<CredentialsError>(&error) || causes.contains("identity");
        let source = SdkFailure { line, code };
        if cut {
            return Self::Cut { source };
        }
        if source.code.is_none() && no_credentials {
            return Self::without_credentials(source);
        }
        if timed_out || causes.contains("timeout") && source.code.is_none() {
            return Self::TimedOut { source };
        }
        if dispatch_failed && UNRESOLVED.iter().any(|words| causes.contains(words)) {
            return Self::Unresolved { source };
        }
        if dispatch_failed {
            return Self::Unreachable { source };
        }
        Self::by_code(source)
    }

    /// Sorts the failure of whatever gives out credentials.
    pub(crate) fn of_credentials(error: &CredentialsError) -> Self {
        Self::without_credentials(SdkFailure {
            line: line(None, None, None, &causes(error)),
            code: None,
        })
    }

    /// No credentials, or such as have ended: a session of single sign-on, say.
    fn without_credentials(source: SdkFailure) -> Self {
        if source.line.to_ascii_lowercase().contains("expired") {
            Self::Expired { source }
        } else {
            Self::CredentialsMissing { source }
        }
    }

    /// Sorts an answer of the service by its error code [EC2M, EKSM; H.2].
    fn by_code(source: SdkFailure) -> Self {
        let skewed = source.line.contains("Signature expired")
            || source.line.contains("Signature not yet current");
        match source.code().unwrap_or_default() {
            "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
                Self::Denied { source }
            }
            "RequestTimeTooSkewed" | "RequestInTheFuture" => Self::ClockSkewed { source },
            "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "AuthFailure"
            | "RequestExpired"
                if skewed =>
            {
                Self::ClockSkewed { source }
            }
            "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => Self::Expired { source },
            "AuthFailure"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "MissingAuthenticationToken"
            | "OptInRequired" => Self::CredentialsInvalid { source },
            "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequestsException" => Self::Throttled { source },
            "ResourceNotFoundException" => Self::NotFound { source },
            code if code.ends_with(".NotFound") || code.ends_with("ID.Malformed") => {
                Self::NotFound { source }
            }
            _ => Self::Refused { source },
        }
    }
}

impl Failure {
    /// What to do about it, as every command says it; empty when nothing is known.
    pub fn remedy(&self, call: Call) -> String {
        match self {
            Self::Denied { .. } => allow(&[call]),
            Self::Expired { .. } => {
                "sign in again (`aws sso login`, or fresh AWS_ variables)".to_owned()
            }
            Self::CredentialsInvalid { .. } => {
                "check --profile, AWS_PROFILE and the AWS_ variables".to_owned()
            }
            Self::CredentialsMissing { .. } => NO_CREDENTIALS_REMEDY.to_owned(),
            Self::ClockSkewed { .. } => "set the clock, for instance with chrony".to_owned(),
            Self::NotFound { .. } => NO_CLUSTER_REMEDY.to_owned(),
            Self::Throttled { .. } => {
                "other programs use up the account's request rate, try again later".to_owned()
            }
            Self::Unresolved { .. } => {
                "check the spelling of the Region (--region), then the DNS of this machine"
                    .to_owned()
            }
            Self::TimedOut { .. } | Self::Unreachable { .. } => {
                "check the network, proxies and VPC endpoints for ec2, eks and sts".to_owned()
            }
            Self::Cut { .. }
            | Self::TokenRepeated { .. }
            | Self::PagesUnending { .. }
            | Self::Incomplete => "nothing was kept, try again".to_owned(),
            Self::Refused { .. } => String::new(),
        }
    }
}

/// What to do without credentials. Those of `aws login` are of no use: the SDK for Rust does not read them.
pub(crate) const NO_CREDENTIALS_REMEDY: &str = "pass --profile, set AWS_PROFILE, or run where a role is given (credentials of `aws login` are not read)";

/// What to do without a Region.
pub(crate) const NO_REGION_REMEDY: &str =
    "pass --region, set AWS_REGION, or give the profile a region";

/// What to do about a cluster, node group or profile that is not there.
pub(crate) const NO_CLUSTER_REMEDY: &str = "check its name, --region and --profile";

/// Says that a Region has no such cluster.
pub(crate) fn no_cluster(cluster: &str, region: &str) -> String {
    format!("there is no cluster `{cluster}` in `{region}`")
}

/// Which permissions are to be given, and where they are written down.
pub(crate) fn allow(calls: &[Call]) -> String {
    let actions: Vec<&str> = calls.iter().map(|call| call.action()).collect();
    let mut statements: Vec<String> = calls
        .iter()
        .map(|call| format!("`{}`", call.statement()))
        .collect();
    statements.dedup();
    format!(
        "allow {} as in {} of deploy/iam-policy.json",
        actions.join(", "),
        statements.join(" and ")
    )
}

/// What resolvers say of a name that has no address (glibc, musl), and what the client calls it.
const UNRESOLVED: [&str; 3] = [
    "dns error",
    "failed to lookup address",
    "Name does not resolve",
];

/// How long a message of the service may be in ours, in characters: enough for its sentence, not for an HTML page.
const MESSAGE_CHARACTERS_MAX: usize = 300;

fn line(code: Option<&str>, message: Option<&str>, status: Option<u16>, causes: &str) -> String {
    let text = match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => causes.to_owned(),
    };
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().take(MESSAGE_CHARACTERS_MAX).collect();
    match (code, status) {
        (None, Some(status)) if status >= 400 => format!("status {status}: {text}"),
        _ => text,
    }
}

/// Every message of the chain, joined by colons.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut words = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if words.last() != Some(&text) {
            words.push(text);
        }
        next = cause.source();
    }
    words.join(": ")
}

fn has_cause<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<T>() {
            return true;
        }
        next = cause.source();
    }
    false
}

/// How long one reading of a whole cluster may last before throttling counts as a failure.
///
/// Source: R-12 (a snapshot of a throttled account is complete within 10 minutes, or there is none).
pub(crate) const READING_TIME_MAX: Duration = Duration::from_secs(600);
