//! Random calls with waiting through two replicas, each answer compared with the model's; after each call who holds what, who waits at which place,
//! and what the keys of tickets hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{
    prelude::*,
    test_runner::{Config, TestError, TestRunner},
};
use serde_json::{Value, json};

use crate::support::{
    tenant_state::TenantState,
    waiting_model::{Grant, State, Ticket, WaitingModel, Wish, last_of},
    world::{Answer, Client, Tenant, World},
};

const NAMES: [&str; 10] = ["a", "b", "c", "P", "P_0", "P_1", "X", "root", "mid", "leaf"];
const REQUESTERS: [&str; 4] = ["w0", "w1", "w2", "w3"];

/// Where `leaf` may stand.
const PLACES: [&[&str]; 3] = [&["root", "mid"], &["root"], &[]];

/// How a wish waits: priority, and whether it lets others pass.
type Wait = Option<(i64, bool)>;

#[derive(Debug, Clone)]
enum Op {
    /// One item; `ends`: it lasts a second, unless something else is about to end.
    Reserve {
        wish: Wish,
        wait: Wait,
        ends: bool,
    },
    /// Items of one call, each on its own.
    Batch(Vec<(Wish, Wait)>),
    Transactions(Vec<(Wish, Wait)>),
    Release(usize),
    Renew(usize),
    Cancel(usize),
    Look(usize),
    ForceRelease(&'static str),
    Capacity(usize),
    /// `X` takes these along from now on.
    Blocks(Vec<&'static str>),
    /// `leaf` stands below these from now on, unless it is held.
    Move(&'static [&'static str]),
    /// Nobody has asked for a ticket for as long as it lives.
    Die(usize),
    Reset,
    /// Go on once the next deadline is past.
    Outlive,
}

/// How many of the pool's slots an item of a requester wants.
fn item(requester: &str, name: &'static str) -> (&'static str, usize) {
    (name, if name == "P" && matches!(requester, "w2" | "w3") { 2 } else { 1 })
}

fn one(requester: &'static str, name: &'static str) -> Wish {
    Wish { method: None, requester, items: vec![item(requester, name)] }
}

fn several(method: &'static str, requester: &'static str, names: &[&'static str]) -> Wish {
    Wish { method: Some(method), requester, items: names.iter().map(|name| item(requester, name)).collect() }
}

/// The same wish of another number of the pool's slots.
fn with_quantity(mut wish: Wish, quantity: Option<usize>) -> Wish {
    for (name, wanted) in &mut wish.items {
        *wanted = quantity.filter(|_| *name == "P").unwrap_or(*wanted);
    }
    wish
}

/// Mostly what `item` says.
fn quantity() -> impl Strategy<Value = Option<usize>> {
    prop::option::weighted(0.15, 1..4_usize)
}

fn single() -> impl Strategy<Value = Wish> {
    (prop::sample::select(&REQUESTERS[..]), prop::sample::select(&NAMES[..]), quantity())
        .prop_map(|(requester, name, quantity)| with_quantity(one(requester, name), quantity))
}

fn group() -> impl Strategy<Value = Wish> {
    let method = prop::sample::select(&["ALL_OR_NONE", "ALL_OR_NONE", "AS_MANY_AS_POSSIBLE", "FIRST"][..]);
    let names = prop::sample::subsequence(&NAMES[..], 1..4).prop_shuffle();
    (method, prop::sample::select(&REQUESTERS[..]), names, quantity())
        .prop_map(|(method, requester, names, quantity)| with_quantity(several(method, requester, &names), quantity))
}

fn wait() -> impl Strategy<Value = Wait> {
    let priority = prop_oneof![4 => Just(0_i64), 1 => Just(5), 1 => Just(-5)];
    prop::option::weighted(0.7, (priority, prop::bool::weighted(0.2)))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        24 => (single(), wait(), prop::bool::weighted(0.1))
            .prop_map(|(wish, wait, ends)| Op::Reserve { wish, wait, ends }),
        4 => prop::collection::vec((single(), wait()), 2..4).prop_map(Op::Batch),
        14 => prop::collection::vec((group(), wait()), 1..3).prop_map(Op::Transactions),
        20 => any::<usize>().prop_map(Op::Release),
        2 => any::<usize>().prop_map(Op::Renew),
        5 => any::<usize>().prop_map(Op::Cancel),
        5 => any::<usize>().prop_map(Op::Look),
        3 => prop::sample::select(&["a", "b", "c", "X", "root", "mid", "leaf"][..]).prop_map(Op::ForceRelease),
        2 => (2..5_usize).prop_map(Op::Capacity),
        2 => prop::sample::subsequence(&["a", "b", "c"][..], 0..3).prop_map(Op::Blocks),
        2 => prop::sample::select(&PLACES[..]).prop_map(Op::Move),
        4 => any::<usize>().prop_map(Op::Die),
        1 => Just(Op::Reset),
        1 => Just(Op::Outlive),
    ]
}

/// The real thing and the model, side by side.
struct Pair<'a> {
    model: WaitingModel,
    world: &'a World<2>,
    tenant: &'a Tenant,
    at: [Client<'a>; 2],
    turn: usize,
    http: reqwest::Client,
    /// How many tickets were ended by a reset.
    reset: usize,
}

impl Pair<'_> {
    async fn call(&mut self, method: reqwest::Method, path: &str, body: Option<Value>) -> Answer {
        self.turn += 1;
        let at = self.at[self.turn % 2];
        let mut request =
            self.http.request(method, format!("{}/api/v1/{path}", at.replica.url)).header("x-api-key", at.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let send = async || {
            let request = request.try_clone().expect("its body is text");
            crate::support::world::answer(request.send().await.expect("an answer")).await
        };
        let mut answer = send().await;
        // A machine that stands still for a while takes a replica's connections with it: nothing was changed.
        for _ in 0..MAX_UNAVAILABLE {
            if answer.status != 503 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            answer = send().await;
        }
        if answer.status.is_success() {
            self.model.lapse(answer.number("holdfast-time"));
        }
        answer
    }

    async fn post(&mut self, path: &str, body: Value) -> Answer {
        let answer = self.call(reqwest::Method::POST, path, Some(body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    async fn ticket(&mut self, at: usize) -> Value {
        let path = format!("Reservation/tickets/{}", self.model.tickets[at].id);
        let answer = self.call(reqwest::Method::GET, &path, None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let state = self.model.tickets[at].state;
        let status = match state {
            State::Waiting => "WAITING",
            State::Granted | State::Claimed => "ACQUIRED",
            State::Cancelled => "CANCELLED",
            State::Lapsed => "LAPSED",
        };
        assert_eq!(answer.body["status"], status, "{answer:?}\n{:#?}", self.model);
        if state == State::Granted {
            self.model.tickets[at].state = State::Claimed;
        }
        for grant in self.model.grants.iter_mut().filter(|grant| grant.token.is_none()) {
            if let Some((of, item)) = grant.ticket
                && of == at
            {
                let got = &answer.body;
                let result = if got["reservation"].is_null() {
                    &got["transaction"]["results"][item]
                } else {
                    &got["reservation"]
                };
                assert_eq!(result["status"], "ACQUIRED", "{got}\n{grant:?}");
                grant.token = Some(result["releaseToken"].as_str().unwrap().to_owned());
            }
        }
        answer.body
    }

    fn item(wish: &Wish, at: usize) -> Value {
        json!({"requester": wish.requester, "resource": wish.items[at].0, "quantity": wish.items[at].1})
    }

    fn with_wait(mut body: Value, wait: Wait) -> Value {
        if let Some((priority, _)) = wait {
            let waits = json!({"waitSeconds": 3_600, "priority": priority, "keepAliveSeconds": 3_600});
            body.as_object_mut().unwrap().extend(waits.as_object().unwrap().clone());
        }
        body
    }

    /// Carries a wish out on the model, and compares what it was answered: `status` of the whole, `results` of the items.
    fn compare(&mut self, wish: &Wish, wait: Wait, status: &Value, results: &[Value], ticket: &Value) {
        let known = self.model.ticket_of(wish);
        let waiting = known.filter(|at| self.model.tickets[*at].state == State::Waiting);
        let before = self.model.clone();
        let order = match (waiting, wait) {
            (Some(at), Some((priority, _))) => {
                self.model.tickets[at].priority = priority;
                self.model.tickets[at].items.clone_from(&wish.items);
                self.model.order(at)
            }
            (Some(at), None) if wish.method.is_some() => self.model.order(at),
            _ => last_of(wait.map_or(0, |(priority, _)| priority)),
        };
        let grants_before = self.model.grants.len();
        let (stands, statuses) = self.model.carry_out(wish, order);
        let context = format!("{wish:?} {wait:?}\n{status} {results:?}\n{before:#?}");
        if stands {
            match wish.method {
                Some(_) => assert_eq!(status, "APPLIED", "{context}"),
                None => assert_eq!(status, statuses[0], "{context}"),
            }
            let real: Vec<_> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
            assert_eq!(real, statuses, "{context}");
            for grant in &mut self.model.grants[grants_before..] {
                let at = wish.items.iter().position(|(name, _)| *name == grant.name).unwrap();
                grant.token = Some(results[at]["releaseToken"].as_str().unwrap().to_owned());
            }
            self.claim_shown(wish, &statuses, results);
            // Without a wait, a single item that was taken anew shows nothing of what the ticket got before.
            let is_shown = wish.method.is_some() || wait.is_some() || waiting.is_some() || statuses[0] == "ALREADY_HAD";
            if let Some(known) = known.filter(|_| is_shown) {
                self.model.tickets[known].state = State::Claimed;
                for grant in self.model.grants.iter_mut().filter(|grant| grant.token.is_none()) {
                    if let Some(at) = wish.items.iter().position(|(name, _)| *name == grant.name)
                        && grant.ticket.is_some_and(|(of, _)| of == known)
                    {
                        grant.token = Some(results[at]["releaseToken"].as_str().unwrap().to_owned());
                    }
                }
            }
            return;
        }
        self.claim_shown(wish, &statuses, results);
        if let Some(known) = known.filter(|known| self.model.tickets[*known].state == State::Granted)
            && (wish.method.is_some() || wait.is_some())
        {
            self.model.tickets[known].state = State::Claimed;
        }
        let can_wait = self.model.can_wait(wish, &statuses);
        if wait.is_none() || !can_wait {
            if let Some(at) = waiting {
                self.model.tickets[at] = before.tickets[at].clone();
            }
            match wish.method {
                Some(_) => assert_eq!(status, "ROLLED_BACK", "{context}"),
                None => assert_eq!(status, statuses[0], "{context}"),
            }
            assert_eq!(*ticket, Value::Null);
            return;
        }
        let is_for_all = matches!(wish.method, None | Some("ALL_OR_NONE"));
        if waiting.is_none() && is_for_all && self.model.closes_circle(wish) {
            assert_eq!(status, "WOULD_DEADLOCK", "{context}");
            return;
        }
        assert_eq!(status, "WAITING", "{context}");
        let (priority, overtake) = wait.unwrap();
        let at = waiting.unwrap_or_else(|| {
            self.model.tickets.push(Ticket {
                id: ticket.as_str().unwrap().to_owned(),
                priority,
                method: wish.method,
                requester: wish.requester,
                items: wish.items.clone(),
                overtake: overtake && wish.method.is_some(),
                state: State::Waiting,
            });
            self.model.tickets.len() - 1
        });
        assert_eq!(*ticket, self.model.tickets[at].id, "{context}");
    }

    /// What a transaction shows to be had already claims the ticket of that item.
    fn claim_shown(&mut self, wish: &Wish, statuses: &[&str], results: &[Value]) {
        let is_shown = wish.method.is_some() && results.len() == statuses.len() && !results.is_empty();
        let had = (0..statuses.len()).filter(|at| is_shown && statuses[*at] == "ALREADY_HAD");
        for at in had {
            let single = Wish { method: None, requester: wish.requester, items: vec![wish.items[at]] };
            let Some(known) = self.model.ticket_of(&single) else { continue };
            if self.model.tickets[known].state == State::Granted {
                self.model.tickets[known].state = State::Claimed;
                let token = results[at]["releaseToken"].as_str().map(str::to_owned);
                let theirs = |grant: &&mut Grant| grant.ticket == Some((known, 0)) && grant.token.is_none();
                self.model.grants.iter_mut().filter(theirs).for_each(|grant| grant.token = token.clone());
            }
        }
    }

    async fn step(&mut self, op: &Op) {
        match op {
            Op::Reserve { wish, wait, ends } => {
                let mut body = Self::with_wait(Self::item(wish, 0), *wait);
                let ends = *ends && wait.is_none() && self.model.grants.iter().all(|grant| grant.deadline_ms.is_none());
                if ends {
                    body["ttlSeconds"] = json!(1);
                }
                let answer = self.post("Reservation/reserve", json!([body])).await;
                let result = &answer.body[0];
                self.compare(wish, *wait, &result["status"], &answer.body.as_array().unwrap()[..1], &result["ticket"]);
                if ends && result["status"] == "ACQUIRED" {
                    let deadline = result["expiresAt"].as_str().unwrap();
                    let deadline = chrono::DateTime::parse_from_rfc3339(deadline).unwrap().timestamp_millis();
                    self.model.grants.last_mut().unwrap().deadline_ms = Some(deadline);
                }
                self.model.hand_over();
            }
            Op::Batch(wishes) => {
                let body = wishes.iter().map(|(wish, wait)| Self::with_wait(Self::item(wish, 0), *wait)).collect();
                let answer = self.post("Reservation/reserve", body).await;
                for ((wish, wait), result) in wishes.iter().zip(answer.body.as_array().unwrap()) {
                    self.compare(wish, *wait, &result["status"], std::slice::from_ref(result), &result["ticket"]);
                }
                self.model.hand_over();
            }
            Op::Transactions(wishes) => {
                let body = wishes
                    .iter()
                    .map(|(wish, wait)| {
                        let requests: Vec<_> = (0..wish.items.len()).map(|at| Self::item(wish, at)).collect();
                        let mut body = json!({"method": wish.method, "requestType": "RESERVE", "requests": requests});
                        if let Some((_, true)) = wait {
                            body["overtake"] = json!(true);
                        }
                        Self::with_wait(body, *wait)
                    })
                    .collect();
                let answer = self.post("Reservation/transactions", body).await;
                for ((wish, wait), result) in wishes.iter().zip(answer.body.as_array().unwrap()) {
                    let results = result["results"].as_array().unwrap();
                    self.compare(wish, *wait, &result["status"], results, &result["ticket"]);
                }
                self.model.hand_over();
            }
            Op::Release(which) | Op::Renew(which) if !self.model.grants.is_empty() => {
                let which = which % self.model.grants.len();
                if let TokenPlace::Ticket(at) = self.token_of(which) {
                    self.ticket(at).await;
                }
                // It may have lapsed by now.
                let Some(grant) = self.model.grants.get(which).cloned() else { return };
                let Some(token) = &grant.token else { return };
                let item = json!({"requester": grant.requester, "resource": grant.own[0], "releaseToken": token});
                if matches!(op, Op::Renew(_)) {
                    if grant.deadline_ms.is_some() {
                        return; // what ends within a second is let end
                    }
                    let mut item = item;
                    item["ttlSeconds"] = json!(3_600);
                    let answer = self.post("Reservation/renew", json!([item])).await;
                    assert_eq!(answer.statuses(), ["RENEWED"], "{grant:?}");
                    return;
                }
                let answer = self.call(reqwest::Method::POST, "Reservation/unreserve", Some(json!([item]))).await;
                let left = self.model.grants.iter().position(|other| other.token == grant.token);
                match left {
                    Some(at) => {
                        assert_eq!(answer.statuses(), ["RELINQUISHED"], "{grant:?}");
                        self.model.grants.remove(at);
                    }
                    // It lapsed just now, and may be held by somebody else, or still as a blocker.
                    None => {
                        assert!(answer.status == 403 || answer.statuses() != ["RELINQUISHED"], "{answer:?} {grant:?}")
                    }
                }
                self.model.hand_over();
            }
            Op::Cancel(which) if !self.model.tickets.is_empty() => {
                let at = which % self.model.tickets.len();
                let path = format!("Reservation/tickets/{}", self.model.tickets[at].id);
                let answer = self.call(reqwest::Method::DELETE, &path, None).await;
                match self.model.tickets[at].state {
                    State::Claimed => {
                        answer.fails(409, "CONFLICT");
                    }
                    State::Lapsed => {
                        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!("LAPSED")));
                    }
                    State::Waiting | State::Granted | State::Cancelled => {
                        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!("CANCELLED")));
                        self.model.give_back(at);
                        self.model.tickets[at].state = State::Cancelled;
                    }
                }
                self.model.hand_over();
            }
            Op::Look(which) if !self.model.tickets.is_empty() => {
                self.ticket(which % self.model.tickets.len()).await;
            }
            Op::ForceRelease(name) => {
                self.post("Reservation/forceRelease", json!({"resource": name, "reason": "test"})).await;
                let is_named = |names: &[String]| names.iter().any(|own| own == name);
                self.model.grants.retain(|grant| !is_named(&grant.own) && !is_named(&grant.blockers));
                self.model.hand_over();
            }
            Op::Capacity(capacity) => {
                self.post("Resource/register", json!([{"name": "P", "capacity": capacity}])).await;
                self.model.capacity = *capacity;
                self.model.hand_over();
            }
            Op::Blocks(blocks) => {
                self.post("Resource/register", json!([{"name": "X", "blocks": blocks}])).await;
                self.model.blocks.clone_from(blocks);
                self.model.hand_over();
            }
            Op::Move(above) => {
                let path = (!above.is_empty()).then(|| above.join(">"));
                let definition = json!([{"name": "leaf", "treePath": path}]);
                let answer = self.call(reqwest::Method::POST, "Resource/register", Some(definition)).await;
                if self.model.held().contains_key("leaf") && self.model.above_leaf != *above {
                    answer.fails(409, "CONFLICT");
                } else {
                    assert_eq!(answer.status, 200, "{answer:?}");
                    self.model.above_leaf = above.to_vec();
                }
                self.model.hand_over();
            }
            Op::Die(which) if !self.model.tickets.is_empty() => {
                let at = which % self.model.tickets.len();
                if matches!(self.model.tickets[at].state, State::Waiting | State::Granted) {
                    self.outlive(at);
                    self.model.dying.push(at);
                }
            }
            Op::Reset => {
                self.post("Reservation/reset", json!({})).await;
                self.model.grants.clear();
                for ticket in &mut self.model.tickets {
                    if matches!(ticket.state, State::Waiting | State::Granted) {
                        ticket.state = State::Cancelled;
                        self.reset += 1;
                    }
                }
            }
            Op::Outlive => {
                while self.model.grants.iter().any(|grant| grant.deadline_ms.is_some()) {
                    self.call(reqwest::Method::GET, "Reservation/check/a", None).await;
                }
            }
            Op::Release(_) | Op::Renew(_) | Op::Cancel(_) | Op::Look(_) | Op::Die(_) => {}
        }
    }

    /// Lets the time pass for which a ticket lives while nobody asks for it: the moment is written into Redis, as if it had come.
    fn outlive(&self, at: usize) {
        let script = "local at = redis.call('TIME')[1] * 1000 - 1000
            redis.call('ZADD', KEYS[1], at, ARGV[1])
            local state = redis.call('HGET', KEYS[2], 'state')
            state = state:sub(1, 8) .. struct.pack('<d', at) .. state:sub(17)
            redis.call('HSET', KEYS[2], 'state', state)";
        let [ends, meta] = [":ticket_ends", ":meta"].map(|kind| self.key(kind));
        let ticket = self.model.tickets[at].id.replace('-', "");
        let script = redis::Script::new(script);
        script.key(ends).key(meta).arg(ticket).invoke::<()>(&mut self.world.redis.connection()).unwrap();
    }

    /// The tenant's key of a kind.
    fn key(&self, kind: &str) -> String {
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg(format!("*{}{kind}", self.tenant.id))
            .query(&mut self.world.redis.connection())
            .unwrap();
        keys.into_iter().next().unwrap_or_else(|| kind.into())
    }

    /// Where the token of a grant is to be had.
    fn token_of(&self, which: usize) -> TokenPlace {
        match &self.model.grants[which] {
            grant if grant.token.is_some() => TokenPlace::Known,
            grant => grant.ticket.map_or(TokenPlace::Known, |(at, _)| TokenPlace::Ticket(at)),
        }
    }

    /// Compares who waits at which place and who holds what, and looks for what is left over in the keys of tickets.
    async fn look(&mut self) {
        let answer = self.call(reqwest::Method::GET, "Reservation/waiting?limit=1000", None).await;
        let real: BTreeMap<_, _> = answer.body["waiting"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["ticket"].as_str().unwrap().to_owned(), row["place"].as_u64().unwrap() as usize))
            .collect();
        let model = &self.model;
        let expected: BTreeMap<_, _> =
            model.waiting().into_iter().map(|at| (model.tickets[at].id.clone(), model.place(at))).collect();
        assert_eq!(real, expected, "who waits\n{model:#?}");
        let answer = self.call(reqwest::Method::GET, "Reservation", None).await;
        let held: BTreeMap<_, _> = answer.body["reservations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["resource"].as_str().unwrap().to_owned(), row["requester"].as_str().unwrap().to_owned()))
            .collect();
        let expected: BTreeMap<_, _> =
            self.model.held().into_iter().map(|(name, holder)| (name, holder.to_owned())).collect();
        assert_eq!(held, expected, "who holds what\n{:#?}", self.model);
        self.look_at_keys();
    }

    /// Lines hold live tickets only; of every ticket there is one entry; the counts of the state are right.
    fn look_at_keys(&self) {
        let (lines, fields, state, (now_s, now_us)): TicketKeys = redis::pipe()
            .atomic()
            .zrange(self.key(":lines"), 0, -1)
            .hkeys(self.key(":tickets"))
            .hget(self.key(":meta"), "state")
            .cmd("TIME")
            .query(&mut self.world.redis.connection())
            .unwrap();
        let now_ms = now_s * 1_000 + now_us / 1_000;
        if self.model.grants.iter().any(|grant| grant.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms)) {
            return; // it has ended since, or will by the next call
        }
        let digits = |id: &str| id.replace('-', "").into_bytes();
        let waiting: BTreeSet<_> =
            self.model.waiting().into_iter().map(|at| digits(&self.model.tickets[at].id)).collect();
        let mut in_lines: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for member in &lines {
            let (order, ticket) = member[member.len() - 44..member.len() - 2].split_at(10);
            in_lines.entry(ticket.to_vec()).or_default().insert(order.to_vec());
        }
        let standing: BTreeSet<_> = in_lines.keys().cloned().collect();
        assert_eq!(standing, waiting, "lines hold those who wait\n{:#?}", self.model);
        assert!(in_lines.values().all(|orders| orders.len() == 1), "a ticket has one place\n{:#?}", self.model);
        let all: BTreeSet<_> = self.model.tickets.iter().map(|ticket| digits(&ticket.id)).collect();
        let real: BTreeSet<_> = fields.iter().filter(|field| field.len() == 32).cloned().collect();
        assert_eq!(real, all, "every ticket has an entry");
        // A reset leaves the wishes of the tickets that it ends until these are forgotten.
        let wishes = fields.iter().filter(|field| field[0] == b'k' && field.len() == 41).count();
        let live = |ticket: &&Ticket| matches!(ticket.state, State::Waiting | State::Granted);
        let live = self.model.tickets.iter().filter(live).count();
        assert!((live..=live + self.reset).contains(&wishes), "{wishes} wishes of {live} live tickets");
        let [.., waits, tickets] = TenantState::read(&state).rest;
        assert_eq!((waits as usize, tickets as usize), (waiting.len(), all.len()), "counts of the state");
    }
}

