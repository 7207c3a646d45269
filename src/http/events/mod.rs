//! The routes of events: the stream, publishing, companies.

pub(super) mod publish;
pub(super) mod stream;
