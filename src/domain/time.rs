//! Instants on Redis' clock. Only that clock decides; nothing here reads another.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer;

/// The ISO 8601 form of an instant given in milliseconds since the Unix epoch: UTC, three decimals.
///
/// Instants beyond the calendar's range become its end: a TTL of 68 years is the longest that can be asked for.
pub fn instant(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// `2026-05-13T12:01:00.000Z`
pub fn iso(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Serialises an instant the way the contract writes it. For `#[serde(with = "time::wire")]`.
pub mod wire {
    use super::{DateTime, Serializer, Utc, iso};

    pub fn serialize<S: Serializer>(instant: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&iso(*instant))
    }
}

/// The same for an instant that may be absent.
pub mod wire_option {
    use super::{DateTime, Serializer, Utc, iso};

    pub fn serialize<S: Serializer>(instant: &Option<DateTime<Utc>>, to: S) -> Result<S::Ok, S::Error> {
        match instant {
            Some(instant) => to.collect_str(&iso(*instant)),
            None => to.serialize_none(),
        }
    }
}
