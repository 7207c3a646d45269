//! The reservation routes.

pub(super) mod list;
pub(super) mod resources;
pub(super) mod transactions;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::{
        fault::FieldErrors,
        names,
        reservation::{
            BATCH, Checked, Conflict, DEFAULT_RESOURCE_TYPE, ReleaseOutcome, ReleaseRequest, RenewOutcome,
            RenewRequest, ReserveOutcome, ReserveRequest, batch, named, ttl_ms,
        },
        time::{instant, wire_option},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Admin, Authorized, Read, Write},
        reservations::list::{Listing, Wish, list},
        wire::{
            error::{ApiError, Code},
            request::Body,
            response::Answer,
        },
    },
    store::{Caller, Outcome, Stamped},
};

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
        here: AppState,
        body: Body<Vec<ReserveItem>>,
    ) -> Result<Answer<Vec<ReserveResult>>, ApiError> {
        let wanted = batch(body.0, ReserveItem::parse).map_err(ApiError::validation)?;
        let told = here.store().reserve(&caller.0, &wanted).await?;
        let granted = done(told, &caller.0)?;
        Ok(Answer(granted.map(|granted| {
            wanted.into_iter().zip(granted).map(|(wanted, granted)| ReserveResult::of(wanted, granted)).collect()
        })))
    }

    /// Give reservations back.
    ///
    /// One wrong or missing release token for something that its requester holds refuses the whole call (403), and nothing is
    /// freed. What nobody holds is `NOT_RESERVED`, a success, so repeating a call is safe.
    #[oai(path = "/Reservation/unreserve", method = "post", operation_id = "unreserve")]
    async fn unreserve(
        &self,
        caller: Authorized<Write>,
        here: AppState,
        body: Body<Vec<UnreserveItem>>,
    ) -> Result<Answer<Vec<UnreserveResult>>, ApiError> {
        let claims = batch(body.0, UnreserveItem::parse).map_err(ApiError::validation)?;
        let told = here.store().unreserve(&caller.0, &claims).await?;
        let released = done_with_tokens(told, &caller.0, claims.iter())?;
        Ok(Answer(released.map(|released| {
            claims.into_iter().zip(released).map(|(claim, released)| UnreserveResult::of(claim, released)).collect()
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
        here: AppState,
        body: Body<Vec<RenewItem>>,
    ) -> Result<Answer<Vec<RenewResult>>, ApiError> {
        let renewals = batch(body.0, RenewItem::parse).map_err(ApiError::validation)?;
        let told = here.store().renew(&caller.0, &renewals).await?;
        let renewed = done_with_tokens(told, &caller.0, renewals.iter().map(|renewal| &renewal.claim))?;
        Ok(Answer(renewed.map(|renewed| {
            renewals.into_iter().zip(renewed).map(|(renewal, renewed)| RenewResult::of(renewal, renewed)).collect()
        })))
    }

    /// Look who holds a resource. Its name is the whole rest of the path.
    #[oai(path = "/Reservation/check/:resource", method = "get", operation_id = "check")]
    async fn check(
        &self,
        caller: Authorized<Read>,
        here: AppState,
        resource: Path<String>,
    ) -> Result<Answer<CheckResult>, ApiError> {
        let resource = names::name(Some(resource.0)).map_err(|message| ApiError::fault("resource", message))?;
        let told = here.store().check(&caller.0, std::slice::from_ref(&resource)).await?;
        let Stamped { now_us, position, mut answer } = told;
        let checked = answer.pop().ok_or_else(|| ApiError::new(Code::Internal, "The check had no answer."))?;
        Ok(Answer(Stamped { now_us, position, answer: CheckResult::of(resource, checked) }))
    }

    /// Look who holds several resources.
    #[oai(path = "/Reservation/check", method = "post", operation_id = "checkMany")]
    async fn check_many(
        &self,
        caller: Authorized<Read>,
        here: AppState,
        body: Body<CheckRequest>,
    ) -> Result<Answer<Vec<CheckResult>>, ApiError> {
        let mut faults = FieldErrors::default();
        let resources = body.0.resources.unwrap_or_default();
        if resources.is_empty() || resources.len() > BATCH {
            faults.add("resources", format!("has {} names; send 1 to {BATCH}", resources.len()));
        }
        for (at, resource) in resources.iter().enumerate() {
            faults.keep(|| format!("resources[{at}]"), names::name(Some(resource.clone())));
        }
        let resources = faults.or(resources).map_err(ApiError::validation)?;
        let told = here.store().check(&caller.0, &resources).await?;
        Ok(Answer(told.map(|checked| {
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
        here: AppState,
        /// Only names that begin so.
        prefix: Query<Option<String>>,
        /// Only this requester's.
        requester: Query<Option<String>>,
        /// At most so many per page, 1 to 1,000.
        limit: Query<Option<i64>>,
        /// Where the last page said that the next begins.
        cursor: Query<Option<String>>,
    ) -> Result<Listing, ApiError> {
        let wish = Wish { prefix: prefix.0.unwrap_or_default(), requester: requester.0 };
        list(here.store(), caller.0, wish, limit.0, cursor.0).await
    }

    /// List the active reservations: the same under a shorter path.
    #[oai(path = "/Reservation", method = "get", operation_id = "activeReservationsShort")]
    async fn active_short(
        &self,
        caller: Authorized<Read>,
        here: AppState,
        /// Only names that begin so.
        prefix: Query<Option<String>>,
        /// Only this requester's.
        requester: Query<Option<String>>,
        /// At most so many per page, 1 to 1,000.
        limit: Query<Option<i64>>,
        /// Where the last page said that the next begins.
        cursor: Query<Option<String>>,
    ) -> Result<Listing, ApiError> {
        let wish = Wish { prefix: prefix.0.unwrap_or_default(), requester: requester.0 };
        list(here.store(), caller.0, wish, limit.0, cursor.0).await
    }

    /// End a reservation whoever holds it.
    #[oai(path = "/Reservation/forceRelease", method = "post", operation_id = "forceRelease")]
    async fn force_release(
        &self,
        caller: Authorized<Admin>,
        here: AppState,
        body: Body<ForceReleaseRequest>,
    ) -> Result<Answer<ForceReleaseResult>, ApiError> {
        let mut faults = FieldErrors::default();
        let resource = faults.keep(|| "resource".into(), names::name(body.0.resource));
        let reason = faults.keep(|| "reason".into(), names::note(body.0.reason));
        let (resource, reason) =
            faults.or((resource.unwrap_or_default(), reason.unwrap_or_default())).map_err(ApiError::validation)?;
        let told = done(here.store().force_release(&caller.0, &resource, &reason).await?, &caller.0)?;
        Ok(Answer(told.map(|released| ForceReleaseResult { released })))
    }

    /// End every reservation of the tenant at once. No body is needed.
    #[oai(path = "/Reservation/reset", method = "post", operation_id = "reset")]
    async fn reset(&self, caller: Authorized<Admin>, here: AppState) -> Result<Answer<ResetResult>, ApiError> {
        let told = here.store().reset(&caller.0).await?;
        Ok(Answer(told.map(|released| ResetResult { released })))
    }

    /// Ask whether a fencing token is the present holder's.
    ///
    /// For the service that the reservation protects: it refuses a holder that was paused past its lease.
    #[oai(path = "/Reservation/verifyFence", method = "post", operation_id = "verifyFence")]
    async fn verify_fence(
        &self,
        caller: Authorized<Read>,
        here: AppState,
        body: Body<FenceRequest>,
    ) -> Result<Answer<FenceResult>, ApiError> {
        let mut faults = FieldErrors::default();
        let resource = faults.keep(|| "resource".into(), names::name(body.0.resource));
        let fence = faults.keep(|| "fencingToken".into(), body.0.fencing_token.ok_or_else(|| "is required".to_owned()));
        let (resource, fence) = faults.or((resource.unwrap_or_default(), fence)).map_err(ApiError::validation)?;
        let told = here.store().verify_fence(&caller.0, &resource, fence.unwrap_or_default()).await?;
        Ok(Answer(told.map(|current| FenceResult {
            valid: current.is_some() && current == fence,
            current_fencing_token: current,
        })))
    }
}

/// The answers of a call that was done; a limit refuses it whole.
pub(in crate::http) fn done<T>(told: Stamped<Outcome<T>>, caller: &Caller) -> Result<Stamped<T>, ApiError> {
    done_with_tokens(told, caller, std::iter::empty())
}

/// The same for a call whose items carry tokens: one wrong one refuses it whole, and every item is told what became of it.
pub(in crate::http) fn done_with_tokens<'c, T>(
    told: Stamped<Outcome<T>>,
    caller: &Caller,
    claims: impl Iterator<Item = &'c ReleaseRequest>,
) -> Result<Stamped<T>, ApiError> {
    let Stamped { now_us, position, answer } = told;
    match answer {
        Outcome::Done(answer) => Ok(Stamped { now_us, position, answer }),
        Outcome::Limit(reached) => Err(ApiError::limit(&reached, caller.tenant().tier, now_us)),
        Outcome::TooMany => {
            Err(ApiError::fault("", "the call would change more than 10000 physical resources; ask for less at once")
                .at(now_us))
        }
        Outcome::WrongToken(wrong) => {
            let results: Vec<_> = claims
                .zip(wrong)
                .map(|(claim, wrong)| {
                    let status = if wrong { "INVALID_RELEASE_TOKEN" } else { "UNCHANGED" };
                    serde_json::json!({"resource": claim.resource, "requester": claim.requester, "status": status})
                })
                .collect();
            let message =
                "A release token is wrong or missing; nothing was changed. Send the token that reserve answered with.";
            Err(ApiError::new(Code::InvalidReleaseToken, message).beside("results", results).at(now_us))
        }
    }
}

/// A resource wanted by a requester.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct ReserveItem {
    /// Who wants it: unique per holder. 1 to 1,024 bytes.
    #[oai(validator(min_length = 1))]
    pub(in crate::http) requester: Option<String>,
    /// What is wanted. 1 to 1,024 bytes; it need not be registered.
    #[oai(validator(min_length = 1))]
    pub(in crate::http) resource: Option<String>,
    /// After so many seconds it is free again by itself, 1 to 2,147,483,647; without it, never.
    pub(in crate::http) ttl_seconds: Option<i64>,
    /// A tag of yours, shown in events. `UserDefined` without it.
    pub(in crate::http) resource_type: Option<String>,
    /// Shown wherever the holder is shown. At most 1,024 bytes.
    pub(in crate::http) note: Option<String>,
}

impl ReserveItem {
    pub(in crate::http) fn parse(faults: &mut FieldErrors, at: usize, raw: Self) -> Option<ReserveRequest> {
        let names = named(faults, at, raw.requester, raw.resource);
        let ttl_ms = raw
            .ttl_seconds
            .map_or(Some(None), |seconds| faults.keep(|| format!("[{at}].ttlSeconds"), ttl_ms(seconds)).map(Some));
        let resource_type = raw.resource_type.or_else(|| Some(DEFAULT_RESOURCE_TYPE.into()));
        let resource_type = faults.keep(|| format!("[{at}].resourceType"), names::label(resource_type));
        let note = faults.keep(|| format!("[{at}].note"), names::note(raw.note));
        let ((requester, resource), ttl_ms, resource_type, note) = (names?, ttl_ms?, resource_type?, note?);
        Some(ReserveRequest { requester, resource, token: Uuid::new_v4(), ttl_ms, resource_type, note })
    }
}

/// What became of one wanted resource. Every key is always there.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct ReserveResult {
    resource: String,
    requester: String,
    /// `ACQUIRED`, `ALREADY_HAD`, `ALREADY_HELD`, `NOT_AVAILABLE` or `NOT_VALID`.
    status: String,
    /// The status word for a plain success, else a sentence that a person can act on.
    explanation: String,
    /// Give it back with unreserve, prolong it with renew: a random UUID.
    release_token: Option<String>,
    /// When it ends by itself.
    #[serde(with = "wire_option")]
    expires_at: Option<DateTime<Utc>>,
    /// Of a pool: its name and the slot that was taken.
    acquired_slots: Option<HashMap<String, String>>,
    /// What was taken along.
    acquired_blockers: Option<Vec<String>>,
    /// Where it stands in the tree: `Equipment>IT>Printers`.
    reserved_at_path: Option<String>,
    /// Grows with every grant of the tenant: a protected service refuses a lower one than it has seen.
    fencing_token: Option<i64>,
    /// Who holds it.
    holder: Option<String>,
    /// Until when that holder has it.
    #[serde(with = "wire_option")]
    holder_expires_at: Option<DateTime<Utc>>,
}

impl ReserveResult {
    /// Why it was refused, if it was.
    pub(in crate::http) fn conflict(&self) -> Option<&str> {
        matches!(self.status.as_str(), "ALREADY_HELD" | "NOT_AVAILABLE" | "NOT_VALID").then_some(&self.explanation)
    }

    pub(in crate::http) fn of(wanted: ReserveRequest, granted: ReserveOutcome) -> Self {
        let explanation = match (granted.status.as_str(), &granted.obstacle) {
            ("ACQUIRED" | "ALREADY_HAD", _) | (_, None) => granted.status.clone(),
            (_, Some(obstacle)) => obstacle.sentence(),
        };
        Self {
            acquired_slots: granted.slot.map(|slot| HashMap::from([slot])),
            resource: wanted.resource,
            requester: wanted.requester,
            status: granted.status,
            explanation,
            release_token: granted.token,
            expires_at: granted.deadline_ms.map(instant),
            acquired_blockers: granted.blockers,
            reserved_at_path: granted.path,
            fencing_token: granted.fence,
            holder: granted.holder,
            holder_expires_at: granted.holder_deadline_ms.map(instant),
        }
    }
}

/// A reservation that its holder gives back.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct UnreserveItem {
    /// Who holds it.
    #[oai(validator(min_length = 1))]
    pub(in crate::http) requester: Option<String>,
    /// What is given back.
    #[oai(validator(min_length = 1))]
    pub(in crate::http) resource: Option<String>,
    /// The token that reserve answered with.
    pub(in crate::http) release_token: Option<String>,
}

impl UnreserveItem {
    pub(in crate::http) fn parse(faults: &mut FieldErrors, at: usize, raw: Self) -> Option<ReleaseRequest> {
        let (requester, resource) = named(faults, at, raw.requester, raw.resource)?;
        Some(ReleaseRequest { requester, resource, token: raw.release_token })
    }
}

/// What became of one release.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct UnreserveResult {
    resource: String,
    requester: String,
    /// `RELINQUISHED`, `NOT_RESERVED` or `DOESNT_OWN_RESERVATION`.
    status: String,
    /// The status word for a plain success, else a sentence that a person can act on.
    explanation: String,
    /// Every physical resource that was freed.
    released: Vec<String>,
}

impl UnreserveResult {
    /// Why it was refused, if it was.
    pub(in crate::http) fn conflict(&self) -> Option<&str> {
        (self.status == "DOESNT_OWN_RESERVATION").then_some(&self.explanation)
    }

    pub(in crate::http) fn of(claim: ReleaseRequest, released: ReleaseOutcome) -> Self {
        let explanation = explained(&released.status, released.holder.as_ref());
        Self {
            resource: claim.resource,
            requester: claim.requester,
            status: released.status,
            explanation,
            released: released.freed,
        }
    }
}

/// A reservation that its holder prolongs.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct RenewItem {
    /// Who holds it.
    #[oai(validator(min_length = 1))]
    requester: Option<String>,
    /// What is prolonged.
    #[oai(validator(min_length = 1))]
    resource: Option<String>,
    /// The token that reserve answered with.
    release_token: Option<String>,
    /// From now on, in seconds, 1 to 2,147,483,647.
    ttl_seconds: Option<i64>,
}

impl RenewItem {
    fn parse(faults: &mut FieldErrors, at: usize, raw: Self) -> Option<RenewRequest> {
        let names = named(faults, at, raw.requester, raw.resource);
        let ttl_ms = faults.keep(
            || format!("[{at}].ttlSeconds"),
            raw.ttl_seconds.ok_or_else(|| "is required".into()).and_then(ttl_ms),
        );
        let ((requester, resource), ttl_ms) = (names?, ttl_ms?);
        Some(RenewRequest { claim: ReleaseRequest { requester, resource, token: raw.release_token }, ttl_ms })
    }
}

/// What became of one renewal.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct RenewResult {
    resource: String,
    requester: String,
    /// `RENEWED`, `NOT_RESERVED` or `DOESNT_OWN_RESERVATION`.
    status: String,
    /// The status word for a plain success, else a sentence that a person can act on.
    explanation: String,
    /// The new end.
    #[serde(with = "wire_option")]
    expires_at: Option<DateTime<Utc>>,
    /// The grant's own; a renewal does not change it.
    fencing_token: Option<i64>,
}

