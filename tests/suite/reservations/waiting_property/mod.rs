//! Random calls with waiting through two replicas, each answer compared with the model's; after each call who holds what, who waits at
//! which place, and what the keys of tickets hold.

mod compare;
mod look;
mod once_failed;
mod ops;
mod pair;
mod step;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Instant,
};

use holdfast::{domain::names::TenantId, store::TenantHandle};
use proptest::test_runner::{Config, TestError, TestRunner};
use reqwest::Method;
use serde_json::json;
use tokio::runtime::Runtime;

use self::{
    ops::{Op, op},
    pair::{OUTAGE_TIMEOUT, Pair, Unknown},
};
use crate::support::{
    waiting_model::{State, WaitingModel},
    world::{Tenant, World, admin, long},
};

/// A case is up to 80 calls of a tenant of its own.
const CASES: u32 = 60;
const CASES_LONG: u32 = 3_000;
/// How often a case is begun anew because the machine was too slow for Redis to answer in time.
const MAX_UNKNOWN: usize = 20;

/// Two replicas, and the runtime from which they are called.
struct Bench {
    runtime: Runtime,
    world: World<2>,
    http: reqwest::Client,
}

impl Bench {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let world = runtime.block_on(World::start());
        Self { runtime, world, http: reqwest::Client::new() }
    }

    /// Carries calls of a new tenant out, and compares after each.
    fn carry_out(&self, ops: &[Op]) {
        for _ in 0..MAX_UNKNOWN {
            match catch_unwind(AssertUnwindSafe(|| self.runtime.block_on(self.try_to_carry_out(ops)))) {
                Ok(()) => return,
                Err(why) if why.is::<Unknown>() => {}
                Err(why) => resume_unwind(why),
            }
        }
        panic!("{MAX_UNKNOWN} times nobody knew whether a call was carried out");
    }

    async fn try_to_carry_out(&self, ops: &[Op]) {
        let tenant = self.tenant().await;
        let at = [self.world.at_replica(0, &tenant), self.world.at_replica(1, &tenant)];
        let keys = TenantHandle::new(TenantId::parse(&tenant.id).unwrap());
        let (model, redis, http) = (WaitingModel::new(2), self.world.redis.connection(), self.http.clone());
        let mut pair = Pair { model, keys, redis, at, turn: 0, http, reset: 0 };
        let definitions = json!([{"name": "P", "capacity": 2}, {"name": "X", "blocks": ["b"]},
            {"name": "leaf", "treePath": "root>mid"}]);
        pair.post("Resource/register", definitions).await;
        for op in ops {
            pair.step(op).await;
            pair.look().await;
        }
        // Who lost the answer that served a ticket asks for it afterwards.
        for ticket in 0..pair.model.tickets.len() {
            if pair.model.tickets[ticket].state == State::Claimed {
                pair.ticket(ticket).await;
            }
        }
    }

    /// A tenant without limits, once Redis can be reached.
    async fn tenant(&self) -> Tenant {
        let begun = Instant::now();
        loop {
            let body = json!({"name": "test", "tier": "Enterprise"});
            let made = admin(&self.world.replicas[0], Method::POST, "", Some(body)).await;
            if made.status == 201 {
                let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
                return Tenant { id: text("tenantId"), key: text("apiKey") };
            }
            assert!(matches!(made.status.as_u16(), 503 | 504), "{made:?}");
            assert!(begun.elapsed() < OUTAGE_TIMEOUT, "timeout: a tenant is made");
        }
    }
}

#[test]
fn every_ticket_is_the_models_1() {
    every_ticket_is_the_models();
}

#[test]
fn every_ticket_is_the_models_2() {
    every_ticket_is_the_models();
}

fn every_ticket_is_the_models() {
    let cases = if long() { CASES_LONG } else { CASES };
    let bench = Bench::start();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&proptest::collection::vec(op(), 1..80), |ops| {
        bench.carry_out(&ops);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, ops)) => {
            panic!("{why}\nafter:\n{}", ops.iter().map(|op| format!("{op:?}")).collect::<Vec<_>>().join("\n"))
        }
        Err(error) => panic!("{error}"),
    }
}
