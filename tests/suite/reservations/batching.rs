//! Calls of one credential that come at the same moment share a script: what becomes of each is what would become of it alone.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::DateTime;
use futures_util::{
    StreamExt,
    future::{join_all, join3},
    poll,
    stream::FuturesUnordered,
};
use holdfast::{
    domain::{
        event::ReservationEvent,
        rate::Rate,
        reservation::{HeldReservation, RenewRequest, ReserveOutcome, ReserveRequest},
        resource::Definition,
        tier::{Tier, Tiers},
    },
    redis::Address,
    store::{
        Bearer, Caller, Callers, KeyKind, Notification, Outcome, PageCursor, Payload, Secret, Store, StoreError,
        TenantHandle,
    },
};

use crate::support::{
    store_bench::{Bench, Parts, claim, done, history_after, names, wanted},
    world::{TIMEOUT, until},
};

/// So many go alone before others wait for them, where Redis is near and few ask at a time.
const ALONE: usize = 4;
/// So many share a script at most.
const TOGETHER: usize = 32;
/// A Redis that answers within this time is near.
const NEAR: Duration = Duration::from_micros(240);
/// One that takes longer is so far that as many go alone as would share a script.
const FAR: Duration = Duration::from_millis(5);

/// Calls alone until Redis has shown that it is near, and what is noted of a key that is used is noted.
async fn settle(bench: &Bench) {
    let used = TenantHandle::new(bench.tenant.id.clone()).key(KeyKind::Used).to_string();
    let begun = Instant::now();
    let mut is_near = false;
    while !is_near || !bench.redis.ask::<bool>(&format!("EXISTS {used}")) {
        assert!(begun.elapsed() < TIMEOUT, "Redis is not near, or a key is never used");
        let since = Instant::now();
        bench.reserve_one("w", "known", 60).await;
        is_near |= since.elapsed() < NEAR;
    }
}

/// The same Redis and tenant, of another tier.
async fn limited(bench: &Bench, change: impl FnOnce(&mut Tiers)) -> (Store, Caller) {
    let mut tiers = Tiers::default();
    change(&mut tiers);
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
    (store, caller)
}

/// What is held: by whom, as what, with what note, whether it ends.
pub(super) type Holding = (String, String, Option<String>, bool);

pub(super) async fn held(bench: &Bench) -> BTreeMap<String, Holding> {
    let listed = bench.store.first_streamed_page(&bench.caller, &PageCursor::start()).await.unwrap().answer;
    let holding = |active: HeldReservation| {
        (active.resource, (active.requester, active.resource_type, active.note, active.deadline_ms.is_some()))
    };
    listed.reservations.into_iter().map(holding).collect()
}

#[tokio::test]
async fn calls_of_one_credential_share_scripts() {
    let bench = Bench::start(Tier::Enterprise).await;
    settle(&bench).await;
    let names = names("r", ALONE + 3 * TOGETHER);

    let before = bench.redis.function_calls();
    let granted = bench.reserve_together("w", &names, 60).await;
    assert_eq!(bench.redis.function_calls() - before, ALONE as u64 + 3);
    let mut fences: Vec<_> = granted.iter().map(|granted| granted.fence().unwrap()).collect();
    fences.sort_unstable();
    fences.dedup();
    assert_eq!(fences.len(), names.len(), "each has a fence of its own");

    // Each has the token that it was answered: it frees that one, and only that.
    let before = bench.redis.function_calls();
    let free = names.iter().zip(&granted).map(|(name, granted)| async {
        let claims = [claim("w", name, &granted.token().unwrap())];
        done(bench.store.unreserve(&bench.caller, &claims).await).remove(0)
    });
    for (name, released) in names.iter().zip(join_all(free).await) {
        assert_eq!((released.word(), released.freed()), ("RELINQUISHED", vec![name.clone()]));
    }
    assert_eq!(
        bench.redis.function_calls() - before,
        5,
        "many ask: one goes alone, three times so many as go at once, and what is left"
    );
    assert_eq!(held(&bench).await.into_keys().collect::<Vec<_>>(), ["known"]);

    // Two share nothing; that tells that few ask, again.
    bench.reserve_together("w", &names[..2], 60).await;
    let before = bench.redis.function_calls();
    bench.reserve_together("w", &names[2..ALONE + 12], 60).await;
    assert_eq!(bench.redis.function_calls() - before, ALONE as u64 + 1);
}

