//! Random sequences of calls through the functions, against a model that is small enough to be obviously right.
//!
//! Time is Redis': each answer says when it was read, and before each step the model drops what has lapsed by then. So the model never
//! guesses, and short TTLs with short waits are enough.

use std::{collections::BTreeMap, time::Duration};

use holdfast::{
    domain::{
        reservation::{RenewRequest, ReserveRequest},
        tier::Tier,
    },
    store::{Outcome, PageCursor, StoreError},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};

use crate::support::{
    store_bench::{Bench, Parts, claim, wanted},
    world::long,
};

const REQUESTERS: [&str; 3] = ["ada", "bob", "cy"];
const RESOURCES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Who proves what: the token that the holder was given, or another.
#[derive(Debug, Clone, Copy)]
enum Proof {
    Right,
    Wrong,
    Stale,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    requester: usize,
    resource: usize,
    proof: Proof,
    /// In seconds; 0 for none, which only reserve has.
    ttl_s: i64,
}

#[derive(Debug, Clone)]
enum Step {
    Reserve(Vec<Item>),
    Unreserve(Vec<Item>),
    Renew(Vec<Item>),
    ForceRelease(usize),
    Expire,
    Wait(u64),
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let proof = prop_oneof![12 => Just(Proof::Right), 1 => Just(Proof::Wrong), 1 => Just(Proof::Stale)];
    let item = (0..REQUESTERS.len(), 0..RESOURCES.len(), proof, prop_oneof![Just(0), 1..=2_i64, Just(600)])
        .prop_map(|(requester, resource, proof, ttl_s)| Item { requester, resource, proof, ttl_s });
    let items = || prop::collection::vec(item.clone(), 1..5);
    prop_oneof![
        8 => items().prop_map(Step::Reserve),
        6 => items().prop_map(Step::Unreserve),
        4 => items().prop_map(Step::Renew),
        1 => (0..RESOURCES.len()).prop_map(Step::ForceRelease),
        1 => Just(Step::Expire),
        2 => (100..700_u64).prop_map(Step::Wait),
        1 => Just(Step::Reset),
    ]
}

/// A reservation as the model knows it.
#[derive(Debug, Clone, PartialEq)]
struct Held {
    requester: &'static str,
    token: String,
    fence: i64,
    deadline_ms: Option<i64>,
}

#[derive(Debug, Default)]
struct Model {
    held: BTreeMap<&'static str, Held>,
    /// The last token that each resource had before its present one.
    stale: BTreeMap<&'static str, String>,
    position: i64,
}

impl Model {
    /// Drops what has lapsed when a call is made that writes.
    fn at(&mut self, now_us: i64) {
        let lapsed: Vec<_> = self
            .held
            .iter()
            .filter(|(_, held)| held.deadline_ms.is_some_and(|ms| ms <= now_us / 1000))
            .map(|(name, _)| *name)
            .collect();
        for name in lapsed {
            self.drop(name);
        }
    }

    fn drop(&mut self, name: &'static str) {
        let held = self.held.remove(name).unwrap();
        self.stale.insert(name, held.token);
    }

    fn token(&self, item: &Item) -> String {
        let name = RESOURCES[item.resource];
        match item.proof {
            Proof::Right => self.held.get(name).map_or_else(|| "none".to_owned(), |held| held.token.clone()),
            Proof::Wrong => "wrong".to_owned(),
            Proof::Stale => self.stale.get(name).cloned().unwrap_or_else(|| "stale".to_owned()),
        }
    }

    /// The state of an item's resource for its requester: `None` if free, else whether it is the requester's own.
    fn owned(&self, item: &Item) -> Option<bool> {
        self.held.get(RESOURCES[item.resource]).map(|held| held.requester == REQUESTERS[item.requester])
    }
}

/// A deadline is counted from the next whole millisecond, so that it is never early.
fn ceil_ms(now_us: i64) -> i64 {
    (now_us + 999) / 1000
}

/// An answer, unless this machine was too busy for Redis to answer in time: then the sequence tells nothing.
fn known<T>(answer: Result<T, StoreError>) -> Result<T, TestCaseError> {
    match answer {
        Err(StoreError::OutcomeUnknown { .. } | StoreError::Unreachable) => {
            Err(TestCaseError::reject("no answer in time"))
        }
        answer => Ok(answer.unwrap()),
    }
}

