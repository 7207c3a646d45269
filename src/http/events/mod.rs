//! Routes of events: the stream, the history, publishing, companies.

pub(super) mod companies;
mod history;
mod publish;
pub(super) mod response;
pub(super) mod schema;
pub(super) mod stream;

#[cfg(any(test, fuzzing))]
pub(super) use publish::parse_publish;
