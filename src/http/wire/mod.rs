//! Bodies, answers and errors as they stand on the wire.

pub(super) mod error;
pub(super) mod request;
pub(super) mod response;