/// Members of lines, fields of tickets, the tenant's state, and Redis' clock, of one moment.
type TicketKeys = (Vec<Vec<u8>>, Vec<Vec<u8>>, Vec<u8>, (i64, i64));

enum TokenPlace {
    Known,
    Ticket(usize),
}

/// How often a call is sent again that was refused because Redis was not reached.
const MAX_UNAVAILABLE: usize = 100;

/// A case is up to 60 calls of a tenant of its own.
const CASES: u32 = 60;
const CASES_LONG: u32 = 3_000;

#[test]
fn every_ticket_is_the_models_1() {
    every_ticket_is_the_models();
}

#[test]
fn every_ticket_is_the_models_2() {
    every_ticket_is_the_models();
}

/// Carries calls of a new tenant out, and compares after each.
async fn carry_out(world: &World<2>, http: &reqwest::Client, ops: &[Op]) {
    let tenant = world.tenant_of("Enterprise").await;
    let at = [world.at_replica(0, &tenant), world.at_replica(1, &tenant)];
    let model = WaitingModel::new(2);
    let mut pair = Pair { model, world, tenant: &tenant, at, turn: 0, http: http.clone(), reset: 0 };
    let definitions =
        json!([{"name": "P", "capacity": 2}, {"name": "X", "blocks": ["b"]}, {"name": "leaf", "treePath": "root>mid"}]);
    pair.post("Resource/register", definitions).await;
    for op in ops {
        pair.step(op).await;
        pair.look().await;
    }
}

