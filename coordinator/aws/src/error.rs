//! What can go wrong while AWS is read.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::body::CutBody;
use crate::call::Call;

/// AWS could not be read whole; there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Neither flag, environment nor profile names a region.
    #[error("no AWS region: pass --region, set AWS_REGION, or give the profile a region")]
    RegionUnknown,
    /// One call failed for good.
    #[error(transparent)]
    Call(#[from] CallError),
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
        write!(
            formatter,
            "cannot call {call} for `{subject}`: {failure}{}",
            mend(*call, failure)
        )
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
        let no_credentials = causes.contains("no providers in chain provided credentials")
            || causes.contains("failed to load credentials")
            || causes.contains("identity");
        let source = SdkFailure { line, code };
        if cut {
            return Self::Cut { source };
        }
        if source.code.is_none() && no_credentials {
            return Self::CredentialsMissing { source };
        }
        if timed_out || causes.contains("timeout") && source.code.is_none() {
            return Self::TimedOut { source };
        }
        if dispatch_failed {
            return Self::Unreachable { source };
        }
        Self::by_code(source)
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

/// The sentence that says what to do, after a semicolon; empty when nothing is known.
fn mend(call: Call, failure: &Failure) -> String {
    match failure {
        Failure::Denied { .. } => {
            format!(", needs {call}; allow it as in statement `{}` of deploy/iam-policy.json", call.statement())
        }
        Failure::Expired { .. } => "; sign in again (`aws sso login`) and start again".to_owned(),
        Failure::CredentialsInvalid { .. } => "; check --profile, AWS_PROFILE and the AWS_ variables".to_owned(),
        Failure::CredentialsMissing { .. } => {
            "; pass --profile, set AWS_PROFILE, or run where a role is given (credentials of `aws login` are not read)"
                .to_owned()
        }
        Failure::ClockSkewed { .. } => "; set the clock, for instance with chrony".to_owned(),
        Failure::NotFound { .. } => "; check its name, --region and --profile".to_owned(),
        Failure::Throttled { .. } => "; other programs use up the account's request rate, try again later".to_owned(),
        Failure::TimedOut { .. } | Failure::Unreachable { .. } => {
            "; check the network, proxies and VPC endpoints for ec2, eks and sts".to_owned()
        }
        Failure::Cut { .. }
        | Failure::TokenRepeated { .. }
        | Failure::PagesUnending { .. }
        | Failure::Incomplete => "; nothing was kept, try again".to_owned(),
        Failure::Refused { .. } => String::new(),
    }
}

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
