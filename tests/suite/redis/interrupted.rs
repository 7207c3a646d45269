//! Changes that take several calls of Redis, which refuses after the first: what was done in part is never called undone.

use std::future::Future;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    queues::push_connection::{PushConnection, job},
    support::world::{Answer, Tenant, World, call, until},
};

/// Attempts to have Redis refuse between two calls: the last one may be through before.
const ATTEMPTS: usize = 20;

/// A replica over a Redis that can be made to refuse every change, and a tenant of the highest tier.
struct Interruptible {
    world: World<1>,
    tenant: Tenant,
}

impl Interruptible {
    async fn start() -> Self {
        let world = World::start().await;
        let tenant = world.tenant_of("Enterprise").await;
        Self { world, tenant }
    }

    /// Number of entries that Redis counts in the tenant's key of that kind.
    fn count(&self, command: &str, kind: &str) -> u64 {
        let keys: Vec<String> = self.world.redis.ask(&format!("KEYS *{}*:{kind}", self.tenant.id));
        keys.iter().map(|key| self.world.redis.ask::<u64>(&format!("{command} {key}"))).sum()
    }

    fn refuse(&self, is_refusing: bool) {
        self.world.redis.ask::<()>(&format!("CONFIG SET min-replicas-to-write {}", u8::from(is_refusing)));
    }

    /// Makes a change of a number, has Redis refuse once `count` is another, and asserts that the answer does not deny it; the same again completes it.
    async fn interrupt<F: Future<Output = Answer>>(&self, count: impl Fn() -> u64, change: impl Fn(usize) -> F) {
        self.interrupt_by(async |is_in_the_way| self.refuse(is_in_the_way), count, change).await;
    }

    /// The same with something else that gets in the way of what is left.
    async fn interrupt_by<F: Future<Output = Answer>>(
        &self,
        obstruct: impl AsyncFn(bool),
        count: impl Fn() -> u64,
        change: impl Fn(usize) -> F,
    ) {
        for attempt in 0..ATTEMPTS {
            let before = count();
            let refusing = async {
                until("it has begun", || async { count() != before }).await;
                obstruct(true).await;
            };
            let (answer, ()) = tokio::join!(change(attempt), refusing);
            obstruct(false).await;
            if answer.status.is_success() {
                continue;
            }
            let error = answer.fails(504, "OUTCOME_UNKNOWN");
            assert!(error["message"].as_str().unwrap().starts_with("A part of this was done"), "{answer:?}");
            let again = change(attempt).await;
            assert!(again.status.is_success(), "{again:?}");
            return;
        }
        panic!("all calls were through before Redis refused, {ATTEMPTS} times");
    }

    /// Reserves many things, as many calls as it takes.
    async fn take(&self, count: usize, item: impl Fn(usize) -> Value) {
        let items: Vec<_> = (0..count).map(item).collect();
        for part in items.chunks(500) {
            let taken = self.world.at(&self.tenant).post("/Reservation/reserve", json!(part)).await;
            assert!(taken.status.is_success(), "{taken:?}");
        }
    }

    async fn register(&self, name: &str, capacity: usize) -> Answer {
        self.world.at(&self.tenant).post("/Resource/register", json!([{"name": name, "capacity": capacity}])).await
    }
}

#[tokio::test]
async fn events_that_were_published_in_part() {
    let at = Interruptible::start().await;
    let events: Vec<_> = (0..500).map(|_| json!({"type": "x", "data": "z".repeat(10_000)})).collect();
    let client = at.world.at(&at.tenant);
    at.interrupt(|| at.count("LLEN", "history"), |_| client.post("/events", json!(events))).await;
}

#[tokio::test]
async fn events_of_a_company_that_is_removed_meanwhile() {
    let at = Interruptible::start().await;
    let client = at.world.at(&at.tenant);
    let remove = async |is_removed| {
        if is_removed {
            client.delete("/companies/acme").await;
        } else {
            let url = format!("{}/api/v1/companies/acme", client.replica.url);
            let put = call(Method::PUT, &url, Some(client.key), Some(json!({"name": "Acme"}))).await;
            assert!(put.status.is_success(), "{put:?}");
        }
    };
    remove(false).await;
    let event = json!({"type": "x", "company": "acme", "data": "z".repeat(10_000)});
    let events: Vec<_> = (0..500).map(|_| event.clone()).collect();
    let publish = |_| client.post("/events", json!(events));
    at.interrupt_by(remove, || at.count("LLEN", "history"), publish).await;
}

#[tokio::test]
async fn observations_that_were_stored_in_part() {
    let at = Interruptible::start().await;
    let connection = PushConnection::create(at.world.at(&at.tenant)).await;
    let push = |attempt| connection.push((0..1_000).map(|n| job(&format!("{attempt}-{n}"), "active", n)).collect());
    at.interrupt(|| at.count("HLEN", "jobs"), push).await;
}

#[tokio::test]
async fn a_pool_that_was_released_in_part() {
    const SLOTS: usize = 3_000;
    let at = Interruptible::start().await;
    let client = at.world.at(&at.tenant);
    assert!(at.register("P", SLOTS).await.status.is_success());
    at.take(SLOTS, |n| json!({"requester": format!("w{n}"), "resource": "P"})).await;
    let release = |_| client.post("/Reservation/forceRelease", json!({"resource": "P"}));
    at.interrupt(|| at.count("HLEN", "held"), release).await;
    assert!(client.listed().await.is_empty());
}

#[tokio::test]
async fn a_pool_that_was_registered_over_what_is_held() {
    const HELD: usize = 4_000;
    let at = Interruptible::start().await;
    at.take(HELD, |n| json!({"requester": "w", "resource": format!("P_{n}")})).await;
    at.interrupt(|| at.count("HLEN", "definitions"), |_| at.register("P", HELD)).await;
    let checked = at.world.at(&at.tenant).get("/Reservation/check/P").await;
    assert_eq!(checked.body["available"], 0, "{checked:?}");
}
