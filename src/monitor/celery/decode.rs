//! Celery's event messages as they come over kombu's Redis transport, read without a tree between.
//!
//! A message is an envelope whose body is one event, or a list of events that a worker had buffered. Numbers that come as texts and fields
//! of another kind than usual are taken as far as they can be: one odd field must not hide an event.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// An envelope, as far as it says how to read its body.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    body: Cow<'a, str>,
    #[serde(default, rename = "content-type")]
    content_type: Option<String>,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    properties: Properties,
}

#[derive(Default, Deserialize)]
struct Headers {
    #[serde(default)]
    compression: Option<String>,
}

#[derive(Default, Deserialize)]
struct Properties {
    #[serde(default)]
    body_encoding: Option<String>,
}

/// One event of Celery's, as its worker or producer wrote it.
#[derive(Debug, Deserialize)]
pub(super) struct Event<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    /// Seconds since the Unix epoch, on its writer's clock.
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

/// Why a message could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is packed in a way that is not read here: another serializer than JSON, or compressed.
    Packed,
    /// It is no event at all.
    Broken,
}

/// Reads the body of a message that kombu published.
pub(super) fn body_of(message: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let envelope: Envelope<'_> = serde_json::from_slice(message).map_err(|_| Unreadable::Broken)?;
    if envelope.headers.compression.is_some() || envelope.content_type.is_some_and(|kind| kind != "application/json") {
        return Err(Unreadable::Packed);
    }
    match envelope.properties.body_encoding.as_deref() {
        Some("base64") => STANDARD.decode(envelope.body.as_bytes()).map_err(|_| Unreadable::Broken),
        Some(_) => Err(Unreadable::Packed),
        None => Ok(envelope.body.into_owned().into_bytes()),
    }
}

/// Reads the events of a body: `each` gets them in order. How many of them were none.
pub(super) fn events_in<'a>(body: &'a [u8], mut each: impl FnMut(Event<'a>)) -> Result<usize, Unreadable> {
    let single = body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[');
    if single {
        each(serde_json::from_slice(body).map_err(|_| Unreadable::Broken)?);
        return Ok(0);
    }
    let events: Vec<&RawValue> = serde_json::from_slice(body).map_err(|_| Unreadable::Broken)?;
    let mut broken = 0;
    for event in events {
        match serde_json::from_str(event.get()) {
            Ok(event) => each(event),
            Err(_) => broken += 1,
        }
    }
    Ok(broken)
}

/// A text, or what can be told as one.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Text<'a>(pub(super) Option<Cow<'a, str>>);

impl Text<'_> {
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }

    pub(super) fn owned(&self) -> Option<String> {
        self.0.as_deref().map(str::to_owned)
    }

    /// The same, where an empty text says nothing.
    pub(super) fn said(&self) -> Option<&str> {
        self.get().filter(|text| !text.is_empty())
    }
}

/// A number, also when it comes as a text.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Number(pub(super) Option<f64>);

impl Number {
    pub(super) fn whole(self) -> Option<i64> {
        self.0.filter(|number| number.is_finite()).map(|number| number as i64)
    }
}

/// A truth, `false` where it is absent or null.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flag(pub(super) bool);

struct Any;

/// What a field can be.
enum Found<'a> {
    Text(Cow<'a, str>),
    Number(f64),
    Truth(bool),
    Nothing,
}

impl<'de> de::Visitor<'de> for Any {
    type Value = Found<'de>;

    fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Found<'de>, E> {
        Ok(Found::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Found<'de>, E> {
        Ok(Found::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Found<'de>, E> {
        Ok(Found::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Found<'de>, E> {
        Ok(Found::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Found<'de>, E> {
        Ok(Found::Number(number))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Found<'de>, E> {
        Ok(Found::Truth(truth))
    }

    fn visit_unit<E>(self) -> Result<Found<'de>, E> {
        Ok(Found::Nothing)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Found<'de>, A::Error> {
        while list.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Found::Nothing)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
        Ok(Found::Nothing)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match from.deserialize_any(Any)? {
            Found::Text(text) => Some(text),
            Found::Number(number) => Some(Cow::Owned(number.to_string())),
            Found::Truth(truth) => Some(Cow::Borrowed(if truth { "true" } else { "false" })),
            Found::Nothing => None,
        }))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match from.deserialize_any(Any)? {
            Found::Text(text) => text.parse().ok(),
            Found::Number(number) => Some(number),
            Found::Truth(_) | Found::Nothing => None,
        }))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(match from.deserialize_any(Any)? {
            Found::Truth(truth) => truth,
            Found::Number(number) => number != 0.0,
            Found::Text(_) | Found::Nothing => false,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(message: &str) -> Result<Vec<String>, Unreadable> {
        let body = body_of(message.as_bytes())?;
        let mut kinds = Vec::new();
        events_in(&body, |event| kinds.push(event.kind.into_owned()))?;
        Ok(kinds)
    }

    fn envelope(body: &str, content_type: &str, encoding: &str) -> String {
        let body = if encoding == "base64" { STANDARD.encode(body) } else { body.to_owned() };
        serde_json::json!({"body": body, "content-type": content_type, "content-encoding": "utf-8", "headers": {"hostname": "h"},
            "properties": {"delivery_mode": 1, "body_encoding": if encoding.is_empty() { None } else { Some(encoding) }}})
        .to_string()
    }

    #[test]
    fn one_event_and_a_list_of_events_are_read() {
        let one = r#"{"type":"task-sent","timestamp":1.5,"uuid":"u"}"#;
        assert_eq!(kinds(&envelope(one, "application/json", "base64")).unwrap(), ["task-sent"]);
        assert_eq!(kinds(&envelope(one, "application/json", "")).unwrap(), ["task-sent"]);
        let list = format!(" [{one},{{\"no\":1}},{one}]");
        assert_eq!(kinds(&envelope(&list, "application/json", "base64")).unwrap(), ["task-sent", "task-sent"]);
    }

    #[test]
    fn what_is_packed_otherwise_is_said_to_be() {
        assert_eq!(kinds(&envelope("x", "application/x-python-serialize", "base64")), Err(Unreadable::Packed));
        assert_eq!(kinds(&envelope("x", "application/json", "rot13")), Err(Unreadable::Packed));
        assert_eq!(kinds("nonsense"), Err(Unreadable::Broken));
        assert_eq!(kinds(&envelope("nonsense", "application/json", "base64")), Err(Unreadable::Broken));
    }

    #[test]
    fn an_odd_field_does_not_hide_an_event() {
        let odd = r#"{"type":"task-sent","timestamp":1,"uuid":7,"args":[1,{"a":2}],"retries":"2","clock":null,"eta":null,"name":"a\"b"}"#;
        events_in(odd.as_bytes(), |event| {
            assert_eq!((event.uuid.get(), event.args.get(), event.retries.whole()), (Some("7"), None, Some(2)));
            assert_eq!((event.name.get(), event.clock.whole()), (Some("a\"b"), None));
        })
        .unwrap();
    }
}
