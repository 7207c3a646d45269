//! The event stream: `GET /api/v1/events`.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{Stream, stream};
use poem::{Body, IntoResponse, Request, Response, http::header};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::Query,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::{Any, Type},
};
use serde_json::json;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use crate::{
    domain::time::{instant, iso},
    feed::{Chunk, ChunkSink, Filter, Frame, LiveStream, Start, StreamOutcome, TenantStream},
    http::{
        app_state::{AppState, Tag},
        auth::{Authorized, Write, app, enter_stream},
        events::{
            publish,
            publish::{OneOrMany, PublishedIds},
        },
        wire::{error::ApiError, request::Large, response::Answer},
    },
    store::StreamKind,
};

/// A browser comes back after this long, in milliseconds: each stream another, so that they do not all come at once.
const RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=5_000;

const LAST_EVENT_ID: &str = "last-event-id";

pub(in crate::http) struct Events;

#[OpenApi(tag = "Tag::Events")]
impl Events {
    /// Watch everything that happens to the tenant, as server-sent events.
    ///
    /// The stream begins with `retry`, a data-only frame `{"type":"connected","timestamp":...}`, and an `id` line with the position
    /// from which it is whole. Then each event, in order, once: `id` (its position), `event` (its type), `data` (one line of JSON).
    /// Refusals (`RESERVE_FAILED` and its like) are live only and have no `id`. After 15 s of silence comes the comment `: keepalive`
    /// with an `id` line, which moves the cursor past what was filtered out.
    ///
    /// A stream resumes at the header `Last-Event-ID`, or at `lastEventId`: on any replica, from any position that an event or a read
    /// (`asOf`, `Holdfast-Position`) has named, as long as what followed it is kept. Where it cannot, and also later when something
    /// was lost for good, `event: RESET_CURSOR` says so whatever the filter, with `{"reason":"unknown"|"too_old"|"lost","asOf":...}`:
    /// read activeReservations again; the stream goes on from `asOf`.
    ///
    /// Reservation events carry every key of a `ReservationEvent`; events of your own platform are those of `POST /events`.
    ///
    /// Filters: with several of them an event must pass each. Values that name nothing match nothing. `resources` lets a transaction
    /// pass if one of its changes matches, a slot also by its pool's name, `RESET` always, and platform events never. `companies`
    /// lets only events of those companies pass.
    #[oai(path = "/events", method = "get", operation_id = "events")]
    #[allow(clippy::too_many_arguments, reason = "each is a parameter of the API")]
    async fn events(
        &self,
        request: &Request,
        /// The API key, for clients that cannot set headers. It is never logged.
        api_key: Query<Option<String>>,
        /// Only events of these types: a comma list, or repeated. Without it all.
        types: Query<Vec<String>>,
        /// Only events of these resources: a comma list, or repeated; a comma in a name as `\,`; a trailing `*` makes a prefix.
        resources: Query<Vec<String>>,
        /// Only platform events of these companies, by slug or id: a comma list, or repeated.
        companies: Query<Vec<String>>,
        /// Where to resume, for clients that cannot set the header `Last-Event-ID`.
        #[oai(name = "lastEventId")]
        last_event_id: Query<Option<String>>,
    ) -> Result<EventStream, ApiError> {
        let header = request.headers().get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or("unreadable").to_owned());
        let filter = Filter::parse(&types.0, &resources.0, &companies.0);
        let from = header.or(last_event_id.0).filter(|id| !id.is_empty());
        match open(request, api_key.0.as_deref(), filter, from.as_deref()).await {
            Ok(stream) => Ok(stream),
            // A browser's EventSource never comes back after anything but 200: so it is told to, and may find us better then.
            Err(error) if reconnects(request) && matches!(error.status().as_u16(), 429 | 503 | 504) => {
                Ok(come_again(request))
            }
            Err(error) => Err(error),
        }
    }

    /// Publish events of your own platform to the tenant's stream: one, or up to 1,000.
    ///
    /// They take positions in the tenant's one order, together with everything that happens to its reservations, and are pushed at
    /// once. All or none is published. `type` is your own word, or one of those described here: `decision`, `trade`, `score`,
    /// `season`. With a `dedupeId`, repeating the call is safe: within an hour the first event's id comes back and nothing is told
    /// twice.
    #[oai(path = "/events", method = "post", operation_id = "publish")]
    async fn publish(
        &self,
        caller: Authorized<Write>,
        here: AppState,
        body: Large<OneOrMany>,
    ) -> Result<Answer<PublishedIds, 202>, ApiError> {
        publish::publish(&caller.0, here.store(), body.0).await
    }
}