fn take(requester: &'static str, name: &'static str) -> Op {
    Op::Reserve { wish: one(requester, name), wait: None, ends: false }
}

fn queue(requester: &'static str, name: &'static str, priority: i64) -> Op {
    Op::Reserve { wish: one(requester, name), wait: Some((priority, false)), ends: false }
}

fn queue_all(requester: &'static str, names: &[&'static str], priority: i64) -> Op {
    Op::Transactions(vec![(several("ALL_OR_NONE", requester, names), Some((priority, false)))])
}

/// What an item of a call plans of tickets holds for the items behind it.
fn calls_that_see_what_they_plan() -> Vec<Vec<Op>> {
    let wait = |priority| Some((priority, false));
    let all = |requester, names: &[&'static str], wait| (several("ALL_OR_NONE", requester, names), wait);
    vec![
        // A greater priority keeps at once what it wants.
        vec![
            take("w2", "b"),
            queue("w1", "X", -5),
            Op::Batch(vec![(one("w1", "X"), wait(0)), (one("w2", "X"), wait(0))]),
        ],
        vec![
            take("w2", "b"),
            queue_all("w1", &["b", "c"], -5),
            Op::Transactions(vec![all("w1", &["b", "c"], wait(0)), all("w2", &["c"], wait(0))]),
        ],
        // A lower one lets go of it at once.
        vec![
            take("w0", "b"),
            queue("w1", "X", 5),
            Op::Batch(vec![(one("w1", "X"), wait(-5)), (one("w0", "X"), wait(0))]),
        ],
        // The same ticket twice leaves one place.
        vec![
            take("w0", "a"),
            queue("w1", "a", 0),
            Op::Batch(vec![(one("w1", "a"), wait(5)), (one("w1", "a"), wait(-5))]),
            queue("w2", "a", 0),
        ],
        vec![
            take("w0", "a"),
            Op::Batch(vec![(one("w1", "a"), wait(-5)), (one("w2", "a"), wait(0)), (one("w1", "a"), wait(5))]),
            Op::Release(0),
        ],
        // Fewer slots leave the others to who comes later, more keep them.
        vec![
            take("w0", "P"),
            queue("w2", "P", 0),
            Op::Batch(vec![(with_quantity(one("w2", "P"), Some(1)), wait(0)), (one("w1", "P"), wait(0))]),
        ],
        // What can be had by nobody changes nothing of the ticket.
        vec![
            take("w0", "P"),
            queue("w2", "P", 0),
            Op::Batch(vec![(with_quantity(one("w2", "P"), Some(3)), wait(5))]),
            queue("w1", "P", 1),
        ],
        // A circle is told where all of it is asked for in one call.
        vec![take("w0", "a"), take("w1", "b"), Op::Batch(vec![(one("w0", "b"), wait(0)), (one("w1", "a"), wait(0))])],
        // A ticket that is served in the call keeps no more than it took.
        vec![
            take("w0", "a"),
            take("w3", "c"),
            queue_all("w3", &["a", "b"], 0),
            Op::Transactions(vec![(several("AS_MANY_AS_POSSIBLE", "w1", &["a", "b"]), wait(-5))]),
            Op::Transactions(vec![
                (several("AS_MANY_AS_POSSIBLE", "w1", &["a", "b"]), wait(5)),
                all("w2", &["a"], None),
            ]),
        ],
    ]
}

/// Who holds what another waits for comes after him all the same, however he got it.
fn what_is_held_oneself() -> Vec<Vec<Op>> {
    let many = |names: &[&'static str]| {
        Op::Transactions(vec![(several("AS_MANY_AS_POSSIBLE", "w2", names), Some((0, false)))])
    };
    let mut inputs = Vec::new();
    for (holds, wants) in [("b", "X"), ("mid", "leaf"), ("root", "mid"), ("leaf", "root"), ("P_0", "P")] {
        // By a call of his own, by a ticket of one item, by one of several; the last two he has not seen yet.
        let got = [
            vec![take("w2", holds)],
            vec![take("w0", holds), queue("w2", holds, 0), Op::Release(0)],
            vec![take("w0", holds), many(&[holds]), Op::Release(0)],
        ];
        for mut input in got {
            input.extend([queue("w1", wants, 0), queue("w2", wants, 0), take("w2", wants), Op::Release(0)]);
            inputs.push(input);
        }
    }
    inputs
}

/// Inputs that once failed, each as small as it was found.
#[tokio::test]
async fn what_once_failed() {
    let world = World::<2>::start().await;
    let http = reqwest::Client::new();
    let (all, many) = ("ALL_OR_NONE", "AS_MANY_AS_POSSIBLE");
    let inputs = [
        // What one holds oneself closes no circle.
        vec![take("w0", "c"), take("w1", "X"), queue_all("w1", &["c", "X"], 0)],
        // A lower priority gives up what was kept at the higher one.
        vec![take("w0", "b"), queue_all("w1", &["a", "b"], 0), queue("w2", "a", -3), queue_all("w1", &["a", "b"], -5)],
        // A pool is no longer kept for several slots: somebody waits for one by its own name.
        vec![take("w0", "P_0"), queue("w2", "P", 0), queue("w1", "P_1", 0), Op::Cancel(0)],
        // A slot that is kept by its own name is passed over.
        vec![take("w0", "a"), queue_all("w1", &["P_0", "a"], 0), take("w0", "P"), take("w2", "P")],
        // Whoever asks again, waiting, has seen what it got.
        vec![take("w0", "a"), queue("w1", "a", 0), Op::Release(0), queue("w1", "a", 0), Op::Cancel(0)],
        // Who comes later in the same call comes later.
        vec![
            take("w0", "b"),
            Op::Transactions(vec![
                (several(all, "w1", &["a", "b"]), Some((0, false))),
                (several(all, "w2", &["a"]), None),
            ]),
        ],
        // The same wish twice in one call is one ticket.
        vec![take("w0", "a"), Op::Batch(vec![(one("w1", "a"), Some((0, false))), (one("w1", "a"), Some((0, false)))])],
        // The same transaction without waiting leaves the ticket as it is.
        vec![
            take("w0", "b"),
            queue_all("w1", &["a", "b"], 5),
            Op::Transactions(vec![(several(all, "w1", &["a", "b"]), None)]),
            queue_all("w2", &["b", "c"], 1),
        ],
        // A ticket that took less than it kept leaves the rest to the next.
        vec![
            take("w0", "a"),
            take("w0", "P_0"),
            take("w0", "P_1"),
            Op::Transactions(vec![(several(many, "w2", &["a", "P"]), Some((0, false)))]),
            queue("w1", "P_0", -5),
            Op::Release(1),
            Op::Release(0),
        ],
        // What one ticket got is all that another of the same requester wants.
        vec![take("w1", "c"), queue("w0", "c", 0), queue("w2", "c", 0), queue_all("w0", &["c"], 0), Op::Release(0)],
        // What a ticket got was ended by force before anybody saw it; the same wish waits anew.
        vec![
            take("w0", "root"),
            queue("w1", "root", 0),
            Op::Release(0),
            Op::ForceRelease("root"),
            take("w0", "root"),
            queue("w1", "root", 0),
            Op::Cancel(0),
        ],
        // A ticket that was served has no place any more from which it may take.
        vec![
            take("w0", "X"),
            take("w0", "c"),
            Op::Transactions(vec![(several(many, "w1", &["X", "c"]), Some((0, false)))]),
            queue_all("w2", &["c", "a"], 0),
            take("w3", "a"),
            Op::Release(0),
            Op::Release(0),
            Op::Transactions(vec![(several(many, "w1", &["X", "c"]), Some((0, false)))]),
        ],
        // Two tickets leave a line when what they want takes something else along.
        vec![
            Op::Blocks(vec!["b", "c"]),
            take("w3", "b"),
            queue("w1", "X", 0),
            queue("w2", "X", 0),
            queue("w2", "c", -5),
            Op::Blocks(vec!["a"]),
        ],
    ];
    for input in inputs {
        carry_out(&world, &http, &input).await;
    }
    for input in calls_that_see_what_they_plan().into_iter().chain(what_is_held_oneself()) {
        carry_out(&world, &http, &input).await;
    }
}

fn every_ticket_is_the_models() {
    let cases = if crate::support::world::long() { CASES_LONG } else { CASES };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::<2>::start());
    let http = reqwest::Client::new();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&prop::collection::vec(op(), 1..80), |ops| {
        runtime.block_on(carry_out(&world, &http, &ops));
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
