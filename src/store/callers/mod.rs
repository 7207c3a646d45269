//! Who calls: a credential's hash becomes its tenant, scopes and label once, and is remembered.
//!
//! What is remembered may be old. That harms nobody: every script compares the version that was remembered with the one in the tenant's own
//! state, which moves when a credential ends, and a mismatch makes the replica look again.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    domain::{
        access::{ApiKey, DEFAULT_KNOWN_CREDENTIALS, Scopes, Tenant, Token},
        names::TenantId,
        tier::{Limits, Tiers},
    },
    store::{
        Store, StoreError,
        codec::Writer,
        keys::{TenantHandle, directory},
        reservations::batcher::Traffic,
        tenants::{TenantState, handles::TenantHandles, read_key, sessions::SESSION_IDLE},
    },
};

/// How many credentials a replica remembers unless it is told otherwise. Each takes about two kilobytes with its tenant's
/// place; one that was forgotten costs its next call two look-ups.
pub const REMEMBERED: usize = DEFAULT_KNOWN_CREDENTIALS;
/// For how many tenants a replica remembers how to act by itself: those of which something lapsed lately.
const KEEPERS: usize = 1_024;
/// How many credentials that nobody bears a replica remembers, and for how long.
const UNKNOWN: usize = 4_096;
const UNKNOWN_FOR: Duration = Duration::from_secs(10);
/// How often the use of a key is written down, in microseconds: coarse, since each note is a call to Redis.
const NOTED_EVERY_US: i64 = 60_000_000;

/// A SHA-256 in base64, without padding.
const HASH_BYTES: usize = 43;

/// The hash of a credential: what is stored in its place, and all that the store ever sees of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Hashes a credential as its bearer gave it. A key has at least 128 random bits, so a plain SHA-256 cannot be searched.
    #[must_use]
    pub fn of(credential: &str) -> Self {
        let mut text = [0; HASH_BYTES];
        // Always as long as that, and always plain ASCII.
        let written = URL_SAFE_NO_PAD.encode_slice(Sha256::digest(credential.as_bytes()), &mut text).unwrap_or(0);
        Self(std::str::from_utf8(&text[..written]).unwrap_or("").into())
    }

    /// The hash, as keys and fields of the store name it.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.0
    }
}

/// What a caller proves itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bearer {
    /// An API key.
    Key(Secret),
    /// A session's cookie.
    Session(Secret),
    /// A token of ours, whose signature was verified; with the hash of its text.
    Token(Secret, Arc<Token>),
    /// The ingest key of a connection: for what its clients push, and nothing else.
    Ingest(Secret),
    /// Nothing: whoever is let in where no credential is asked for.
    Anonymous,
    /// The service itself, for the sweep and the command line. It is not limited.
    System,
}

impl Bearer {
    /// The field of the tenant's state that must be there: the credential lives as long as it does.
    fn field(&self) -> Option<String> {
        match self {
            Self::Key(secret) => Some(key_field(secret)),
            Self::Session(secret) => Some(format!("s:{}", secret.hash())),
            Self::Token(_, token) => Some(token.credential.clone()),
            Self::Ingest(secret) => Some(ingest_field(secret)),
            Self::Anonymous => Some("name".into()),
            Self::System => None,
        }
    }

    /// Under what it is remembered.
    fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Key(secret) | Self::Session(secret) | Self::Token(secret, _) | Self::Ingest(secret) => Some(secret),
            Self::Anonymous | Self::System => None,
        }
    }
}

/// The field of a tenant's state that a key's hash names.
pub(in crate::store) fn key_field(secret: &Secret) -> String {
    format!("k:{}", secret.hash())
}

/// How an ingest key begins.
pub const INGEST_KEY_PREFIX: &str = "sk_live_";

/// The field of a tenant's state that an ingest key's hash names; it holds the connection.
pub(in crate::store) fn ingest_field(secret: &Secret) -> String {
    format!("q:{}", secret.hash())
}

