//! Work: the dearest calls that the smallest tier may make, from many connections at once.
//!
//! An unoptimized replica takes longer over such a call than Redis does, so that others' calls wait for the replica: there the victim is who
//! shares Redis. `make neighbours` holds the whole way, over an optimized one.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use holdfast::{
    domain::names::TenantId,
    store::{KeyKind, TenantHandle},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    neighbours::frame::{NEIGHBOUR, Neighbourhood, RawConnection, blocking, request},
    queues::push_connection::PushConnection,
    support::world::{Answer, Client, TIMEOUT, call, is_optimized, until},
};

/// Connections of an attack, each of which calls again as soon as it is answered: more than the burst of the tier.
const CONNECTIONS: usize = 24;
/// How long an attack lasts: several times what the burst of the tier lasts.
const ATTACK: Duration = Duration::from_secs(2);

/// Sends the same request from many connections for a while; how often each status came. None is a failure of the service.
fn flood(address: &str, request: &str) -> BTreeMap<u16, usize> {
    let begun = Instant::now();
    let one = || {
        let mut connection = RawConnection::open_at(address, NEIGHBOUR);
        let mut statuses = BTreeMap::<u16, usize>::new();
        while begun.elapsed() < ATTACK {
            connection.send(request.as_bytes());
            let (status, body) = connection.answer();
            assert!([200, 202, 400, 429, 503].contains(&status), "{status} {body:.200}");
            *statuses.entry(status).or_default() += 1;
            // A refusal costs nobody anything; a client that is told to wait does not ask again in the same millisecond.
            if status == 429 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        statuses
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(one)).collect();
        let mut sum = BTreeMap::<u16, usize>::new();
        for statuses in threads.into_iter().map(|thread| thread.join().unwrap()) {
            statuses.into_iter().for_each(|(status, count)| *sum.entry(status).or_default() += count);
        }
        sum
    })
}

/// Runs an attack that keeps Redis busy; asserts that the victim hardly notices.
async fn bears<T: Send>(neighbourhood: &Neighbourhood, attack: impl AsyncFn() -> T) -> T {
    if is_optimized() { neighbourhood.bears(attack).await } else { neighbourhood.redis_bears(attack).await }
}

/// Floods with one request of a tenant; asserts that some are served or refused for their work.
async fn bears_flood(neighbourhood: &Neighbourhood, key: &str, method: &str, path: &str, body: &str) {
    let whole = request(method, path, &[("x-api-key", key)], body);
    let address = neighbourhood.replica().address();
    let attack = async || {
        let (address, whole) = (address.to_owned(), whole.clone());
        blocking(move || flood(&address, &whole)).await
    };
    let statuses = bears(neighbourhood, attack).await;
    assert!(statuses.keys().any(|status| [200, 202, 400].contains(status)), "{path}: {statuses:?}");
}

/// Makes a call that must succeed, again while the rate is used up.
async fn patiently(call: impl AsyncFn() -> Answer) {
    let begun = Instant::now();
    loop {
        let answer = call().await;
        if answer.status != StatusCode::TOO_MANY_REQUESTS {
            // Who deletes a second time finds nothing.
            assert!(answer.status.is_success() || answer.status == StatusCode::NOT_FOUND, "{answer:?}");
            return;
        }
        assert!(begun.elapsed() < TIMEOUT, "timeout: {answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn register(at: Client<'_>, definitions: &[Value]) {
    patiently(async || at.post("/Resource/register", json!(definitions)).await).await;
}

#[tokio::test]
async fn a_name_of_many_blockers_below_many_ancestors_is_looked_at_reserved_and_moved() {
    let neighbourhood = Neighbourhood::start().await;
    let tenant = neighbourhood.world.tenant_of("Free").await;
    let at = neighbourhood.world.at(&tenant);
    // One level less than there may be, so that all of it can be moved below another name.
    let path = (0..30).map(|level| format!("a{level}")).collect::<Vec<_>>().join(">");
    let blockers: Vec<_> = (0..64).map(|number| format!("b{number}")).collect();
    for part in blockers.chunks(16) {
        let definitions: Vec<_> = part.iter().map(|name| json!({"name": name, "treePath": path})).collect();
        register(at, &definitions).await;
    }
    // The second takes no more along than the tier may hold.
    register(at, &[json!({"name": "X", "blocks": blockers, "treePath": path})]).await;
    register(at, &[json!({"name": "Y", "blocks": blockers[..40], "treePath": path})]).await;

    let names = json!({"resources": vec!["X"; 1_000]}).to_string();
    bears_flood(&neighbourhood, at.key, "POST", "/api/v1/Reservation/check", &names).await;
    let items: Vec<_> =
        (0..300).map(|n| json!({"requester": format!("r{n}"), "resource": "Y", "ttlSeconds": 1})).collect();
    bears_flood(&neighbourhood, at.key, "POST", "/api/v1/Reservation/reserve", &json!(items).to_string()).await;
    let moves: Vec<_> =
        (0..60).map(|n| json!({"name": "a0", "treePath": if n % 2 == 0 { "A" } else { "B" }})).collect();
    bears_flood(&neighbourhood, at.key, "POST", "/api/v1/Resource/register", &json!(moves).to_string()).await;
}

#[tokio::test]
async fn many_large_events_are_published() {
    let neighbourhood = Neighbourhood::start().await;
    let tenant = neighbourhood.world.tenant_of("Free").await;
    let events: Vec<_> = (0..60).map(|_| json!({"type": "x", "data": "z".repeat(15_900)})).collect();
    bears_flood(&neighbourhood, &tenant.key, "POST", "/api/v1/events", &json!(events).to_string()).await;
}

#[tokio::test]
async fn thousands_of_queues_and_jobs_with_long_texts_are_sorted_and_forgotten() {
    let neighbourhood = Neighbourhood::start().await;
    let tenant = neighbourhood.world.tenant_of("Free").await;
    let at = neighbourhood.world.at(&tenant);
    let connection = PushConnection::create(at).await;
    let event = |kind: &str, what: &str, value: Value| json!({"type": kind, "timestamp": "2026-05-13T14:00:00.000Z", "framework": "celery", what: value});
    for batch in 0..4 {
        let queue = |n| json!({"name": format!("q{batch}-{n}"), "depth": n, "consumers": 1});
        let queues: Vec<_> = (0..1_000).map(|n| event("queue:snapshot", "queue", queue(n))).collect();
        patiently(async || connection.push(json!(queues)).await).await;
        let job = |n| json!({"externalId": format!("{batch}-{n}"), "name": "long", "state": "failed", "error": "e".repeat(10_000)});
        let jobs: Vec<_> = (0..160).map(|n| event("job:state_change", "job", job(n))).collect();
        patiently(async || connection.push(json!(jobs)).await).await;
    }
    for path in ["/api/queues?sortBy=throughput&timeRange=7d", "/api/jobs?sortBy=name", "/api/workers?sortBy=taskRate"]
    {
        bears_flood(&neighbourhood, at.key, "GET", path, "").await;
    }
    let url = format!("{}/api/v1/connections/{}", at.replica.url, connection.id);
    let jobs = TenantHandle::new(TenantId::parse(&tenant.id).unwrap()).key(KeyKind::Jobs).to_string();
    let forgotten = async || {
        patiently(async || call(Method::DELETE, &url, Some(at.key), None).await).await;
        until("all jobs are forgotten", || async { !neighbourhood.world.redis.ask::<bool>(&format!("EXISTS {jobs}")) })
            .await;
        // Long enough for the victim's calls to say something.
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    bears(&neighbourhood, forgotten).await;
}
