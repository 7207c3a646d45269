//! Routes of events: the stream, publishing, companies.

pub(super) mod companies;
mod publish;
pub(super) mod response;
pub(super) mod schema;
pub(super) mod stream;