#[tokio::test]
async fn from_afar_calls_go_alone() {
    let bench = Bench::start(Tier::Enterprise).await;
    // What makes a Redis far is how long a call takes, and of this caller none has been quicker.
    let (store, caller) = limited(&bench, |_| {}).await;
    let reserve = |names: Vec<String>| {
        let (store, caller) = (&store, &caller);
        join_all(
            names
                .into_iter()
                .map(move |name| async move { done(store.reserve(caller, &[wanted("w", &name, 60)]).await) }),
        )
    };
    let before = bench.redis.function_calls();
    bench.redis.signal("-STOP");
    let (mut first, sent) = (Box::pin(reserve(names("first", 1))), Instant::now());
    assert!(poll!(&mut first).is_pending());
    until("it has been on its way for long", || async { sent.elapsed() > FAR }).await;
    bench.redis.signal("-CONT");
    first.await;
    until("the use of the key is noted", || async { bench.redis.function_calls() == before + 2 }).await;
    let before = bench.redis.function_calls();
    reserve(names("r", TOGETHER + 8)).await;
    assert_eq!(
        bench.redis.function_calls() - before,
        TOGETHER as u64 + 1,
        "as many as Redis decides while one travels, and what is left"
    );
}

/// What is asked of one resource, and the token that is shown.
#[derive(Debug, Clone)]
enum Ask {
    Reserve { requester: &'static str, ttl_s: i64, resource_type: &'static str, note: &'static str },
    Renew { requester: &'static str, wrong: bool },
    Unreserve { requester: &'static str, wrong: bool },
}

/// What became of it, as far as it does not depend on the moment.
type Became = (String, Option<String>, bool);

async fn ask(bench: &Bench, resource: &str, what: &Ask, tokens: &BTreeMap<String, String>) -> (Became, Option<String>) {
    let claim_of = |requester: &str, wrong: bool| {
        let token = if wrong { None } else { tokens.get(resource) };
        claim(requester, resource, token.map_or("0f8fad5b-d9cb-469f-a165-70867728950e", String::as_str))
    };
    match *what {
        Ask::Reserve { requester, ttl_s, resource_type, note } => {
            let item = ReserveRequest {
                resource_type: resource_type.into(),
                note: note.into(),
                ..wanted(requester, resource, ttl_s)
            };
            let granted = bench.reserve(&[item]).await.remove(0);
            (
                (
                    granted.word().to_owned(),
                    granted.holder().map(|holder| holder.requester),
                    granted.deadline_ms().is_some(),
                ),
                granted.token(),
            )
        }
        Ask::Renew { requester, wrong } => {
            let renewal = RenewRequest { claim: claim_of(requester, wrong), ttl_ms: 600_000 };
            match bench.store.renew(&bench.caller, &[renewal]).await.unwrap().answer {
                Outcome::Done(mut renewed) => {
                    let renewed = renewed.remove(0);
                    (
                        (
                            renewed.word().to_owned(),
                            renewed.holder().map(|holder| holder.requester),
                            renewed.deadline_ms().is_some(),
                        ),
                        None,
                    )
                }
                refused => ((format!("{refused:?}"), None, false), None),
            }
        }
        Ask::Unreserve { requester, wrong } => {
            match bench.store.unreserve(&bench.caller, &[claim_of(requester, wrong)]).await.unwrap().answer {
                Outcome::Done(mut released) => {
                    let released = released.remove(0);
                    (
                        (
                            released.word().to_owned(),
                            released.holder().map(|holder| holder.requester),
                            !released.freed().is_empty(),
                        ),
                        None,
                    )
                }
                refused => ((format!("{refused:?}"), None, false), None),
            }
        }
    }
}

#[tokio::test]
async fn what_becomes_of_a_call_is_what_would_become_of_it_alone() {
    const RESOURCES: usize = 24;
    const ROUNDS: u64 = 40;
    let (alone, together) = (Bench::start(Tier::Enterprise).await, Bench::start(Tier::Enterprise).await);
    let (mut alone_tokens, mut together_tokens) = (BTreeMap::new(), BTreeMap::new());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut one_of = |many: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % many
    };
    let mut seen = BTreeMap::new();
    for round in 0..ROUNDS {
        let asks: Vec<_> = (0..RESOURCES)
            .map(|number| {
                let requester = ["ada", "grace"][one_of(2) as usize];
                let wrong = one_of(5) == 0;
                let what = match one_of(5) {
                    0 | 1 => Ask::Reserve {
                        requester,
                        ttl_s: [0, 60, 3_600][one_of(3) as usize],
                        resource_type: ["UserDefined", "Rig"][one_of(2) as usize],
                        note: ["", "until lunch"][one_of(2) as usize],
                    },
                    2 => Ask::Renew { requester, wrong },
                    _ => Ask::Unreserve { requester, wrong },
                };
                (format!("{number} {}", "long ".repeat([0, 8, 60][number % 3])).trim_end().to_owned(), what)
            })
            .collect();
        let mut one_by_one = Vec::new();
        for (resource, what) in &asks {
            one_by_one.push(ask(&alone, resource, what, &alone_tokens).await);
        }
        let at_once =
            join_all(asks.iter().map(|(resource, what)| ask(&together, resource, what, &together_tokens))).await;
        for (((resource, what), (alone, alone_token)), (together, together_token)) in
            asks.iter().zip(one_by_one).zip(at_once)
        {
            assert_eq!(together, alone, "round {round}: {what:?} of {resource}");
            *seen.entry(alone.0).or_insert(0) += 1;
            alone_tokens.extend(alone_token.map(|token| (resource.clone(), token)));
            together_tokens.extend(together_token.map(|token| (resource.clone(), token)));
        }
        assert_eq!(held(&together).await, held(&alone).await, "after round {round}");
    }
    let all = [
        "ACQUIRED",
        "ALREADY_HAD",
        "ALREADY_HELD",
        "DOESNT_OWN_RESERVATION",
        "NOT_RESERVED",
        "RELINQUISHED",
        "RENEWED",
        "WrongToken([true])",
    ];
    assert_eq!(seen.keys().collect::<Vec<_>>(), all, "everything happened");

    // What was told is the same, too, and each event names the one before it.
    let (told_alone, told_together) = (told(&alone).await, told(&together).await);
    assert!(told_together.windows(2).all(|pair| pair[1].0 == pair[0].1 && pair[1].1 > pair[0].1), "{told_together:?}");
    let counted = |told: &[(i64, i64, String)]| {
        let mut counts = BTreeMap::new();
        told.iter().for_each(|(_, _, kind)| *counts.entry(kind.clone()).or_insert(0) += 1);
        counts
    };
    assert_eq!(counted(&told_together), counted(&told_alone));
    assert!(together.redis.function_calls() * 3 < alone.redis.function_calls() * 2, "many shared");
}

/// What the history tells: the position before, its own, and what it is of what.
async fn told(bench: &Bench) -> Vec<(i64, i64, String)> {
    let notes = history_after(&bench.store, &TenantHandle::new(bench.tenant.id.clone()), 0, 100).await;
    let told = |note: Notification| {
        let (previous, position) = note.positions().unwrap();
        let Payload::Reservation { event, .. } = note.payload else {
            panic!("{:?} is of no reservation", note.payload)
        };
        // All but the moment.
        let event = ReservationEvent {
            id: None,
            timestamp: DateTime::UNIX_EPOCH,
            fencing_token: None,
            expires_at: None,
            tenant_id: String::new(),
            ..*event
        };
        (previous, position, format!("{event:?}"))
    };
    notes.into_iter().map(told).collect()
}

#[tokio::test]
async fn what_many_want_has_one_holder() {
    let bench = Bench::start(Tier::Enterprise).await;
    let requesters = names("w", 40);
    let granted = join_all(requesters.iter().map(|name| bench.reserve_one(name, "one", 60))).await;
    let holders: Vec<_> = requesters
        .iter()
        .zip(&granted)
        .filter(|(_, granted)| granted.word() == "ACQUIRED")
        .map(|(requester, _)| requester)
        .collect();
    assert_eq!(holders.len(), 1);
    let refused = granted.iter().filter(|granted| {
        granted.word() == "ALREADY_HELD" && granted.holder().is_some_and(|holder| holder.requester == *holders[0])
    });
    assert_eq!(refused.count(), requesters.len() - 1);
}

#[tokio::test]
async fn the_limits_count_each_call() {
    let bench = Bench::start(Tier::Enterprise).await;
    // One call a second, a hundred at once.
    let rate = Rate { per_second: 1, burst: 100 };
    let limits = |tiers: &mut Tiers| {
        tiers.of_mut(Tier::Enterprise).held = Some(10);
        tiers.of_mut(Tier::Enterprise).rate = Some(rate);
    };
    let (store, caller) = limited(&bench, limits).await;
    let reserve = |name: String| {
        let (store, caller) = (&store, &caller);
        async move { store.reserve(caller, &[wanted("w", &name, 60)]).await.unwrap().answer }
    };
    let verdicts = join_all((0..40).map(|number| reserve(format!("r{number}")))).await;
    assert_eq!(verdicts.iter().filter(|verdict| matches!(verdict, Outcome::Done(_))).count(), 10);
    for verdict in verdicts {
        assert!(
            matches!(verdict, Outcome::Done(_))
                || matches!(verdict, Outcome::Limit(ref reached) if reached.limit == 10 && reached.used == 10),
            "{verdict:?}"
        );
    }
    assert_eq!(held(&bench).await.len(), 10);
    // Each was counted once, though what was refused together was then asked alone.
    let left = || caller.tenant_handle().rate_state().now().map(|now| rate.left(now.backlog_us)).unwrap();
    assert!((60..63).contains(&left()), "{} are left of a hundred after forty", left());

    let look = |name: String| {
        let (store, caller) = (&store, &caller);
        async move { store.unreserve(caller, &[claim("w", &name, "x")]).await }
    };
    for answer in join_all(held(&bench).await.into_keys().map(look)).await {
        assert!(matches!(answer.unwrap().answer, Outcome::WrongToken(_)));
    }
    assert!((50..54).contains(&left()), "{} are left after ten more", left());
    let answers = join_all((0..90).map(|number| look(format!("free {number}")))).await;
    let admitted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((50..56).contains(&admitted), "{admitted} more were admitted");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(StoreError::TooFast(_)))), "{answers:?}");
}

