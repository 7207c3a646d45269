//! A store without a replica, for tests of single functions.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use holdfast::{
    domain::{
        access::TenantSettings,
        names::TenantId,
        queue::Framework,
        reservation::{Conflict, Holder, ReleaseOutcome, ReleaseRequest, RenewOutcome, ReserveOutcome, ReserveRequest},
        tier::Tier,
    },
    redis::Address,
    store::{
        Bearer, Caller, Callers, KeyKind, Limited, NewKey, Notification, Outcome, Secret, Stamped, Store, StoreError,
        TenantHandle, WatchLease,
    },
};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{
    redis_server::Redis,
    tenant_state::TenantState,
    world::{TIMEOUT, eventually, free_port},
};

/// A store over a Redis of its own, and a tenant in it.
pub struct Bench {
    pub store: Store,
    pub caller: Caller,
    pub tenant: holdfast::domain::access::Tenant,
    pub key: NewKey,
    pub redis: Redis,
    // Declared last, so that it is removed after Redis has ended.
    _dir: TempDir,
}

impl Bench {
    pub async fn start(tier: Tier) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let redis = Redis::start(dir.path(), &[]);
        Self::over(redis, dir, None, tier).await
    }

    /// On the one node of a Redis Cluster, which holds all slots.
    pub async fn in_cluster(tier: Tier) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (port, bus) = (free_port().to_string(), free_port().to_string());
        let redis = Redis::start(
            dir.path(),
            &["--cluster-enabled", "yes", "--port", &port, "--cluster-port", &bus, "--bind", "127.0.0.1"],
        );
        redis.ask::<()>("CLUSTER ADDSLOTSRANGE 0 16383");
        eventually("the cluster is whole", || redis.ask::<String>("CLUSTER INFO").contains("cluster_state:ok"));
        Self::over(redis, dir, Some(format!("redis+cluster://127.0.0.1:{port}")), tier).await
    }

    async fn over(redis: Redis, dir: TempDir, url: Option<String>, tier: Tier) -> Self {
        let url = url.unwrap_or_else(|| redis.url());
        let store = store_over(&url).await;
        let (tenant, key) = store.create_tenant(TenantId::random(), "tenant", tier).await.unwrap().expect("a free id");
        let caller = store.caller(&Bearer::Key(Secret::of(&key.text))).await.unwrap().expect("its key opens");
        Self { store, caller, tenant, key, redis, _dir: dir }
    }

    /// A connection of the queue monitor, watched by this test.
    pub fn connection(&self) -> WatchLease {
        let lease = WatchLease {
            tenant: self.tenant.id.clone(),
            connection: Uuid::new_v4(),
            framework: Framework::Celery,
            fence: 1,
        };
        let handle = TenantHandle::new(self.tenant.id.clone());
        self.redis.ask::<()>(&format!("HSET {} {} packed", handle.key(KeyKind::Connections), lease.connection));
        self.redis.ask::<()>(&format!("HSET {} fence:{} 1", handle.key(KeyKind::Watches), lease.connection));
        lease
    }

    pub async fn reserve(&self, items: &[ReserveRequest]) -> Vec<ReserveOutcome> {
        done(self.store.reserve(&self.caller, items).await)
    }

    pub async fn reserve_one(&self, requester: &str, resource: &str, ttl_s: i64) -> ReserveOutcome {
        self.reserve(&[wanted(requester, resource, ttl_s)]).await.remove(0)
    }

    /// Reserves several names by concurrent calls.
    pub async fn reserve_together(&self, requester: &str, resources: &[String], ttl_s: i64) -> Vec<ReserveOutcome> {
        join_all(resources.iter().map(|resource| self.reserve_one(requester, resource, ttl_s))).await
    }

    pub async fn unreserve_one(&self, requester: &str, resource: &str, token: &str) -> &'static str {
        done(self.store.unreserve(&self.caller, &[claim(requester, resource, token)]).await).remove(0).word()
    }

    /// Redis' clock in milliseconds.
    pub fn now_ms(&self) -> i64 {
        let (seconds, micros): (i64, i64) = self.redis.ask("TIME");
        seconds * 1000 + micros / 1000
    }

    /// All keys of the tenant, without its prefix: type, and time to live in seconds or -1.
    pub fn keys(&self) -> BTreeMap<String, (String, i64)> {
        let keys: Vec<String> = self.redis.ask("KEYS *");
        let id = self.tenant.id.as_str();
        // Written in the background.
        keys.into_iter()
            .filter(|key| !key.ends_with(":used"))
            .map(|key| {
                let described =
                    (self.redis.ask::<String>(&format!("TYPE {key}")), self.redis.ask::<i64>(&format!("TTL {key}")));
                (key.rsplit(&format!("{id}:")).next().unwrap().to_owned(), described)
            })
            .collect()
    }

    /// The fields of `meta` without the packed state.
    pub fn meta(&self) -> BTreeMap<String, Vec<u8>> {
        let mut meta: BTreeMap<String, Vec<u8>> =
            self.redis.ask(&format!("HGETALL {}", TenantHandle::new(self.tenant.id.clone()).key(KeyKind::Meta)));
        meta.remove("state");
        meta
    }

    pub fn tenant_state(&self) -> TenantState {
        self.redis.tenant_state(&TenantHandle::new(self.tenant.id.clone()).key(KeyKind::Meta).to_string())
    }
}

