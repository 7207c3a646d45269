//! The limits of a tenant's tier: they hold over all replicas together, and a refusal says when to retry.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::world::{Answer, Client, Replica, Tenant, World, admin, call, until};

/// A world with other numbers for a tier.
pub async fn world_of<const N: usize>(tiers: &str) -> (World<N>, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), tiers).unwrap();
    let world = World::with(&[], &[("TIERS_FILE", file.path().to_str().unwrap())]).await;
    (world, file)
}

/// A parameter of the header RateLimit (`r`, `t`) or RateLimit-Policy (`q`, `w`).
pub fn rate(answer: &Answer, header: &str, name: &str) -> i64 {
    let text = answer.headers.get(header).unwrap_or_else(|| panic!("{header} in {answer:?}")).to_str().unwrap();
    assert!(text.starts_with("\"requests\";"), "{text}");
    text.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).unwrap().parse().unwrap()
}

/// The answers of a flood of requests.
#[derive(Default)]
struct Flood {
    admitted: u64,
    refused: u64,
    /// Redis did not answer in time, on a very busy machine.
    unknown: u64,
    took: Duration,
}

/// Floods all replicas for a while from several connections each.
async fn flood<const N: usize>(world: &World<N>, tenant: &Tenant, per_second: u32, time: Duration) -> Flood {
    const CONNECTIONS: u32 = 4;
    let begun = Instant::now();
    let pause = Duration::from_secs(1) * CONNECTIONS * N as u32 / per_second;
    let tasks = (0..CONNECTIONS as usize * N).map(|at| {
        let (url, key) = (format!("{}/api/v1/Reservation/check/a", world.replicas[at % N].url), tenant.key.clone());
        tokio::spawn(async move {
            let client = reqwest::Client::new();
            let mut counts = Flood::default();
            let mut beat = tokio::time::interval(pause);
            while begun.elapsed() < time {
                beat.tick().await;
                match client.get(&url).header("x-api-key", &key).send().await.unwrap().status().as_u16() {
                    200 => counts.admitted += 1,
                    429 => counts.refused += 1,
                    503 | 504 => counts.unknown += 1,
                    other => panic!("{other}"),
                }
            }
            counts
        })
    });
    let mut sum = Flood::default();
    for task in tasks.collect::<Vec<_>>() {
        let counts = task.await.unwrap();
        (sum.admitted, sum.refused, sum.unknown) =
            (sum.admitted + counts.admitted, sum.refused + counts.refused, sum.unknown + counts.unknown);
    }
    Flood { took: begun.elapsed(), ..sum }
}

/// Floods `N` replicas at ten times the rate; asserts the ratio of admitted to allowed requests.
async fn assert_rate<const N: usize>(time: Duration, window: std::ops::RangeInclusive<f64>) {
    let world = World::<N>::start().await;
    // On a machine that is too busy for the flood, or for Redis to answer, the figures mean nothing: try again.
    for _ in 0..5 {
        let tenant = world.tenant_of("Starter").await;
        let before = world.redis.function_calls();
        let Flood { admitted, refused, unknown, took } = flood(&world, &tenant, 1_000, time).await;
        let allowed = 200.0 + 100.0 * took.as_secs_f64();
        let accuracy = admitted as f64 / allowed;
        let called = world.redis.function_calls() - before;
        let per_refused = called.saturating_sub(admitted) as f64 / refused as f64;
        eprintln!(
            "{N} replicas: admitted {admitted}, refused {refused} in {took:?}: accuracy {accuracy:.4}; {per_refused:.4} scripts per refused request"
        );
        assert!(accuracy <= *window.end(), "admitted {admitted} of {allowed} allowed: {accuracy}");
        if unknown > 0 || refused < admitted {
            continue;
        }
        assert!(accuracy >= *window.start(), "admitted {admitted} of {allowed} allowed: {accuracy}");
        assert!(per_refused < 0.5, "a flood costs redis {per_refused} scripts per refused request");
        return;
    }
    panic!("the machine is too busy for a flood");
}

/// The exact forms take minutes: they run when `HOLDFAST_LONG` is set.
fn long() -> bool {
    std::env::var_os("HOLDFAST_LONG").is_some()
}

#[tokio::test]
async fn the_rate_holds_over_three_replicas_at_many_times_its_speed() {
    // The short form has a wider window: a few calls weigh more.
    assert_rate::<3>(Duration::from_secs(4), 0.93..=1.01).await;
}

