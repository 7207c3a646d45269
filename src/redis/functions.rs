//! Libraries of Redis Functions: loaded on each new connection, and again where the server has lost them.

use redis::{RedisError, Value};
use tokio::time::Instant;

use crate::redis::{
    Command,
    resp::Arguments,
    transport::{Transport, TransportError},
};

/// The text of the error for a library that the server has already.
const ALREADY_LOADED: &str = "already exists";

/// A library of functions, named by what it contains: a server that has the name has the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionLibrary {
    /// Its name.
    pub name: String,
    /// Its text, whose first line names it.
    pub text: String,
}

/// `FUNCTION LOAD`, which a cluster's client sends to every primary.
struct Load<'a>(&'a FunctionLibrary);

impl Command for Load<'_> {
    fn write(&self, to: &mut dyn Arguments) {
        to.text("FUNCTION");
        to.text("LOAD");
        to.text(&self.0.text);
    }
}

/// Loads a library on a connection's server, in a cluster on every primary.
///
/// # Errors
/// In Redis' words, why it has not been loaded: it has no functions (before 7.0), its user may not load them, its memory is full.
pub(super) async fn load(transport: &mut Transport, library: &FunctionLibrary) -> Result<(), String> {
    let error: RedisError = match transport.send(Instant::now(), &Load(library)).await {
        Ok(Value::ServerError(error)) => error.into(),
        Ok(_) => return Ok(()),
        Err(TransportError::Redis(error)) => error,
        Err(TransportError::Send(_)) => return Err("no answer".into()),
    };
    let text = error.to_string();
    if text.contains(ALREADY_LOADED) { Ok(()) } else { Err(text) }
}
