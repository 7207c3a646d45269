//! Routes of events: the stream, publishing, companies.

pub(super) mod companies;
mod publish;
pub(super) mod response;
mod schema;
pub(super) mod stream;