#[tokio::test]
async fn the_rate_holds_exactly_over_half_a_minute() {
    if long() {
        assert_rate::<1>(Duration::from_secs(30), 0.99..=1.01).await;
        assert_rate::<2>(Duration::from_secs(30), 0.99..=1.01).await;
        assert_rate::<3>(Duration::from_secs(30), 0.99..=1.01).await;
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_by_every_replica() {
    let world = World::<3>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let at = world.at(&tenant);
    let mut slowest = Duration::ZERO;
    for round in 0..if long() { 100 } else { 10 } {
        let made = at.post("/keys", json!({"label": "brief"})).await;
        let (id, key) = (made.body["id"].as_str().unwrap(), made.body["apiKey"].as_str().unwrap());
        let status = |replica: usize| {
            call(Method::GET, format!("{}/api/v1/session", world.replicas[replica].url).leak(), Some(key), None)
        };
        for replica in 0..3 {
            assert_eq!(status(replica).await.status, 200);
        }
        assert_eq!(at.delete(&format!("/keys/{id}")).await.status, 204);
        let revoked = Instant::now();
        for replica in 0..3 {
            let answer = status((round + replica) % 3).await;
            assert_eq!(answer.status, 401, "the first call after it is refused");
        }
        slowest = slowest.max(revoked.elapsed());
    }
    eprintln!("from a revocation to the third replica's refusal: at most {slowest:?}");
}

#[tokio::test]
async fn what_the_count_costs_redis() {
    if !long() {
        return;
    }
    let world = World::<1>::with(&["--maxmemory", "0"], &[]).await;
    let (limited, free) = (world.tenant_of("Pro").await, world.tenant_of("Enterprise").await);
    let client = reqwest::Client::new();
    let url = format!("{}/api/v1/Reservation/check/a", world.replicas[0].url);
    for round in 0..3 {
        for (what, tenant) in [("with", &limited), ("without", &free)] {
            let () = redis::cmd("CONFIG").arg("RESETSTAT").query(&mut world.redis.connection()).unwrap();
            let begun = Instant::now();
            let mut took = Vec::new();
            while took.len() < 3_000 {
                let sent = Instant::now();
                if client.get(&url).header("x-api-key", &tenant.key).send().await.unwrap().status() == 200 {
                    took.push(sent.elapsed());
                }
            }
            took.sort_unstable();
            let stats = world.redis.info("commandstats", "cmdstat_evalsha").unwrap();
            let (p50, p99, time) = (took[took.len() / 2], took[took.len() * 99 / 100], begun.elapsed());
            eprintln!("round {round}, {what} a limit: {stats}; p50 {p50:?}, p99 {p99:?}, {time:?} for {}", took.len());
        }
    }
}

#[tokio::test]
async fn a_refusal_says_what_and_when_and_changes_nothing_but_the_count() {
    let (world, _file) = world_of::<2>("[Free]\nrequests_per_second = 1\nburst = 10\n").await;
    let tenant = world.tenant_of("Free").await;
    let (north, south) = (world.at_replica(0, &tenant), world.at_replica(1, &tenant));
    for at in 0..10 {
        let client = if at % 2 == 0 { north } else { south };
        assert_eq!(client.get("/Reservation/check/a").await.status, 200, "call {at} is within the burst");
    }
    let before = world.redis.snapshot();

    for client in [south, north] {
        // A unit comes back each second, on a busy machine before this.
        until("the rate is used up", || async { client.get("/Reservation/check/a").await.status == 429 }).await;
        let refused = client.post("/Reservation/reserve", json!([{"requester": "w", "resource": "a"}])).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (429, "RATE_LIMITED"));
        for (name, value) in [
            ("upgradeRequired", json!(true)),
            ("limitType", json!("RequestRate")),
            ("limit", json!(1)),
            ("tier", json!("Free")),
        ] {
            assert_eq!(refused.body[name], value, "{refused:?}");
        }
        let seconds = refused.number("retry-after");
        assert!(seconds >= 1 && refused.body["retryAfter"] == seconds, "{refused:?}");
        assert_eq!(rate(&refused, "ratelimit", "r"), 0);
        assert!(rate(&refused, "ratelimit", "t") <= seconds);
        assert_eq!((rate(&refused, "ratelimit-policy", "q"), rate(&refused, "ratelimit-policy", "w")), (10, 10));
    }

    let changed: Vec<_> = world
        .redis
        .snapshot()
        .into_iter()
        .filter(|(key, value)| before.get(key) != Some(value))
        .map(|(key, _)| key)
        .collect();
    assert!(changed.iter().all(|key| key.ends_with(":meta") || key.ends_with(":used")), "{changed:?}");
    until("the rate is there again", || async { north.get("/Reservation/check/a").await.status == 200 }).await;
    assert!(north.listed_or_refused().await.is_none_or(|names| names.is_empty()), "nothing was reserved");
}

impl Client<'_> {
    /// The listing, where the rate lets it through.
    async fn listed_or_refused(&self) -> Option<Vec<Value>> {
        let answer = self.get("/Reservation/activeReservations").await;
        (answer.status == 200).then(|| answer.body["reservations"].as_array().unwrap().clone())
    }
}

