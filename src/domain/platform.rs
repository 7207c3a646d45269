//! Events of the tenant's own platform, as they are published and as subscribers read them.

use chrono::{DateTime, Utc};

use crate::domain::names;

/// Largest data of an event, as compact JSON, in bytes.
pub const MAX_DATA_BYTES: usize = 16 << 10;
/// Deepest nesting of lists and objects in the data of an event, 64: readers of several languages stop at 100.
pub const MAX_DATA_NESTING: usize = 64;
/// Longest type of an event, in characters.
const MAX_TYPE_CHARS: usize = 64;
/// Types with a meaning of their own on a stream: in the browser's EventSource, or among our frames.
const RESERVED_TYPES: [&str; 5] = ["open", "error", "message", "connected", "heartbeat"];

/// An event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Its type: one of the described ones, or the tenant's own.
    pub kind: String,
    /// The company that it is about.
    pub company: Option<Company>,
    /// JSON without a line break.
    pub data: String,
    /// When it happened, in milliseconds since the Unix epoch; `None`: the time of publishing.
    pub timestamp_ms: Option<i64>,
    /// Deduplication id: within an hour the same one publishes once.
    pub dedupe_id: Option<String>,
}

/// Reference to the company that an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Company {
    /// By its id, registered or not.
    Id(String),
    /// By its slug, which must be registered.
    Slug(String),
}

/// A published event, as subscribers read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformEvent {
    /// Its type.
    pub kind: String,
    /// Id of the company that it is about.
    pub company_id: Option<String>,
    /// Slug that the company had when the event was published.
    pub company_slug: Option<String>,
    /// JSON without a line break.
    pub data: String,
    /// When it happened, or, where the publisher did not say, when it was published.
    pub timestamp: DateTime<Utc>,
}

/// A registered company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredCompany {
    /// Its name in paths and filters, unique in the tenant.
    pub slug: String,
    /// Its id in events, unique in the tenant.
    pub id: String,
    /// Display name.
    pub name: String,
    /// When it was registered, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// Checks an event's type: a small letter, then up to 63 of small letters, digits, `.`, `_`, `:` and `-`; not one of the stream's own.
///
/// # Errors
/// A message that says what is wrong and what would be right.
pub fn kind(text: Option<String>) -> Result<String, String> {
    let text = text.ok_or("is required")?;
    let fits = text.len() <= MAX_TYPE_CHARS
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._:-".contains(&byte));
    if !fits {
        return Err(
            "must be a small letter and then up to 63 of small letters, digits, \".\", \"_\", \":\" and \"-\"".into()
        );
    }
    if RESERVED_TYPES.contains(&text.as_str()) {
        return Err(format!("must not be \"{text}\": that name has a meaning of its own on an event stream"));
    }
    Ok(text)
}

/// Checks a deduplication id: 1 to 256 bytes without control characters.
///
/// # Errors
/// A message that says what is wrong and what would be right.
pub fn dedupe_id(text: String) -> Result<String, String> {
    names::label(Some(text))
}

/// Puts valid JSON on one line: removes white space between tokens, and keeps everything else byte for byte.
#[must_use]
pub fn one_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    let (mut inside, mut escaped) = (false, false);
    for char in json.chars() {
        if inside {
            line.push(char);
            match char {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => inside = false,
                _ => {}
            }
        } else if !matches!(char, ' ' | '\t' | '\n' | '\r') {
            inside = char == '"';
            line.push(char);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_plain_and_not_reserved() {
        for good in ["trade", "a", "a.b_c:d-9"] {
            assert_eq!(kind(Some(good.into())).unwrap(), good);
        }
        for bad in
            ["", "Trade", "9a", "a b", "a\nb", "open", "error", "message", "connected", "heartbeat", &"a".repeat(65)]
        {
            assert!(kind(Some(bad.into())).is_err(), "{bad}");
        }
        assert!(kind(None).is_err());
    }

    #[test]
    fn only_the_space_between_tokens_goes() {
        assert_eq!(
            one_line("{ \"a b\" :\r\n [1.0, 2e5,\t\"\\\" \\\\\" , \"x\" ] }"),
            "{\"a b\":[1.0,2e5,\"\\\" \\\\\",\"x\"]}"
        );
    }
}