#[tokio::test]
async fn what_is_given_back_makes_room_for_what_is_taken_with_it() {
    const LIMIT: usize = 20;
    let bench = Bench::start(Tier::Enterprise).await;
    settle(&bench).await;
    let (store, caller) = limited(&bench, |tiers| tiers.of_mut(Tier::Enterprise).held = Some(LIMIT as u64)).await;
    let (old, new) = (names("old", LIMIT - 1), names("new", 12));
    // With what is known from before, as many as may be held.
    let before = bench.redis.function_calls();
    let held: Vec<_> =
        done(store.reserve(&caller, &old.iter().map(|name| wanted("w", name, 60)).collect::<Vec<_>>()).await);
    let claims: Vec<_> =
        old.iter().zip(&held).map(|(name, granted)| claim("w", name, &granted.token().unwrap())).collect();
    until("the use of the key is noted", || async { bench.redis.function_calls() == before + 2 }).await;

    let before = bench.redis.function_calls();
    let renew =
        join_all(claims[..ALONE].iter().map(async |claim| {
            done(store.renew(&caller, &[RenewRequest { claim: claim.clone(), ttl_ms: 60_000 }]).await)
        }));
    let take =
        join_all(new.iter().map(async |name| done(store.reserve(&caller, &[wanted("w", name, 60)]).await).remove(0)));
    let give_back = join_all(
        claims[ALONE..][..12]
            .iter()
            .map(async |claim| done(store.unreserve(&caller, std::slice::from_ref(claim)).await)),
    );
    let (_, granted, _) = join3(renew, take, give_back).await;
    assert!(granted.iter().all(|granted| granted.word() == "ACQUIRED"), "{granted:?}");
    assert_eq!(bench.redis.function_calls() - before, ALONE as u64 + 1, "what was taken was not asked again");
}

