//! Times on Redis' clock, the only one that decides: conversions and their form in JSON. Nothing here reads a clock.

use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};
use serde::Serializer;

/// Converts milliseconds since the Unix epoch; a time beyond the calendar's range becomes its end.
pub fn instant(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// ISO 8601 form of a time, in UTC with three decimals: `2026-05-13T12:01:00.000Z`.
///
/// Written digit by digit where the year has four of them: chrono's formatting would cost 1 % of a request's instructions.
pub fn iso(instant: DateTime<Utc>) -> String {
    let Ok(year @ 0..=9999) = u32::try_from(instant.year()) else {
        return instant.to_rfc3339_opts(SecondsFormat::Millis, true);
    };
    let (date, time) = (instant.date_naive(), instant.time());
    let mut text = *b"0000-00-00T00:00:00.000Z";
    // Each number with the index behind its last digit.
    let numbers = [
        (4, year),
        (7, date.month()),
        (10, date.day()),
        (13, time.hour()),
        (16, time.minute()),
        (19, time.second()),
        (23, instant.timestamp_subsec_millis()),
    ];
    for (mut at, mut number) in numbers {
        while number > 0 {
            at -= 1;
            text[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
    // Always plain ASCII.
    std::str::from_utf8(&text).unwrap_or_default().to_owned()
}

/// Serialises a time as [`iso`] writes it: `#[serde(with = "time::wire")]`.
pub mod wire {
    use super::{DateTime, Serializer, Utc, iso};

    /// Writes the time as text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(instant: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&iso(*instant))
    }
}

/// Serialises an optional time likewise, `None` as null: `#[serde(with = "time::wire_option")]`.
pub mod wire_option {
    use super::{DateTime, Serializer, Utc, iso};

    /// Writes the time as text, or null.
    ///
    /// # Errors
    /// Those of the serializer.
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
