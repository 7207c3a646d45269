//! Each function alone, on a real Redis, without a replica: every answer, and every key afterwards.

use holdfast::{
    domain::{
        access::Scopes,
        names::TenantId,
        reservation::{RenewRequest, ReserveOutcome},
        tier::{LimitType, Tier},
    },
    store::{
        Bearer, Expired, FUNCTIONS, KeyKind, KeyRemoval, Limited, Outcome, PageCursor, Secret, StoreError, TenantHandle,
    },
};

use crate::support::{
    redis_server::Redis,
    store_bench::{Bench, Parts, claim, done, names, of_tier, store_over, wanted, within_limit},
    tenant_state::TenantState,
    world::{eventually, until},
};

fn token(granted: &ReserveOutcome) -> String {
    granted.token().unwrap()
}

#[tokio::test]
async fn reserve_leaves_the_keys_of_the_data_model() {
    let bench = Bench::start(Tier::Pro).await;
    let handle = TenantHandle::new(bench.tenant.id.clone());
    let due = handle.key(KeyKind::Due).to_string();

    bench.reserve(&[wanted("w", "for ever", 0), wanted("w", "for a minute", 60)]).await;

    let keys = bench.keys();
    let hash = Secret::of(&bench.key.text).hash().to_owned();
    let expected = [
        ("meta", "hash"),
        ("held", "hash"),
        ("deadlines", "zset"),
        ("history", "list"),
        ("keys", "hash"),
        (due.as_str(), "zset"),
        ("hf:tenants", "zset"),
        (&*format!("hf:key:{hash}"), "string"),
    ];
    assert_eq!(
        keys.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
        expected.iter().map(|(key, _)| *key).collect()
    );
    for (key, kind) in expected {
        let (found, ttl) = &keys[key];
        assert_eq!(found, kind, "{key}");
        if key == "history" {
            assert!((3600..=4800).contains(ttl), "the history goes with its last event: {ttl}");
        } else {
            assert_eq!(*ttl, -1, "{key} never ends by itself");
        }
    }
    assert_eq!(
        bench.redis.ask::<i64>(&format!("ZCARD {}", handle.key(KeyKind::Deadlines))),
        1,
        "only what has a deadline"
    );
    let earliest: f64 = bench.redis.ask(&format!("ZSCORE {due} {}", bench.tenant.id));
    assert_eq!(bench.tenant_state().due_ms, Some(earliest as i64));
    assert_eq!(
        bench.redis.ask::<i64>(&format!("LLEN {}", handle.key(KeyKind::History))),
        1,
        "both events in one entry"
    );
}

#[tokio::test]
async fn after_everything_is_released_the_keys_are_as_at_the_start() {
    let bench = Bench::start(Tier::Pro).await;
    let (before, meta_before) = (bench.keys(), bench.meta());

    let items: Vec<_> = (0..300)
        .map(|number| wanted("w", &format!("r{number}"), if number % 3 == 0 { 0 } else { 60 + number }))
        .collect();
    let granted = bench.reserve(&items).await;
    let (one, rest) = granted.split_first().unwrap();
    assert_eq!(bench.unreserve_one("w", "r0", &token(one)).await, "RELINQUISHED");
    let claims: Vec<_> =
        items[1..].iter().zip(rest).map(|(item, granted)| claim("w", &item.resource, &token(granted))).collect();
    assert_eq!(done(bench.store.unreserve(&bench.caller, &claims).await).len(), 299);

    let mut after = bench.keys();
    assert!(after.remove("history").is_some());
    assert_eq!(after, before);
    assert_eq!(bench.meta(), meta_before, "no count, nothing");
    assert_eq!(bench.tenant_state().due_ms, None, "no deadline");
}

