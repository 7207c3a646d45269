//! `TIERS_FILE`: the operator's changes of the tiers' limits.
//!
//! ```toml
//! [Starter]
//! requests_per_second = 50
//! burst = 100
//! concurrent_reservations = "unlimited"
//! ```

use serde::{Deserialize, Deserializer, de};

use crate::domain::{
    closed_set::ClosedSet,
    nearest::nearest,
    rate::Rate,
    tier::{Limits, Tier, Tiers},
};

/// Highest rate, in requests per second: one Redis does not answer faster.
const MAX_RATE: u64 = 100_000;
/// Smallest burst: the cost of the largest call, which a smaller one would never admit.
const MIN_BURST: u64 = 10;
/// Largest burst.
const MAX_BURST: u64 = 1_000_000;
/// Largest count: Lua and JSON write whole numbers exactly up to here.
const MAX_COUNT: u64 = 1 << 53;
/// Longest history, in events.
const MAX_HISTORY: u64 = 10_000_000;
/// Smallest history, in bytes: some events of the greatest size.
const MIN_HISTORY_BYTES: u64 = 1 << 20;

/// Smallest share of a tenant, in bytes.
const MIN_STORED_BYTES: u64 = 1 << 20;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "Free")]
    free: Option<Row>,
    #[serde(rename = "Starter")]
    starter: Option<Row>,
    #[serde(rename = "Pro")]
    pro: Option<Row>,
    #[serde(rename = "Enterprise")]
    enterprise: Option<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    requests_per_second: Option<Bound<1, MAX_RATE>>,
    burst: Option<Count<MIN_BURST, MAX_BURST>>,
    concurrent_reservations: Option<Bound<1, MAX_COUNT>>,
    waiting_tickets: Option<Bound<1, MAX_COUNT>>,
    sse_connections: Option<Bound<1, MAX_COUNT>>,
    api_keys: Option<Bound<1, MAX_COUNT>>,
    resources: Option<Bound<1, MAX_COUNT>>,
    companies: Option<Bound<1, MAX_COUNT>>,
    connections: Option<Bound<1, MAX_COUNT>>,
    jobs: Option<Count<1, MAX_COUNT>>,
    history: Option<Count<1, MAX_HISTORY>>,
    history_bytes: Option<Count<MIN_HISTORY_BYTES, MAX_COUNT>>,
    stored_bytes: Option<Bound<MIN_STORED_BYTES, MAX_COUNT>>,
    queue_events_per_day: Option<Bound<1, MAX_COUNT>>,
    jwt_exchange: Option<bool>,
}

/// A whole number within bounds.
#[derive(Clone, Copy)]
struct Count<const MIN: u64, const MAX: u64>(u64);

/// A whole number within bounds, or the word "unlimited".
#[derive(Clone, Copy)]
struct Bound<const MIN: u64, const MAX: u64>(Option<u64>);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = toml::Value::deserialize(from)?.as_integer().and_then(|number| u64::try_from(number).ok());
        let rule = || de::Error::custom(format!("must be a whole number from {MIN} to {MAX}"));
        number.filter(|number| (MIN..=MAX).contains(number)).map(Self).ok_or_else(rule)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bound<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(from)?;
        if value.as_str() == Some("unlimited") {
            return Ok(Self(None));
        }
        let rule = || de::Error::custom(format!("must be a whole number from {MIN} to {MAX}, or \"unlimited\""));
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        number.filter(|number| (MIN..=MAX).contains(number)).map(|number| Self(Some(number))).ok_or_else(rule)
    }
}

/// Reads the file's text over the defaults.
///
/// # Errors
/// What is wrong, with the line that it stands in.
pub(super) fn parse(text: &str) -> Result<Tiers, String> {
    let file: File = toml::from_str(text).map_err(|error| with_suggestion(error.to_string()))?;
    let mut tiers = Tiers::default();
    for (tier, row) in Tier::VALUES.iter().copied().zip([file.free, file.starter, file.pro, file.enterprise]) {
        if let Some(row) = row {
            row.apply(tiers.of_mut(tier)).map_err(|error| format!("[{}]: {error}", tier.name()))?;
        }
    }
    Ok(tiers)
}

