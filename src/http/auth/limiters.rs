//! Limits that a replica enforces before it asks Redis: the rate of tenants, wrong credentials and sign-ins per
//! address.

use std::{num::NonZeroU32, sync::Arc};

use poem::Request;

use crate::{
    http::{
        App,
        auth::client_address::client_address,
        pipeline::context::{admitted, app, set_admitted},
        wire::error::ApiError,
    },
    limits::{AddressLimiter, BodyBudget, BodyOwner, BodyShare, TenantLimiter},
    store::{Caller, StoreError},
};

/// Wrong credentials from one address: burst, and rate per minute; beyond it they are answered 429. A client with an old
/// key gets through often enough to be noticed; guessing gains nothing from a few hundred tries at 2^192.
const FAILURE_BURST: NonZeroU32 = NonZeroU32::new(100).unwrap();
const FAILURES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(120).unwrap();
/// Wrong credentials from one address that Redis is asked about: burst, and rate per minute (200 per second). Below it a
/// good credential is found whatever others behind its address do; beyond it the look-ups themselves are a load.
const LOOKUP_BURST: NonZeroU32 = NonZeroU32::new(400).unwrap();
const LOOKUPS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(12_000).unwrap();
/// Questions to Redis that cost as much as one look-up when they are asked at once.
const LOOKUPS_AT_ONCE: usize = 8;
/// Failed sign-ins from one address: burst, and rate per minute. People type these.
const SIGN_IN_BURST: NonZeroU32 = NonZeroU32::new(20).unwrap();
const SIGN_INS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// Wrong admin keys from one address: burst, and rate per minute. Beyond it none is compared, not even the right one: the
/// key may be one that people chose.
const ADMIN_BURST: NonZeroU32 = NonZeroU32::new(20).unwrap();
const ADMIN_TRIES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// The limiters of a replica, shared by its runtimes.
#[derive(Debug)]
pub struct Limiters {
    tenants: TenantLimiter,
    failures: AddressLimiter,
    lookups: AddressLimiter,
    sign_ins: AddressLimiter,
    admin: AddressLimiter,
    bodies: Arc<BodyBudget>,
}

impl Default for Limiters {
    fn default() -> Self {
        Self {
            tenants: TenantLimiter::default(),
            failures: AddressLimiter::new(FAILURE_BURST, FAILURES_PER_MINUTE),
            lookups: AddressLimiter::new(LOOKUP_BURST, LOOKUPS_PER_MINUTE),
            sign_ins: AddressLimiter::new(SIGN_IN_BURST, SIGN_INS_PER_MINUTE),
            admin: AddressLimiter::new(ADMIN_BURST, ADMIN_TRIES_PER_MINUTE),
            bodies: Arc::default(),
        }
    }
}

/// Counts a failed sign-in; returns the error to answer with: `error`, or 429 after too many.
pub(in crate::http) fn count_sign_in_failure(request: &Request, app: &App, error: ApiError) -> ApiError {
    let address = client_address(request, &app.config.trusted_proxies);
    match app.limiters.sign_ins.count(address) {
        Ok(()) => error,
        Err(wait) => ApiError::too_many_attempts(wait, SIGN_INS_PER_MINUTE.get()),
    }
}

/// Checks whether Redis may be asked about a credential that this replica does not know.
///
/// # Errors
/// 429 after so many wrong ones from the address that the look-ups are a load.
pub(in crate::http) fn check_lookups(request: &Request, app: &App) -> Result<(), ApiError> {
    let address = client_address(request, &app.config.trusted_proxies);
    app.limiters.lookups.check(address).map_err(|wait| ApiError::too_many_attempts(wait, LOOKUPS_PER_MINUTE.get()))
}

/// Counts what was asked of Redis for a wrong credential, one for every [`LOOKUPS_AT_ONCE`] questions begun.
pub(in crate::http) fn count_lookups(request: &Request, app: &App, questions: usize) {
    let address = client_address(request, &app.config.trusted_proxies);
    for _ in 0..questions.div_ceil(LOOKUPS_AT_ONCE) {
        // What it refuses is the next look-up.
        let _ = app.limiters.lookups.count(address);
    }
}

/// Counts a wrong credential; returns the error to answer with: `error`, or 429 after too many.
pub(in crate::http) fn count_failure(request: &Request, app: &App, error: ApiError) -> ApiError {
    let address = client_address(request, &app.config.trusted_proxies);
    match app.limiters.failures.count(address) {
        Ok(()) => error,
        Err(wait) => ApiError::too_many_attempts(wait, FAILURES_PER_MINUTE.get()),
    }
}

/// Checks whether an admin key may be compared.
///
/// # Errors
/// 429 after too many wrong ones from the address.
pub(super) fn check_admin_tries(request: &Request, app: &App) -> Result<(), ApiError> {
    let address = client_address(request, &app.config.trusted_proxies);
    app.limiters.admin.check(address).map_err(|wait| ApiError::too_many_attempts(wait, ADMIN_TRIES_PER_MINUTE.get()))
}

/// Counts a wrong admin key; returns the error to answer with: `error`, or 429 after too many.
pub(super) fn count_admin_failure(request: &Request, app: &App, error: ApiError) -> ApiError {
    let address = client_address(request, &app.config.trusted_proxies);
    match app.limiters.admin.count(address) {
        Ok(()) => error,
        Err(wait) => ApiError::too_many_attempts(wait, ADMIN_TRIES_PER_MINUTE.get()),
    }
}

/// Admits a call of an authenticated caller. Records it for the rate limit headers, which a refused call has too.
///
/// # Errors
/// 429 when the tenant calls too fast.
pub(in crate::http) fn admit(request: &Request, app: &App, caller: &Caller) -> Result<(), ApiError> {
    set_admitted(request, caller);
    app.limiters.tenants.admit(caller).map_err(|refused| {
        metrics::counter!("holdfast_refused_in_front_total").increment(1);
        StoreError::TooFast(refused).into()
    })
}

/// The share of a request's body in the replica's memory: the tenant's, or, before a credential is proved, the address's.
///
/// # Errors
/// An internal error where the request did not come through the pipeline.
pub(in crate::http) fn body_share(request: &Request) -> Result<BodyShare, ApiError> {
    let app = app(request)?;
    let owner = match admitted(request) {
        Some(caller) => BodyOwner::Tenant(caller.tenant().id.clone()),
        None => BodyOwner::Address(client_address(request, &app.config.trusted_proxies)),
    };
    Ok(BodyShare::new(app.limiters.bodies.clone(), owner))
}