#[tokio::test]
async fn a_refusal_leaves_the_data_byte_for_byte() {
    let bench = Bench::start(Tier::Free).await;
    let items: Vec<_> = (0..50).map(|number| wanted("w", &format!("r{number}"), 600)).collect();
    let granted = bench.reserve(&items).await;
    let (store, caller) = (&bench.store, &bench.caller);
    let before = bench.redis.snapshot();
    let position = store.position(caller).await.unwrap().position;

    // Reserve: held by another, had already, and beyond the limit.
    assert_eq!(bench.reserve_one("other", "r0", 60).await.word(), "ALREADY_HELD");
    assert_eq!(bench.reserve_one("w", "r0", 60).await.word(), "ALREADY_HAD");
    let stamped = store.reserve(caller, &[wanted("w", "r0", 60), wanted("w", "r50", 60)]).await.unwrap();
    let Outcome::Limit(limit) = stamped.answer else { panic!("{stamped:?}") };
    assert_eq!(
        (limit.limit_type, limit.limit, limit.used, limit.until_ms),
        (LimitType::ConcurrentReservations, 50, 50, granted[0].deadline_ms())
    );
    assert_eq!(stamped.position, position, "a refusal takes no position");
    // Unreserve and renew: wrong token, another's, nobody's.
    for claims in [
        vec![claim("w", "r1", &token(&granted[1])), claim("w", "r0", "wrong")],
        vec![claim("other", "r0", &token(&granted[0])), claim("w", "nothing", "x")],
    ] {
        let renewals: Vec<_> = claims.iter().map(|claim| RenewRequest { claim: claim.clone(), ttl_ms: 1000 }).collect();
        let answers = (store.unreserve(caller, &claims).await.unwrap(), store.renew(caller, &renewals).await.unwrap());
        match (answers.0.answer, answers.1.answer) {
            (Outcome::WrongToken(unreserve), Outcome::WrongToken(renew)) => {
                assert_eq!((unreserve, renew), (vec![false, true], vec![false, true]))
            }
            (Outcome::Done(unreserve), Outcome::Done(renew)) => {
                assert_eq!([unreserve[0].word(), unreserve[1].word()], ["DOESNT_OWN_RESERVATION", "NOT_RESERVED"]);
                assert_eq!([renew[0].word(), renew[1].word()], ["DOESNT_OWN_RESERVATION", "NOT_RESERVED"]);
                assert_eq!(unreserve[0].holder().unwrap().requester, "w");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((answers.0.position, answers.1.position), (position, position));
    }
    // Reads.
    store.check(caller, &["r0".into(), "nothing".into()]).await.unwrap();
    assert_eq!(store.verify_fence(caller, "r0", 1).await.unwrap().answer, granted[0].fence());
    assert_eq!(store.verify_fence(caller, "nothing", 1).await.unwrap().answer, None);
    store.reservation_page(caller, &PageCursor::start(), 10).await.unwrap();
    store.keys(caller).await.unwrap();
    store.tenant(&bench.tenant.id).await.unwrap().unwrap();
    // Nothing to end, nothing lapsed, no room, no such key, the last of its kind, no such tenant.
    assert!(store.force_release(caller, "nothing", "").await.unwrap().answer.is_empty());
    assert_eq!(store.expire(&bench.tenant.id).await.unwrap(), Expired::Done);
    assert!(
        matches!(store.create_key(caller, "label", Scopes::ALL).await.unwrap().answer, Limited::Limit(limit) if limit.limit_type == LimitType::ApiKeys)
    );
    assert!(store.rotate_key(caller, "nobody").await.unwrap().answer.is_none());
    assert_eq!(store.delete_key(caller, "nobody").await.unwrap().answer, KeyRemoval::NotFound);
    assert_eq!(store.delete_key(caller, &bench.key.key.id).await.unwrap().answer, KeyRemoval::LastAdmin);
    let nobody = TenantId::random();
    assert!(!store.update_tenant(&nobody, of_tier(Tier::Pro)).await.unwrap());
    assert!(!store.delete_tenant(&nobody).await.unwrap());
    assert_eq!(store.expire(&nobody).await.unwrap(), Expired::Gone);
    assert!(store.create_tenant(bench.tenant.id.clone(), "again", Tier::Pro).await.unwrap().is_none());

    assert_eq!(bench.redis.snapshot(), before);
}

#[tokio::test]
async fn a_revoked_credential_is_refused_by_every_script() {
    let bench = Bench::start(Tier::Pro).await;
    let (store, caller) = (&bench.store, &bench.caller);
    bench.reserve_one("w", "r", 60).await;
    let second = within_limit(store.create_key(caller, "second", Scopes::ALL).await);
    let gone = store.caller(&Bearer::Key(Secret::of(&second.text))).await.unwrap().unwrap();
    assert_eq!(store.delete_key(caller, &second.key.id).await.unwrap().answer, KeyRemoval::Removed);
    let before = bench.redis.snapshot();

    let claims = [claim("w", "r", "x")];
    let renewals = [RenewRequest { claim: claims[0].clone(), ttl_ms: 1 }];
    let refused = [
        store.reserve(&gone, &[wanted("w", "r2", 0)]).await.err(),
        store.unreserve(&gone, &claims).await.err(),
        store.renew(&gone, &renewals).await.err(),
        store.check(&gone, &["r".into()]).await.err(),
        store.reservation_page(&gone, &PageCursor::start(), 1).await.err(),
        store.verify_fence(&gone, "r", 1).await.err(),
        store.position(&gone).await.err(),
        store.force_release(&gone, "r", "").await.err(),
        store.reset(&gone).await.err(),
        store.keys(&gone).await.err(),
        store.create_key(&gone, "x", Scopes::ALL).await.err(),
        store.rotate_key(&gone, &bench.key.key.id).await.err(),
        store.delete_key(&gone, &bench.key.key.id).await.err(),
    ];

    for error in refused {
        assert!(matches!(error, Some(StoreError::Unauthorized)), "{error:?}");
    }
    assert_eq!(bench.redis.snapshot(), before);
}

#[tokio::test]
async fn no_credential_version_is_used_twice() {
    let bench = Bench::start(Tier::Pro).await;
    let elsewhere = store_over(&bench.redis.url()).await;
    let refused = async |caller| {
        let error = elsewhere.reserve(caller, &[wanted("w", "r", 60)]).await.err();
        assert!(matches!(error, Some(StoreError::Unauthorized)), "{error:?}");
    };
    let mut callers = Vec::new();
    for label in ["first", "second"] {
        let key = within_limit(bench.store.create_key(&bench.caller, label, Scopes::ALL).await);
        callers.push((key.key.id, Bearer::Key(Secret::of(&key.text))));
    }
    let [(first, _), (second, bearer)] = &callers[..] else { unreachable!() };

    // A backup from before a key ended is restored, and another key ends: a caller that was cached in between is refused all the same.
    let before = backup(&bench.redis);
    bench.store.delete_key(&bench.caller, first).await.unwrap();
    let cached = elsewhere.caller(bearer).await.unwrap().expect("the second key opens");
    restore(&bench.redis, &before);
    bench.store.delete_key(&bench.caller, second).await.unwrap();
    refused(&cached).await;

    // A tenant is deleted and created again under its id.
    let (tenant, key) =
        bench.store.create_tenant(TenantId::random(), "short-lived", Tier::Pro).await.unwrap().expect("a free id");
    let old = elsewhere.caller(&Bearer::Key(Secret::of(&key.text))).await.unwrap().expect("its key opens");
    bench.store.delete_tenant(&tenant.id).await.unwrap();
    bench.store.create_tenant(tenant.id, "short-lived", Tier::Pro).await.unwrap().expect("the id is free again");
    refused(&old).await;
}

#[tokio::test]
async fn a_lapsed_reservation_is_shown_nowhere_before_it_is_ended() {
    let bench = Bench::start(Tier::Pro).await;
    let (store, caller) = (&bench.store, &bench.caller);
    let lapsed = bench.reserve_one("w", "short", 1).await;
    bench.reserve_one("w", "long", 60).await;
    eventually("it has lapsed", || bench.now_ms() > lapsed.deadline_ms().unwrap());
    let page = store.reservation_page(caller, &PageCursor::start(), 10).await.unwrap().answer;
    assert_eq!(page.reservations.iter().map(|active| active.resource.as_str()).collect::<Vec<_>>(), ["long"]);
    let checked = store.check(caller, &["short".into()]).await.unwrap().answer.remove(0);
    assert_eq!((checked.holder, checked.available, checked.takeable), (None, 1, true));
    assert_eq!(store.verify_fence(caller, "short", 1).await.unwrap().answer, None);
    // The first look has ended it, so its holder's token proves nothing any more.
    assert_eq!(bench.unreserve_one("w", "short", &token(&lapsed)).await, "NOT_RESERVED");
    let handle = TenantHandle::new(bench.tenant.id.clone());
    assert_eq!(bench.redis.ask::<i64>(&format!("HLEN {}", handle.key(KeyKind::Held))), 1);
    assert_eq!(
        bench.redis.ask::<i64>(&format!("LLEN {}", handle.key(KeyKind::History))),
        3,
        "two grants, and one entry for the two events of the expiry"
    );
}

#[tokio::test]
async fn the_noted_deadline_is_never_later_than_the_earliest() {
    let bench = Bench::start(Tier::Pro).await;
    let handle = TenantHandle::new(bench.tenant.id.clone());
    let noted_deadline = || {
        let swept = bench
            .redis
            .ask::<Option<f64>>(&format!("ZSCORE {} {}", handle.key(KeyKind::Due), bench.tenant.id))
            .map(|ms| ms as i64);
        assert_eq!(swept, bench.tenant_state().due_ms, "the sweep's note equals the tenant's");
        swept
    };

    let long = bench.reserve_one("w", "long", 600).await;
    assert_eq!(noted_deadline(), long.deadline_ms());
    let short = bench.reserve_one("w", "short", 1).await;
    assert_eq!(noted_deadline(), short.deadline_ms());
    let for_ever = bench.reserve_one("w", "for ever", 0).await;
    assert_eq!(noted_deadline(), short.deadline_ms());
    // The deadline moves: the note stays as a lower bound until a sweep finds nothing due.
    let renewals = [RenewRequest { claim: claim("w", "short", &token(&short)), ttl_ms: 900_000 }];
    let renewed = done(bench.store.renew(&bench.caller, &renewals).await).remove(0);
    assert_eq!(noted_deadline(), short.deadline_ms());
    until("the bound has passed", || async {
        bench.store.position(&bench.caller).await.unwrap().now_us / 1000 > short.deadline_ms().unwrap()
    })
    .await;
    bench.store.expire(&bench.tenant.id).await.unwrap();
    assert_eq!(noted_deadline(), long.deadline_ms());
    bench.store.force_release(&bench.caller, "long", "").await.unwrap();
    assert!(noted_deadline().is_some_and(|noted| noted <= renewed.deadline_ms().unwrap()));
    bench.unreserve_one("w", "short", &token(&short)).await;
    assert!(
        noted_deadline().is_none_or(|noted| noted <= renewed.deadline_ms().unwrap()),
        "a bound may stay while anything is held"
    );
    bench.unreserve_one("w", "for ever", &token(&for_ever)).await;
    bench.reserve_one("w", "again", 60).await;
    let again = bench.reserve_one("w", "last", 60).await;
    bench.store.force_release(&bench.caller, "again", "").await.unwrap();
    bench.unreserve_one("w", "last", &token(&again)).await;
    assert_eq!(noted_deadline(), None, "where nothing is held nobody needs to look");
    bench.reserve_one("w", "again", 60).await;
    bench.store.reset(&bench.caller).await.unwrap();
    assert_eq!(noted_deadline(), None);
}

#[tokio::test]
async fn functions_that_redis_has_lost_are_loaded_again() {
    let bench = Bench::start(Tier::Pro).await;
    for round in 0..3 {
        bench.redis.ask::<()>("FUNCTION FLUSH");
        let granted = bench.reserve_one("w", &format!("r{round}"), 60).await;
        bench.redis.ask::<()>("FUNCTION FLUSH");
        assert_eq!(bench.unreserve_one("w", &format!("r{round}"), &token(&granted)).await, "RELINQUISHED");
    }
}

/// Everything in a Redis, to be restored later.
fn backup(redis: &Redis) -> Vec<(String, Vec<u8>)> {
    let keys: Vec<String> = redis.ask("KEYS *");
    keys.into_iter()
        .map(|key| (key.clone(), redis::cmd("DUMP").arg(key).query(&mut redis.connection()).unwrap()))
        .collect()
}

fn restore(redis: &Redis, backup: &[(String, Vec<u8>)]) {
    redis.ask::<()>("FLUSHALL");
    for (key, value) in backup {
        redis::cmd("RESTORE").arg(key).arg(0).arg(value).exec(&mut redis.connection()).unwrap();
    }
}

#[tokio::test]
async fn a_position_never_falls_back_while_somebody_remembers_it() {
    let bench = Bench::start(Tier::Pro).await;
    let old = backup(&bench.redis);
    // Positions run ahead of Redis' clock, as they do after that was set back.
    let ahead = (bench.now_ms() + 3_600_000) * 1000;
    bench.redis.set_tenant_state(
        &TenantHandle::new(bench.tenant.id.clone()).key(KeyKind::Meta).to_string(),
        &TenantState { position: ahead, ..bench.tenant_state() },
    );
    let before = bench.reserve_one("w", "r", 60).await.fence().unwrap();
    assert!(before > ahead);

    // Redis loses what it had and comes back with an old backup.
    restore(&bench.redis, &old);

    let stamped = bench.store.position(&bench.caller).await.unwrap();
    assert_eq!(stamped.position, before, "a read carries it, too");
    let after = bench.reserve_one("w", "r", 60).await.fence().unwrap();
    assert!(after > before, "{after} after {before}");
    restore(&bench.redis, &old);
    bench.store.reset(&bench.caller).await.unwrap();
    assert!(bench.store.position(&bench.caller).await.unwrap().position > after);

    // The replica's floor does it: one that has seen nothing goes by the clock.
    restore(&bench.redis, &old);
    let stranger = store_over(&bench.redis.url()).await;
    let caller = stranger.caller(&Bearer::Key(Secret::of(&bench.key.text))).await.unwrap().unwrap();
    assert!(stranger.position(&caller).await.unwrap().position < before);
}

#[tokio::test]
async fn every_script_keeps_to_one_slot_of_a_cluster() {
    let bench = Bench::in_cluster(Tier::Pro).await;
    let (store, caller) = (&bench.store, &bench.caller);
    let granted = bench.reserve_one("w", "r", 60).await;
    done(store.renew(caller, &[RenewRequest { claim: claim("w", "r", &token(&granted)), ttl_ms: 90_000 }]).await);
    store.check(caller, &["r".into()]).await.unwrap();
    assert_eq!(store.reservation_page(caller, &PageCursor::start(), 10).await.unwrap().answer.reservations.len(), 1);
    assert_eq!(store.verify_fence(caller, "r", 1).await.unwrap().answer, granted.fence());
    store.position(caller).await.unwrap();
    assert_eq!(bench.unreserve_one("w", "r", &token(&granted)).await, "RELINQUISHED");
    bench.reserve_one("w", "r", 60).await;
    assert!(store.force_release(caller, "r", "").await.unwrap().answer == ["r"]);
    let together = bench.reserve_together("w", &names("together", 12), 60).await;
    assert!(together.iter().all(|granted| granted.word() == "ACQUIRED"), "{together:?}");
    store.reset(caller).await.unwrap();
    store.expire(&bench.tenant.id).await.unwrap();
    let second = within_limit(store.create_key(caller, "second", Scopes::ALL).await);
    assert_eq!(store.keys(caller).await.unwrap().answer.len(), 2);
    store.rotate_key(caller, &second.key.id).await.unwrap().answer.unwrap();
    assert_eq!(store.delete_key(caller, &second.key.id).await.unwrap().answer, KeyRemoval::Removed);
    assert!(store.update_tenant(&bench.tenant.id, of_tier(Tier::Enterprise)).await.unwrap());
    assert_eq!(store.tenants(None, 10).await.unwrap().tenants.len(), 1);
    assert!(store.delete_tenant(&bench.tenant.id).await.unwrap());
    assert!(bench.redis.snapshot().is_empty());
}

#[tokio::test]
async fn a_key_of_another_slot_is_refused_before_anything_is_written() {
    let bench = Bench::in_cluster(Tier::Pro).await;
    let (ours, theirs) =
        (TenantHandle::new(bench.tenant.id.clone()), (0..).map(|_| TenantHandle::new(TenantId::random())));
    let theirs = { theirs }.find(|handle| handle.partition() != ours.partition()).unwrap();
    let before = bench.redis.snapshot();

    for function in FUNCTIONS.iter().filter(|function| function.keys.len() > 1) {
        let mut call = redis::cmd("FCALL");
        call.arg(function.loaded_as()).arg(function.keys.len());
        for (at, kind) in function.keys.iter().enumerate() {
            call.arg(if at + 1 == function.keys.len() { theirs.key(*kind) } else { ours.key(*kind) });
        }
        let error = call.query::<redis::Value>(&mut bench.redis.connection()).unwrap_err();
        assert_eq!(error.code(), Some("CROSSSLOT"), "{}: {error}", function.name);
    }
    // A script that accesses a key of another slot by itself: its shebang forbids it, also where this node has that slot.
    for function in FUNCTIONS {
        let shebang = function.script().lines().next().unwrap();
        let reaching = format!("{shebang}\nreturn redis.call('GET', '{}')", theirs.key(KeyKind::Meta));
        let error = redis::cmd("EVAL")
            .arg(reaching)
            .arg(1)
            .arg(ours.key(KeyKind::Meta))
            .query::<redis::Value>(&mut bench.redis.connection())
            .unwrap_err();
        assert!(error.to_string().contains("slot"), "{error}");
    }

    assert_eq!(bench.redis.snapshot(), before);
}