#[tokio::test]
async fn without_a_limit_there_is_no_header() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let answer = world.at(&tenant).get("/Reservation/check/a").await;
    assert_eq!(answer.status, 200);
    assert!(answer.headers.get("ratelimit").is_none() && answer.headers.get("ratelimit-policy").is_none());
}

#[tokio::test]
async fn a_higher_tier_serves_on_every_replica_within_a_second() {
    let (world, _file) = world_of::<3>("[Free]\nrequests_per_second = 1\nburst = 10\n").await;
    let tenant = world.tenant_of("Free").await;
    for replica in 0..3 {
        until("the burst is used up", || async {
            world.at_replica(replica, &tenant).get("/Reservation/check/a").await.status == 429
        })
        .await;
    }

    assert_eq!(
        admin(&world.replicas[0], Method::PATCH, &format!("/{}", tenant.id), Some(json!({"tier": "Pro"}))).await.status,
        200
    );
    let changed = Instant::now();

    for replica in 0..3 {
        until("the tenant is served", || async {
            world.at_replica(replica, &tenant).get("/Reservation/check/a").await.status == 200
        })
        .await;
    }
    // Generous: three replicas in turn, on a machine that runs other tests.
    assert!(changed.elapsed() < Duration::from_secs(3), "{:?}", changed.elapsed());
    let policy = world.at(&tenant).get("/Reservation/check/a").await;
    assert_eq!(rate(&policy, "ratelimit-policy", "q"), 2_000);
}

#[tokio::test]
async fn a_limit_that_is_reached_is_published_once_a_second() {
    let (world, _file) = world_of::<2>("[Free]\nrequests_per_second = 1000\nconcurrent_reservations = 2\n").await;
    let tenant = world.tenant_of("Free").await;
    let at = world.at(&tenant);
    let mut stream = world.at_replica(1, &tenant).events("?types=TIER_LIMIT_REACHED,RESET").await;
    stream.head().await;
    at.acquire("w", "a", None).await;
    at.acquire("w", "b", Some(100)).await;

    for resource in ["c", "d", "e"] {
        let refused = at.post("/Reservation/reserve", json!([{"requester": "w", "resource": resource}])).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["limitType"], &refused.body["limit"]),
            (429, &json!("ConcurrentReservations"), &json!(2))
        );
        assert_eq!(refused.number("retry-after"), 60, "the earliest ends in 100 s, and 60 is the most");
    }
    assert_eq!(at.post("/Reservation/reset", json!({})).await.status, 200);

    let event = stream.expect("TIER_LIMIT_REACHED").await;
    assert_eq!(
        (&event["limitType"], &event["limit"], &event["apiKeyLabel"]),
        (&json!("ConcurrentReservations"), &json!(2), &json!("default"))
    );
    assert_eq!((&event["id"], &event["tenantId"]), (&Value::Null, &json!(tenant.id)));
    // Three refusals may straddle a second on a busy machine, never make three events.
    let (kind, _, _) = stream.event().await;
    if kind == "TIER_LIMIT_REACHED" {
        stream.expect("RESET").await;
    } else {
        assert_eq!(kind, "RESET");
    }
}

#[tokio::test]
async fn concurrent_requests_take_no_more_than_the_limit() {
    let (world, _file) = world_of::<2>("[Starter]\nrequests_per_second = 10000\nconcurrent_reservations = 10\n").await;
    let tenant = world.tenant_of("Starter").await;
    let held = futures_util::future::join_all((0..30).map(|at| {
        let client = world.at_replica(at % 2, &tenant);
        async move {
            client
                .post("/Reservation/reserve", json!([{"requester": "w", "resource": format!("r{at}")}]))
                .await
                .status
                .as_u16()
        }
    }));
    assert_eq!(held.await.into_iter().filter(|status| *status == 200).count(), 10);

    let keys = futures_util::future::join_all((0..20).map(|at| {
        let client = world.at_replica(at % 2, &tenant);
        async move { client.post("/keys", json!({"label": format!("k{at}")})).await }
    }));
    let keys = keys.await;
    assert_eq!(keys.iter().filter(|answer| answer.status == 201).count(), 9, "the default key is the tenth");
    let refused = keys.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!((&refused.body["limitType"], refused.number("retry-after")), (&json!("ApiKeys"), 60));
}