#[tokio::test]
async fn who_gave_up_takes_nothing_and_holds_nobody_up() {
    let bench = Bench::start(Tier::Enterprise).await;
    settle(&bench).await;
    let names = names("r", ALONE + 12);
    let mut calls: Vec<Pin<Box<dyn Future<Output = ReserveOutcome> + '_>>> =
        names.iter().map(|name| Box::pin(bench.reserve_one("w", name, 60)) as _).collect();
    for call in &mut calls {
        assert!(poll!(call).is_pending());
    }
    // Those that were sent alone do not wait for their answers, and the last six of those that wait go, too.
    let mut stay = calls.split_off(ALONE);
    drop(calls);
    drop(stay.split_off(6));
    let granted = tokio::time::timeout(TIMEOUT, join_all(stay)).await.expect("nobody waits for those that are gone");
    assert!(granted.iter().all(|granted| granted.word() == "ACQUIRED"), "{granted:?}");
    let held = held(&bench).await;
    assert!(names[ALONE..ALONE + 6].iter().all(|name| held.contains_key(name)), "{held:?}");
    assert!(names[ALONE + 6..].iter().all(|name| !held.contains_key(name)), "{held:?}");
}

#[tokio::test]
async fn what_many_ask_for_again_and_again_holds_nobody_up() {
    let bench = Bench::start(Tier::Enterprise).await;
    bench.reserve_one("w", "hot", 60).await;
    let ask = |name: &'static str| Box::pin(bench.reserve_one("other", name, 60));
    let mut hot = FuturesUnordered::new();
    for _ in 0..3 * ALONE {
        let mut call = ask("hot");
        assert!(poll!(&mut call).is_pending());
        hot.push(call);
    }
    let mut cold = ask("cold");
    assert!(poll!(&mut cold).is_pending());
    for _ in 0..50 * ALONE {
        tokio::select! {
            biased;
            granted = &mut cold => {
                assert_eq!(granted.word(), "ACQUIRED");
                return;
            }
            // Each that returns is followed by another, which is on its way before the next returns.
            Some(refused) = hot.next() => {
                assert_eq!(refused.word(), "ALREADY_HELD");
                let mut call = ask("hot");
                assert!(poll!(&mut call).is_pending());
                hot.push(call);
            }
        }
    }
    panic!("it never went");
}

