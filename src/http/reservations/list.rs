//! The listing of active reservations: a page, or the whole, streamed as it is read.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream;
use poem::{Body as PoemBody, IntoResponse, Response};
use poem_openapi::{
    ApiResponse, Object,
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::Type,
};
use serde::Serialize;

use crate::{
    domain::{
        fault::FieldError,
        reservation::{BATCH, HeldReservation},
        time::{instant, wire, wire_option},
    },
    http::wire::{
        error::{ApiError, digits},
        response::{Answer, HOLDFAST_POSITION, HOLDFAST_TIME},
    },
    store::{Caller, Page, PageCursor, Store},
};

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
    /// Which key, or end user, made it.
    api_key_label: Option<String>,
    note: Option<String>,
    /// The pool that it is a slot of.
    pool: Option<String>,
    /// Where it stands in the tree.
    reserved_at_path: Option<String>,
    /// What was taken along.
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
    /// The position as of which the list holds; the first page's.
    as_of: i64,
    /// Where the next page begins; null at the end.
    next_cursor: Option<String>,
}

/// Which reservations somebody wants to see.
#[derive(Debug, Clone)]
pub(in crate::http) struct Wish {
    pub(in crate::http) prefix: String,
    pub(in crate::http) requester: Option<String>,
}

impl Wish {
    fn passes(&self, active: &HeldReservation) -> bool {
        active.resource.starts_with(&self.prefix)
            && self.requester.as_ref().is_none_or(|requester| *requester == active.requester)
    }
}

/// The listing, as one answer or streamed.
pub(in crate::http) enum Listing {
    Page(Answer<ActiveReservations>),
    Whole { head: (i64, i64), body: PoemBody },
}

impl IntoResponse for Listing {
    fn into_response(self) -> Response {
        match self {
            Self::Page(answer) => answer.into_response(),
            Self::Whole { head: (now_us, position), body } => Response::builder()
                .content_type("application/json")
                .header(&HOLDFAST_TIME, digits(now_us))
                .header(&HOLDFAST_POSITION, digits(position))
                .body(body),
        }
    }
}

impl ApiResponse for Listing {
    fn meta() -> MetaResponses {
        let content =
            vec![MetaMediaType { content_type: "application/json", schema: ActiveReservations::schema_ref() }];
        MetaResponses {
            responses: vec![MetaResponse {
                description: "The list.",
                status: Some(200),
                status_range: None,
                content,
                headers: vec![],
            }],
        }
    }

    fn register(registry: &mut Registry) {
        ActiveReservations::register(registry);
    }
}

/// Reads the listing as a caller wishes it.
pub(in crate::http) async fn list(
    store: &Store,
    caller: Caller,
    wish: Wish,
    limit: Option<i64>,
    cursor: Option<String>,
) -> Result<Listing, ApiError> {
    let mut faults = Vec::new();
    if limit.is_some_and(|limit| !(1..=BATCH as i64).contains(&limit)) {
        faults.push(FieldError { path: "limit".into(), message: format!("must be from 1 to {BATCH}") });
    }
    let start = cursor.as_deref().map_or(Some(PageCursor::start()), PageCursor::decode);
    match (start, limit) {
        (None, _) => {
            faults.push(FieldError {
                path: "cursor".into(),
                message: "is none that this service gave; begin again without it".into(),
            });
            Err(ApiError::validation(faults))
        }
        _ if !faults.is_empty() => Err(ApiError::validation(faults)),
        (Some(start), Some(limit)) => {
            let told = store.page(&caller, &start, limit as usize).await?;
            Ok(Listing::Page(Answer(told.map(|page| ActiveReservations {
                as_of: page.as_of,
                next_cursor: page.next.as_ref().map(PageCursor::encode),
                reservations: page.found.into_iter().filter(|active| wish.passes(active)).map(Into::into).collect(),
            }))))
        }
        (Some(start), None) => {
            let first = store.stretch(&caller, &start).await?;
            Ok(Listing::Whole {
                head: (first.now_us, first.position),
                body: whole(store.clone(), caller, wish, first.answer),
            })
        }
    }
}

/// Streams the whole list, one stretch after the other: a tenant may hold a million. A failure on the way breaks the body off, so
/// that nobody takes a part for the whole.
fn whole(store: Store, caller: Caller, wish: Wish, first: Page) -> PoemBody {
    enum At {
        Stretch(Page),
        Next(PageCursor),
        End(i64),
        Over,
    }
    let head = Bytes::from_static(b"{\"reservations\":[");
    let pieces = stream::try_unfold((At::Stretch(first), false), move |(mut at, mut begun)| {
        let (store, caller, wish) = (store.clone(), caller.clone(), wish.clone());
        async move {
            if let At::Next(cursor) = at {
                let told = store
                    .further_stretch(&caller, &cursor)
                    .await
                    .map_err(|error| std::io::Error::other(error.to_string()))?;
                at = At::Stretch(told.answer);
            }
            let piece = match at {
                At::Stretch(page) => {
                    let mut piece = Vec::with_capacity(page.found.len() * 300);
                    for active in page.found.into_iter().filter(|active| wish.passes(active)) {
                        if begun {
                            piece.push(b',');
                        }
                        begun = true;
                        serde_json::to_writer(&mut piece, &ActiveReservation::from(active))?;
                    }
                    at = page.next.map_or(At::End(page.as_of), At::Next);
                    Bytes::from(piece)
                }
                At::End(as_of) => {
                    at = At::Over;
                    Bytes::from(format!("],\"asOf\":{as_of},\"nextCursor\":null}}"))
                }
                At::Next(_) | At::Over => return Ok::<_, std::io::Error>(None),
            };
            Ok(Some((piece, (at, begun))))
        }
    });
    PoemBody::from_bytes_stream(stream::StreamExt::chain(stream::iter([Ok(head)]), pieces))
}
