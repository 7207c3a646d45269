//! Decoder of Celery's event messages, as kombu's Redis transport publishes them.
//!
//! A message is a JSON envelope. Its body is JSON again, usually in base64: one event, or a list of events that a worker had buffered. The
//! body is decoded straight into [`CeleryEvent`], without a tree of JSON values between.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    domain::json_text::repaired,
    monitor::celery::lenient::{Flag, Number, Text},
};

/// kombu's envelope: only the fields that say how the body is encoded.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    body: Cow<'a, str>,
    #[serde(default, rename = "content-type")]
    content_type: Option<String>,
    #[serde(default)]
    headers: EnvelopeHeaders,
    #[serde(default)]
    properties: EnvelopeProperties,
}

#[derive(Default, Deserialize)]
struct EnvelopeHeaders {
    #[serde(default)]
    compression: Option<String>,
}

#[derive(Default, Deserialize)]
struct EnvelopeProperties {
    #[serde(default)]
    body_encoding: Option<String>,
}

/// One Celery event, with the field names of Celery's event protocol.
#[derive(Debug, Deserialize)]
pub(super) struct CeleryEvent<'a> {
    /// `task-...`, `worker-...`, or a name of the tenant's own.
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    /// Seconds since the Unix epoch, on the sender's clock.
    pub(super) timestamp: f64,
    #[serde(borrow, default)]
    pub(super) hostname: Text<'a>,
    #[serde(borrow, default)]
    pub(super) uuid: Text<'a>,
    #[serde(borrow, default)]
    pub(super) name: Text<'a>,
    #[serde(borrow, default)]
    pub(super) queue: Text<'a>,
    #[serde(borrow, default)]
    pub(super) exchange: Text<'a>,
    #[serde(borrow, default)]
    pub(super) routing_key: Text<'a>,
    #[serde(borrow, default)]
    pub(super) args: Text<'a>,
    #[serde(borrow, default)]
    pub(super) kwargs: Text<'a>,
    #[serde(borrow, default)]
    pub(super) result: Text<'a>,
    #[serde(borrow, default)]
    pub(super) exception: Text<'a>,
    #[serde(borrow, default)]
    pub(super) traceback: Text<'a>,
    #[serde(borrow, default)]
    pub(super) eta: Text<'a>,
    #[serde(borrow, default)]
    pub(super) expires: Text<'a>,
    #[serde(borrow, default)]
    pub(super) root_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) parent_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) sw_ident: Text<'a>,
    #[serde(borrow, default)]
    pub(super) sw_ver: Text<'a>,
    #[serde(borrow, default)]
    pub(super) sw_sys: Text<'a>,
    #[serde(borrow, default)]
    pub(super) signum: Text<'a>,
    #[serde(borrow, default)]
    pub(super) loadavg: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) clock: Number,
    #[serde(default)]
    pub(super) pid: Number,
    #[serde(default)]
    pub(super) retries: Number,
    #[serde(default)]
    pub(super) runtime: Number,
    #[serde(default)]
    pub(super) freq: Number,
    #[serde(default)]
    pub(super) active: Number,
    #[serde(default)]
    pub(super) processed: Number,
    #[serde(default)]
    pub(super) terminated: Flag,
    #[serde(default)]
    pub(super) expired: Flag,
    #[serde(default)]
    pub(super) requeue: Flag,
}

/// Why a message cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// Compressed, or of a serializer other than JSON.
    UnsupportedEncoding,
    /// Not an event.
    Malformed,
}

/// Decodes the body of a message that kombu published.
pub(super) fn decode_body(message: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let envelope: Envelope<'_> = serde_json::from_slice(message).map_err(|_| DecodeError::Malformed)?;
    if envelope.headers.compression.is_some() || envelope.content_type.is_some_and(|kind| kind != "application/json") {
        return Err(DecodeError::UnsupportedEncoding);
    }
    let body = match envelope.properties.body_encoding.as_deref() {
        Some("base64") => STANDARD.decode(envelope.body.as_bytes()).map_err(|_| DecodeError::Malformed)?,
        Some(_) => return Err(DecodeError::UnsupportedEncoding),
        None => envelope.body.into_owned().into_bytes(),
    };
    // A result that is NaN, or a text cut in the middle of a character, must not hide an event, or those beside it.
    Ok(match repaired(&body) {
        Cow::Owned(repaired) => repaired,
        Cow::Borrowed(_) => body,
    })
}