#[tokio::test]
async fn a_full_redis_is_still_read_and_reads_are_still_counted() {
    let (world, _file) = world_of::<1>("[Free]\nrequests_per_second = 1\nburst = 10\n").await;
    let tenant = world.tenant_of("Free").await;
    let at = world.at(&tenant);
    assert_eq!(at.get("/Reservation/check/a").await.status, 200);
    let full = |bytes: &str| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).query::<()>(&mut world.redis.connection()).unwrap()
    };
    full("100kb");
    let refused = at.post("/Reservation/reserve", json!([{"requester": "w", "resource": "a"}])).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (503, "UNAVAILABLE"));
    let before = rate(&at.get("/Reservation/check/a").await, "ratelimit", "r");
    let listed = at.get("/Reservation/activeReservations").await;
    assert_eq!(listed.status, 200);
    assert!(rate(&listed, "ratelimit", "r") <= before, "it was counted");
    full("0");
    at.acquire("w", "a", None).await;
}

#[tokio::test]
async fn the_administrator_is_not_limited() {
    let (world, _file) = world_of::<1>("[Free]\nrequests_per_second = 1\nburst = 10\n").await;
    let tenant = world.tenant_of("Free").await;
    for _ in 0..15 {
        let answer = admin(&world.replicas[0], Method::GET, &format!("/{}", tenant.id), None).await;
        assert_eq!(answer.status, 200);
        assert!(answer.headers.get("ratelimit").is_none());
    }
}

#[test]
fn a_bad_tiers_file_stops_the_start_and_names_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tiers.toml");
    std::fs::write(&file, "[Starter]\nrequests_per_second = 50\nburst = \"many\"\n").unwrap();
    let said = Replica::try_start(&[("TIERS_FILE", file.to_str().unwrap()), ("REDIS_URL", "redis://127.0.0.1:1")])
        .err()
        .expect("it does not start");
    assert!(
        said.contains("HOLDFAST_TIERS_FILE") && said.contains("line 3") && said.contains("from 10 to 1000000"),
        "{said}"
    );
}

#[tokio::test]
async fn wrong_credentials_are_limited_per_address_and_good_ones_go_on() {
    let world = World::<1>::with(&[], &[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let tenant = world.tenant().await;
    assert_eq!(world.at(&tenant).get("/Reservation/check/a").await.status, 200);
    let client = reqwest::Client::new();
    let url = format!("{}/api/v1/Reservation/check/a", world.replicas[0].url);
    let attempt = |from: &'static str, key: String| {
        let request = client.get(&url).header("x-api-key", key).header("x-forwarded-for", from);
        async move { crate::support::world::answer(request.send().await.unwrap()).await }
    };
    // A prefix of a key is as wrong as any other.
    let almost = tenant.key[..tenant.key.len() - 1].to_owned();
    assert_eq!(attempt("198.51.100.9", almost).await.status, 401);

    let mut last = 0;
    for at in 0..150 {
        let answer = attempt("203.0.113.7", format!("hf_live_wrong{at}")).await;
        last = answer.status.as_u16();
        if last == 429 {
            assert!(answer.number("retry-after") >= 1);
            assert_eq!((answer.code(), &answer.body["limitType"]), ("RATE_LIMITED", &json!("RequestRate")));
            break;
        }
        assert_eq!(last, 401);
    }
    assert_eq!(last, 429, "150 wrong keys from one address");
    assert_eq!(attempt("198.51.100.9", "hf_live_other".into()).await.status, 401, "another address is not limited");
    assert_eq!(attempt("203.0.113.7", tenant.key.clone()).await.status, 200, "a cached key is let in");
    // The same wrong key again and again costs Redis nothing.
    let before = world.redis.info("commandstats", "cmdstat_get");
    for _ in 0..5 {
        assert_eq!(attempt("198.51.100.9", "hf_live_other".into()).await.status, 401);
    }
    assert_eq!(world.redis.info("commandstats", "cmdstat_get"), before);
}

#[tokio::test]
async fn the_last_use_of_a_key_is_shown() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let at = world.at(&tenant);
    let made = at.post("/keys", json!({"label": "worker"})).await;
    assert_eq!(made.body["lastUsedAt"], Value::Null);
    let worker = made.body["apiKey"].as_str().unwrap();
    let used = || async {
        let keys = at.get("/keys").await;
        keys.body["keys"].as_array().unwrap().iter().find(|key| key["label"] == "worker").unwrap()["lastUsedAt"].clone()
    };
    assert_eq!(used().await, Value::Null);

    let answer =
        call(Method::GET, &format!("{}/api/v1/Reservation/check/a", world.replicas[0].url), Some(worker), None).await;
    assert_eq!(answer.status, 200);

    until("the use is noted", || async { used().await.is_string() }).await;
}
