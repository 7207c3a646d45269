//! Entries for fuzzing (`fuzz/`): what this room reads that anybody may have written. Compiled for that and for unit tests alone.

use crate::{
    domain::{field_errors::MAX_FIELD_ERRORS, queue::SortOrder},
    http::{
        events::parse_publish,
        queues::{decode_cursor, encode_cursor, ingest::parse_ingest},
        reservations::{parse_reserve, resources::parse_register, transactions::parse_transactions},
        wire::error::ApiError,
    },
};

/// Most bytes of an answer to a body that is refused, 16 KiB.
const MAX_ANSWER_BYTES: usize = 16 << 10;

/// Parses a body; its first byte says of which route.
///
/// # Panics
/// Where the answer is longer than it may be or names too many errors, or data of an event would not be one line of JSON.
pub fn body(bytes: &[u8]) {
    let Some((route, body)) = bytes.split_first() else { return };
    let parsed = match route % 5 {
        0 => parse_reserve(body),
        1 => parse_transactions(body),
        2 => parse_register(body),
        3 => parse_ingest(body).map(drop),
        _ => parse_publish(body).map(|data| data.iter().for_each(|data| assert_is_a_line_of_json(data))),
    };
    if let Err(error) = parsed {
        assert_is_short(&error);
    }
}

fn assert_is_a_line_of_json(data: &str) {
    assert!(!data.contains(['\n', '\r']), "{data:?}");
    let parsed: Result<serde::de::IgnoredAny, _> = serde_json::from_str(data);
    assert!(parsed.is_ok(), "{data:?}");
}

fn assert_is_short(error: &ApiError) {
    assert!(error.status().is_client_error(), "{error:?}");
    assert!(error.details().len() <= MAX_FIELD_ERRORS, "{error:?}");
    let answer = error.body(true);
    assert!(answer.len() <= MAX_ANSWER_BYTES, "{} bytes", answer.len());
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(&answer);
    assert!(parsed.is_ok(), "{answer:?}");
}

/// Decodes a cursor of the list of jobs, for each sort and order.
///
/// # Panics
/// Where a cursor that is taken does not come back as it went.
pub fn job_cursor(text: &str) {
    for sort_by in ["createdAt", "name", "state", "durationMs", "queue", "startedAt", "worker"] {
        for order in [SortOrder::Ascending, SortOrder::Descending] {
            if let Some(position) = decode_cursor(text, sort_by, order) {
                let again = decode_cursor(&encode_cursor(&position, sort_by, order), sort_by, order);
                assert_eq!(again, Some(position), "{text:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_each_route_are_parsed() {
        for (route, text) in [
            (0, r#"[{"requester":"w","resource":"x"}]"#),
            (1, r#"[{"method":"FIRST","requestType":"RESERVE","requests":[{"requester":"w","resource":"x"}]}]"#),
            (2, r#"[{"name":"P","capacity":3}]"#),
            (
                3,
                r#"{"events":[{"type":"queue:snapshot","timestamp":"2026-05-13T12:01:00Z","framework":"celery","queue":{"name":"q"}}]}"#,
            ),
            (4, r#"{"type":"deploy","data":{"a":[NaN,"\n"]}}"#),
        ] {
            body(&[&[route], text.as_bytes()].concat());
            let cut = &text.as_bytes()[..text.len() - 3];
            body(&[&[route], cut].concat());
        }
        assert!(parse_publish(br#"{"type":"deploy","data":{"a":[NaN,"\n"]}}"#).is_ok());
        assert_eq!(parse_ingest(br#"{"events":[{"type":"queue:snapshot","timestamp":"2026-05-13T12:01:00Z","framework":"celery","queue":{"name":"q"}}]}"#).ok(), Some(1));
    }
}
