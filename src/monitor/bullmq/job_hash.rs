//! Job hashes of BullMQ: the details that events lack.

use serde_json::Value as Json;

/// Fields that are read, in the order of [`JobHash::decode`].
pub(super) const FIELDS: [&str; 8] =
    ["name", "timestamp", "opts", "pb", "ats", "stacktrace", "processedOn", "parentKey"];

/// Details of a job, as they are now. Empty when the hash is gone.
#[derive(Debug, Clone, Default)]
pub(super) struct JobHash {
    pub(super) name: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub(super) created_ms: Option<i64>,
    pub(super) max_retries: Option<u32>,
    /// Name of the worker that processes or processed it.
    pub(super) worker: Option<String>,
    /// Whether an attempt has started.
    pub(super) has_started: bool,
    /// Stack trace of the last attempt.
    pub(super) stacktrace: Option<String>,
    /// Start of the last attempt, in milliseconds since the Unix epoch.
    pub(super) started_ms: Option<i64>,
    /// Key of the parent's hash.
    pub(super) parent_key: Option<String>,
}

impl JobHash {
    /// Decodes the values of [`FIELDS`]. A field of an unexpected form counts as absent.
    pub(super) fn decode(values: [Option<Vec<u8>>; FIELDS.len()]) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let [name, timestamp, opts, processed_by, attempts_started, stacktrace, processed_on, parent_key] =
            values.map(|value| value.map(text));
        let number = |text: Option<String>| text.and_then(|text| text.parse::<i64>().ok());
        let options: Json = opts.and_then(|opts| serde_json::from_str(&opts).ok()).unwrap_or_default();
        let max_attempts = options["attempts"].as_u64();
        let stacktraces: Vec<String> =
            stacktrace.and_then(|traces| serde_json::from_str(&traces).ok()).unwrap_or_default();
        Self {
            name,
            created_ms: number(timestamp),
            max_retries: max_attempts.and_then(|attempts| u32::try_from(attempts.max(1) - 1).ok()),
            worker: processed_by,
            has_started: number(attempts_started).is_some_and(|attempts| attempts > 0),
            stacktrace: stacktraces.into_iter().next_back(),
            started_ms: number(processed_on),
            parent_key,
        }
    }

    /// External id of the parent: its key is `<prefix>:<queue>:<id>`, its external id `<queue>:<id>`.
    pub(super) fn parent_id(&self, prefix: &str) -> Option<String> {
        self.parent_key.as_deref()?.strip_prefix(prefix)?.strip_prefix(':').map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_as_far_as_they_are_there() {
        let fields = [
            Some("n"),
            Some("7"),
            Some(r#"{"attempts":3}"#),
            None,
            Some("2"),
            Some(r#"["first","last"]"#),
            Some("9"),
            Some("bull:p:4"),
        ];
        let hash = JobHash::decode(fields.map(|field| field.map(|text| text.as_bytes().to_vec())));
        assert_eq!(
            (hash.created_ms, hash.max_retries, hash.has_started, hash.stacktrace.as_deref()),
            (Some(7), Some(2), true, Some("last"))
        );
        assert_eq!(hash.parent_id("bull").as_deref(), Some("p:4"));
        assert!(!JobHash::decode(Default::default()).has_started);
    }
}
