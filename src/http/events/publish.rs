//! Events of the tenant's own platform: `POST /api/v1/events`, and the companies that they are about.

use chrono::{DateTime, Utc};
use poem_openapi::{
    Object, OpenApi, Union,
    param::Path,
    registry::{MetaSchemaRef, Registry},
    types::Type,
};
use serde::{Deserialize, Serialize, de};
use serde_json::value::RawValue;

use crate::{
    domain::{
        field_errors::{FieldError, FieldErrors},
        names,
        platform::{self, Company, NewEvent, RegisteredCompany},
        time::{instant, wire},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Authorized, Govern, Read},
        wire::{
            error::{ApiError, Code},
            outcome::{answer, within_limit},
            request::Body,
            response::{Answer, Nothing},
        },
    },
    store::{Caller, CompanyRemoval, Published, Registering, Store},
};

/// The most events of one call.
const BATCH: usize = 1_000;

pub(in crate::http) struct Platform;

#[OpenApi(tag = "Tag::Events")]
impl Platform {
    /// Register a company under a slug, or change it. Without an `id` it keeps the one that it has, or gets a random one.
    #[oai(path = "/companies/:slug", method = "put", operation_id = "putCompany")]
    async fn put(
        &self,
        caller: Authorized<Govern>,
        here: AppState,
        slug: Path<String>,
        body: Body<CompanyRequest>,
    ) -> Result<Answer<CompanyRow>, ApiError> {
        let mut errors = FieldErrors::default();
        let slug = errors.check(|| "slug".into(), names::label(Some(slug.0)));
        let id = body.0.id.map(|id| errors.check(|| "id".into(), names::label(Some(id))));
        let name = errors.check(|| "name".into(), names::label(body.0.name));
        let (slug, id, name) = errors.finish(|| Some((slug?, id.flatten(), name?))).map_err(ApiError::validation)?;
        let stamped = here.store().put_company(&caller.0, &slug, id.as_deref(), &name).await?;
        let company = answer(within_limit(stamped, &caller.0)?, |outcome| match outcome {
            Registering::Done(company) => Ok(company.into()),
            Registering::Taken(owner) => Err(ApiError::new(
                Code::Conflict,
                format!("That id belongs to the company \"{owner}\"; give another, or none."),
            )),
        })?;
        Ok(Answer(company))
    }

    /// Show a company.
    #[oai(path = "/companies/:slug", method = "get", operation_id = "getCompany")]
    async fn show(
        &self,
        caller: Authorized<Read>,
        here: AppState,
        slug: Path<String>,
    ) -> Result<Answer<CompanyRow>, ApiError> {
        let stamped = here.store().companies(&caller.0, Some(&slug.0)).await?;
        let company = answer(stamped, |companies| {
            companies.into_iter().next().map(Into::into).ok_or_else(|| ApiError::not_found("company"))
        })?;
        Ok(Answer(company))
    }

    /// List the companies, in the order of their slugs.
    #[oai(path = "/companies", method = "get", operation_id = "listCompanies")]
    async fn list(&self, caller: Authorized<Read>, here: AppState) -> Result<Answer<CompanyList>, ApiError> {
        let told = here.store().companies(&caller.0, None).await?;
        Ok(Answer(told.map(|companies| CompanyList {
            companies: companies.into_iter().map(Into::into).collect(),
            next_cursor: None,
        })))
    }

    /// Remove a company. What was told of it stays as it was told.
    #[oai(path = "/companies/:slug", method = "delete", operation_id = "deleteCompany")]
    async fn delete(
        &self,
        caller: Authorized<Govern>,
        here: AppState,
        slug: Path<String>,
    ) -> Result<Nothing, ApiError> {
        let told = here.store().delete_company(&caller.0, &slug.0).await?;
        match told.answer {
            CompanyRemoval::Removed => Ok(Nothing),
            CompanyRemoval::NotFound => Err(ApiError::not_found("company").at(told.now_us)),
        }
    }
}

/// Publishes what a caller sent: the handler of `POST /events`, which stands beside the stream's, since they share a path.
pub(in crate::http) async fn publish(
    caller: &Caller,
    store: &Store,
    sent: OneOrMany,
) -> Result<Answer<PublishedIds, 202>, ApiError> {
    let (many, items) = match sent {
        OneOrMany::One(item) => (false, vec![*item]),
        OneOrMany::Many(items) => (true, items),
    };
    let events = parse(many, items)?;
    let ids = answer(store.publish(caller, &events).await?, |outcome| match outcome {
        Published::Done(positions) => Ok(PublishedIds { ids: positions.iter().map(ToString::to_string).collect() }),
        Published::UnknownCompany(unknown) => {
            let at = unknown.iter().enumerate().filter(|(_, unknown)| **unknown);
            let errors = at.map(|(at, _)| FieldError {
                path: place(many, at, "company"),
                message: "is not a registered company's slug".into(),
            });
            Err(ApiError::validation(errors.collect()))
        }
    })?;
    Ok(Answer(ids))
}

/// Where a field stands in the body, as the client wrote it.
fn place(many: bool, at: usize, field: &str) -> String {
    if many { format!("[{at}].{field}") } else { field.to_owned() }
}