impl RenewResult {
    fn of(renewal: RenewRequest, renewed: RenewOutcome) -> Self {
        let explanation = explained(&renewed.status, renewed.holder.as_ref());
        Self {
            resource: renewal.claim.resource,
            requester: renewal.claim.requester,
            status: renewed.status,
            explanation,
            expires_at: renewed.deadline_ms.map(instant),
            fencing_token: renewed.fence,
        }
    }
}

fn explained(status: &str, holder: Option<&Conflict>) -> String {
    holder.map_or_else(|| status.to_owned(), Conflict::sentence)
}

/// Which resources to look at.
#[derive(Debug, Deserialize, Object)]
struct CheckRequest {
    /// 1 to 1,000 names.
    resources: Option<Vec<String>>,
}

/// What a look at one resource shows.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct CheckResult {
    resource: String,
    /// Held; of a pool: every slot is.
    is_reserved: bool,
    /// Who holds it; null for a pool.
    holder: Option<String>,
    /// When it ends by itself; of a pool: the earliest of its slots.
    #[serde(with = "wire_option")]
    expires_at: Option<DateTime<Utc>>,
    /// Whether a stranger could take it now, tree and blockers considered.
    is_available: bool,
    /// How many can have it at once.
    capacity: i64,
    /// How many of these are free.
    available: i64,
    /// The holder's note.
    note: Option<String>,
}

