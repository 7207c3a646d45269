//! The listing of active reservations: one page, or the whole list, streamed as it is read.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream;
use poem::{Body as PoemBody, IntoResponse, Response};
use poem_openapi::{
    ApiResponse, Object,
    registry::{MetaResponses, Registry},
    types::Type,
};
use serde::Serialize;

use crate::{
    domain::{
        field_errors::FieldErrors,
        reservation::{HeldReservation, MAX_BATCH},
        time::{instant, wire, wire_option},
    },
    http::wire::{
        error::ApiError,
        headers::{self, HOLDFAST_POSITION, HOLDFAST_TIME},
        pagination::{ListQuery, PageSizes},
        response::{Answer, stamped},
    },
    store::{Caller, PageCursor, ReservationPage, Stamped, Store},
};

/// The default does not count here: without a limit the whole list is streamed.
const PAGE_SIZES: PageSizes = PageSizes { default: MAX_BATCH, max: MAX_BATCH };
/// Initial capacity of a chunk per row, in bytes: enough for most.
const ROW_CAPACITY: usize = 300;

/// An active reservation.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct ActiveReservation {
    resource: String,
    requester: String,
    #[serde(with = "wire")]
    reserved_at: DateTime<Utc>,
    #[serde(with = "wire_option")]
    expires_at: Option<DateTime<Utc>>,
    resource_type: String,
    /// Label of the key, or the end user, that made it.
    api_key_label: Option<String>,
    note: Option<String>,
    /// Pool of which it is a slot.
    pool: Option<String>,
    /// Path in the tree, its own name included.
    reserved_at_path: Option<String>,
    /// Blockers taken along.
    blockers: Option<Vec<String>>,
    /// Of a blocker: what it was taken along with.
    blocker_of: Option<Vec<String>>,
    fencing_token: i64,
}

impl From<HeldReservation> for ActiveReservation {
    fn from(active: HeldReservation) -> Self {
        Self {
            resource: active.resource,
            requester: active.requester,
            reserved_at: instant(active.reserved_ms),
            expires_at: active.deadline_ms.map(instant),
            resource_type: active.resource_type,
            api_key_label: active.label,
            note: active.note,
            pool: active.pool,
            reserved_at_path: active.path,
            blockers: active.blockers,
            blocker_of: active.blocker_of,
            fencing_token: active.fence,
        }
    }
}

/// The active reservations.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct ActiveReservations {
    reservations: Vec<ActiveReservation>,
    /// Position of the list; of all pages the first page's.
    as_of: i64,
    /// Cursor of the next page; null at the end.
    next_cursor: Option<String>,
}

/// Filter of the listing.
#[derive(Debug, Clone)]
pub(in crate::http) struct ListFilter {
    /// Begin of the resource's name; empty: any.
    pub(in crate::http) prefix: String,
    /// The requester; `None`: any.
    pub(in crate::http) requester: Option<String>,
}

impl ListFilter {
    fn passes(&self, active: &HeldReservation) -> bool {
        active.resource.starts_with(&self.prefix)
            && self.requester.as_ref().is_none_or(|requester| *requester == active.requester)
    }
}

/// The listing.
pub(in crate::http) enum Listing {
    /// One page.
    Page(Answer<ActiveReservations>),
    /// The whole list, streamed, with clock and position of its first part.
    Whole(Stamped<PoemBody>),
}

impl IntoResponse for Listing {
    fn into_response(self) -> Response {
        match self {
            Self::Page(answer) => answer.into_response(),
            Self::Whole(Stamped { now_us, position, answer: body }) => Response::builder()
                .content_type("application/json")
                .header(&HOLDFAST_TIME, headers::number(now_us))
                .header(&HOLDFAST_POSITION, headers::number(position))
                .body(body),
        }
    }
}

impl ApiResponse for Listing {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![stamped::<ActiveReservations>(200)] }
    }

    fn register(registry: &mut Registry) {
        ActiveReservations::register(registry);
    }
}

/// Reads the listing: with a limit one page, without the whole.
pub(in crate::http) async fn list(
    store: &Store,
    caller: Caller,
    filter: ListFilter,
    limit: Option<i64>,
    cursor: Option<&str>,
) -> Result<Listing, ApiError> {
    let mut errors = FieldErrors::default();
    let query = ListQuery::parse(&mut errors, PAGE_SIZES, limit, cursor, PageCursor::decode);
    let query = errors.finish(|| query).map_err(ApiError::validation)?;
    let start = query.cursor.unwrap_or_else(PageCursor::start);
    if limit.is_none() {
        let first = store.first_streamed_page(&caller, &start).await?;
        return Ok(Listing::Whole(first.map(|first| whole(store.clone(), caller, filter, first))));
    }
    let page = store.reservation_page(&caller, &start, query.limit).await?;
    Ok(Listing::Page(Answer(page.map(|page| ActiveReservations {
        as_of: page.as_of,
        next_cursor: page.next.as_ref().map(PageCursor::encode),
        reservations: page.reservations.into_iter().filter(|active| filter.passes(active)).map(Into::into).collect(),
    }))))
}

/// The next part of the streamed list.
enum Part {
    /// The rows of a page that was read.
    Rows(ReservationPage),
    /// The page after this cursor, still to be read.
    Next(PageCursor),
    /// The end of the JSON, with the position of the list.
    End(i64),
    /// Nothing: the body is complete.
    Complete,
}

/// Streams the whole list page by page, since a tenant may hold a million. A failure in the middle breaks the body off, so that nobody
/// takes a part for the whole.
fn whole(store: Store, caller: Caller, filter: ListFilter, first: ReservationPage) -> PoemBody {
    let head = Bytes::from_static(b"{\"reservations\":[");
    let chunks = stream::try_unfold((Part::Rows(first), false), move |(mut part, mut has_rows)| {
        let (store, caller, filter) = (store.clone(), caller.clone(), filter.clone());
        async move {
            if let Part::Next(cursor) = part {
                let page = store.next_streamed_page(&caller, &cursor).await;
                part = Part::Rows(page.map_err(|error| std::io::Error::other(error.to_string()))?.answer);
            }
            let chunk = match part {
                Part::Rows(page) => {
                    let mut chunk = Vec::with_capacity(page.reservations.len() * ROW_CAPACITY);
                    for active in page.reservations.into_iter().filter(|active| filter.passes(active)) {
                        if has_rows {
                            chunk.push(b',');
                        }
                        has_rows = true;
                        serde_json::to_writer(&mut chunk, &ActiveReservation::from(active))?;
                    }
                    part = page.next.map_or(Part::End(page.as_of), Part::Next);
                    Bytes::from(chunk)
                }
                Part::End(as_of) => {
                    part = Part::Complete;
                    Bytes::from(format!("],\"asOf\":{as_of},\"nextCursor\":null}}"))
                }
                Part::Next(_) | Part::Complete => return Ok::<_, std::io::Error>(None),
            };
            Ok(Some((chunk, (part, has_rows))))
        }
    });
    PoemBody::from_bytes_stream(stream::StreamExt::chain(stream::iter([Ok(head)]), chunks))
}
