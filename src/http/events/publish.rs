//! Publishing of platform events: the body of `POST /api/v1/events`, parsed without taking the events' data apart.

use std::marker::PhantomData;

use chrono::DateTime;
use poem_openapi::{
    Object,
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::Type,
};
use serde::{Deserialize, Serialize, de};
use serde_json::value::RawValue;

use crate::{
    domain::{
        field_errors::{FieldError, FieldErrors},
        json_text::nesting,
        names,
        platform::{self, Company, NewEvent},
    },
    http::{
        events::schema::PublishItemDescribed,
        wire::{
            error::ApiError,
            outcome::answer,
            request::{Large, List, ListVisitor},
            response::Answer,
        },
    },
    store::{Caller, PublishOutcome, Store},
};

/// Most events of one call.
const MAX_EVENTS: usize = 1_000;

/// Publishes events. The route stands beside the stream's, which has the same path.
pub(in crate::http) async fn publish(
    caller: &Caller,
    store: &Store,
    body: Large<OneOrMany>,
) -> Result<Answer<PublishedIds, 202>, ApiError> {
    let (is_list, events) = body.then(parse).await?;
    let ids = answer(store.publish(caller, &events).await?, |outcome| match outcome {
        PublishOutcome::Done(positions) => {
            Ok(PublishedIds { ids: positions.iter().map(ToString::to_string).collect() })
        }
        PublishOutcome::UnknownCompany(unknown) => {
            let indices = unknown.iter().enumerate().filter(|(_, is_unknown)| **is_unknown);
            let errors = indices.map(|(index, _)| FieldError {
                path: field_path(is_list, index, "company"),
                message: "is not a registered company's slug".into(),
            });
            Err(ApiError::validation(errors.collect()))
        }
    })?;
    Ok(Answer(ids))
}

/// Path of a field in the body, as the client wrote it: of one event, or of a list.
fn field_path(is_list: bool, index: usize, field: &str) -> String {
    if is_list { format!("[{index}].{field}") } else { field.to_owned() }
}

/// Whether a list was sent, and its events, or the one event.
fn parse(sent: OneOrMany) -> Result<(bool, Vec<NewEvent>), ApiError> {
    let (is_list, items) = match sent {
        OneOrMany::One(item) => (false, vec![*item]),
        OneOrMany::Many(items) => (true, items),
    };
    if items.is_empty() {
        return Err(ApiError::field("", format!("the list is empty; send 1 to {MAX_EVENTS} events")));
    }
    let mut errors = FieldErrors::default();
    let mut events = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let path = |field: &str| field_path(is_list, index, field);
        let kind = errors.check(|| path("type"), platform::kind(item.r#type));
        let company = match (item.company_id, item.company) {
            (Some(_), Some(_)) => {
                errors.add(path("company"), "and companyId are both there; name the company once");
                None
            }
            (Some(id), None) => errors.check(|| path("companyId"), names::label(Some(id))).map(Company::Id),
            (None, Some(slug)) => errors.check(|| path("company"), names::label(Some(slug))).map(Company::Slug),
            (None, None) => None,
        };
        let data = errors.check(|| path("data"), data(item.data.as_deref()));
        let timestamp_ms = item.timestamp.and_then(|text| errors.check(|| path("timestamp"), timestamp(&text)));
        let dedupe_id = item.dedupe_id.and_then(|id| errors.check(|| path("dedupeId"), platform::dedupe_id(id)));
        if let (Some(kind), Some(data)) = (kind, data) {
            events.push(NewEvent { kind, company, data, timestamp_ms, dedupe_id });
        }
    }
    errors.finish(|| Some((is_list, events))).map_err(ApiError::validation)
}

fn data(raw: Option<&RawValue>) -> Result<String, String> {
    let line = platform::one_line(raw.ok_or("is required")?.get());
    if line.len() > platform::MAX_DATA_BYTES {
        return Err(format!("is {} bytes long; at most {} are allowed", line.len(), platform::MAX_DATA_BYTES));
    }
    let nesting = nesting(&line);
    if nesting > platform::MAX_DATA_NESTING {
        return Err(format!("is nested {nesting} levels deep; at most {} are allowed", platform::MAX_DATA_NESTING));
    }
    Ok(line)
}

fn timestamp(text: &str) -> Result<i64, String> {
    let parsed =
        DateTime::parse_from_rfc3339(text).map_err(|_| "must be an ISO 8601 time like 2026-05-13T12:01:00.000Z")?;
    Ok(parsed.timestamp_millis())
}

/// One event, or a list of them.
pub(in crate::http) enum OneOrMany {
    One(Box<PublishItem>),
    Many(Vec<PublishItem>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = OneOrMany;

            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("an event, or a list of events")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<OneOrMany, A::Error> {
                PublishItem::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(|item| OneOrMany::One(Box::new(item)))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<OneOrMany, A::Error> {
                ListVisitor::<PublishItem, MAX_EVENTS>(PhantomData).visit_seq(list).map(|list| OneOrMany::Many(list.0))
            }
        }
        from.deserialize_any(Either)
    }
}

impl Type for OneOrMany {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> std::borrow::Cow<'static, str> {
        "OneOrManyEvents".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let many = List::<PublishItemDescribed, MAX_EVENTS>::schema_ref();
        let one_of = vec![PublishItemDescribed::schema_ref(), many];
        let schema = MetaSchema { one_of, ..MetaSchema::ANY };
        MetaSchemaRef::Inline(Box::new(schema))
    }

    fn register(registry: &mut Registry) {
        PublishItemDescribed::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

/// An event to publish. Its data stays raw JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct PublishItem {
    r#type: Option<String>,
    company_id: Option<String>,
    company: Option<String>,
    data: Option<Box<RawValue>>,
    timestamp: Option<String>,
    dedupe_id: Option<String>,
}

/// The ids of what was published, in the order of the request.
#[derive(Debug, Serialize, Object)]
pub(in crate::http) struct PublishedIds {
    /// Each the `id` of its frame.
    ids: Vec<String>,
}

/// Parses a body of `POST /events`; returns the data of its events.
#[cfg(any(test, fuzzing))]
pub(in crate::http) fn parse_publish(bytes: &[u8]) -> Result<Vec<String>, ApiError> {
    let (_, events) = parse(crate::http::wire::request::parse_pushed(bytes)?)?;
    Ok(events.into_iter().map(|event| event.data).collect())
}