/// Somebody who was let in: a tenant's credential and what it may do. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bearer: Bearer,
    place: Arc<TenantHandle>,
    tenant: Tenant,
    tiers: Arc<Tiers>,
    key: Option<ApiKey>,
    connection: Option<Uuid>,
    needs_plan: bool,
    scopes: Scopes,
    /// What events call it.
    label: Option<String>,
    packed: Box<[u8]>,
    /// When the key's use was last written down, in microseconds of Redis' clock.
    noted_us: AtomicI64,
    /// How it is used, and from how far.
    traffic: Traffic,
}

impl Caller {
    fn new(
        bearer: Bearer,
        place: Arc<TenantHandle>,
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
        let packed = Writer::default()
            .boolean(field.as_deref().is_some_and(|field| field.starts_with("s:")))
            .maybe_int(field.is_some().then_some(version))
            .text(&place.partition().channel())
            .text(publish)
            .text(&limits.history.to_string())
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
            .done()
            .into();
        let needs_plan = has_definitions || tenant.require_registration;
        let (noted_us, traffic) = (AtomicI64::new(0), Traffic::default());
        Self(Arc::new(Inner {
            bearer,
            place,
            tenant,
            tiers,
            key,
            connection,
            needs_plan,
            scopes,
            label,
            packed,
            noted_us,
            traffic,
        }))
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.0.tenant
    }

