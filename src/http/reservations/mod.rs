//! The reservation routes.

mod check;
mod held_answers;
pub(super) mod list;
mod release;
mod reserve;
pub(super) mod resources;
pub(super) mod tickets;
pub(super) mod transactions;

use poem_openapi::{
    OpenApi,
    param::{Path, Query},
};

use crate::{
    domain::{
        access::Tenant,
        field_errors::FieldErrors,
        names,
        reservation::{MAX_BATCH, ReleaseRequest, ReserveOutcome, ReserveRequest, batch},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Admin, Authorized, Read, Write},
        reservations::{
            check::{CheckRequest, CheckResult, FenceRequest, FenceResult},
            held_answers::{begin_hold, held_items, hold_time},
            list::{ListFilter, Listing, list},
            release::{
                ForceReleaseRequest, ForceReleaseResult, RenewItem, RenewResult, ResetResult, UnreserveItem,
                UnreserveResult,
            },
            reserve::{ReserveItem, ReserveResult},
        },
        wire::{
            error::{ApiError, Code},
            held::Held,
            outcome::{answer, with_tokens},
            request::{Body, Items},
            response::Answer,
        },
    },
    store::{Caller, Stamped, Store, StoreError},
};

/// The answer of a reserve.
fn results(requests: Vec<ReserveRequest>, outcomes: Stamped<Vec<ReserveOutcome>>) -> Answer<Vec<ReserveResult>> {
    Answer(outcomes.map(|outcomes| {
        let items = requests.into_iter().zip(outcomes);
        items.map(|(request, outcome)| ReserveResult::of(request.resource, request.requester, outcome)).collect()
    }))
}

pub(in crate::http) struct Reservations;

#[OpenApi(tag = "Tag::Reservations")]
impl Reservations {
    /// Reserve named resources, each on its own.
    ///
    /// Repeating a call is safe: what the requester already holds comes back as `ALREADY_HAD` with the same token. Conflicts are
    /// answers (`ALREADY_HELD`), not HTTP errors. The release token guards against mistakes, not against another holder of the
    /// tenant's key, so `requester` must be unique per holder.
    #[oai(path = "/Reservation/reserve", method = "post", operation_id = "reserve")]
    async fn reserve(
        &self,
        caller: Authorized<Write>,
        app_state: AppState,
        /// Seconds for which the answer may be held back until nothing in it waits any more, 0 to 60.
        hold: Query<Option<i64>>,
        body: Items<ReserveItem>,
    ) -> Result<Held<Vec<ReserveResult>>, ApiError> {
        let time = hold_time(hold.0)?;
        let requests = batch(body.0.0, ReserveItem::parse).map_err(ApiError::validation)?;
        let hold = begin_hold(&app_state, &caller.0, time, || {
            requests.iter().filter_map(|request| Some(request.wait.as_ref()?.ticket)).collect()
        });
        let stamped = app_state.store().reserve(&caller.0, &requests).await.map_err(|error| {
            let ttls = requests.iter().map(|request| request.ttl_ms);
            refused_ttl(
                error,
                app_state.store(),
                &caller.0,
                ttls.enumerate().map(|(at, ttl_ms)| (format!("[{at}]"), ttl_ms)),
            )
        })?;
        let outcomes = with_tokens(stamped, &caller.0, std::iter::empty())?;
        let waits = |outcome: &ReserveOutcome| matches!(outcome, ReserveOutcome::Waiting(_));
        if let Some(hold) = hold.filter(|_| outcomes.answer.iter().any(waits)) {
            let answer = held_items(app_state.clone(), caller.0, requests, outcomes, hold);
            return Ok(Held::later(&app_state, answer));
        }
        Ok(Held::Now(results(requests, outcomes)))
    }

    /// Give reservations back.
    ///
    /// One wrong or missing release token for something that its requester holds refuses the whole call (403), and nothing is
    /// freed. What nobody holds is `NOT_RESERVED`, a success, so repeating a call is safe.
    #[oai(path = "/Reservation/unreserve", method = "post", operation_id = "unreserve")]
    async fn unreserve(
        &self,
        caller: Authorized<Write>,
        app_state: AppState,
        body: Items<UnreserveItem>,
    ) -> Result<Answer<Vec<UnreserveResult>>, ApiError> {
        let claims = batch(body.0.0, UnreserveItem::parse).map_err(ApiError::validation)?;
        let stamped = app_state.store().unreserve(&caller.0, &claims).await?;
        let outcomes = with_tokens(stamped, &caller.0, claims.iter().map(names_of))?;
        Ok(Answer(outcomes.map(|outcomes| {
            let items = claims.into_iter().zip(outcomes);
            items.map(|(claim, outcome)| UnreserveResult::of(claim.resource, claim.requester, outcome)).collect()
        })))
    }