impl CheckResult {
    fn of(resource: String, checked: Checked) -> Self {
        Self {
            resource,
            is_reserved: checked.available == 0,
            holder: checked.holder,
            expires_at: checked.deadline_ms.map(instant),
            is_available: checked.takeable,
            capacity: checked.capacity,
            available: checked.available,
            note: checked.note,
        }
    }
}

/// What to end.
#[derive(Debug, Deserialize, Object)]
struct ForceReleaseRequest {
    /// A resource.
    #[oai(validator(min_length = 1))]
    resource: Option<String>,
    /// Why: subscribers are shown it.
    reason: Option<String>,
}

/// What was ended.
#[derive(Debug, Serialize, Object)]
struct ForceReleaseResult {
    /// Every physical resource that was freed; empty when nobody held it.
    released: Vec<String>,
}

/// How much was ended.
#[derive(Debug, Serialize, Object)]
struct ResetResult {
    /// How many reservations there were.
    released: i64,
}

/// A fencing token to compare.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct FenceRequest {
    #[oai(validator(min_length = 1))]
    resource: Option<String>,
    fencing_token: Option<i64>,
}

/// Whether it is the present one.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct FenceResult {
    valid: bool,
    /// The present holder's; null when it is free.
    current_fencing_token: Option<i64>,
}
