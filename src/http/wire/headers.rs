//! Response headers of our own.

use poem::http::{HeaderName, HeaderValue};

/// Redis' clock in microseconds since the Unix epoch, as the script read it.
pub(in crate::http) static HOLDFAST_TIME: HeaderName = HeaderName::from_static("holdfast-time");
/// The tenant's latest position.
pub(in crate::http) static HOLDFAST_POSITION: HeaderName = HeaderName::from_static("holdfast-position");

/// A number as the value of a header.
pub(in crate::http) fn number(number: i64) -> HeaderValue {
    HeaderValue::from(number)
}