    /// What the tenant's tier allows. The service itself is not limited, though its caller has the tenant's.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.0.tiers.of(self.0.tenant.tier)
    }

    /// What it may do.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        self.0.scopes
    }

    /// Where it is in memory: as long as it is, no other is there.
    pub(in crate::store) fn number(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// How it is used: what `store/shared.rs` goes by.
    pub(in crate::store) fn traffic(&self) -> &Traffic {
        &self.0.traffic
    }

    /// What it proved itself with.
    #[must_use]
    pub fn bearer(&self) -> &Bearer {
        &self.0.bearer
    }

    /// The API key that it is, or was had from.
    #[must_use]
    pub fn key(&self) -> Option<&ApiKey> {
        self.0.key.as_ref()
    }

    /// The connection that its ingest key is of.
    #[must_use]
    pub fn connection(&self) -> Option<Uuid> {
        self.0.connection
    }

    /// The credential's field in the tenant's state: what a revocation names.
    #[must_use]
    pub fn credential(&self) -> Option<String> {
        self.0.bearer.field()
    }

    /// How long a stream may stay open with it, from an instant of Redis' clock: a token's ends with it; a session's ends after the time
    /// without use, and whoever comes again uses it.
    #[must_use]
    pub fn lasts(&self, now_us: i64) -> Option<Duration> {
        match &self.0.bearer {
            Bearer::Token(_, token) => Some(Duration::from_micros((token.ends_ms * 1000 - now_us).max(0) as u64)),
            Bearer::Session(_) => Some(SESSION_IDLE),
            Bearer::Key(_) | Bearer::Ingest(_) | Bearer::Anonymous | Bearer::System => None,
        }
    }

    /// The session that it is, by its hash.
    #[must_use]
    pub fn session(&self) -> Option<String> {
        match &self.0.bearer {
            Bearer::Session(secret) => Some(secret.hash().to_owned()),
            _ => None,
        }
    }

    /// What events call it: the key's label, or the end user of a token.
    pub(in crate::store) fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    /// The end user that a token speaks for.
    pub(in crate::store) fn end_user(&self) -> Option<&str> {
        match &self.0.bearer {
            Bearer::Token(_, token) => token.end_user.as_deref(),
            _ => None,
        }
    }

    /// Where the tenant's state lives.
    #[must_use]
    pub fn place(&self) -> &Arc<TenantHandle> {
        &self.0.place
    }

    /// Whether names have to be looked up in the registry; if not, the tenant's reservations all stand alone.
    pub(in crate::store) fn needs_plan(&self) -> bool {
        self.0.needs_plan
    }

    /// The first argument of a script, for a call of that cost now.
    pub(in crate::store) fn packed(&self, cost: u32) -> Vec<u8> {
        Writer::default().int(cost.into()).int(self.0.place.floor()).sequence(&self.0.packed).done()
    }

    /// Whether the use of its key is worth a note at this instant; at most one caller of this credential is told so per interval.
    fn note_is_due(&self, now_us: i64) -> bool {
        let noted_us = self.0.noted_us.load(Ordering::Relaxed);
        now_us - noted_us >= NOTED_EVERY_US
            && self.0.noted_us.compare_exchange(noted_us, now_us, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// The callers and the tenants' places that this replica knows. One for all its runtimes.
///
/// Bounded, and what was not used for long goes first: who was forgotten is looked up again.
#[derive(Debug)]
pub struct Callers {
    tiers: Arc<Tiers>,
    known: Cache<Secret, Caller>,
    unknown: Cache<Secret, Instant>,
    keepers: Cache<TenantId, Caller>,
    anyone: RwLock<Option<Caller>>,
    places: TenantHandles,
}

impl Default for Callers {
    fn default() -> Self {
        Self::of(Tiers::default(), REMEMBERED)
    }
}

impl Callers {
    /// Nobody is known yet, and at most so many will be; each tier allows what `tiers` says.
    #[must_use]
    pub fn of(tiers: Tiers, remembered: usize) -> Self {
        Self {
            tiers: Arc::new(tiers),
            known: Cache::new(remembered),
            unknown: Cache::new(UNKNOWN),
            keepers: Cache::new(KEEPERS),
            anyone: RwLock::default(),
            places: TenantHandles::keeping(remembered),
        }
    }

    /// How many credentials are known, and how many tenants.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.known.len(), self.places.len())
    }

    fn known(&self, bearer: &Bearer) -> Option<Caller> {
        match bearer.secret() {
            Some(secret) => self.known.get(secret),
            None => self.anyone.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn remember(&self, bearer: &Bearer, caller: Option<&Caller>) {
        let Some(secret) = bearer.secret() else {
            *self.anyone.write().unwrap_or_else(PoisonError::into_inner) = caller.cloned();
            return;
        };
        match caller {
            Some(caller) => self.known.insert(secret.clone(), caller.clone()),
            None => {
                self.known.remove(secret);
                self.unknown.insert(secret.clone(), Instant::now());
            }
        }
    }

    /// Whether nobody bore it a moment ago.
    fn is_unknown(&self, bearer: &Bearer) -> bool {
        bearer.secret().and_then(|secret| self.unknown.get(secret)).is_some_and(|at| at.elapsed() < UNKNOWN_FOR)
    }

    /// The place of a tenant: one for all its credentials, so that they share one floor.
    pub fn place(&self, tenant: &TenantId) -> Arc<TenantHandle> {
        self.places.of(tenant)
    }

    /// Notes a position of a tenant that was heard of.
    pub fn heard(&self, tenant: &TenantId, position: i64) {
        self.places.heard(tenant, position);
    }
}

impl Store {
    /// Who bears this credential, if this replica knows it already; what a call proves anyway.
    #[must_use]
    pub fn known_caller(&self, bearer: &Bearer) -> Option<Caller> {
        self.callers.known(bearer)
    }

    /// Who bears this credential; `None` if nobody does.
    ///
    /// Answers from memory where it can: the call that follows proves the credential anyway. Whom nobody knew a moment ago nobody knows
    /// now: texts of credentials are random, so none that failed can come to life.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] and its like when the store must be asked and cannot be.
    pub async fn caller(&self, bearer: &Bearer) -> Result<Option<Caller>, StoreError> {
        match self.callers.known(bearer) {
            Some(caller) => Ok(Some(caller)),
            None if self.callers.is_unknown(bearer) => Ok(None),
            None => self.look_up(bearer).await,
        }
    }

    /// The same caller as the tenant's state has it now: for what depends on the tier and is decided before the script.
    pub(in crate::store) async fn fresh(&self, caller: &Caller) -> Result<Caller, StoreError> {
        match caller.0.bearer {
            Bearer::System => Ok(caller.clone()),
            _ => self.look_again(caller).await?.ok_or(StoreError::Unauthorized),
        }
    }

    /// Looks up anew whom a script did not recognise.
    pub(in crate::store) async fn look_again(&self, caller: &Caller) -> Result<Option<Caller>, StoreError> {
        match &caller.0.bearer {
            Bearer::System => Ok(None),
            bearer => self.look_up(bearer).await,
        }
    }

    async fn look_up(&self, bearer: &Bearer) -> Result<Option<Caller>, StoreError> {
        let tenant = match bearer {
            Bearer::Key(secret) | Bearer::Session(secret) | Bearer::Ingest(secret) => {
                let tenant = self.link.send(redis::cmd("GET").arg(directory(secret.hash()))).await?;
                redis::from_redis_value::<Option<String>>(tenant)
                    .ok()
                    .flatten()
                    .and_then(|tenant| TenantId::parse(&tenant))
            }
            Bearer::Token(_, token) => Some(token.tenant.clone()),
            Bearer::Anonymous => Some(TenantId::default_tenant()),
            Bearer::System => None,
        };
        let found = match tenant {
            Some(tenant) => {
                let place = self.callers.place(&tenant);
                let state = self.tenant_state(&place, &bearer.field().unwrap_or_default()).await?;
                state.filter(|state| state.credential).and_then(|state| {
                    let key = state.key.as_ref().and_then(|(id, packed)| Some(read_key(id, packed)?.1));
                    let needs_key = matches!(bearer, Bearer::Key(_) | Bearer::Session(_));
                    (key.is_some() || !needs_key).then(|| self.caller_of(bearer.clone(), place, state, key))
                })
            }
            None => None,
        };
        self.callers.remember(bearer, found.as_ref());
        Ok(found)
    }

    fn caller_of(&self, bearer: Bearer, place: Arc<TenantHandle>, state: TenantState, key: Option<ApiKey>) -> Caller {
        Caller::new(bearer, place, state, key, self.callers.tiers.clone(), self.link.publish_command())
    }

    /// Who acts for a tenant when nobody asked: the sweep.
    pub(in crate::store) async fn keeper(&self, tenant: &TenantId) -> Result<Option<Caller>, StoreError> {
        if let Some(keeper) = self.callers.keepers.get(tenant) {
            return Ok(Some(keeper));
        }
        let place = self.callers.place(tenant);
        let Some(state) = self.tenant_state(&place, "").await? else { return Ok(None) };
        let keeper = self.caller_of(Bearer::System, place, state, None);
        self.callers.keepers.insert(tenant.clone(), keeper.clone());
        Ok(Some(keeper))
    }

    /// Writes down, now and then, that a key was used. Nobody waits for it, and nothing depends on it.
    pub(in crate::store) fn note_use(&self, caller: &Caller, now_us: i64) {
        if caller.note_is_due(now_us)
            && let (Some(key), Some(credential)) = (&caller.0.key, caller.credential())
        {
            let (store, place, id) = (self.clone(), caller.0.place.clone(), key.id.clone());
            tokio::spawn(async move { store.write_use(&place, &credential, &id).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_hash_and_shows_nothing_of_the_key() {
        let secret = Secret::of("hf_live_abc");
        assert_eq!(secret.hash().len(), 43);
        assert!(!secret.hash().contains("abc"));
        assert_eq!(secret, Secret::of("hf_live_abc"));
        assert_ne!(secret, Secret::of("hf_live_abd"));
    }
}
