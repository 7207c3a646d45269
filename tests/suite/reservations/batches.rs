//! Events of a batch share entries of the history: each is told again all the same, from any position, and no more are kept than should be.

use std::sync::Arc;

use holdfast::{
    domain::{
        reservation::{MAX_BATCH, RenewRequest, ReserveOutcome, ReserveRequest},
        tier::{Tier, Tiers},
    },
    redis::Address,
    store::{Bearer, Callers, KeyKind, Secret, Store, TenantHandle},
};

use crate::support::{
    store_bench,
    store_bench::{Bench, Parts, claim, done, wanted},
    world::TIMEOUT,
};

/// What the history tells after a position, by small pages: what each names as the position before it, and its own.
async fn told_after(store: &Store, place: &TenantHandle, from: i64) -> Vec<(i64, i64)> {
    store_bench::history_after(store, place, from, 2).await.iter().map(|note| note.positions().unwrap()).collect()
}

#[tokio::test]
async fn a_batch_is_told_again_from_any_of_its_positions() {
    let bench = Bench::start(Tier::Enterprise).await;
    let place = TenantHandle::new(bench.tenant.id.clone());
    let begin = bench.store.position(&bench.caller).await.unwrap().position;
    bench.reserve_one("w", "before", 60).await;
    let batch: Vec<_> = (0..40).map(|number| wanted("w", &format!("r{number}"), 60)).collect();
    let granted = bench.reserve(&batch).await;
    bench.reserve_one("w", "after", 60).await;

    let entries: i64 = bench.redis.ask(&format!("LLEN {}", place.key(KeyKind::History)));
    assert_eq!(entries, 1 + 2 + 1, "40 events in entries of 32");
    let all = told_after(&bench.store, &place, begin).await;
    assert_eq!(all.len(), 42);
    assert!(
        all.windows(2).all(|pair| pair[1].0 == pair[0].1 && pair[1].1 > pair[0].1),
        "each names the one before it: {all:?}"
    );
    assert_eq!(
        all[1..41].iter().map(|(_, position)| Some(*position)).collect::<Vec<_>>(),
        granted.iter().map(|granted| granted.fence()).collect::<Vec<_>>()
    );
    for at in 0..all.len() {
        assert_eq!(told_after(&bench.store, &place, all[at].1).await, all[at + 1..], "after the {at}th");
    }
}

#[tokio::test]
async fn what_a_batch_grants_is_kept_and_what_it_refuses_is_not() {
    let bench = Bench::start(Tier::Enterprise).await;
    let place = TenantHandle::new(bench.tenant.id.clone());
    bench.reserve_one("other", "held", 60).await;
    let begin = bench.store.position(&bench.caller).await.unwrap().position;
    let fences = |granted: Vec<ReserveOutcome>| {
        granted.iter().filter(|granted| granted.word() == "ACQUIRED").map(|granted| granted.fence()).collect::<Vec<_>>()
    };
    // Each order: refused first, between, and last.
    for names in [["held", "a", "b"], ["c", "held", "d"], ["e", "f", "held"]] {
        let from = told_after(&bench.store, &place, begin).await.last().map_or(begin, |(_, position)| *position);
        let granted = fences(bench.reserve(&names.map(|name| wanted("w", name, 60))).await);
        let kept: Vec<_> =
            told_after(&bench.store, &place, from).await.iter().map(|(_, position)| Some(*position)).collect();
        assert_eq!((granted.len(), kept), (2, granted), "{names:?}");
    }
    let all = told_after(&bench.store, &place, begin).await;
    assert!(all.windows(2).all(|pair| pair[1].0 == pair[0].1), "each names the one before it: {all:?}");
}

#[tokio::test]
async fn batches_keep_as_many_events_as_the_tier_says_and_not_many_more() {
    const KEPT: usize = 1_000;
    const TOGETHER: usize = 50;
    let bench = Bench::start(Tier::Enterprise).await;
    let mut tiers = Tiers::default();
    tiers.of_mut(Tier::Enterprise).history = KEPT as u64;
    let store = Store::open(
        Address::parse(&bench.redis.url()).unwrap(),
        Arc::new(Callers::new(
            tiers,
            holdfast::domain::access::DEFAULT_KNOWN_CREDENTIALS,
            holdfast::store::Namespace::default(),
        )),
    );
    tokio::time::timeout(TIMEOUT, store.redis().connected()).await.expect("redis is reached");
    let caller = store.caller(&Bearer::Key(Secret::of(&bench.key.text))).await.unwrap().unwrap();
    let place = TenantHandle::new(bench.tenant.id.clone());

    let (mut written, mut most) = (Vec::new(), 0);
    for round in 0..8 * KEPT / TOGETHER {
        let batch: Vec<_> = (0..TOGETHER).map(|number| wanted("w", &format!("{round}-{number}"), 600)).collect();
        written.extend(done(store.reserve(&caller, &batch).await).iter().filter_map(|granted| granted.fence()));
        if round % 5 == 0 {
            let kept: Vec<_> = told_after(&store, &place, 0).await.into_iter().map(|(_, position)| position).collect();
            assert!(kept.len() >= KEPT.min(written.len()), "{} of {} are kept", kept.len(), written.len());
            assert!(written.ends_with(&kept), "the latest, without a hole");
            most = most.max(kept.len());
        }
    }
    // Twice what the tier keeps, and what shares a node with it.
    assert!((KEPT..3 * KEPT).contains(&most), "{most} were kept of {}", written.len());
}

#[tokio::test]
async fn as_many_as_a_call_may_name_are_taken_renewed_and_given_back() {
    let bench = Bench::start(Tier::Enterprise).await;
    // Names and notes so long that all together are as much as a body may have.
    let long = |number: usize| format!("{number:04} {}", "x".repeat(195));
    let items: Vec<_> = (0..MAX_BATCH)
        .map(|number| ReserveRequest { note: long(number), ..wanted(&long(number), &long(number), 60) })
        .collect();
    let claims: Vec<_> = bench
        .reserve(&items)
        .await
        .iter()
        .zip(&items)
        .map(|(granted, item)| claim(&item.requester, &item.resource, &granted.token().unwrap()))
        .collect();
    let renewals: Vec<_> = claims.iter().map(|claim| RenewRequest { claim: claim.clone(), ttl_ms: 90_000 }).collect();
    assert!(done(bench.store.renew(&bench.caller, &renewals).await).iter().all(|renewed| renewed.word() == "RENEWED"));
    assert!(
        done(bench.store.unreserve(&bench.caller, &claims).await)
            .iter()
            .all(|released| released.word() == "RELINQUISHED")
    );
}