async fn open(
    request: &Request,
    api_key: Option<&str>,
    filter: Filter,
    from: Option<&str>,
) -> Result<EventStream, ApiError> {
    let app = app(request)?;
    let caller = enter_stream(request, api_key).await?;
    if app.replica.drain.is_cancelled() {
        // Its connection was open already. Elsewhere it finds a replica that stays.
        return Ok(come_again(request));
    }
    let kind = caller.session().map_or(StreamKind::Key, StreamKind::Session);
    let (stream, start, now_us) = match app.feed.open_stream(&app.store, &caller, kind, filter, from).await? {
        StreamOutcome::Open { stream, start, now_us } => (stream, start, now_us),
        StreamOutcome::LimitReached { limit, now_us } => {
            return Err(ApiError::limit(&limit, caller.tenant().tier, now_us));
        }
    };
    let connected = json!({"type": "connected", "timestamp": iso(instant(now_us / 1000))});
    let mut head = format!("data: {connected}\n\n").into_bytes();
    match start {
        Start::At(position) => head.extend_from_slice(format!("id: {position}\n\n").as_bytes()),
        Start::Reset(reason, as_of) => head.extend_from_slice(Frame::reset_cursor(reason, as_of).bytes()),
    }
    Ok(serve(request, &head, Source::Events(stream), caller.lasts(now_us)))
}

/// Whether a stream that was open before comes back.
pub(in crate::http) fn reconnects(request: &Request) -> bool {
    request.headers().contains_key(LAST_EVENT_ID)
}

/// Answers with a stream: when to come again, the head, and then what its source says, for as long as the credential lasts.
pub(in crate::http) fn serve(request: &Request, head: &[u8], source: Source, lasts: Option<Duration>) -> EventStream {
    let head = [format!("retry: {}\n\n", random_retry_ms()).as_bytes(), head].concat();
    let handover = StreamHandoff::of(EventFeed {
        head: Bytes::from(head),
        source,
        ends: lasts.map(|lasts| Instant::now() + lasts),
    });
    let body = handover.clone();
    let mut answer = answer(request, Body::from_bytes_stream(pieces(body)));
    answer.extensions_mut().insert(handover);
    EventStream(answer)
}

/// Where a stream comes from.
pub(in crate::http) enum Source {
    /// The tenant's events.
    Events(Box<TenantStream>),
    /// What changes of a connection.
    Live(Box<LiveStream>),
}

impl Source {
    async fn next(&mut self) -> Chunk {
        match self {
            Self::Events(reader) => reader.next().await,
            Self::Live(reader) => reader.next().await,
        }
    }

    /// Lets rounds write past the task, where the source has rounds.
    fn write_through(&self, outlet: Arc<dyn ChunkSink>) {
        if let Self::Events(reader) = self {
            reader.set_sink(outlet);
        }
    }

    /// What a round began to write and the socket did not take.
    fn take_rest(&self) -> Bytes {
        match self {
            Self::Events(reader) => reader.take_unsent(),
            Self::Live(_) => Bytes::new(),
        }
    }
}

/// What a stream writes, after the answer's head.
pub(in crate::http) struct EventFeed {
    head: Bytes,
    source: Source,
    /// When the credential ends by itself, and the stream with it.
    ends: Option<Instant>,
}

/// An open stream that goes with its answer: to the body, or past it to the connection, whoever takes it first.
#[derive(Clone)]
pub(in crate::http) struct StreamHandoff(Arc<Mutex<Option<EventFeed>>>);

impl StreamHandoff {
    fn of(feed: EventFeed) -> Self {
        Self(Arc::new(Mutex::new(Some(feed))))
    }

    pub(in crate::http) fn take(&self) -> Option<EventFeed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl EventFeed {
    /// What comes next; `None`: the stream ends. The last words come with `true`.
    async fn next(&mut self) -> Option<(Bytes, bool)> {
        if !self.head.is_empty() {
            return Some((std::mem::take(&mut self.head), false));
        }
        let piece = match self.ends {
            Some(ends) => timeout_at(ends, self.source.next()).await.unwrap_or(Chunk::End),
            None => self.source.next().await,
        };
        match piece {
            Chunk::Bytes(bytes) => Some((bytes, false)),
            Chunk::End => None,
            Chunk::Leave => Some((Bytes::from(format!("retry: {}\n\n", random_retry_ms())), true)),
        }
    }

    /// Writes the stream to its end as the chunks of HTTP/1.1, each flushed at an event's end. While there is nothing that only this
    /// can write, rounds write to `outlet`, which is the same socket.
    pub(in crate::http) async fn write_to(
        mut self,
        to: &mut (impl AsyncWrite + Unpin),
        outlet: Arc<dyn ChunkSink>,
    ) -> io::Result<()> {
        self.source.write_through(outlet);
        loop {
            let next = self.next().await;
            to.write_all(&self.source.take_rest()).await?;
            let Some((bytes, last)) = next else { break };
            if bytes.is_empty() {
                continue; // a chunk of nothing would be the last one
            }
            let size = format!("{:x}\r\n", bytes.len());
            let mut parts = [io::IoSlice::new(size.as_bytes()), io::IoSlice::new(&bytes), io::IoSlice::new(b"\r\n")];
            let mut parts = &mut parts[..];
            while !parts.is_empty() {
                let written = to.write_vectored(parts).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                io::IoSlice::advance_slices(&mut parts, written);
            }
            if last {
                break;
            }
        }
        to.write_all(b"0\r\n\r\n").await?;
        to.shutdown().await
    }
}

/// The stream as a body, for connections that keep it.
fn pieces(handover: StreamHandoff) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    stream::unfold(None::<Option<EventFeed>>, move |state| {
        // Taken at the first look: a body that is never looked at leaves it to the connection.
        let state = state.unwrap_or_else(|| handover.take());
        async move {
            let mut feed = state?;
            let (bytes, last) = feed.next().await?;
            Some((Ok(bytes), Some((!last).then_some(feed))))
        }
    })
}

