//! The cache of callers: bounded, one for all runtimes of the replica.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;

use crate::{
    domain::{access::DEFAULT_KNOWN_CREDENTIALS, names::TenantId, tier::Tiers},
    store::{
        callers::{Bearer, Secret, caller::Caller},
        keys::Namespace,
        tenants::{handle::TenantHandle, handles::TenantHandles},
    },
    sync::lock,
};

/// Capacity of the cache of system callers: of tenants that something lapsed of lately.
const CACHED_SYSTEM_CALLERS: usize = 1_024;
/// Capacity of the cache of credentials that nobody has.
const CACHED_UNKNOWN: usize = 4_096;
/// How long a credential that nobody has is refused without a look-up.
const UNKNOWN_TTL: Duration = Duration::from_secs(10);

/// The callers and the tenants' handles that this replica has cached. One for all its runtimes.
///
/// Bounded: those least used are evicted, and looked up again when they return.
#[derive(Debug)]
pub struct Callers {
    tiers: Arc<Tiers>,
    known: Cache<Secret, Caller>,
    /// Credentials that nobody has, and when that was found.
    unknown: Cache<Secret, Instant>,
    /// The service itself as a caller, by the tenant for which it acts.
    system: Cache<TenantId, Caller>,
    anonymous: Mutex<Option<Caller>>,
    handles: TenantHandles,
    namespace: Namespace,
}

impl Default for Callers {
    fn default() -> Self {
        Self::new(Tiers::default(), DEFAULT_KNOWN_CREDENTIALS, Namespace::default())
    }
}

impl Callers {
    /// An empty cache of at most `capacity` credentials; `tiers` are the limits of the tenants, whose data stands in `namespace`.
    #[must_use]
    pub fn new(tiers: Tiers, capacity: usize, namespace: Namespace) -> Self {
        Self {
            tiers: Arc::new(tiers),
            known: Cache::new(capacity),
            unknown: Cache::new(CACHED_UNKNOWN),
            system: Cache::new(CACHED_SYSTEM_CALLERS),
            anonymous: Mutex::default(),
            handles: TenantHandles::new(capacity, namespace.clone()),
            namespace,
        }
    }

    /// The number of cached credentials, and of tenants.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.known.len(), self.handles.len())
    }

    /// What tenants store, as far as this replica has looked: at most `max`, those with most first.
    #[must_use]
    pub fn stored_bytes(&self, max: usize) -> Vec<(TenantId, u64)> {
        let mut stored = self.handles.stored_bytes();
        stored.sort_unstable_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        stored.truncate(max);
        stored
    }

    /// The cached caller of a credential.
    pub(super) fn get(&self, bearer: &Bearer) -> Option<Caller> {
        match bearer.secret() {
            Some(secret) => self.known.get(secret),
            None => lock(&self.anonymous).clone(),
        }
    }

    /// Caches whom a look-up found; `None`: nobody has the credential.
    pub(super) fn insert(&self, bearer: &Bearer, caller: Option<&Caller>) {
        let Some(secret) = bearer.secret() else {
            *lock(&self.anonymous) = caller.cloned();
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

    /// Whether a look-up within the last ten seconds found that nobody has the credential.
    pub(super) fn is_unknown(&self, bearer: &Bearer) -> bool {
        bearer.secret().and_then(|secret| self.unknown.get(secret)).is_some_and(|at| at.elapsed() < UNKNOWN_TTL)
    }

    /// The cached caller that acts for a tenant on behalf of the service itself.
    pub(super) fn system(&self, tenant: &TenantId) -> Option<Caller> {
        self.system.get(tenant)
    }

    /// Caches the caller that acts for its tenant on behalf of the service itself.
    pub(super) fn insert_system(&self, caller: &Caller) {
        self.system.insert(caller.tenant().id.clone(), caller.clone());
    }

    /// Where the data stands.
    pub(in crate::store) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The limits of the tiers.
    pub(super) fn tiers(&self) -> &Arc<Tiers> {
        &self.tiers
    }

    /// The handle of a tenant: one for all its credentials, so that they share one floor.
    pub fn tenant_handle(&self, tenant: &TenantId) -> Arc<TenantHandle> {
        self.handles.get_or_insert(tenant)
    }

    /// Notes a position of a tenant that another replica made.
    pub fn note_position(&self, tenant: &TenantId, position: i64) {
        self.handles.note_position(tenant, position);
    }
}