fn parse(many: bool, items: Vec<PublishItem>) -> Result<Vec<NewEvent>, ApiError> {
    if items.is_empty() || items.len() > BATCH {
        return Err(ApiError::field("", format!("the body has {} events; 1 to {BATCH} are allowed", items.len())));
    }
    let mut errors = FieldErrors::default();
    let mut events = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        let place = |field: &str| place(many, at, field);
        let kind = errors.check(|| place("type"), platform::kind(item.r#type));
        let company = match (item.company_id, item.company) {
            (Some(_), Some(_)) => {
                errors.add(place("company"), "and companyId are both there; name the company once");
                None
            }
            (Some(id), None) => errors.check(|| place("companyId"), names::label(Some(id))).map(Company::Id),
            (None, Some(slug)) => errors.check(|| place("company"), names::label(Some(slug))).map(Company::Slug),
            (None, None) => None,
        };
        let data = errors.check(|| place("data"), data(item.data.as_deref()));
        let timestamp_ms = item.timestamp.and_then(|text| errors.check(|| place("timestamp"), timestamp(&text)));
        let dedupe_id = item.dedupe_id.and_then(|id| errors.check(|| place("dedupeId"), platform::dedupe_id(id)));
        if let (Some(kind), Some(data)) = (kind, data) {
            events.push(NewEvent { kind, company, data, timestamp_ms, dedupe_id });
        }
    }
    errors.finish(|| Some(events)).map_err(ApiError::validation)
}

fn data(raw: Option<&RawValue>) -> Result<String, String> {
    let line = platform::one_line(raw.ok_or("is required")?.get());
    if line.len() > platform::MAX_DATA_BYTES {
        return Err(format!("is {} bytes long; at most {} are allowed", line.len(), platform::MAX_DATA_BYTES));
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
                Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(OneOrMany::Many)
            }
        }
        from.deserialize_any(Either)
    }
}

/// How [`OneOrMany`] stands in the document.
type Described = Vec<PublishItemDescribed>;

impl Type for OneOrMany {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> std::borrow::Cow<'static, str> {
        "OneOrManyEvents".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let one_of = vec![PublishItemDescribed::schema_ref(), Described::schema_ref()];
        let schema = poem_openapi::registry::MetaSchema { one_of, ..poem_openapi::registry::MetaSchema::ANY };
        MetaSchemaRef::Inline(Box::new(schema))
    }

    fn register(registry: &mut Registry) {
        PublishItemDescribed::register(registry);
        KnownData::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

/// An event to publish, read in place: its data is never taken apart.
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

/// An event to publish.
#[derive(Object)]
#[oai(rename = "PublishItem", rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes; PublishItem is what is read")]
struct PublishItemDescribed {
    /// A small letter, then up to 63 of small letters, digits, `.`, `_`, `:` and `-`. Not `open`, `error`, `message`, `connected` or
    /// `heartbeat`. `decision`, `trade`, `score` and `season` are described; others are your own.
    r#type: String,
    /// The company's id, registered or not; null where none is meant.
    company_id: Option<String>,
    /// Instead of the id: the slug of a registered company.
    company: Option<String>,
    /// At most 16 KiB of JSON, handed on as it is. For the described types one of those shapes, which is not checked.
    data: KnownData,
    /// When it happened; without it the moment of publishing.
    timestamp: Option<DateTime<Utc>>,
    /// 1 to 256 bytes: within an hour the same id publishes once.
    dedupe_id: Option<String>,
}

/// The data of a described type, or anything else.
#[derive(Union)]
#[allow(dead_code, reason = "it only describes")]
enum KnownData {
    Decision(DecisionData),
    Trade(TradeData),
    Score(ScoreData),
    Season(SeasonData),
    Own(OwnData),
}

/// `decision`: an agent's round of decisions was completed.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
struct DecisionData {
    /// Which round.
    round: Option<i64>,
    /// Who decided.
    agent: Option<String>,
    /// What was decided.
    action: Option<String>,
    /// Why, in words.
    reasoning: Option<String>,
}

/// `trade`: a token was bought or sold.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
struct TradeData {
    /// `$ALPHA`
    token_symbol: Option<String>,
    /// `buy` or `sell`.
    side: Option<String>,
    /// A decimal number as a string.
    amount: Option<String>,
    /// A decimal number as a string.
    price: Option<String>,
}

/// `score`: a company's score was updated.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
struct ScoreData {
    /// The new score.
    score: Option<f64>,
    /// The one before.
    previous_score: Option<f64>,
    /// Its place among all.
    rank: Option<i64>,
}

/// `season`: a season or epoch began or ended.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
struct SeasonData {
    /// Which season.
    season: Option<i64>,
    /// Which epoch of it.
    epoch: Option<i64>,
    /// `started` or `ended`.
    phase: Option<String>,
}

/// Your own shape: any JSON.
#[derive(Object)]
#[allow(dead_code, reason = "it only describes")]
struct OwnData {}

/// The ids of what was published, in the order of the request.
#[derive(Debug, Serialize, Object)]
pub(in crate::http) struct PublishedIds {
    /// Each the `id` of its frame.
    ids: Vec<String>,
}

/// A company to register.
#[derive(Debug, Deserialize, Object)]
struct CompanyRequest {
    /// 1 to 256 bytes; belongs to one slug.
    id: Option<String>,
    /// What people call it. 1 to 256 bytes.
    name: Option<String>,
}

/// A registered company.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "Company", rename_all = "camelCase")]
struct CompanyRow {
    slug: String,
    id: String,
    name: String,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
}

impl From<RegisteredCompany> for CompanyRow {
    fn from(company: RegisteredCompany) -> Self {
        Self { slug: company.slug, id: company.id, name: company.name, created_at: instant(company.created_ms) }
    }
}

/// Companies.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct CompanyList {
    companies: Vec<CompanyRow>,
    /// Always null: the list is whole.
    next_cursor: Option<String>,
}
