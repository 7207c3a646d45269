//! Events of the tenant's own platform: what may be published, and what is told of it.

use chrono::{DateTime, Utc};

use crate::domain::names;

/// The most bytes of an event's data, as compact JSON.
pub const DATA_BYTES: usize = 16 << 10;
/// The most characters of an event's type.
const TYPE_CHARS: usize = 64;
/// What a browser's EventSource or our own frames already call something else.
const TAKEN: [&str; 5] = ["open", "error", "message", "connected", "heartbeat"];

/// An event to publish, as the store takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub kind: String,
    pub company: Option<Company>,
    /// JSON without a line break.
    pub data: String,
    /// Milliseconds since the Unix epoch; without it the moment of publishing.
    pub timestamp_ms: Option<i64>,
    pub dedupe_id: Option<String>,
}

/// Which company an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Company {
    /// By its id, registered or not.
    Id(String),
    /// By its slug, which must be registered.
    Slug(String),
}

/// An event that was published, as subscribers read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformEvent {
    pub kind: String,
    pub company_id: Option<String>,
    /// The slug that the company had at that moment.
    pub company_slug: Option<String>,
    /// JSON without a line break.
    pub data: String,
    pub timestamp: DateTime<Utc>,
}

/// A registered company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    pub slug: String,
    pub id: String,
    pub name: String,
    /// Milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// An event's type: a small letter, then up to 63 of small letters, digits, `.`, `_`, `:` and `-`; not one that means something else.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn kind(text: Option<String>) -> Result<String, String> {
    let text = text.ok_or("is required")?;
    let fits = text.len() <= TYPE_CHARS
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._:-".contains(&byte));
    if !fits {
        return Err(
            "must be a small letter and then up to 63 of small letters, digits, \".\", \"_\", \":\" and \"-\"".into()
        );
    }
    if TAKEN.contains(&text.as_str()) {
        return Err(format!("must not be \"{text}\": that name has a meaning of its own on an event stream"));
    }
    Ok(text)
}

/// An id that makes publishing repeatable: 1 to 256 bytes without control characters.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn dedupe_id(text: String) -> Result<String, String> {
    names::label(Some(text))
}

/// JSON that was parsed once, on one line: white space between its tokens goes, everything else stays to the byte.
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
    fn a_type_is_plain_and_not_taken() {
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