fn random_retry_ms() -> u64 {
    let span = RETRY_MS.end() - RETRY_MS.start() + 1;
    RETRY_MS.start() + u64::from(random_u16()) % span
}

fn random_u16() -> u16 {
    let [first, second, ..] = *uuid::Uuid::new_v4().as_bytes();
    u16::from_be_bytes([first, second])
}

/// A stream that ends at once, after saying when to come again.
pub(in crate::http) fn come_again(request: &Request) -> EventStream {
    EventStream(answer(request, Body::from(format!("retry: {}\n\n", random_retry_ms()))))
}

fn answer(request: &Request, body: Body) -> Response {
    let answer = Response::builder()
        .content_type("text/event-stream")
        .header(header::CACHE_CONTROL, "no-cache, no-transform")
        .header("X-Accel-Buffering", "no");
    // HTTP/2 has no such header.
    let answer = if request.version() == poem::http::Version::HTTP_11 {
        answer.header(header::CONNECTION, "keep-alive")
    } else {
        answer
    };
    answer.body(body)
}

/// An open stream.
pub(in crate::http) struct EventStream(Response);

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for EventStream {
    fn meta() -> MetaResponses {
        let schema = MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")));
        let content = vec![MetaMediaType { content_type: "text/event-stream", schema }];
        MetaResponses {
            responses: vec![MetaResponse {
                description: "The stream.",
                status: Some(200),
                status_range: None,
                content,
                headers: vec![],
            }],
        }
    }

    fn register(registry: &mut Registry) {
        ReservationEvent::register(registry);
        PlatformEvent::register(registry);
        ResetCursor::register(registry);
    }
}

/// The data of a reservation's event. Every key is always there, null where it does not apply.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes; domain::event is what is written")]
struct ReservationEvent {
    /// The position as a string; null in a refusal, which is live only.
    id: Option<String>,
    /// `RESERVED`, `UNRESERVED`, `RENEWED`, `RESERVATION_EXPIRED`, `RESERVE_FAILED`, `UNRESERVE_FAILED`, `TRANSACTION_APPLIED`,
    /// `TRANSACTION_ROLLED_BACK`, `RESET` or `TIER_LIMIT_REACHED`.
    r#type: String,
    tenant_id: String,
    /// The physical name: of a pool, the slot's.
    resource: Option<String>,
    requester: Option<String>,
    /// One word: the outcome.
    explanation: Option<String>,
    /// A sentence, where the word is not enough.
    reason: Option<String>,
    resource_type: Option<String>,
    api_key_label: Option<String>,
    /// `RESERVE`, `UNRESERVE` or `RENEW`; null for what nobody requested.
    request_type: Option<String>,
    timestamp: DateTime<Utc>,
    /// Of a transaction.
    method: Option<String>,
    /// Of a transaction: every item.
    changes: Option<Vec<EventChange>>,
    limit_type: Option<String>,
    limit: Option<i64>,
    fencing_token: Option<i64>,
    expires_at: Option<DateTime<Utc>>,
    /// The pool that the resource is a slot of.
    pool: Option<String>,
    blockers: Option<Vec<String>>,
}

/// One item of a transaction's event.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
struct EventChange {
    resource: String,
    requester: String,
    request_type: String,
    explanation: String,
    fencing_token: Option<i64>,
    expires_at: Option<DateTime<Utc>>,
    pool: Option<String>,
}

/// The data of an event of the tenant's own platform: see `POST /events`.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
struct PlatformEvent {
    /// The string of the frame's id.
    id: String,
    r#type: String,
    company_id: Option<String>,
    /// As it was published: of `decision`, `trade`, `score` and `season` usually a `DecisionData`, `TradeData`, `ScoreData` or
    /// `SeasonData`.
    data: Any<serde_json::Value>,
    timestamp: DateTime<Utc>,
}

/// The data of `RESET_CURSOR`: what came between is not known here; read activeReservations again.
#[derive(Object)]
#[oai(rename_all = "camelCase")]
#[allow(dead_code, reason = "it only describes")]
struct ResetCursor {
    /// `unknown`: there never was such a position. `too_old`: what followed it is kept no more. `lost`: Redis lost what was told.
    reason: String,
    /// Where the stream goes on.
    as_of: i64,
}