    /// Prolong reservations from now on.
    ///
    /// `NOT_RESERVED` means that the reservation is lost: stop working on it. What has lapsed is never revived. The fencing token
    /// stays. Tokens are treated as in unreserve.
    #[oai(path = "/Reservation/renew", method = "post", operation_id = "renew")]
    async fn renew(
        &self,
        caller: Authorized<Write>,
        app_state: AppState,
        body: Items<RenewItem>,
    ) -> Result<Answer<Vec<RenewResult>>, ApiError> {
        let requests = batch(body.0.0, RenewItem::parse).map_err(ApiError::validation)?;
        let stamped = app_state.store().renew(&caller.0, &requests).await.map_err(|error| {
            let ttls = requests.iter().map(|request| Some(request.ttl_ms));
            refused_ttl(
                error,
                app_state.store(),
                &caller.0,
                ttls.enumerate().map(|(at, ttl_ms)| (format!("[{at}]"), ttl_ms)),
            )
        })?;
        let outcomes = with_tokens(stamped, &caller.0, requests.iter().map(|request| names_of(&request.claim)))?;
        Ok(Answer(outcomes.map(|outcomes| {
            let items = requests.into_iter().map(|request| request.claim).zip(outcomes);
            items.map(|(claim, outcome)| RenewResult::of(claim.resource, claim.requester, outcome)).collect()
        })))
    }

    /// Show who holds a resource. Its name is the whole rest of the path, percent-encoded or raw. Encode it where it may begin with
    /// or contain the segments `.` and `..`: clients resolve these before they send a path. POST takes any name.
    #[oai(path = "/Reservation/check/:resource", method = "get", operation_id = "check")]
    async fn check(
        &self,
        caller: Authorized<Read>,
        app_state: AppState,
        resource: Path<String>,
    ) -> Result<Answer<CheckResult>, ApiError> {
        let resource = names::name(Some(resource.0)).map_err(|message| ApiError::field("resource", message))?;
        let stamped = app_state.store().check(&caller.0, std::slice::from_ref(&resource)).await?;
        let checked = answer(stamped, |mut checked| {
            checked.pop().ok_or_else(|| ApiError::new(Code::Internal, "The check had no answer."))
        })?;
        Ok(Answer(checked.map(|checked| CheckResult::of(resource, checked))))
    }

    /// Show who holds several resources.
    #[oai(path = "/Reservation/check", method = "post", operation_id = "checkMany")]
    async fn check_many(
        &self,
        caller: Authorized<Read>,
        app_state: AppState,
        body: Body<CheckRequest>,
    ) -> Result<Answer<Vec<CheckResult>>, ApiError> {
        let mut errors = FieldErrors::default();
        let resources = body.0.resources.unwrap_or_default().0;
        if resources.is_empty() {
            errors.add("resources", format!("has no names; send 1 to {MAX_BATCH}"));
        }
        for (at, resource) in resources.iter().enumerate() {
            errors.check(|| format!("resources[{at}]"), names::name(Some(resource.clone())));
        }
        let resources = errors.finish(|| Some(resources)).map_err(ApiError::validation)?;
        let stamped = app_state.store().check(&caller.0, &resources).await?;
        Ok(Answer(stamped.map(|checked| {
            resources.into_iter().zip(checked).map(|(resource, checked)| CheckResult::of(resource, checked)).collect()
        })))
    }

    /// List the active reservations.
    ///
    /// Without `limit` the whole list is streamed. With `limit`, follow `nextCursor` until it is null: a page may be short, and a
    /// name may recur (the greater fencing token wins). `asOf` is the first page's: subscribe from there and nothing is missed.
    #[oai(path = "/Reservation/activeReservations", method = "get", operation_id = "activeReservations")]
    async fn active(
        &self,
        caller: Authorized<Read>,
        app_state: AppState,
        /// Only resources whose names begin with this.
        prefix: Query<Option<String>>,
        /// Only those of this requester.
        requester: Query<Option<String>>,
        /// Most rows of a page, 1 to 1,000; a small page may have a few more.
        limit: Query<Option<i64>>,
        /// `nextCursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listing, ApiError> {
        let filter = ListFilter { prefix: prefix.0.unwrap_or_default(), requester: requester.0 };
        list(app_state.store(), caller.0, filter, limit.0, cursor.0.as_deref()).await
    }