/// All events of the history after a position, read in pages of so many entries.
pub async fn history_after(store: &Store, handle: &TenantHandle, mut from: i64, page: usize) -> Vec<Notification> {
    let mut all = Vec::new();
    loop {
        let notes = store.replay(handle, from, page).await.unwrap().unwrap().notifications;
        let Some((_, last)) = notes.last().and_then(Notification::positions) else { return all };
        from = last;
        all.extend(notes);
    }
}

/// A connected store over the Redis at `url`.
pub async fn store_over(url: &str) -> Store {
    let store = Store::open(Address::parse(url).unwrap(), Arc::new(Callers::default()));
    tokio::time::timeout(TIMEOUT, store.redis().connected()).await.expect("redis is reached");
    store
}

pub fn wanted(requester: &str, resource: &str, ttl_s: i64) -> ReserveRequest {
    ReserveRequest {
        requester: requester.into(),
        resource: resource.into(),
        token: Uuid::new_v4(),
        ttl_ms: (ttl_s > 0).then_some(ttl_s * 1000),
        resource_type: "UserDefined".into(),
        note: String::new(),
        quantity: 1,
        wait: None,
    }
}

/// The change of a tenant to another tier.
pub fn of_tier(tier: Tier) -> TenantSettings {
    TenantSettings { tier: Some(tier), ..TenantSettings::default() }
}

pub fn claim(requester: &str, resource: &str, token: &str) -> ReleaseRequest {
    ReleaseRequest { requester: requester.into(), resource: resource.into(), token: Some(token.into()) }
}

/// `count` different names.
pub fn names(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{what} {number}")).collect()
}

pub fn names_of(items: &[ReserveRequest]) -> Vec<String> {
    items.iter().map(|item| item.resource.clone()).collect()
}

/// The parts of an item's outcome that tests look at, whichever it is.
pub trait Parts {
    /// The status word.
    fn word(&self) -> &'static str;

    /// The release token of a grant.
    fn token(&self) -> Option<String> {
        None
    }

    /// The fencing token of what is held.
    fn fence(&self) -> Option<i64> {
        None
    }

    /// The deadline of what is held.
    fn deadline_ms(&self) -> Option<i64> {
        None
    }

    /// Who else holds it, and until when.
    fn holder(&self) -> Option<Holder> {
        None
    }

    /// What was freed.
    fn freed(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Parts for ReserveOutcome {
    fn word(&self) -> &'static str {
        self.status().name()
    }

    fn token(&self) -> Option<String> {
        self.grant().map(|grant| grant.token.to_string())
    }

    fn fence(&self) -> Option<i64> {
        self.grant().map(|grant| grant.fence)
    }

    fn deadline_ms(&self) -> Option<i64> {
        self.grant().and_then(|grant| grant.deadline_ms)
    }

    fn holder(&self) -> Option<Holder> {
        self.conflict().and_then(Conflict::holder).cloned()
    }
}

impl Parts for ReleaseOutcome {
    fn word(&self) -> &'static str {
        self.status().name()
    }

    fn holder(&self) -> Option<Holder> {
        if let Self::NotOwner(holder) = self { Some(holder.clone()) } else { None }
    }

    fn freed(&self) -> Vec<String> {
        if let Self::Relinquished(freed) = self { freed.clone() } else { Vec::new() }
    }
}

impl Parts for RenewOutcome {
    fn word(&self) -> &'static str {
        self.status().name()
    }

    fn fence(&self) -> Option<i64> {
        if let Self::Renewed { fence, .. } = self { Some(*fence) } else { None }
    }

    fn deadline_ms(&self) -> Option<i64> {
        if let Self::Renewed { deadline_ms, .. } = self { Some(*deadline_ms) } else { None }
    }

    fn holder(&self) -> Option<Holder> {
        if let Self::NotOwner(holder) = self { Some(holder.clone()) } else { None }
    }
}

/// The answer of a call that no limit refused.
pub fn within_limit<T: std::fmt::Debug>(stamped: Result<Stamped<Limited<T>>, StoreError>) -> T {
    match stamped.unwrap().answer {
        Limited::Done(answer) => answer,
        Limited::Limit(reached) => panic!("{reached:?}"),
    }
}

/// The answer of a call that was done.
pub fn done<T: std::fmt::Debug>(stamped: Result<Stamped<Outcome<T>>, StoreError>) -> T {
    match stamped.unwrap().answer {
        Outcome::Done(answer) => answer,
        refused => panic!("{refused:?}"),
    }
}
