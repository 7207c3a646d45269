//! Random calls of the whole domain through two replicas, each answer compared with the model's, and the listing with its state.

use proptest::{
    prelude::*,
    test_runner::{Config, TestError, TestRunner},
};
use serde_json::{Value, json};

use crate::{
    reservations::{
        pools_trees_ops::{Op, op},
        pools_trees_pair::Pair,
    },
    support::{
        reference_model::Definition,
        world::{Tenant, World},
    },
};

/// A case is up to 150 calls of a tenant of its own. In the long form over 200,000 calls, else over 5,000.
const CASES: u32 = 20;
const CASES_LONG: u32 = 800;

// Four at once, since a case waits for deadlines now and then.
#[test]
fn every_answer_is_the_models_1() {
    every_answer_is_the_models();
}

#[test]
fn every_answer_is_the_models_2() {
    every_answer_is_the_models();
}

#[test]
fn every_answer_is_the_models_3() {
    every_answer_is_the_models();
}

#[test]
fn every_answer_is_the_models_4() {
    every_answer_is_the_models();
}

fn every_answer_is_the_models() {
    let cases = if std::env::var("HOLDFAST_LONG").is_ok() { CASES_LONG } else { CASES };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::<2>::start());
    let http = reqwest::Client::new();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 60, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&(prop::bool::ANY, prop::collection::vec(op(), 1..150)), |(furnished, ops)| {
        // Unlimited: the calls follow each other faster than a limited tier allows.
        let tenant: Tenant = runtime.block_on(world.tenant_of("Enterprise"));
        let at = [world.at_replica(0, &tenant), world.at_replica(1, &tenant)];
        let mut pair = Pair::new(at, http.clone());
        runtime.block_on(async {
            if furnished {
                for (name, capacity, blocks, path) in [
                    ("P", 3, vec![], vec![]),
                    ("X", 1, vec!["Y", "P"], vec![]),
                    ("leaf", 1, vec![], vec!["root", "mid"]),
                    ("pool", 2, vec![], vec!["root", "mid"]),
                ] {
                    let own = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
                    pair.step(&Op::Register(name, Definition { capacity, blocks: own(blocks), ancestors: own(path) }))
                        .await;
                }
            }
            for op in &ops {
                pair.step(op).await;
            }
            pair.look().await;
            leaves_nothing_behind(&world, &tenant, &mut pair).await;
        });
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (furnished, ops))) => {
            panic!(
                "{why}\nafter (furnished: {furnished}):\n{}",
                ops.iter().map(|op| format!("{op:?}")).collect::<Vec<_>>().join("\n")
            )
        }
        Err(error) => panic!("{error}"),
    }
}

/// Releasing everything leaves the keys of reservations as they were at the start: not there.
async fn leaves_nothing_behind(world: &World<2>, tenant: &Tenant, pair: &mut Pair<'_>) {
    loop {
        let own = |pair: &Pair<'_>| -> Vec<_> {
            pair.model
                .held
                .iter()
                .filter_map(|(name, hold)| {
                    Some((name.clone(), hold.requester.clone(), hold.own.as_ref()?.token.clone()))
                })
                .collect()
        };
        let before = own(pair);
        if before.is_empty() {
            break;
        }
        let body: Value = before
            .iter()
            .map(|(name, requester, token)| json!({"requester": requester, "resource": name, "releaseToken": token}))
            .collect();
        let real = pair.post("/Reservation/unreserve", &body).await;
        pair.at_its_time(&real);
        if real.status == 403 && own(pair) != before {
            continue; // something lapsed just now that is still held as a blocker: it has no token any more
        }
        assert_eq!(real.status, 200, "{real:?}");
        pair.model.held.clear();
    }
    let left: Vec<_> = world.redis.snapshot().into_keys().filter(|key| key.contains(&tenant.id)).collect();
    // Of what is held the index has nothing but its own member, and the bitmap of slots no bit.
    let is_empty = |key: &str| {
        let count = |command: &str| redis::cmd(command).arg(key).query::<i64>(&mut world.redis.connection()).unwrap();
        key.ends_with(":index") && count("ZCARD") == 1 || key.ends_with(":slots") && count("BITCOUNT") == 0
    };
    let allowed = ["meta", "keys", "used", "history", "definitions", "links"];
    let extra: Vec<_> =
        left.iter().filter(|key| !allowed.iter().any(|kind| key.ends_with(kind)) && !is_empty(key)).collect();
    let content = |key: &str| -> Vec<String> {
        let mut connection = world.redis.connection();
        let hash: Vec<Vec<u8>> = redis::cmd("HGETALL").arg(key).query(&mut connection).unwrap_or_default();
        let zset: Vec<Vec<u8>> =
            redis::cmd("ZRANGE").arg(key).arg(0).arg(-1).query(&mut connection).unwrap_or_default();
        hash.into_iter().chain(zset).map(|bytes| bytes.escape_ascii().to_string()).collect()
    };
    assert!(extra.is_empty(), "left behind: {:#?}", extra.iter().map(|key| (key, content(key))).collect::<Vec<_>>());
    assert_eq!(world.redis.tenant_state(left.iter().find(|key| key.ends_with(":meta")).unwrap()).due_ms, None);
}
