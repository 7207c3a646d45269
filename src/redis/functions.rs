//! Libraries of Redis Functions: loaded on each new connection, and again where the server has lost them.

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::RedisError;
use tokio::time::Instant;

use crate::redis::{
    CommandError,
    error::diagnose,
    transport::{Transport, TransportError},
};

/// Codes of a server that takes nothing in, but runs what frees or looks: without the library it does so by scripts alone.
const TAKES_NOTHING: [&str; 3] = ["OOM", "MISCONF", "NOREPLICAS"];

/// The text of the error for a library that the server has already.
const ALREADY_LOADED: &str = "already exists";

/// A library of functions, named by what it contains: a server that has the name has the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionLibrary {
    /// Its name.
    pub name: String,
    /// Its text, whose first line names it.
    pub text: String,
    /// A function of it that names what the user may not do: whoever may call it may call the others.
    pub probe: String,
    /// The same as a script.
    pub probe_script: String,
}

/// The code of the error with which the probe names what the user may not do.
const LACKS_RIGHTS: &str = "RIGHTS";

/// Whether a server runs the functions of a library.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Availability {
    /// It has them, and its user may call them.
    Available,
    /// Why it does not, in Redis' words.
    Unavailable(String),
    /// It did not answer, or cannot say now: what was known before still holds.
    Unknown,
}

/// What loading a library found out.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) availability: Availability,
    /// What the user may not do of what the service needs, as ACL rules that would allow it.
    pub(super) missing_rights: Option<String>,
}

/// Loads a library on a connection's server, in a cluster on every primary, unless it is there; finds out whether its functions can be called, and what
/// else the user may not do. `arguments` are those of the probe.
pub(super) async fn load(transport: &mut Transport, library: &FunctionLibrary, arguments: &[String]) -> Loaded {
    let probe = |command, name| [command, name, "0"].into_iter().chain(arguments.iter().map(String::as_str));
    let call: Vec<&str> = probe("FCALL", &library.probe).collect();
    let (found, mut missing_rights) = without_rights(load_and_call(transport, library, &call).await);
    let availability = availability(found);
    if matches!(availability, Availability::Unavailable(_)) {
        let script: Vec<&str> = probe("EVAL", &library.probe_script).collect();
        missing_rights = match without_rights(send(transport, &script).await) {
            (_, Some(missing)) => Some(missing),
            (Err(CommandError::Failed { code, .. }), None) if code == "NOPERM" => {
                Some("+fcall +function, or +eval +evalsha,".to_owned())
            }
            (_, None) => None,
        };
    }
    Loaded { availability, missing_rights }
}

/// Splits the probe's answer: whether it ran, and what rights it misses.
fn without_rights(found: Result<(), CommandError>) -> (Result<(), CommandError>, Option<String>) {
    match found {
        Err(CommandError::Failed { code, detail }) if code == LACKS_RIGHTS => (Ok(()), Some(detail)),
        found => (found, None),
    }
}

async fn load_and_call(
    transport: &mut Transport,
    library: &FunctionLibrary,
    call: &[&str],
) -> Result<(), CommandError> {
    let mut found = send(transport, call).await;
    if found == Err(CommandError::MissingFunction) {
        let loaded = send(transport, &["FUNCTION", "LOAD", &library.text]).await;
        found = send(transport, call).await;
        if found == Err(CommandError::MissingFunction) {
            // Loaded, maybe by somebody else meanwhile, and lost once more: the next call that misses it loads it again.
            let is_there =
                matches!(&loaded, Err(CommandError::Failed { detail, .. }) if detail.contains(ALREADY_LOADED));
            found = if is_there { Ok(()) } else { loaded };
        }
    }
    found
}

fn availability(found: Result<(), CommandError>) -> Availability {
    match found {
        Ok(()) => Availability::Available,
        Err(CommandError::Refused { code }) if TAKES_NOTHING.contains(&code.as_str()) => {
            Availability::Unavailable(code)
        }
        Err(CommandError::NoFunctions { why }) => Availability::Unavailable(why),
        Err(CommandError::Failed { code, detail }) => {
            Availability::Unavailable(without_arguments(&format!("{code} {detail}")))
        }
        Err(_) => Availability::Unknown,
    }
}

/// An error of Redis without the arguments of the command, which it repeats where it does not know the command.
pub(super) fn without_arguments(error: &str) -> String {
    error.split_once(", with args").map_or(error, |(error, _)| error).to_owned()
}

async fn send(transport: &mut Transport, command: &[&str]) -> Result<(), CommandError> {
    let error: RedisError = match transport.send_to_primaries(Instant::now(), command).await {
        Ok(redis::Value::ServerError(error)) => error.into(),
        Ok(_) => return Ok(()),
        Err(TransportError::Redis(error)) => error,
        Err(TransportError::Send(_)) => return Err(CommandError::Unreachable),
    };
    Err(diagnose(&error, 0).error)
}

/// Connections of this process whose server cannot run our functions.
static ON_SCRIPTS: AtomicUsize = AtomicUsize::new(0);

/// Notes that one more connection has to use scripts. The first is logged.
pub(super) fn note_scripts(why: &str) {
    if ON_SCRIPTS.fetch_add(1, Ordering::Relaxed) == 0 {
        tracing::warn!(why, "redis cannot run our functions; the same decisions run as scripts, which are slower");
    }
    note_vehicle();
}

/// Notes that one connection less has to use scripts. The last is logged.
pub(super) fn note_functions() {
    if ON_SCRIPTS.fetch_sub(1, Ordering::Relaxed) == 1 {
        tracing::info!("redis runs our functions now");
    }
    note_vehicle();
}

/// Sets the metric of what is used.
pub(super) fn note_vehicle() {
    let is_on_scripts = ON_SCRIPTS.load(Ordering::Relaxed) > 0;
    for (kind, is_used) in [("functions", !is_on_scripts), ("scripts", is_on_scripts)] {
        metrics::gauge!("holdfast_store_vehicle", "kind" => kind).set(f64::from(u8::from(is_used)));
    }
}
