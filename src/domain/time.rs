//! Instants on Redis' clock. Only that clock decides; nothing here reads another.

use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};
use serde::Serializer;

/// The ISO 8601 form of an instant given in milliseconds since the Unix epoch: UTC, three decimals.
///
/// Instants beyond the calendar's range become its end: a TTL of 68 years is the longest that can be asked for.
pub fn instant(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// `2026-05-13T12:01:00.000Z`
///
/// Digit by digit where the year has four of them: through chrono's formatting it would be 1 % of a request's instructions.
pub fn iso(instant: DateTime<Utc>) -> String {
    let Ok(year @ 0..=9999) = u32::try_from(instant.year()) else {
        return instant.to_rfc3339_opts(SecondsFormat::Millis, true);
    };
    let (date, time) = (instant.date_naive(), instant.time());
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let ends = [
        (4, year),
        (7, date.month()),
        (10, date.day()),
        (13, time.hour()),
        (16, time.minute()),
        (19, time.second()),
        (23, instant.timestamp_subsec_millis()),
    ];
    for (mut place, mut number) in ends {
        while number > 0 {
            place -= 1;
            text[place] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
    // Always plain ASCII.
    std::str::from_utf8(&text).unwrap_or_default().to_owned()
}

/// Serialises an instant the way the contract writes it. For `#[serde(with = "time::wire")]`.
pub mod wire {
    use super::{DateTime, Serializer, Utc, iso};

    pub fn serialize<S: Serializer>(instant: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&iso(*instant))
    }
}

/// The same for an instant that may be absent.
pub mod wire_option {
    use super::{DateTime, Serializer, Utc, iso};

    pub fn serialize<S: Serializer>(instant: &Option<DateTime<Utc>>, to: S) -> Result<S::Ok, S::Error> {
        match instant {
            Some(instant) => to.serialize_str(&iso(*instant)),
            None => to.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_reads_as_the_calendar_library_writes_it() {
        for ms in [
            0,
            1,
            -1,
            999,
            1_778_673_660_000,
            951_782_399_999,
            253_402_300_799_999,
            253_402_300_800_000,
            -62_167_219_200_000,
            -62_167_219_200_001,
            i64::MAX,
        ] {
            let instant = instant(ms);
            assert_eq!(iso(instant), instant.to_rfc3339_opts(SecondsFormat::Millis, true), "{ms}");
        }
        assert_eq!(iso(instant(1_778_673_660_000)), "2026-05-13T12:01:00.000Z");
    }
}
