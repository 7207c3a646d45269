//! Bodies, answers and errors as they stand on the wire.

pub(super) mod error;
pub(super) mod error_response;
pub(super) mod headers;
pub(super) mod held;
pub(super) mod outcome;
pub(super) mod pagination;
pub(super) mod request;
pub(super) mod response;
pub(super) mod word;
