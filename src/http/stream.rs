//! The event stream: `GET /api/v1/events`.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use poem::{Body, IntoResponse, Request, Response, http::header};
use poem_openapi::{
    ApiResponse, OpenApi,
    param::Query,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::{
    domain::time::{instant, iso},
    feed::{Filter, Piece, Subscriber, split_list},
    http::{
        App,
        credentials::{app, enter_stream},
        document::Tag,
        error::ApiError,
    },
    store::Told,
};

/// A browser comes back after this long, in milliseconds: each stream another, so that they do not all come at once.
const RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=5_000;

pub(super) struct Events;

#[OpenApi(tag = "Tag::Events")]
impl Events {
    /// Watch everything that happens to the tenant's reservations, as server-sent events.
    ///
    /// The stream begins with `retry`, a data-only frame `{"type":"connected","timestamp":...}`, and an `id` line with the position
    /// from which it is whole. Then each event: `id` (its position), `event` (its type), `data` (one line of JSON). Refusals
    /// (`RESERVE_FAILED` and its like) are live only and have no `id`. After 15 s of silence comes the comment `: keepalive`.
    ///
    /// A stream that resumes from a position which is not the latest is told `RESET_CURSOR`: read activeReservations again.
    #[oai(path = "/events", method = "get", operation_id = "events")]
    async fn events(
        &self,
        request: &Request,
        /// The API key, for clients that cannot set headers. It is never logged.
        api_key: Query<Option<String>>,
        /// Only events of these types: a comma list, or repeated. Without it all.
        types: Query<Vec<String>>,
        /// Where to resume, for clients that cannot set the header `Last-Event-ID`.
        #[oai(name = "lastEventId")]
        last_event_id: Query<Option<String>>,
    ) -> Result<EventStream, ApiError> {
        let header = request.header("last-event-id").map(str::to_owned);
        let reconnects = header.is_some();
        let types = types.0.iter().flat_map(|list| split_list(list)).collect();
        match open(request, api_key.0.as_deref(), Filter::of_types(types), header.or(last_event_id.0)).await {
            Ok(stream) => Ok(stream),
            // A browser's EventSource never comes back after anything but 200: so it is told to, and may find us better then.
            Err(error) if reconnects && matches!(error.status().as_u16(), 429 | 503 | 504) => Ok(EventStream(come_again())),
            Err(error) => Err(error),
        }
    }
}

async fn open(request: &Request, api_key: Option<&str>, filter: Filter, resume: Option<String>) -> Result<EventStream, ApiError> {
    let app = app(request)?.clone();
    let caller = enter_stream(request, api_key).await?;
    // Listening comes before looking: what happens in between is in the ring, and what the look already covers is left out.
    let mut subscriber = app.feed.subscribe(caller.place(), caller.credential(), filter).await?;
    let Told { now_us, position, .. } = app.store.position(&caller).await?;
    subscriber.start_at(position);

    let connected = json!({"type": "connected", "timestamp": iso(instant(now_us / 1000))});
    let mut head = format!("retry: {}\n\ndata: {connected}\n\n", random_retry_ms());
    match resume {
        // Nothing of the past is kept here: unless nothing happened since, the reader must look anew.
        Some(id) if id != position.to_string() => {
            let reset = json!({"reason": "unknown", "asOf": position});
            head.push_str(&format!("id: {position}\nevent: RESET_CURSOR\ndata: {reset}\n\n"));
        }
        _ => head.push_str(&format!("id: {position}\n\n")),
    }
    let lasts = caller.lasts(now_us);
    let over = async move {
        match lasts {
            Some(lasts) => tokio::time::sleep(lasts).await,
            None => std::future::pending().await,
        }
    };
    let pieces = stream::iter([Ok(Bytes::from(head))]).chain(pieces(subscriber, app)).take_until(Box::pin(over));
    Ok(EventStream(answer(request.version() == poem::http::Version::HTTP_11, Body::from_bytes_stream(pieces))))
}

/// What the stream writes until its reader leaves, its credential ends, or the replica drains.
fn pieces(subscriber: Subscriber, app: App) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    stream::unfold(Some((subscriber, None::<Instant>)), move |state| {
        let drain = app.replica.drain.clone();
        let window = app.config.drain;
        async move {
            let (mut subscriber, mut end) = state?;
            loop {
                tokio::select! {
                    piece = subscriber.next() => return match piece {
                        Piece::Bytes(bytes) => Some((Ok(bytes), Some((subscriber, end)))),
                        Piece::End => None,
                    },
                    // Draining: each stream ends at its own moment of the window, so that the other replicas are not run over.
                    () = drain.cancelled(), if end.is_none() => end = Some(Instant::now() + fraction(window)),
                    () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {
                        let farewell = format!("retry: {}\n\n", random_retry_ms());
                        return Some((Ok(Bytes::from(farewell)), None));
                    }
                }
            }
        }
    })
}

/// A random part of the first four fifths of `window`: the rest is for the last words to arrive.
fn fraction(window: Duration) -> Duration {
    window.mul_f64(0.8 * f64::from(random_u16()) / f64::from(u16::MAX))
}

fn random_retry_ms() -> u64 {
    let span = RETRY_MS.end() - RETRY_MS.start() + 1;
    RETRY_MS.start() + u64::from(random_u16()) % span
}

fn random_u16() -> u16 {
    let [first, second, ..] = *uuid::Uuid::new_v4().as_bytes();
    u16::from_be_bytes([first, second])
}

fn come_again() -> Response {
    answer(false, Body::from(format!("retry: {}\n\n", random_retry_ms())))
}

fn answer(keep_alive: bool, body: Body) -> Response {
    let answer =
        Response::builder().content_type("text/event-stream").header(header::CACHE_CONTROL, "no-cache, no-transform").header("X-Accel-Buffering", "no");
    // HTTP/2 has no such header.
    let answer = if keep_alive { answer.header(header::CONNECTION, "keep-alive") } else { answer };
    answer.body(body)
}

/// An open stream.
struct EventStream(Response);

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        self.0
    }
}

impl ApiResponse for EventStream {
    fn meta() -> MetaResponses {
        let schema = MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")));
        let content = vec![MetaMediaType { content_type: "text/event-stream", schema }];
        MetaResponses { responses: vec![MetaResponse { description: "The stream.", status: Some(200), status_range: None, content, headers: vec![] }] }
    }

    fn register(_: &mut Registry) {}
}