/// Decodes the events of a body and calls `on_event` for each, in order. Returns the number of list items that are no event.
pub(super) fn decode_events<'a>(
    body: &'a [u8],
    mut on_event: impl FnMut(CeleryEvent<'a>),
) -> Result<usize, DecodeError> {
    let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_list {
        on_event(serde_json::from_slice(body).map_err(|_| DecodeError::Malformed)?);
        return Ok(0);
    }
    let items: Vec<&RawValue> = serde_json::from_slice(body).map_err(|_| DecodeError::Malformed)?;
    let mut malformed = 0;
    for item in items {
        match serde_json::from_str(item.get()) {
            Ok(event) => on_event(event),
            Err(_) => malformed += 1,
        }
    }
    Ok(malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(message: &str) -> Result<Vec<String>, DecodeError> {
        let body = decode_body(message.as_bytes())?;
        let mut kinds = Vec::new();
        decode_events(&body, |event| kinds.push(event.kind.into_owned()))?;
        Ok(kinds)
    }

    fn envelope(body: &str, content_type: &str, encoding: &str) -> String {
        let body = if encoding == "base64" { STANDARD.encode(body) } else { body.to_owned() };
        let body_encoding = if encoding.is_empty() { None } else { Some(encoding) };
        serde_json::json!({
            "body": body, "content-type": content_type, "content-encoding": "utf-8", "headers": {"hostname": "h"},
            "properties": {"delivery_mode": 1, "body_encoding": body_encoding}
        })
        .to_string()
    }

    /// Events as Celery sends them, with parts that are none.
    fn nearly_events() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            "[0-9]{1,25}",
            "\"[a-z\\\\u0-9d]{0,12}\"",
            Just("NaN".to_owned()),
            "[\\[{]{0,5}",
            Just("null".to_owned())
        ];
        let field = (prop::sample::select(vec!["type", "timestamp", "uuid", "hostname", "freq", "args", "x"]), value);
        prop::collection::vec(field, 0..8).prop_map(|fields| {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("[{{{}}}]", fields.join(","))
        })
    }

    proptest! {
        #[test]
        fn any_message_is_events_or_an_error(text in nearly_events(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for body in [text.as_bytes(), &bytes] {
                let mut events = 0;
                let malformed = decode_events(body, |event| {
                    events += 1;
                    // Whatever is in it can be looked at.
                    let _ = (event.uuid.owned(), event.freq.integer(), event.args.non_empty().is_some());
                });
                prop_assert!(malformed.is_err() || events + malformed.unwrap_or(0) <= body.len());
            }
            let _ = decode_body(&bytes);
            for encoding in ["base64", ""] {
                let body = decode_body(envelope(&text, "application/json", encoding).as_bytes());
                prop_assert_eq!(body.map(|body| body.len() >= text.len().min(2)), Ok(true));
            }
        }
    }

    #[test]
    fn one_event_and_a_list_of_events_are_decoded() {
        let one = r#"{"type":"task-sent","timestamp":1.5,"uuid":"u"}"#;
        assert_eq!(kinds(&envelope(one, "application/json", "base64")).unwrap(), ["task-sent"]);
        assert_eq!(kinds(&envelope(one, "application/json", "")).unwrap(), ["task-sent"]);
        let list = format!(" [{one},{{\"no\":1}},{one}]");
        assert_eq!(kinds(&envelope(&list, "application/json", "base64")).unwrap(), ["task-sent", "task-sent"]);
    }

    #[test]
    fn other_encodings_are_distinguished_from_malformed_messages() {
        assert_eq!(
            kinds(&envelope("x", "application/x-python-serialize", "base64")),
            Err(DecodeError::UnsupportedEncoding)
        );
        assert_eq!(kinds(&envelope("x", "application/json", "rot13")), Err(DecodeError::UnsupportedEncoding));
        assert_eq!(kinds("nonsense"), Err(DecodeError::Malformed));
        assert_eq!(kinds(&envelope("nonsense", "application/json", "base64")), Err(DecodeError::Malformed));
    }

    #[test]
    fn numbers_and_characters_that_only_python_writes_lose_no_event() {
        let list = r#"[{"type":"task-started","timestamp":1,"uuid":"u1"},{"type":"task-progress","timestamp":1,"share":NaN},
            {"type":"task-succeeded","timestamp":2,"uuid":"u1","runtime":Infinity,"result":"cut \ud83d"},
            {"type":"task-failed","timestamp":2,"uuid":"u2","exception":"\udcff"}]"#;
        let message = envelope(list, "application/json", "base64");
        assert_eq!(kinds(&message).unwrap(), ["task-started", "task-progress", "task-succeeded", "task-failed"]);
        let body = decode_body(message.as_bytes()).unwrap();
        let mut results = Vec::new();
        assert_eq!(
            decode_events(&body, |event| results.extend(event.result.owned().map(|result| (result, event.runtime)))),
            Ok(0)
        );
        assert_eq!(results, [("cut \u{fffd}".to_owned(), Number::default())]);
    }

    #[test]
    fn an_odd_field_does_not_lose_the_event() {
        let odd = r#"{"type":"task-sent","timestamp":1,"uuid":7,"args":[1,{"a":2}],"retries":"2","clock":null,"eta":null,"name":"a\"b"}"#;
        decode_events(odd.as_bytes(), |event| {
            assert_eq!((event.uuid.get(), event.args.get(), event.retries.integer()), (Some("7"), None, Some(2)));
            assert_eq!((event.name.get(), event.clock.integer()), (Some("a\"b"), None));
        })
        .unwrap();
    }
}
