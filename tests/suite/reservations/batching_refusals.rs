//! Calls that share a script where Redis or the credential refuses, hangs or goes: each is told what is true of it.

use std::time::Instant;

use futures_util::{future::join_all, poll};
use holdfast::{
    domain::{access::Scopes, tier::Tier},
    store::{Bearer, Limited, Secret, StoreError},
};

use crate::{
    reservations::batching::held,
    support::{
        store_bench::{Bench, Parts, claim, done, names, wanted},
        world::TIMEOUT,
    },
};

#[tokio::test]
async fn where_memory_is_full_what_is_asked_together_is_still_given_back() {
    let bench = Bench::start(Tier::Enterprise).await;
    let names = names("r", 20);
    let granted = bench.reserve_together("w", &names, 60).await;
    bench.redis.ask::<()>("CONFIG SET maxmemory 1");
    let (store, caller) = (&bench.store, &bench.caller);
    let each = names.iter().zip(&granted).map(|(name, granted)| async move {
        let (more, claims) =
            ([wanted("w", &format!("{name} more"), 60)], [claim("w", name, &granted.token().unwrap())]);
        tokio::join!(store.reserve(caller, &more), store.unreserve(caller, &claims))
    });
    for (taken, freed) in join_all(each).await {
        assert!(matches!(taken, Err(StoreError::Refused { ref code }) if code == "OOM"), "{taken:?}");
        assert_eq!(done(freed)[0].word(), "RELINQUISHED");
    }
}

#[tokio::test]
async fn a_credential_that_is_gone_is_refused_to_all() {
    let bench = Bench::start(Tier::Enterprise).await;
    let other = bench.store.create_key(&bench.caller, "other", Scopes::READ_WRITE).await.unwrap().answer;
    let Limited::Done(other) = other else { panic!("{other:?}") };
    let caller = bench.store.caller(&Bearer::Key(Secret::of(&other.text))).await.unwrap().unwrap();
    bench.store.delete_key(&bench.caller, &other.key.id).await.unwrap();
    let items: Vec<_> = (0..20).map(|number| [wanted("w", &format!("r{number}"), 60)]).collect();
    for answer in join_all(items.iter().map(|item| bench.store.reserve(&caller, item))).await {
        assert!(matches!(answer, Err(StoreError::Unauthorized)), "{answer:?}");
    }
    assert!(held(&bench).await.is_empty());
}

#[tokio::test]
async fn where_redis_goes_everybody_is_told() {
    let mut bench = Bench::start(Tier::Enterprise).await;
    bench.reserve_one("w", "known", 60).await;
    bench.redis.signal("-STOP");
    let items: Vec<_> = (0..20).map(|number| [wanted("w", &format!("r{number}"), 60)]).collect();
    let (store, caller) = (bench.store.clone(), bench.caller.clone());
    let mut calls: Vec<_> = items.iter().map(|item| Box::pin(store.reserve(&caller, item))).collect();
    for call in &mut calls {
        assert!(poll!(call).is_pending());
    }
    bench.redis.kill();
    for answer in tokio::time::timeout(TIMEOUT, join_all(calls)).await.expect("everybody is told") {
        assert!(matches!(answer, Err(StoreError::OutcomeUnknown { .. } | StoreError::Unreachable)), "{answer:?}");
    }
}

#[tokio::test]
async fn where_redis_hangs_nobody_waits_longer_than_alone() {
    let bench = Bench::start(Tier::Enterprise).await;
    bench.reserve_one("w", "known", 60).await;
    bench.redis.signal("-STOP");
    let since = Instant::now();
    let each = names("r", 20).into_iter().map(|name| {
        let (store, caller) = (&bench.store, &bench.caller);
        async move { (store.reserve(caller, &[wanted("w", &name, 60)]).await, since.elapsed()) }
    });
    let answers = join_all(each).await;
    bench.redis.signal("-CONT");
    for (answer, after) in answers {
        assert!(matches!(answer, Err(StoreError::OutcomeUnknown { waited_ms }) if waited_ms >= 1_900), "{answer:?}");
        assert!(after < holdfast::redis::TIMEOUT * 3 / 2, "after {after:?}");
    }
}
