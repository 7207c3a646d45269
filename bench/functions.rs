//! Cost of each function in Redis: microseconds per call as Redis itself counts them (`INFO commandstats`, FCALL), for each kind of
//! reservation, with few and with many reservations held by the tenant. Run it with `cargo bench --bench functions`.
//!
//! Every figure is the median of rounds, with the spread beside it; the calls of a round are made one after the other on one connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a measurement that cannot go on is over")]

use std::{path::Path, sync::Arc};

use holdfast::{
    domain::{
        names::TenantId,
        reservation::{ReleaseRequest, ReserveRequest},
        resource::Definition,
        tier::Tier,
        transaction::{Items, Method, Transaction, TransactionStatus},
    },
    redis::{Address, PrivateRedis},
    store::{Bearer, Caller, Callers, Outcome, Secret, Store},
};
use uuid::Uuid;

const ROUNDS: usize = 7;
const CALLS: usize = 300;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let redis = PrivateRedis::start(dir.path()).await.unwrap();
    let store = Store::open(Address::parse(&redis.url()).unwrap(), Arc::new(Callers::default()));
    store.redis().connected().await;
    println!("{:<52} {:>9}   {:>15}", "per call, in Redis", "median us", "min .. max");
    for held in [10, 1_000, 1_000_000] {
        let bench = Bench::new(&store, held).await;
        println!("-- {held} reservations held by the tenant");
        bench.plain().await;
        bench.register().await;
        bench.kinds().await;
    }
    memory(dir.path());
    redis.stop().await;
}

struct Bench<'a> {
    store: &'a Store,
    caller: Caller,
}

impl<'a> Bench<'a> {
    /// A tenant that holds so many plain names.
    async fn new(store: &'a Store, held: usize) -> Self {
        let (tenant, key) = store.create_tenant(TenantId::random(), "bench", Tier::Enterprise).await.unwrap().unwrap();
        let caller = store.caller(&Bearer::Key(Secret::of(&key.text))).await.unwrap().unwrap();
        assert_eq!(caller.tenant().id, tenant.id);
        for first in (0..held).step_by(1_000) {
            let wanted: Vec<_> = (first..held.min(first + 1_000)).map(|n| wanted("holder", &format!("held-{n}"), Some(3_600_000))).collect();
            store.reserve(&caller, &wanted).await.unwrap();
        }
        Self { store, caller }
    }

    /// The pair of a plain name, of a tenant that registered nothing.
    async fn plain(&self) {
        self.pair("reserve + unreserve, plain name, nothing registered", &["plain"]).await;
        self.median("check, plain name", async |n| {
            self.store.check(&self.caller, &[format!("held-{n}")]).await.unwrap();
        })
        .await;
    }

    async fn register(&self) {
        let define = |name: &str, capacity, blocks: &[&str], ancestors: &[&str]| Definition {
            name: name.into(),
            capacity,
            blocks: blocks.iter().map(|name| (*name).to_owned()).collect(),
            ancestors: ancestors.iter().map(|name| (*name).to_owned()).collect(),
        };
        let definitions = [
            define("small", 10, &[], &[]),
            define("large", 100_000, &[], &[]),
            define("deep", 1, &[], &["l1", "l2", "l3", "l4", "l5", "l6", "l7"]),
            define("blocking", 1, &["b1", "b2"], &[]),
        ];
        self.store.register(&self.caller, &definitions).await.unwrap();
        // Half of the large pool is held, so that its lowest free slot has to be looked for.
        for first in (0..50_000).step_by(1_000) {
            let wanted: Vec<_> = (first..first + 1_000).map(|n| wanted(&format!("w{n}"), "large", None)).collect();
            self.store.reserve(&self.caller, &wanted).await.unwrap();
        }
    }