    /// List the active reservations: the same under a shorter path.
    #[oai(path = "/Reservation", method = "get", operation_id = "activeReservationsShort")]
    async fn active_short(
        &self,
        caller: Authorized<Read>,
        app_state: AppState,
        /// Only resources whose names begin with this.
        prefix: Query<Option<String>>,
        /// Only those of this requester.
        requester: Query<Option<String>>,
        /// Most rows of a page, 1 to 1,000; a small page may have a few more.
        limit: Query<Option<i64>>,
        /// `nextCursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Listing, ApiError> {
        let filter = ListFilter { prefix: prefix.0.unwrap_or_default(), requester: requester.0 };
        list(app_state.store(), caller.0, filter, limit.0, cursor.0.as_deref()).await
    }

    /// End a reservation whoever holds it.
    #[oai(path = "/Reservation/forceRelease", method = "post", operation_id = "forceRelease")]
    async fn force_release(
        &self,
        caller: Authorized<Admin>,
        app_state: AppState,
        body: Body<ForceReleaseRequest>,
    ) -> Result<Answer<ForceReleaseResult>, ApiError> {
        let mut errors = FieldErrors::default();
        let resource = errors.check(|| "resource".into(), names::name(body.0.resource));
        let reason = errors.check(|| "reason".into(), names::note(body.0.reason));
        let (resource, reason) = errors.finish(|| Some((resource?, reason?))).map_err(ApiError::validation)?;
        let released = app_state.store().force_release(&caller.0, &resource, &reason).await?;
        Ok(Answer(released.map(|released| ForceReleaseResult { released })))
    }

    /// End every reservation and every wait of the tenant at once. No body is needed.
    #[oai(path = "/Reservation/reset", method = "post", operation_id = "reset")]
    async fn reset(&self, caller: Authorized<Admin>, app_state: AppState) -> Result<Answer<ResetResult>, ApiError> {
        let stamped = app_state.store().reset(&caller.0).await?;
        Ok(Answer(stamped.map(|released| ResetResult { released })))
    }

    /// Ask whether a fencing token is the current holder's.
    ///
    /// For the service that the reservation protects: it refuses a holder that was paused past its lease.
    #[oai(path = "/Reservation/verifyFence", method = "post", operation_id = "verifyFence")]
    async fn verify_fence(
        &self,
        caller: Authorized<Read>,
        app_state: AppState,
        body: Body<FenceRequest>,
    ) -> Result<Answer<FenceResult>, ApiError> {
        let mut errors = FieldErrors::default();
        let resource = errors.check(|| "resource".into(), names::name(body.0.resource));
        let fence =
            errors.check(|| "fencingToken".into(), body.0.fencing_token.ok_or_else(|| "is required".to_owned()));
        let (resource, fence) = errors.finish(|| Some((resource?, fence?))).map_err(ApiError::validation)?;
        let stamped = app_state.store().verify_fence(&caller.0, &resource, fence).await?;
        Ok(Answer(stamped.map(|current| FenceResult { valid: current == Some(fence), current_fencing_token: current })))
    }
}

/// Requester and resource of a claim.
fn names_of(claim: &ReleaseRequest) -> (&str, &str) {
    (&claim.requester, &claim.resource)
}

/// The error of a call; where a time to live was refused, with the items whose it was: paths and times to live in milliseconds.
pub(super) fn refused_ttl(
    error: StoreError,
    store: &Store,
    caller: &Caller,
    items: impl Iterator<Item = (String, Option<i64>)>,
) -> ApiError {
    let StoreError::TtlTooLong { max_ms } = error else { return error.into() };
    // The settings may have changed since the credential was looked at; the call has looked again.
    let present = store.cached_caller(caller.bearer());
    let tenant = Tenant { max_ttl_ms: Some(max_ms), ..present.as_ref().unwrap_or(caller).tenant().clone() };
    let mut errors = FieldErrors::default();
    for (path, ttl_ms) in items {
        errors.check(|| format!("{path}.ttlSeconds"), tenant.check_ttl(ttl_ms));
    }
    match errors.finish(|| Some(())) {
        Ok(()) => error.into(),
        Err(errors) => ApiError::validation(errors),
    }
}

/// Parses a body of `POST /Reservation/reserve`, as far as that needs no Redis.
#[cfg(any(test, fuzzing))]
pub(in crate::http) fn parse_reserve(bytes: &[u8]) -> Result<(), ApiError> {
    use crate::http::wire::request::{self, List};

    let items: List<ReserveItem, MAX_BATCH> = request::parse(bytes)?;
    batch(items.0, ReserveItem::parse).map(drop).map_err(ApiError::validation)
}