/// The error with the nearest of the names that it lists, where one is unknown.
fn with_suggestion(error: String) -> String {
    let mut names = error.split_once("unknown field `").into_iter().flat_map(|(_, rest)| rest.split('`')).step_by(2);
    let nearest = names.next().and_then(|unknown| nearest(unknown, &names.collect::<Vec<_>>()).map(str::to_owned));
    match nearest {
        Some(nearest) => format!("{}; did you mean {nearest}?\n", error.trim_end()),
        None => error,
    }
}

impl Row {
    fn apply(self, limits: &mut Limits) -> Result<(), &'static str> {
        limits.rate = match (self.requests_per_second, self.burst, limits.rate) {
            (None, None, rate) => rate,
            (Some(Bound(None)), _, _) => None,
            (Some(Bound(Some(rate))), burst, _) => {
                // The default burst is two seconds' worth, as in the default tiers.
                let burst = burst.map_or((rate * 2).clamp(MIN_BURST, MAX_BURST), |burst| burst.0);
                Some(Rate { per_second: rate as u32, burst: burst as u32 })
            }
            (None, Some(burst), Some(rate)) => Some(Rate { burst: burst.0 as u32, ..rate }),
            (None, Some(_), None) => return Err("burst needs requests_per_second beside it"),
        };
        let bound = |given: Option<Bound<1, MAX_COUNT>>, default| given.map_or(default, |bound| bound.0);
        limits.held = bound(self.concurrent_reservations, limits.held);
        limits.waiting = bound(self.waiting_tickets, limits.waiting);
        limits.streams = bound(self.sse_connections, limits.streams);
        limits.keys = bound(self.api_keys, limits.keys);
        limits.resources = bound(self.resources, limits.resources);
        limits.companies = bound(self.companies, limits.companies);
        limits.connections = bound(self.connections, limits.connections);
        limits.queue_events_per_day = bound(self.queue_events_per_day, limits.queue_events_per_day);
        limits.stored_bytes = self.stored_bytes.map_or(limits.stored_bytes, |bound| bound.0);
        limits.jobs = self.jobs.map_or(limits.jobs, |count| count.0);
        limits.history = self.history.map_or(limits.history, |count| count.0);
        limits.history_bytes = self.history_bytes.map_or(limits.history_bytes, |count| count.0);
        limits.exchange = self.jwt_exchange.unwrap_or(limits.exchange);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_can_be_another() {
        let tiers = parse("[Starter]\nrequests_per_second = 7\nconcurrent_reservations = \"unlimited\"\n\n[Free]\nburst = 30\njwt_exchange = true\n").unwrap();
        assert_eq!(tiers.of(Tier::Starter).rate, Some(Rate { per_second: 7, burst: 14 }));
        assert_eq!((tiers.of(Tier::Starter).held, tiers.of(Tier::Starter).keys), (None, Some(10)));
        assert_eq!(tiers.of(Tier::Free).rate, Some(Rate { per_second: 10, burst: 30 }));
        assert!(tiers.of(Tier::Free).exchange);
        assert_eq!(parse("").unwrap(), Tiers::default());
    }

    #[test]
    fn an_error_names_its_line_and_the_rule() {
        for (text, line, rule) in [
            ("[Starter]\nburst = 5\n", "line 2", "from 10 to 1000000"),
            ("[Starter]\n\nresources = -1\n", "line 3", "or \"unlimited\""),
            ("[Starter]\nrequests = 5\n", "line 2", "did you mean requests_per_second?"),
            ("[Starter]\nSseConnections = 5\n", "line 2", "did you mean sse_connections?"),
            ("[starter]\n", "line 1", "did you mean Starter?"),
            ("[Gold]\n", "line 1", "unknown field"),
            ("[Free\n", "line 1", ""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(line) && error.contains(rule), "{error}");
        }
        assert!(parse("[Enterprise]\nburst = 100\n").unwrap_err().contains("[Enterprise]"));
    }
}