    async fn kinds(&self) {
        self.pair("reserve + unreserve, plain name", &["plain"]).await;
        self.pair("reserve + unreserve, pool of 10", &["small"]).await;
        self.pair("reserve + unreserve, pool of 100,000, half held", &["large"]).await;
        self.pair("reserve + unreserve, tree of depth 8", &["deep"]).await;
        self.pair("reserve + unreserve, two blockers", &["blocking"]).await;
        let ten: Vec<_> = (0..10).map(|n| format!("t{n}")).collect();
        self.transactions("transaction of 10, reserve + unreserve", &ten, CALLS / 3).await;
        let thousand: Vec<_> = (0..1_000).map(|n| format!("t{n}")).collect();
        self.transactions("transaction of 1,000, reserve + unreserve", &thousand, 5).await;
    }

    /// Reserve and release; the figure is of one of the two calls.
    async fn pair(&self, what: &str, names: &[&str]) {
        self.median(what, async |_| {
            let wanted: Vec<_> = names.iter().map(|name| wanted("bench", name, Some(60_000))).collect();
            let Outcome::Done(granted) = self.store.reserve(&self.caller, &wanted).await.unwrap().answer else { panic!("refused") };
            let claims: Vec<_> = names.iter().zip(granted).map(|(name, granted)| claim(name, granted.grant().map(|grant| grant.token.to_string()))).collect();
            self.store.unreserve(&self.caller, &claims).await.unwrap();
        })
        .await;
    }

    async fn transactions(&self, what: &str, names: &[String], calls: usize) {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            self.reset().await;
            for _ in 0..calls {
                let wanted: Vec<_> = names.iter().map(|name| wanted("bench", name, Some(60_000))).collect();
                let tokens: Vec<_> = wanted.iter().map(|wanted| wanted.token.to_string()).collect();
                let group = |items| [Transaction { method: Method::AllOrNone, items, wait: None }];
                let reserves = group(Items::Reserve(wanted));
                let told = self.store.transactions(&self.caller, &reserves).await.unwrap();
                assert!(matches!(&told.answer, Outcome::Done(outcomes) if outcomes[0].status == TransactionStatus::Applied));
                let claims = names.iter().zip(tokens).map(|(name, token)| claim(name, Some(token))).collect();
                self.store.transactions(&self.caller, &group(Items::Unreserve(claims))).await.unwrap();
            }
            rounds.push(self.microseconds().await);
        }
        print(what, rounds);
    }

    async fn median(&self, what: &str, call: impl AsyncFn(usize)) {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            self.reset().await;
            for n in 0..CALLS {
                call(n).await;
            }
            rounds.push(self.microseconds().await);
        }
        print(what, rounds);
    }

    async fn reset(&self) {
        self.store.redis().send(redis::cmd("CONFIG").arg("RESETSTAT")).await.unwrap();
    }

    /// Microseconds per FCALL since the counters were reset. The sweep is not running here.
    async fn microseconds(&self) -> f64 {
        let text = self.store.redis().send(redis::cmd("INFO").arg("commandstats")).await.unwrap();
        let text: String = redis::from_redis_value(text).unwrap();
        let line = text.lines().find(|line| line.starts_with("cmdstat_fcall:")).unwrap();
        line.split("usec_per_call=").nth(1).unwrap().split(',').next().unwrap().parse().unwrap()
    }
}

fn wanted(requester: &str, resource: &str, ttl_ms: Option<i64>) -> ReserveRequest {
    ReserveRequest {
        requester: requester.into(),
        resource: resource.into(),
        token: Uuid::new_v4(),
        ttl_ms,
        resource_type: "UserDefined".into(),
        note: String::new(),
        quantity: 1,
        wait: None,
    }
}

fn claim(resource: &str, token: Option<String>) -> ReleaseRequest {
    ReleaseRequest { requester: "bench".into(), resource: resource.into(), token }
}

fn print(what: &str, mut rounds: Vec<f64>) {
    rounds.sort_by(f64::total_cmp);
    println!("{what:<52} {:>9.1}   {:>6.1} .. {:.1}", rounds[rounds.len() / 2], rounds[0], rounds[rounds.len() - 1]);
}

fn memory(dir: &Path) {
    let bytes: u64 = walk(dir).iter().sum();
    println!("files of the private Redis at the end: {} MiB", bytes >> 20);
}

fn walk(dir: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.flat_map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { vec![entry.metadata().map_or(0, |data| data.len())] }).collect()
}
