//! Routes of events: the tenant's stream, and publishing to it.

use poem::Request;
use poem_openapi::{OpenApi, param::Query};
use serde_json::json;

use crate::{
    domain::time::{instant, iso},
    feed::{Filter, Frame, Start, StreamOutcome},
    http::{
        app_state::{AppState, Tag},
        auth::{Authorized, Read, Write, authorize_stream},
        events::{
            history,
            history::EventHistory,
            publish,
            publish::{OneOrMany, PublishedIds},
            response::{EventStreamResponse, LAST_EVENT_ID, or_reconnect},
        },
        pipeline::context::app,
        server::open_stream::{OpenStream, Source},
        wire::{error::ApiError, request::Large, response::Answer},
    },
    store::StreamKind,
};

pub(in crate::http) struct Events;

#[OpenApi]
impl Events {
    /// Watch everything that happens to the tenant, as server-sent events.
    ///
    /// The stream begins with one block: `retry`, the data `{"type":"connected","timestamp":...}`, and an `id` line with the position
    /// from which it is whole. Then each event, in order, once: `id` (its position), `event` (its type), `data` (one line of JSON).
    /// Refusals (`RESERVE_FAILED` and its like) are live only and have no `id`. After 15 s of silence comes the comment `: keepalive`,
    /// with an `id` line where the cursor moved past what was filtered out.
    ///
    /// A stream resumes at the header `Last-Event-ID`, or at `lastEventId`: on any replica, from any position that an event or a read
    /// (`asOf`, `Holdfast-Position`) has named, as long as what followed it is kept. Where it cannot, and also later when something
    /// was lost for good, `event: RESET_CURSOR` says so whatever the filter, with `{"reason":"unknown"|"too_old"|"lost","asOf":...}`:
    /// read activeReservations again; the stream goes on from `asOf`.
    ///
    /// Reservation events carry every key of a `ReservationEvent`; events of your own platform are those of `POST /api/v1/events`.
    ///
    /// Filters, of at most 200 names each: with several of them an event must pass each. Values that name nothing match nothing. `resources` lets a transaction
    /// pass if one of its changes matches, a slot also by its pool's name, `RESET` always, and platform events never. `companies`
    /// lets only events of those companies pass.
    #[oai(path = "/events", method = "get", operation_id = "events", tag = "Tag::Events")]
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
    ) -> Result<EventStreamResponse, ApiError> {
        let header = request.headers().get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or("unreadable").to_owned());
        let filter = parse_filter(&types.0, &resources.0, &companies.0);
        let last_event_id = header.or(last_event_id.0).filter(|id| !id.is_empty());
        let stream = open(request, api_key.0.as_deref(), filter, last_event_id.as_deref()).await;
        or_reconnect(request, stream)
    }

    /// Read what happened within the last hour, page by page.
    ///
    /// The same events as the stream's, with the same filters, oldest first, as far as the tier's history reaches. A position is a time:
    /// microseconds since the Unix epoch, so `after` may be a moment, too. Follow `nextAfter` until it is null. Refusals are live only
    /// and not here.
    #[oai(path = "/events/history", method = "get", operation_id = "eventHistory", tag = "Tag::Events")]
    #[allow(clippy::too_many_arguments, reason = "each is a parameter of the API")]
    async fn history(
        &self,
        caller: Authorized<Read>,
        app_state: AppState,
        /// Only what happened after this position. Without it all that is kept.
        after: Query<Option<i64>>,
        /// Most events that are looked at for the page, 1 to 1,000; 100 without it. Events that were published together count as one.
        limit: Query<Option<i64>>,
        /// Only events of these types: a comma list, or repeated. Without it all.
        types: Query<Vec<String>>,
        /// Only events of these resources: a comma list, or repeated; a comma in a name as `\,`; a trailing `*` makes a prefix.
        resources: Query<Vec<String>>,
        /// Only platform events of these companies, by slug or id: a comma list, or repeated.
        companies: Query<Vec<String>>,
    ) -> Result<Answer<EventHistory>, ApiError> {
        let filter = parse_filter(&types.0, &resources.0, &companies.0);
        history::history(app_state.store(), &caller.0, filter, after.0, limit.0).await
    }

    /// Publish events of your own platform to the tenant's stream: one, or up to 1,000.
    ///
    /// They take positions in the tenant's one order, together with everything that happens to its reservations, and are pushed at
    /// once. All or none is published. `type` is your own word, or one of those described here: `decision`, `trade`, `score`,
    /// `season`. With a `dedupeId`, repeating the call is safe: within an hour the first event's id comes back and nothing is published
    /// twice.
    #[oai(path = "/events", method = "post", operation_id = "publish", tag = "Tag::Publishing")]
    async fn publish(
        &self,
        caller: Authorized<Write>,
        app_state: AppState,
        body: Large<OneOrMany>,
    ) -> Result<Answer<PublishedIds, 202>, ApiError> {
        publish::publish(&caller.0, app_state.store(), body).await
    }
}

fn parse_filter(types: &[String], resources: &[String], companies: &[String]) -> Result<Filter, ApiError> {
    Filter::parse(types, resources, companies).map_err(|error| ApiError::field(error.list, error.to_string()))
}

async fn open(
    request: &Request,
    api_key: Option<&str>,
    filter: Result<Filter, ApiError>,
    last_event_id: Option<&str>,
) -> Result<EventStreamResponse, ApiError> {
    let app = app(request)?;
    let caller = authorize_stream(request, api_key).await?;
    let filter = filter?;
    if app.replica.drain.is_cancelled() {
        // The connection is older than the drain. A new one reaches a replica that stays.
        return Ok(EventStreamResponse::reconnect(request));
    }
    let kind = caller.session().map_or(StreamKind::Key, StreamKind::Session);
    let (stream, start, now_us) = match app.feed.open_stream(&app.store, &caller, kind, filter, last_event_id).await? {
        StreamOutcome::Open { stream, start, now_us } => (stream, start, now_us),
        StreamOutcome::LimitReached { limit, now_us } => {
            return Err(ApiError::limit(&limit, app.store.present_caller(caller).tenant().tier, now_us));
        }
    };
    let connected = json!({"type": "connected", "timestamp": iso(instant(now_us / 1000))});
    // One block: to some clients a block without data is an event.
    let mut head = format!("data: {connected}\n").into_bytes();
    match start {
        Start::At(position) => head.extend_from_slice(format!("id: {position}\n\n").as_bytes()),
        Start::Reset(reason, as_of) => {
            head.push(b'\n');
            head.extend_from_slice(Frame::reset_cursor(reason, as_of).bytes());
        }
    }
    let stream = OpenStream::new(&head, Source::Tenant(stream), caller.stream_lifetime(now_us));
    Ok(EventStreamResponse::open(request, stream))
}
