//! Why a command got no reply that can be used.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::redis::functions::without_arguments;

/// The codes with which Redis says that it cannot do something now. Nothing was changed.
const NOT_NOW: [&str; 11] = [
    "OOM",
    "MISCONF",
    "READONLY",
    "LOADING",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "NOREPLICAS",
    "NOAUTH",
    "UNKILLABLE",
];
/// The text of the error for an unknown function. It has no code of its own, and is the same in Redis and Valkey.
const MISSING_FUNCTION: &str = "Function not found";
/// Code and text of the errors for `FCALL` itself: the user may not call it; the server is older, or has it renamed.
const NO_FCALL: [(&str, &str); 2] = [("NOPERM", "'fcall'"), ("ERR", "unknown command 'FCALL'")];

/// Why a command got no reply that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
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
        /// How long the command waited.
        waited_ms: u64,
    },

    /// `EVALSHA` of a script that this server was not given: it is new, restarted or failed over. Nothing ran.
    #[error("redis does not know the script")]
    MissingScript,

    /// `FCALL` of a function that no library of this server has. Nothing ran.
    #[error("redis does not know the function")]
    MissingFunction,

    /// `FCALL` is a command that this server does not know, or that its user may not call. Nothing ran.
    #[error("redis runs no functions for us: {why}")]
    NoFunctions {
        /// Why, in Redis' words.
        why: String,
    },

    /// Any other error of Redis: the command or the script is wrong, or the user may not call it.
    #[error("redis answered {code} {detail}")]
    Failed {
        /// Redis' own code: `ERR`, `NOPERM`, `WRONGTYPE` ...
        code: String,
        /// The rest of Redis' message.
        detail: String,
    },
}

/// What an error of redis-rs means for the command, and for the connection.
pub(super) struct Diagnosis {
    pub(super) error: CommandError,
    /// The connection is of no more use: reconnecting finds the primary, or a server that is there.
    pub(super) is_connection_lost: bool,
}

/// Tells what an error means that came `waited_ms` after the command was sent.
pub(super) fn diagnose(error: &RedisError, waited_ms: u64) -> Diagnosis {
    let diagnosis = |error, is_connection_lost| Diagnosis { error, is_connection_lost };
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoScript) => diagnosis(CommandError::MissingScript, false),
        // This server is no primary any more.
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => {
            diagnosis(server_error(error), true)
        }
        ErrorKind::Server(_) | ErrorKind::Extension => diagnosis(server_error(error), false),
        ErrorKind::ClusterConnectionNotFound => diagnosis(CommandError::Unreachable, false),
        _ if error.is_connection_refusal() => diagnosis(CommandError::Unreachable, error.is_unrecoverable_error()),
        _ => diagnosis(CommandError::OutcomeUnknown { waited_ms }, error.is_unrecoverable_error()),
    }
}

/// Why an attempt to connect failed, in Redis' words or the system's. Neither repeats what was sent.
pub(super) fn cause_of(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), detail) => {
            let hint = match code {
                "NOAUTH" => "; the address needs user:password@, or for sentinels ?sentinel_password=",
                "WRONGPASS" => "; characters like @ / : % of a password are percent-encoded in the address",
                _ => "",
            };
            format!("{}{hint}", without_arguments(&format!("{code} {}", detail.unwrap_or(""))).trim_end())
        }
        (None, _) => without_arguments(&error.to_string()),
    }
}

fn server_error(error: &RedisError) -> CommandError {
    let (code, detail) = (error.code().unwrap_or("ERR"), error.detail().unwrap_or(""));
    if NOT_NOW.contains(&code) {
        return CommandError::Refused { code: code.into() };
    }
    // A script stopped in its first write by a full memory or a failed disk says so inside its message.
    if let Some(code) = NOT_NOW.into_iter().find(|code| detail.contains(&format!("{code} "))) {
        return CommandError::Refused { code: code.into() };
    }
    if detail.contains(MISSING_FUNCTION) {
        return CommandError::MissingFunction;
    }
    if NO_FCALL.iter().any(|(known, text)| code == *known && detail.contains(text)) {
        return CommandError::NoFunctions { why: without_arguments(&format!("{code} {detail}")) };
    }
    CommandError::Failed { code: code.into(), detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    /// What an error line of RESP means.
    fn meaning(line: &str) -> Diagnosis {
        match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(Value::ServerError(error)) => diagnose(&error.into(), 7),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn an_error_of_the_server_says_that_nothing_ran() {
        assert_eq!(meaning("NOSCRIPT No matching script.").error, CommandError::MissingScript);
        assert_eq!(meaning("ERR Function not found").error, CommandError::MissingFunction);
        for (line, code) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
            ("LOADING Redis is loading the dataset in memory", "LOADING"),
            ("ERR Error running script: OOM command not allowed", "OOM"),
            ("READONLY You can't write against a read only replica.", "READONLY"),
        ] {
            assert_eq!(meaning(line).error, CommandError::Refused { code: code.into() }, "{line}");
        }
        for (line, why) in [
            (
                "NOPERM User ours has no permissions to run the 'fcall' command",
                "NOPERM User ours has no permissions to run the 'fcall' command",
            ),
            ("ERR unknown command 'FCALL', with args beginning with: 'x' '5' ", "ERR unknown command 'FCALL'"),
        ] {
            assert_eq!(meaning(line).error, CommandError::NoFunctions { why: why.into() });
        }
        let failed = CommandError::Failed { code: "NOPERM".into(), detail: "no permissions".into() };
        assert_eq!(meaning("NOPERM no permissions").error, failed);
    }

    #[test]
    fn a_server_that_is_no_primary_ends_the_connection() {
        assert!(meaning("READONLY You can't write against a read only replica.").is_connection_lost);
        assert!(meaning("MASTERDOWN Link with MASTER is down").is_connection_lost);
        assert!(!meaning("OOM command not allowed").is_connection_lost);
    }
}