#[tokio::test]
async fn what_has_lapsed_is_free_for_calls_that_come_together() {
    let bench = Bench::start(Tier::Enterprise).await;
    // More than are ended at once.
    let names = names("r", 400);
    let items: Vec<_> = names.iter().map(|name| wanted("w", name, 1)).collect();
    bench.reserve(&items).await;
    until("they have lapsed", || async {
        bench.store.check(&bench.caller, &names[..1]).await.unwrap().answer[0].takeable
    })
    .await;
    let granted = bench.reserve_together("other", &names, 60).await;
    assert!(granted.iter().all(|granted| granted.word() == "ACQUIRED"), "{granted:?}");
    assert!(held(&bench).await.values().all(|(requester, ..)| requester == "other"));
}

#[tokio::test]
async fn a_definition_made_meanwhile_counts_for_calls_that_come_together() {
    let bench = Bench::start(Tier::Enterprise).await;
    bench.reserve_one("w", "known", 60).await;
    let (store, caller) = limited(&bench, |_| {}).await;
    let pool = Definition { name: "pool".into(), capacity: 3, blocks: Vec::new(), ancestors: Vec::new() };
    store.register(&caller, &[pool]).await.unwrap();
    let requesters = names("w", 20);
    let granted = join_all(requesters.iter().map(|name| bench.reserve_one(name, "pool", 60))).await;
    assert_eq!(
        granted.iter().filter(|granted| granted.grant().is_some_and(|grant| grant.pool.is_some())).count(),
        3,
        "{granted:?}"
    );
}
