//! Exit codes, and which failure has which. Numbers are those of sysexits(3), but 79, which is ours; scripts depend on them.

use std::process::ExitCode;

use http::StatusCode;

use crate::client::{ClientError, Refusal, SettingError};

/// The exit code of a command. `run` ends with its child's code instead, once that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Anything that has no code of its own.
    Fault = 1,
    /// The command line, a file or a setting cannot be used as it is.
    Usage = 64,
    /// The service is not reached, or gave no answer.
    Unreachable = 69,
    /// Refused: somebody else holds it, a wrong token, a limit of the tenant; or the wait ended without it.
    Refused = 75,
    /// The credential is refused.
    Credential = 77,
    /// The reservation was lost.
    Lost = 79,
}

/// Why a command ends without success: its exit code, and a text that names the way out.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// For people; empty where the output says it already.
    pub message: String,
}

impl Failure {
    /// A failure with a text.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The exit code, as a process ends with it.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(refusal) => refused(&refusal),
            ClientError::Unreachable { ref reason, .. } => {
                // A reason may ask a better question.
                let question = if reason.ends_with('?') { "" } else { "Is the service running there? " };
                let text = format!("{error}\n{question}HOLDFAST_URL, --url or a profile says where it is.");
                Self::new(Exit::Unreachable, text)
            }
            ClientError::NoKey { .. } => Self::new(
                Exit::Credential,
                format!(
                    "{error}: export HOLDFAST_KEY=hf_live_..., or use --key-file or a profile.\n\
                     `holdfast serve --demo` prints a key, `holdfast key create` makes one."
                ),
            ),
            ClientError::WrongKey { .. } => {
                Self::new(Exit::Credential, format!("{error}.\n`holdfast key create` makes a new one."))
            }
            ClientError::OutcomeUnknown { .. } => Self::new(Exit::Unreachable, error.to_string()),
            ClientError::UnexpectedAnswer { .. } => Self::new(Exit::Fault, error.to_string()),
        }
    }
}

impl From<SettingError> for Failure {
    fn from(error: SettingError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Fault, error.to_string())
    }
}

fn refused(refusal: &Refusal) -> Failure {
    match (refusal.status, refusal.code.as_str()) {
        (StatusCode::UNAUTHORIZED, _) => Failure::new(Exit::Credential, refusal.to_string()),
        (StatusCode::FORBIDDEN, "INVALID_RELEASE_TOKEN") => Failure::new(Exit::Refused, refusal.to_string()),
        (StatusCode::FORBIDDEN, _) => Failure::new(Exit::Credential, refusal.to_string()),
        (StatusCode::BAD_REQUEST, _) => Failure::new(Exit::Usage, refusal.to_string()),
        (status, _) if status.is_client_error() => Failure::new(Exit::Refused, refusal.to_string()),
        (StatusCode::INTERNAL_SERVER_ERROR, _) => Failure::new(Exit::Fault, refusal.to_string()),
        _ => Failure::new(Exit::Unreachable, refusal.to_string()),
    }
}
