//! Durations as people write and read them.

use std::time::Duration;

/// Reads `500ms`, `60s`, `5m`, `2h` or `1d`.
///
/// # Errors
/// What is wrong with it: no unit, no number, too long to count.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    parse(text, "write it like 500ms, 60s, 5m or 2h")
}

fn parse(text: &str, example: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|char: char| char.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| format!("is no duration; {example}"))?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(format!("has no unit; {example}")),
        _ => return Err(format!("has an unknown unit, {unit:?}; {example}")),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(|| format!("is too long; {example}"))
}

/// Reads a time to live: whole seconds from 1 to 2,147,483,647, as the service counts them.
///
/// # Errors
/// As [`parse_duration`]; or it is no number of whole seconds, or out of bounds.
pub(super) fn parse_ttl(text: &str) -> Result<Duration, String> {
    match parse_ttl_or_none(text)? {
        ttl if ttl.is_zero() => Err("must be 1s at least".into()),
        ttl => Ok(ttl),
    }
}

/// The same, or `0s` for none.
///
/// # Errors
/// As [`parse_ttl`].
pub(super) fn parse_ttl_or_none(text: &str) -> Result<Duration, String> {
    let ttl = parse(text, "write it like 60s, 5m or 2h")?;
    if ttl.subsec_millis() != 0 {
        return Err("must be whole seconds, like 1s or 60s".into());
    }
    if ttl.as_secs() > i32::MAX as u64 {
        return Err("must be 2147483647s at most".into());
    }
    Ok(ttl)
}

/// A duration for people: `0.4s`, `42s`, `4m12s`, `2h05m`, `3d04h`.
#[must_use]
pub(super) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.is_zero() => "0s".into(),
        0 => format!("{:.1}s", duration.as_secs_f64()),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, milliseconds) in [("500ms", 500), ("60s", 60_000), ("5m", 300_000), ("2h", 7_200_000), ("0s", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "60", "s", "-5s", "5 s", "5w", "1.5s", "99999999999999999999s", "9999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_ttl("500ms").is_err() && parse_ttl("0s").is_err() && parse_ttl("600000h").is_err());
        assert!(!parse_ttl("60").unwrap_err().contains("500ms"), "what it does not take is no example");
        assert_eq!(parse_ttl_or_none("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn durations_are_short_for_people() {
        let shown = [0, 400, 42_000, 252_000, 7_500_000, 273_600_000].map(|ms| short(Duration::from_millis(ms)));
        assert_eq!(shown, ["0s", "0.4s", "42s", "4m12s", "2h05m", "3d04h"]);
    }
}