/// Runs one sequence on a fresh tenant's state; every answer is compared.
async fn run(bench: &Bench, steps: &[Step]) -> Result<(), TestCaseError> {
    known(bench.store.reset(&bench.caller).await)?;
    let mut model = Model { position: known(bench.store.position(&bench.caller).await)?.position, ..Model::default() };
    for step in steps {
        match step {
            Step::Reserve(items) => reserve(bench, &mut model, items).await?,
            Step::Unreserve(items) => unreserve(bench, &mut model, items).await?,
            Step::Renew(items) => renew(bench, &mut model, items).await?,
            Step::ForceRelease(resource) => {
                let name = RESOURCES[*resource];
                let told = known(bench.store.force_release(&bench.caller, name, "").await)?;
                model.at(told.now_us);
                prop_assert_eq!(told.answer.len(), usize::from(model.held.contains_key(name)));
                if model.held.contains_key(name) {
                    model.drop(name);
                }
            }
            Step::Reset => {
                let told = known(bench.store.reset(&bench.caller).await)?;
                model.at(told.now_us);
                prop_assert_eq!(told.answer, model.held.len() as i64);
                model.held.clear();
            }
            Step::Expire => {
                known(bench.store.expire(&bench.tenant.id).await)?;
            }
            Step::Wait(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
        }
        listing_agrees(bench, &mut model).await?;
    }
    Ok(())
}

async fn reserve(bench: &Bench, model: &mut Model, items: &[Item]) -> Result<(), TestCaseError> {
    let wanted: Vec<ReserveRequest> =
        items.iter().map(|item| wanted(REQUESTERS[item.requester], RESOURCES[item.resource], item.ttl_s)).collect();
    let told = known(bench.store.reserve(&bench.caller, &wanted).await)?;
    model.at(told.now_us);
    let Outcome::Done(answers) = told.answer else { return Err(TestCaseError::fail("a limit that is none")) };
    prop_assert_eq!(answers.len(), items.len());
    for ((item, wanted), answer) in items.iter().zip(&wanted).zip(answers) {
        let name = RESOURCES[item.resource];
        match model.owned(item) {
            None => {
                prop_assert_eq!(answer.word(), "ACQUIRED");
                let fence = answer.fence().unwrap();
                prop_assert!(fence > model.position, "a fence is greater than every position before");
                model.position = fence;
                let deadline_ms = wanted.ttl_ms.map(|ttl| ceil_ms(told.now_us) + ttl);
                prop_assert_eq!(answer.deadline_ms(), deadline_ms);
                let token = wanted.token.to_string();
                prop_assert_eq!(answer.token(), Some(token.clone()));
                model.held.insert(name, Held { requester: REQUESTERS[item.requester], token, fence, deadline_ms });
            }
            Some(own) => {
                let held = &model.held[name];
                prop_assert_eq!(answer.word(), if own { "ALREADY_HAD" } else { "ALREADY_HELD" });
                prop_assert_eq!(answer.token(), own.then(|| held.token.clone()));
                prop_assert_eq!(answer.fence(), own.then_some(held.fence));
                if own {
                    prop_assert_eq!(answer.grant().unwrap().deadline_ms, held.deadline_ms);
                } else {
                    let holder = answer.holder().unwrap();
                    prop_assert_eq!((&*holder.requester, holder.until_ms), (held.requester, held.deadline_ms));
                }
            }
        }
    }
    Ok(())
}

/// Which items have a wrong token for what their requester holds, as the state is before the call.
fn wrong_tokens(model: &Model, items: &[Item], tokens: &[String]) -> Vec<bool> {
    items
        .iter()
        .zip(tokens)
        .map(|(item, token)| model.owned(item) == Some(true) && model.held[RESOURCES[item.resource]].token != *token)
        .collect()
}

async fn unreserve(bench: &Bench, model: &mut Model, items: &[Item]) -> Result<(), TestCaseError> {
    let tokens: Vec<_> = items.iter().map(|item| model.token(item)).collect();
    let claims: Vec<_> = items
        .iter()
        .zip(&tokens)
        .map(|(item, token)| claim(REQUESTERS[item.requester], RESOURCES[item.resource], token))
        .collect();
    let told = known(bench.store.unreserve(&bench.caller, &claims).await)?;
    model.at(told.now_us);
    // An item whose resource an earlier item frees finds nothing any more, so its token does not matter.
    let mut freed = std::collections::BTreeSet::new();
    let wrong: Vec<_> = items
        .iter()
        .zip(wrong_tokens(model, items, &tokens))
        .map(|(item, wrong)| {
            let wrong = wrong && !freed.contains(&item.resource);
            if model.owned(item) == Some(true) && !wrong {
                freed.insert(item.resource);
            }
            wrong
        })
        .collect();
    match told.answer {
        Outcome::WrongToken(told_wrong) => prop_assert_eq!(told_wrong, wrong),
        Outcome::Done(answers) => {
            prop_assert!(!wrong.contains(&true), "a wrong token was let pass");
            for (item, answer) in items.iter().zip(answers) {
                let name = RESOURCES[item.resource];
                match model.owned(item) {
                    None => prop_assert_eq!((answer.word(), answer.freed().len()), ("NOT_RESERVED", 0)),
                    Some(false) => {
                        prop_assert_eq!(answer.word(), "DOESNT_OWN_RESERVATION");
                        prop_assert_eq!(&answer.holder().unwrap().requester, model.held[name].requester);
                    }
                    Some(true) => {
                        prop_assert_eq!((answer.word(), answer.freed()), ("RELINQUISHED", vec![name.to_owned()]));
                        model.drop(name);
                    }
                }
            }
        }
        Outcome::Limit(_) => return Err(TestCaseError::fail("a release has no limit")),
    }
    Ok(())
}

async fn renew(bench: &Bench, model: &mut Model, items: &[Item]) -> Result<(), TestCaseError> {
    let tokens: Vec<_> = items.iter().map(|item| model.token(item)).collect();
    let renewals: Vec<_> = items
        .iter()
        .zip(&tokens)
        .map(|(item, token)| RenewRequest {
            claim: claim(REQUESTERS[item.requester], RESOURCES[item.resource], token),
            ttl_ms: item.ttl_s.max(1) * 1000,
        })
        .collect();
    let told = known(bench.store.renew(&bench.caller, &renewals).await)?;
    model.at(told.now_us);
    let wrong = wrong_tokens(model, items, &tokens);
    match told.answer {
        Outcome::WrongToken(told_wrong) => prop_assert_eq!(told_wrong, wrong),
        Outcome::Done(answers) => {
            prop_assert!(!wrong.contains(&true), "a wrong token was let pass");
            for ((item, renewal), answer) in items.iter().zip(&renewals).zip(answers) {
                match model.owned(item) {
                    None => prop_assert_eq!(answer.word(), "NOT_RESERVED"),
                    Some(false) => prop_assert_eq!(answer.word(), "DOESNT_OWN_RESERVATION"),
                    Some(true) => {
                        let held = model.held.get_mut(RESOURCES[item.resource]).unwrap();
                        held.deadline_ms = Some(ceil_ms(told.now_us) + renewal.ttl_ms);
                        prop_assert_eq!(
                            (answer.word(), answer.fence(), answer.deadline_ms()),
                            ("RENEWED", Some(held.fence), held.deadline_ms)
                        );
                    }
                }
            }
        }
        Outcome::Limit(_) => return Err(TestCaseError::fail("a renewal has no limit")),
    }
    Ok(())
}

async fn listing_agrees(bench: &Bench, model: &mut Model) -> Result<(), TestCaseError> {
    let told = known(bench.store.reservation_page(&bench.caller, &PageCursor::start(), 100).await)?;
    prop_assert!(told.position >= model.position, "the position only grows");
    model.position = told.position;
    let listed: BTreeMap<_, _> = told
        .answer
        .reservations
        .into_iter()
        .map(|active| (active.resource.clone(), (active.requester, active.fence, active.deadline_ms)))
        .collect();
    let expected: BTreeMap<_, _> = model
        .held
        .iter()
        .filter(|(_, held)| held.deadline_ms.is_none_or(|ms| ms > told.now_us / 1000))
        .map(|(name, held)| ((*name).to_owned(), (held.requester.to_owned(), held.fence, held.deadline_ms)))
        .collect();
    prop_assert_eq!(listed, expected);
    Ok(())
}

#[test]
fn every_answer_is_the_models() {
    let cases = if long() { 600 } else { 24 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bench = runtime.block_on(Bench::start(Tier::Enterprise));
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() });
    let outcome = runner.run(&prop::collection::vec(step(), 1..40), |steps| runtime.block_on(run(&bench, &steps)));
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
