//! Cost budgets, in counts that do not depend on the machine's load: commands inside each function, instructions per request.
//!
//! A count above its budget fails. Who makes a call dearer on purpose raises the budget and says why; who makes it cheaper lowers it.

use holdfast::domain::{resource::Definition, tier::Tier};
use reqwest::Method;
use serde_json::json;

use crate::support::{
    redis_server::Redis,
    store_bench::{Bench, Parts, claim, done, names, wanted},
    world::{Client, Replica, Tenant, admin, bound_to_test, until},
};

/// How many commands Redis has run, without function calls and without the commands of these tests and of connections.
fn commands(redis: &Redis) -> u64 {
    let text: String = redis.ask("INFO commandstats");
    let calls = text.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let aside = ["fcall", "function|load", "info", "ping", "client|setinfo", "hello", "command|docs", "select"];
        (!aside.contains(&name)).then(|| rest.split(',').next()?.parse::<u64>().ok())?
    });
    calls.sum()
}

#[tokio::test]
async fn a_function_runs_no_more_commands_than_it_needs() {
    let bench = Bench::start(Tier::Pro).await;
    let (store, caller) = (&bench.store, &bench.caller);
    // Not counted, as only a tenant's first call does it: loading the functions, and writing when the key was last used.
    bench.reserve(&[wanted("w", "stays", 600)]).await;
    let used =
        holdfast::store::TenantHandle::new(bench.tenant.id.clone()).key(holdfast::store::KeyKind::Used).to_string();
    until("the use of the key is noted", || async { bench.redis.ask::<bool>(&format!("EXISTS {used}")) }).await;

    let mut before = commands(&bench.redis);
    let mut cost = |what: &str, budget: u64| {
        let now = commands(&bench.redis);
        assert_eq!(now - before, budget, "{what}");
        before = now;
    };
    let token = bench.reserve_one("w", "a", 600).await.token().unwrap();
    cost("reserve: TIME HGET HSETNX ZADD RPUSH HSET PUBLISH", 7);
    done(
        store
            .renew(
                caller,
                &[holdfast::domain::reservation::RenewRequest { claim: claim("w", "a", &token), ttl_ms: 900_000 }],
            )
            .await,
    );
    cost("renew: TIME HGET HGET HSET ZADD RPUSH HSET PUBLISH", 8);
    bench.reserve_one("other", "a", 600).await;
    cost("a refusal: TIME HGET HSETNX HGET HSET PUBLISH", 6);
    done(store.unreserve(caller, &[claim("w", "a", &token)]).await);
    cost("unreserve: TIME HGET HGET HDEL ZREM RPUSH HSET PUBLISH", 8);
    let many: Vec<_> = (0..100).map(|n| wanted("w", &format!("many-{n}"), 600)).collect();
    bench.reserve(&many).await;
    cost("a batch of a hundred: an entry and a message per thirty-two events, the rest once", 4 + 4 + 6);
    // Redis is held until all have been made, so that none is answered before the last one waits.
    let together = names("together", 4 + 8);
    let mut calls = Box::pin(bench.reserve_together("w", &together, 600));
    bench.redis.signal("-STOP");
    assert!(futures_util::poll!(&mut calls).is_pending());
    bench.redis.signal("-CONT");
    calls.await;
    cost("eight calls in one, after four alone: TIME HGET HMGET HSET ZADD RPUSH HSET PUBLISH", 4 * 7 + 8);

    // With definitions.
    let definition = Definition { name: "known".into(), capacity: 1, blocks: Vec::new(), ancestors: Vec::new() };
    store.register(caller, &[definition]).await.unwrap();
    bench.reserve_one("w", "b", 600).await; // by which the replica learns that the tenant has definitions now
    let caller = &store.cached_caller(caller.bearer()).expect("it was looked up again");
    before = commands(&bench.redis);
    let mut cost = |what: &str, budget: u64| {
        let now = commands(&bench.redis);
        assert_eq!(now - before, budget, "{what}");
        before = now;
    };
    let token = done(store.reserve(caller, &[wanted("w", "known", 600)]).await).remove(0).token().unwrap();
    cost("reserve of a registered name: reads its definition, and whether something below it is held", 12);
    done(store.unreserve(caller, &[claim("w", "known", &token)]).await);
    cost("unreserve of a registered name", 8);
}

/// Instructions per request from its head to its answer, in the debug build, over one reserve and one unreserve: parsing, the caller,
/// arguments, decoding, encoding. Without the HTTP library and the kernel. The release build takes some 56,000: in this one, generic code of
/// dependencies is not optimized.
const INSTRUCTIONS: u64 = 326_000;

#[tokio::test]
async fn a_request_takes_no_more_instructions_than_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(dir.path(), &[]);
    let mut counts = Vec::new();
    for requests in [100, 300] {
        let counted = dir.path().join(format!("instructions-{requests}"));
        let mut valgrind = bound_to_test("valgrind");
        valgrind.args([
            "--tool=callgrind",
            "--collect-atstart=no",
            "--toggle-collect=holdfast::http::pipeline::Pipeline::serve::*",
        ]);
        valgrind.arg(format!("--callgrind-out-file={}", counted.display())).arg(env!("CARGO_BIN_EXE_holdfast"));
        let mut replica =
            Replica::launch(valgrind, &["serve"], &[("REDIS_URL", &redis.url()), ("WORKERS", "1"), ("LOG", "info")])
                .expect("the replica starts");
        replica.ready().await;
        let made = admin(&replica, Method::POST, "", Some(json!({"name": "test", "tier": "Pro"}))).await;
        let tenant = Tenant {
            id: made.body["tenantId"].as_str().unwrap().into(),
            key: made.body["apiKey"].as_str().unwrap().into(),
        };
        let at = Client { replica: &replica, key: &tenant.key };
        for _ in 0..requests / 2 {
            let held = at.acquire("worker-1", "build/linux", Some(60)).await;
            assert_eq!(
                at.unreserve("worker-1", "build/linux", &held["releaseToken"]).await.statuses(),
                ["RELINQUISHED"]
            );
        }
        replica.signal("-TERM");
        assert_eq!(replica.ended(), 0);
        let text = std::fs::read_to_string(&counted).unwrap();
        let total = text
            .lines()
            .find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")))
            .expect("a total");
        counts.push(total.trim().parse::<u64>().unwrap());
    }
    let each = (counts[1] - counts[0]) / 200;
    assert!(each * 100 <= INSTRUCTIONS * 105, "{each} instructions per request; {INSTRUCTIONS} are known");
    assert!(
        each * 100 >= INSTRUCTIONS * 80,
        "{each} instructions per request are much less than the {INSTRUCTIONS} here: lower the figure"
    );
}
