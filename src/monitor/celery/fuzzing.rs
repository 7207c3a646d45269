//! Entries for fuzzing: messages of a Celery broker.

use std::time::Instant;

use super::{decode, mapping, tracker::Tracker};

/// Decodes a message as kombu publishes it, and what is in it.
pub fn message(bytes: &[u8]) {
    if let Ok(decoded) = decode::decode_body(bytes) {
        body(&decoded);
    }
}

/// Decodes the body of a message, maps its events, and infers queues and workers from them.
///
/// # Panics
/// Where it finds more events than there are bytes.
pub fn body(bytes: &[u8]) {
    let (mut tracker, now, mut events) = (Tracker::default(), Instant::now(), 0);
    let malformed = decode::decode_events(bytes, |event| {
        events += 1;
        tracker.apply(&event, now);
        let _ = mapping::observation(&event);
    });
    assert!(events + malformed.unwrap_or(0) <= bytes.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_bounds_are_taken() {
        for number in ["1e308", "-1e308", "9223372036854775807", "\"inf\""] {
            body(format!(r#"[{{"type":"task-sent","timestamp":{number},"uuid":"u","retries":{number},"eta":"+262142-12-31T00:00:00"}},
                {{"type":"worker-heartbeat","timestamp":1,"hostname":"w","freq":{number},"pid":{number},"active":{number}}}]"#).as_bytes());
        }
        message(br#"{"body":"e30=","properties":{"body_encoding":"base64"}}"#);
    }
}
