//! Why a call to the store gave no answer.

use crate::{domain::rate::TooFast, redis::CommandError, store::tenants::stored_bytes::StorageFull};

/// Why a call to the store gave no answer. A refusal by a rule is no error: it is an answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Nothing was sent, so nothing changed.
    #[error("redis cannot be reached")]
    Unreachable,

    /// Redis is reached but must not be used; nothing was sent.
    #[error("redis cannot be used: {why}")]
    Unusable {
        /// What is wrong with it, and how to mend it.
        why: String,
    },

    /// Redis answered that it cannot do this now; nothing changed.
    #[error("redis refuses: {code}")]
    Refused {
        /// Redis' own code: `OOM`, `MISCONF`, `READONLY`, `LOADING`, `CLUSTERDOWN` ...
        code: String,
    },

    /// Sent, and no reply in time: only asking again can tell.
    #[error("redis did not answer within {waited_ms} ms, or the connection broke meanwhile")]
    OutcomeUnknown {
        /// How long the call waited.
        waited_ms: u64,
    },

    /// Carried out in part, and then Redis could not or would not go on: only asking again can complete it.
    #[error("a part was carried out, and then: {0}")]
    Interrupted(Box<Self>),

    /// The credential is gone: revoked, rotated, expired, or its tenant deleted.
    #[error("the credential is no longer valid")]
    Unauthorized,

    /// The tenant calls faster than its tier allows; only its rate state changed.
    #[error("the tenant's rate is used up")]
    TooFast(TooFast),

    /// The tenant stores more than its tier allows; nothing changed.
    #[error(transparent)]
    StorageFull(Box<StorageFull>),

    /// The call would take more steps than one call may; nothing changed.
    #[error("the call takes too much work")]
    TooMuchWork,

    /// As many of the tenant's large calls are under way on this replica as may be at once; nothing was asked.
    #[error("the tenant has as many large calls under way as it may")]
    Crowded,

    /// A time to live is longer than the tenant's setting allows, or there is none where there must be one; nothing changed.
    #[error("the time to live is longer than {max_ms} ms")]
    TtlTooLong {
        /// The longest time to live of the tenant, in milliseconds.
        max_ms: i64,
    },

    /// The reply is not what the function promises: a bug.
    #[error("function {function} answered {got}")]
    UnexpectedReply {
        /// The function, or the command.
        function: &'static str,
        /// Its reply, or as much as may be logged of it.
        got: String,
    },
}

impl StoreError {
    /// The same error of a later step of a change: what says that nothing was changed is not true of it.
    #[must_use]
    pub(in crate::store) fn in_mid_change(self) -> Self {
        match self {
            Self::Unreachable | Self::Unusable { .. } | Self::Refused { .. } => Self::Interrupted(Box::new(self)),
            error => error,
        }
    }
}

impl From<CommandError> for StoreError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Unreachable => Self::Unreachable,
            CommandError::Unusable { why } => Self::Unusable { why },
            CommandError::Refused { code } => Self::Refused { code },
            CommandError::OutcomeUnknown { waited_ms } => Self::OutcomeUnknown { waited_ms },
            // The text of the script was sent, and the server has forgotten it within the same command.
            CommandError::MissingScript => Self::Refused { code: "NOSCRIPT".into() },
            // Only a function that is called as one is answered so, and then it is called as a script.
            CommandError::MissingFunction | CommandError::NoFunctions { .. } => {
                Self::Refused { code: "NOFUNCTION".into() }
            }
            CommandError::Failed { code, detail } => {
                Self::UnexpectedReply { function: "redis", got: format!("{code} {detail}") }
            }
        }
    }
}
