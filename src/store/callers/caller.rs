//! A caller: an authenticated credential with its tenant, its scopes and its limits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use uuid::Uuid;

use crate::{
    domain::{
        access::{ApiKey, Scopes, Tenant},
        tier::{Limits, Tiers},
    },
    store::{
        callers::Bearer,
        codec::Writer,
        tenants::{TenantState, handle::TenantHandle, sessions::SESSION_IDLE_TIMEOUT},
    },
};

/// Interval between two records of a key's use, in microseconds: 60 s, since each is a call to Redis.
const USE_RECORD_INTERVAL_US: i64 = 60_000_000;

/// An authenticated caller: a tenant's credential and what it may do. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bearer: Bearer,
    tenant_handle: Arc<TenantHandle>,
    tenant: Tenant,
    tiers: Arc<Tiers>,
    key: Option<ApiKey>,
    connection: Option<Uuid>,
    has_definitions: bool,
    scopes: Scopes,
    /// The label in events.
    label: Option<String>,
    /// The first argument of a function: the same bytes at each call, so that Redis decodes them once.
    encoded: Box<[u8]>,
    /// When the use of the key was last recorded, in microseconds of Redis' clock.
    use_recorded_us: AtomicI64,
}

impl Caller {
    pub(super) fn new(
        bearer: Bearer,
        tenant_handle: Arc<TenantHandle>,
        state: TenantState,
        key: Option<ApiKey>,
        tiers: Arc<Tiers>,
        publish: &str,
    ) -> Self {
        let TenantState { tenant, version, has_definitions, connection, .. } = state;
        let token = if let Bearer::Token(_, token) = &bearer { Some(token.clone()) } else { None };
        let keyless = if matches!(bearer, Bearer::Ingest(_)) { Scopes::NONE } else { Scopes::ALL };
        let key_scopes = key.as_ref().map_or(keyless, |key| key.scopes);
        let scopes = token.as_ref().map_or(key_scopes, |token| token.scopes.and(key_scopes));
        let end_user = token.as_ref().and_then(|token| token.end_user.as_deref());
        let label = end_user.or(key.as_ref().map(|key| key.label.as_str())).map(str::to_owned);
        let limits = tiers.of(tenant.tier);
        let rate = if bearer == Bearer::System { None } else { limits.rate };
        let field = bearer.field();
        let encoded = Writer::default()
            .boolean(field.as_deref().is_some_and(|field| field.starts_with("s:")))
            .maybe_int(field.is_some().then_some(version))
            .text(&tenant_handle.channel())
            .text(publish)
            .int(limits.history as i64)
            .int(limits.history_bytes as i64)
            .binary(&Writer::default().text("R").text(tenant.id.as_str()).done())
            .int(limits.held.unwrap_or(0) as i64)
            .int(rate.map_or(0, |rate| rate.per_second.into()))
            .int(rate.map_or(0, |rate| rate.burst.into()))
            .maybe_int(token.as_ref().map(|token| token.ends_ms))
            .text(tenant.id.as_str())
            .maybe_text(field.as_deref())
            .maybe_text(label.as_deref())
            .maybe_text(end_user)
            .boolean(tenant.require_registration)
            .int(tenant.default_ttl_ms.unwrap_or(0))
            .int(tenant.max_ttl_ms.unwrap_or(0))
            .int(limits.waiting.unwrap_or(0) as i64)
            .done()
            .into();
        // The service itself proves no version, so it learns of no first definition.
        let has_definitions = has_definitions || tenant.require_registration || bearer == Bearer::System;
        let use_recorded_us = AtomicI64::new(0);
        Self(Arc::new(Inner {
            bearer,
            tenant_handle,
            tenant,
            tiers,
            key,
            connection,
            has_definitions,
            scopes,
            label,
            encoded,
            use_recorded_us,
        }))
    }

    /// The caller's tenant.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.0.tenant
    }

    /// The limits of the tenant's tier. [`Bearer::System`] has them, too, but no rate is counted for it.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.0.tiers.of(self.0.tenant.tier)
    }

    /// What the caller may do.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        self.0.scopes
    }

    /// Its address in memory: unique among the callers that exist.
    pub(in crate::store) fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// The credential.
    #[must_use]
    pub fn bearer(&self) -> &Bearer {
        &self.0.bearer
    }

    /// The API key, or the one that the session or token was issued for.
    #[must_use]
    pub fn key(&self) -> Option<&ApiKey> {
        self.0.key.as_ref()
    }

    /// The connection of an ingest key.
    #[must_use]
    pub fn connection(&self) -> Option<Uuid> {
        self.0.connection
    }

    /// The credential's field in the tenant's state, as revocations name it.
    #[must_use]
    pub fn credential(&self) -> Option<String> {
        self.0.bearer.field()
    }

    /// How long a stream may stay open, from an instant of Redis' clock in microseconds: until a token expires; for a session its idle
    /// timeout, since reconnecting is a use; `None`: no bound.
    #[must_use]
    pub fn stream_lifetime(&self, now_us: i64) -> Option<Duration> {
        match &self.0.bearer {
            Bearer::Token(_, token) => Some(Duration::from_micros((token.ends_ms * 1000 - now_us).max(0) as u64)),
            Bearer::Session(_) => Some(SESSION_IDLE_TIMEOUT),
            Bearer::Key(_) | Bearer::Ingest(_) | Bearer::Anonymous | Bearer::System => None,
        }
    }

    /// The session's hash.
    #[must_use]
    pub fn session(&self) -> Option<String> {
        match &self.0.bearer {
            Bearer::Session(secret) => Some(secret.hash().to_owned()),
            _ => None,
        }
    }

    /// The label in events: the key's label, or the end user of a token.
    pub(in crate::store) fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    /// The end user of a token.
    pub(in crate::store) fn end_user(&self) -> Option<&str> {
        match &self.0.bearer {
            Bearer::Token(_, token) => token.end_user.as_deref(),
            _ => None,
        }
    }

    /// The handle of the tenant.
    #[must_use]
    pub fn tenant_handle(&self) -> &Arc<TenantHandle> {
        &self.0.tenant_handle
    }

    /// Whether the tenant has registered resources, or must: then names are looked up; else each reservation stands alone.
    pub(in crate::store) fn has_definitions(&self) -> bool {
        self.0.has_definitions
    }

    /// The first argument of a function: the same bytes at each call.
    pub(in crate::store) fn encoded(&self) -> &[u8] {
        &self.0.encoded
    }

    /// What the second argument of a function begins with, for a call of that cost now.
    pub(in crate::store) fn call_head(&self, cost: u32) -> Vec<u8> {
        Writer::default().int(cost.into()).int(self.0.tenant_handle.floor()).done()
    }

    /// Whether the use of the key is to be recorded at this instant; true for at most one call of the credential per interval.
    pub(super) fn is_use_to_be_recorded(&self, now_us: i64) -> bool {
        let recorded_us = self.0.use_recorded_us.load(Ordering::Relaxed);
        let record = |at: &AtomicI64| at.compare_exchange(recorded_us, now_us, Ordering::Relaxed, Ordering::Relaxed);
        now_us - recorded_us >= USE_RECORD_INTERVAL_US && record(&self.0.use_recorded_us).is_ok()
    }
}
