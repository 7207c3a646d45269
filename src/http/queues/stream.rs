//! `GET /api/events/stream`: the live stream of a connection.

use poem::Request;
use poem_openapi::{OpenApi, param::Query};
use uuid::Uuid;

use crate::{
    feed::{Filter, LiveStreamOutcome},
    http::{
        app_state::Tag,
        auth::authorize_stream,
        events::response::{EventStreamResponse, or_reconnect},
        pipeline::context::app,
        server::open_stream::{OpenStream, Source},
        wire::error::ApiError,
    },
    store::StreamKind,
};

/// End of the first block: an id that names no position, only so that a browser which reconnects says so by
/// `Last-Event-ID`, and is then never answered with a status after which it would give up.
const CONNECTED: &str = "id: 0\n\n";

pub(in crate::http) struct QueueEvents;

#[OpenApi(tag = "Tag::Queues")]
impl QueueEvents {
    /// Watch the jobs, workers and queues of one connection, as server-sent events.
    ///
    /// First comes `retry`, then a `queue:snapshot` of each known queue and a `worker:heartbeat` of each live worker, then what
    /// changes: `job:state_change` `{id, name, state, previousState, timestamp}`, `worker:heartbeat` `{id, hostname, state,
    /// activeJobs}`, `worker:state_change` `{id, hostname, state, previousState, timestamp}` when a worker comes online or goes
    /// offline, `queue:snapshot` `{name, depth, consumers}` when it changes and at least every 30 s. `depth` and `consumers` are null
    /// while nobody has reported them. Whatever the filter, `heartbeat` `{timestamp}` comes every 15 s, and `gap` `{from, to, reason}`
    /// after a time of which events may be missing: `handover` to another replica, `slow` reading, an `interrupted` connection.
    ///
    /// The events have no ids and are not replayed: after a reconnect read `GET /api/jobs` again. (One constant `id` at the start only
    /// makes a browser say that it reconnects.)
    #[oai(path = "/events/stream", method = "get", operation_id = "queueEvents")]
    async fn events(
        &self,
        request: &Request,
        /// The API key, for clients that cannot set headers. It is never logged.
        api_key: Query<Option<String>>,
        /// The connection: a UUID.
        #[oai(name = "connectionId")]
        connection_id: Query<Option<String>>,
        /// Groups (`job`, `worker`, `queue`) or full names, as a comma list. Without it all.
        types: Query<Vec<String>>,
    ) -> Result<EventStreamResponse, ApiError> {
        let query = StreamQuery { api_key: api_key.0, connection: connection_id.0, types: types.0 };
        or_reconnect(request, open(request, query).await)
    }
}

struct StreamQuery {
    api_key: Option<String>,
    connection: Option<String>,
    types: Vec<String>,
}

async fn open(request: &Request, query: StreamQuery) -> Result<EventStreamResponse, ApiError> {
    let app = app(request)?;
    let caller = authorize_stream(request, query.api_key.as_deref()).await?;
    let connection =
        query.connection.ok_or_else(|| ApiError::field("connectionId", "is required: the id of a connection"))?;
    let connection = Uuid::try_parse(&connection).map_err(|_| ApiError::field("connectionId", "is not a UUID"))?;
    if app.replica.drain.is_cancelled() {
        return Ok(EventStreamResponse::reconnect(request));
    }
    let kind = caller.session().map_or(StreamKind::Key, StreamKind::Session);
    let filter =
        Filter::parse_queue_types(&query.types).map_err(|error| ApiError::field(error.list, error.to_string()))?;
    match app.feed.open_live_stream(&app.store, &caller, kind, filter, connection).await? {
        LiveStreamOutcome::Open { stream, snapshot, now_us } => {
            let head = [CONNECTED.as_bytes(), &snapshot].concat();
            let stream = OpenStream::new(&head, Source::Live(stream), caller.stream_lifetime(now_us));
            Ok(EventStreamResponse::open(request, stream))
        }
        LiveStreamOutcome::LimitReached { limit, now_us } => {
            Err(ApiError::limit(&limit, app.store.present_caller(caller).tenant().tier, now_us))
        }
        LiveStreamOutcome::NotFound => Err(ApiError::not_found("connection")),
    }
}
