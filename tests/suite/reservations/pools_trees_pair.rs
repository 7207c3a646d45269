//! Harness: a tenant of two replicas beside its model, which take the same steps and are compared after each.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    reservations::pools_trees_ops::{Item, NAMES, Op},
    support::{
        reference_model::{Model, TakeOutcome, as_slot},
        world::{Answer, Client},
    },
};

/// The real thing and the model, side by side.
pub(super) struct Pair<'a> {
    pub(super) model: Model,
    at: [Client<'a>; 2],
    turn: usize,
    http: reqwest::Client,
    position: i64,
    /// The token of each reservation that is or was held.
    tokens: BTreeMap<String, String>,
}

impl<'a> Pair<'a> {
    pub(super) fn new(at: [Client<'a>; 2], http: reqwest::Client) -> Self {
        Self { model: Model::default(), at, turn: 0, http, position: 0, tokens: BTreeMap::new() }
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.turn += 1;
        let at = self.at[self.turn % 2];
        let request = self.http.post(format!("{}/api/v1{path}", at.replica.url)).header("x-api-key", at.key).json(body);
        crate::support::world::answer(request.send().await.expect("an answer")).await
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.turn += 1;
        let at = self.at[self.turn % 2];
        crate::support::world::answer(
            self.http
                .get(format!("{}/api/v1{path}", at.replica.url))
                .header("x-api-key", at.key)
                .send()
                .await
                .expect("an answer"),
        )
        .await
    }

    /// The instant at which the real thing decided: what had lapsed by then is gone.
    pub(super) fn at_its_time(&mut self, answer: &Answer) -> i64 {
        let now_us = answer.number("holdfast-time");
        self.model.lapse(now_us);
        now_us
    }

    fn token(&self, item: &Item) -> String {
        if !item.right_token {
            return "wrong".into();
        }
        let by_pool = self.model.held.iter().find(|(held, hold)| {
            hold.requester == item.requester
                && hold.own.is_some()
                && as_slot(held).is_some_and(|(base, _)| base == item.resource)
        });
        let physical = if self.model.held.contains_key(item.resource) {
            item.resource.to_owned()
        } else {
            by_pool.map_or(item.resource.into(), |(held, _)| held.clone())
        };
        self.tokens.get(&physical).cloned().unwrap_or_else(|| "none".into())
    }

    fn wanted(items: &[Item]) -> Value {
        items
            .iter()
            .map(|item| json!({"requester": item.requester, "resource": item.resource, "ttlSeconds": item.ttl}))
            .collect()
    }

    fn claims(&self, items: &[Item]) -> Value {
        items
            .iter()
            .map(|item| json!({"requester": item.requester, "resource": item.resource, "releaseToken": self.token(item)}))
            .collect()
    }

    fn renewals(&self, items: &[Item]) -> Value {
        let mut claims = self.claims(items);
        for (claim, item) in claims.as_array_mut().unwrap().iter_mut().zip(items) {
            claim["ttlSeconds"] = json!(item.ttl.unwrap_or(60));
        }
        claims
    }

    /// Takes over what only the real thing knows of a grant, and compares everything else.
    fn compare_taken(&mut self, item: &Item, taken: &TakeOutcome, real: &Value, transaction_fence: Option<i64>) {
        assert_eq!(real["status"], taken.status, "{item:?}\n{real}\n{:#?}", self.model);
        let Some(physical) = &taken.physical else {
            assert_eq!(real["releaseToken"], Value::Null);
            return;
        };
        let fence = real["fencingToken"].as_i64().unwrap();
        let own = self.model.held.get_mut(physical).unwrap().own.as_mut().unwrap();
        if taken.status == "ACQUIRED" {
            match transaction_fence {
                Some(shared) => assert_eq!(fence, shared),
                None => assert!(fence > self.position, "positions grow: {fence} after {}", self.position),
            }
            self.position = self.position.max(fence);
            own.fence = fence;
            own.token = real["releaseToken"].as_str().unwrap().into();
            self.tokens.insert(physical.clone(), own.token.clone());
        }
        assert_eq!((fence, real["releaseToken"].as_str()), (own.fence, Some(own.token.as_str())));
        assert_eq!(instant_ms(&real["expiresAt"]), own.deadline_ms);
        let blockers = (!own.blockers.is_empty()).then(|| own.blockers.clone());
        assert_eq!(real["acquiredBlockers"], json!(blockers), "{item:?}");
        let slot = self
            .model
            .definition_of(physical)
            .filter(|(_, _, index)| index.is_some() && self.model.held[physical].slot)
            .map(|(pool, _, _)| json!({pool: physical}));
        assert_eq!(real["acquiredSlots"], slot.unwrap_or_default());
        assert_eq!(real["reservedAtPath"], json!(self.model.held[physical].path));
    }

    pub(super) async fn step(&mut self, op: &Op) {
        match op {
            Op::Reserve(items) => {
                let real = self.post("/Reservation/reserve", &Self::wanted(items)).await;
                assert_eq!(real.status, 200, "{real:?}");
                let now_us = self.at_its_time(&real);
                for (item, real) in items.iter().zip(real.body.as_array().unwrap()) {
                    let taken = self.model.take(&item.ask(), now_us);
                    self.compare_taken(item, &taken, real, None);
                }
                self.grown(&real);
            }
            Op::Unreserve(items) => {
                let body = self.claims(items);
                let real = self.post("/Reservation/unreserve", &body).await;
                self.at_its_time(&real);
                let mut trial = self.model.clone();
                let expected: Vec<_> = items
                    .iter()
                    .zip(body.as_array().unwrap())
                    .map(|(item, body)| release(&mut trial, item, body))
                    .collect();
                if !self.follows(trial, &real, &expected) {
                    return;
                }
                compare_released(&expected, &real.body);
                self.grown(&real);
            }
            Op::Renew(items) => {
                let body = self.renewals(items);
                let real = self.post("/Reservation/renew", &body).await;
                let now_us = self.at_its_time(&real);
                let mut trial = self.model.clone();
                let expected: Vec<_> = items
                    .iter()
                    .zip(body.as_array().unwrap())
                    .map(|(item, body)| {
                        match trial.claim(item.requester, item.resource, body["releaseToken"].as_str().unwrap()) {
                            Ok(physical) => {
                                let own = trial.held.get_mut(&physical).unwrap().own.as_mut().unwrap();
                                own.deadline_ms = Some((now_us + 999) / 1000 + item.ttl.unwrap_or(60) * 1000);
                                ("RENEWED", Vec::new())
                            }
                            Err(status) => (status, Vec::new()),
                        }
                    })
                    .collect();
                if !self.follows(trial, &real, &expected) {
                    return;
                }
                for ((status, _), real) in expected.iter().zip(real.body.as_array().unwrap()) {
                    assert_eq!(real["status"], *status);
                }
                self.grown(&real);
            }
            Op::Transactions(groups) => self.transactions(groups).await,
            Op::Register(name, definition) => {
                let path = (!definition.ancestors.is_empty()).then(|| definition.ancestors.join(">"));
                let body = json!([{"name": name, "capacity": definition.capacity, "blocks": definition.blocks, "treePath": path}]);
                let real = self.post("/Resource/register", &body).await;
                self.at_its_time(&real);
                let fits = self.model.register(name, definition);
                assert_eq!(
                    real.status,
                    if fits { 200 } else { 409 },
                    "{name} {definition:?} {:?}\n{:#?}",
                    real.body,
                    self.model
                );
            }
            Op::Delete(name) => {
                self.turn += 1;
                let real = self.at[self.turn % 2].delete(&format!("/Resource/{name}")).await;
                // A 204 has no time, and whether something had lapsed by then decides: so what ends soon is let end first.
                let look = self.get("/Reservation").await;
                let before = self.model.clone();
                let status = self.model.delete(name);
                self.at_its_time(&look);
                if real.status != status {
                    let mut later = before;
                    later.lapse(look.number("holdfast-time"));
                    assert_eq!(real.status, later.delete(name), "{name} {:?}\n{later:#?}", real.body);
                    self.model = later;
                }
            }
            Op::ForceRelease(name) => {
                let real = self.post("/Reservation/forceRelease", &json!({"resource": name, "reason": "test"})).await;
                assert_eq!(real.status, 200, "{real:?}");
                self.at_its_time(&real);
                let before: Vec<_> = self.model.held.keys().cloned().collect();
                self.model.force_release(name);
                let gone: Vec<_> = before.into_iter().filter(|name| !self.model.held.contains_key(name)).collect();
                let mut released: Vec<_> = real.body["released"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|name| name.as_str().unwrap().to_owned())
                    .collect();
                released.sort();
                assert_eq!(released, gone);
            }
            Op::Reset => {
                let real = self.post("/Reservation/reset", &json!({})).await;
                self.at_its_time(&real);
                assert_eq!(real.body["released"], self.model.held.len());
                self.model.held.clear();
                self.grown(&real);
            }
            Op::DueTenants => self.look().await,
            Op::Outlive => self.outlive().await,
        }
    }

    fn grown(&mut self, real: &Answer) {
        let position = real.number("holdfast-position");
        assert!(position >= self.position, "{position} after {}", self.position);
        self.position = position;
    }

    /// Takes a trial for the model where the tokens were right, as the answer must have it, too; `false`: one was wrong, and nothing was done.
    fn follows(&mut self, trial: Model, real: &Answer, expected: &[(&'static str, Vec<String>)]) -> bool {
        if expected.iter().any(|(status, _)| *status == "INVALID_RELEASE_TOKEN") {
            self.refused_for_tokens(real, expected);
            return false;
        }
        assert_eq!(real.status, 200, "{real:?}");
        self.model = trial;
        true
    }

    fn refused_for_tokens(&self, real: &Answer, expected: &[(&'static str, Vec<String>)]) {
        assert_eq!((real.status.as_u16(), real.code()), (403, "INVALID_RELEASE_TOKEN"), "{real:?}");
        for ((status, _), real) in expected.iter().zip(real.body["results"].as_array().unwrap()) {
            let wanted = if *status == "INVALID_RELEASE_TOKEN" { "INVALID_RELEASE_TOKEN" } else { "UNCHANGED" };
            assert_eq!(real["status"], wanted);
        }
    }

    /// Whether items name the same pool twice for the same requester.
    fn names_a_pool_twice(&self, items: &[Item]) -> bool {
        let is_pool = |item: &Item| self.model.definitions.get(item.resource).is_some_and(|pool| pool.capacity > 1);
        let same = |one: &Item, other: &Item| (&one.requester, &one.resource) == (&other.requester, &other.resource);
        items.iter().enumerate().any(|(at, item)| is_pool(item) && items[..at].iter().any(|before| same(before, item)))
    }

    async fn transactions(&mut self, groups: &[(&'static str, bool, Vec<Item>)]) {
        // Only tokens that are known before the call can be sent.
        let body: Value = groups
            .iter()
            .map(|(method, reserve, items)| {
                let requests = if *reserve { Self::wanted(items) } else { self.claims(items) };
                json!({"method": method, "requestType": if *reserve { "RESERVE" } else { "UNRESERVE" }, "requests": requests})
            })
            .collect();
        let real = self.post("/Reservation/transactions", &body).await;
        if groups.iter().any(|(_, reserve, items)| *reserve && self.names_a_pool_twice(items)) {
            real.fails(400, "VALIDATION_ERROR");
            return;
        }
        let now_us = self.at_its_time(&real);
        let before = self.model.clone();
        let mut flat = Vec::new();
        for (group, sent) in groups.iter().zip(body.as_array().unwrap()) {
            let (method, reserve, items) = group;
            if *reserve {
                flat.extend(items.iter().map(|_| ("UNCHANGED", Vec::new())));
                reserve_group(&mut self.model, method, items, now_us);
            } else {
                flat.extend(release_group(&mut self.model, method, items, &sent["requests"]).2);
            }
        }
        if flat.iter().any(|(status, _)| *status == "INVALID_RELEASE_TOKEN") {
            self.model = before;
            self.refused_for_tokens(&real, &flat);
            return;
        }
        assert_eq!(real.status, 200, "{real:?}");
        self.model = before;
        for ((group, sent), real) in groups.iter().zip(body.as_array().unwrap()).zip(real.body.as_array().unwrap()) {
            let (method, reserve, items) = group;
            let results = real["results"].as_array().unwrap();
            if *reserve {
                let (stands, taken) = reserve_group(&mut self.model, method, items, now_us);
                assert_eq!(real["status"], if stands { "APPLIED" } else { "ROLLED_BACK" }, "{group:?}\n{real}");
                let fence = results
                    .iter()
                    .find(|result| result["status"] == "ACQUIRED")
                    .and_then(|result| result["fencingToken"].as_i64());
                assert!(fence.is_none_or(|fence| fence > self.position));
                for ((item, taken), real) in items.iter().zip(&taken).zip(results) {
                    self.compare_taken(item, taken, real, fence);
                }
            } else {
                let (stands, expected, _) = release_group(&mut self.model, method, items, &sent["requests"]);
                assert_eq!(real["status"], if stands { "APPLIED" } else { "ROLLED_BACK" }, "{group:?}\n{real}");
                compare_released(&expected, &real["results"]);
            }
        }
        self.grown(&real);
    }

    /// Waits until Redis' clock has passed the next deadline, if that is near; then everything must look as if somebody had ended it.
    async fn outlive(&mut self) {
        let next = self.model.held.values().filter_map(|hold| hold.own.as_ref()?.deadline_ms).min();
        loop {
            let real = self.post("/Reservation/check", &json!({"resources": ["a"]})).await;
            let now_ms = real.number("holdfast-time") / 1000;
            match next {
                Some(next) if (now_ms..now_ms + 2_500).contains(&next) => {}
                _ => break,
            }
        }
        self.look().await;
    }

    /// Compares the listing, and a look at every name, with the model.
    pub(super) async fn look(&mut self) {
        let real = self.get("/Reservation").await;
        self.at_its_time(&real);
        let rows: BTreeMap<_, _> = real.body["reservations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["resource"].as_str().unwrap().to_owned(), row))
            .collect();
        assert_eq!(rows.keys().collect::<Vec<_>>(), self.model.held.keys().collect::<Vec<_>>());
        for (name, hold) in &self.model.held {
            let row = rows[name];
            assert_eq!(row["requester"], hold.requester.as_str());
            assert_eq!(instant_ms(&row["expiresAt"]), self.model.ends(name), "{name}: {row}");
            let users = (!hold.users.is_empty()).then(|| hold.users.iter().cloned().collect::<Vec<_>>());
            let mut shown: Option<Vec<String>> = serde_json::from_value(row["blockerOf"].clone()).unwrap();
            shown.iter_mut().for_each(|shown| shown.sort());
            assert_eq!(shown, users, "{name}");
        }
        let real = self.post("/Reservation/check", &json!({"resources": NAMES})).await;
        self.at_its_time(&real);
        for (name, real) in NAMES.iter().zip(real.body.as_array().unwrap()) {
            let (free, takeable) = self.model.availability(name);
            assert_eq!(
                (real["available"].as_i64(), real["isAvailable"].as_bool()),
                (Some(free), Some(takeable)),
                "{name}: {real}\n{:#?}",
                self.model
            );
            let holder = self.model.held.get(*name).map(|hold| hold.requester.clone());
            assert_eq!(real["holder"], json!(holder));
        }
    }
}

fn instant_ms(value: &Value) -> Option<i64> {
    value.as_str().map(|text| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
}

fn release(model: &mut Model, item: &Item, body: &Value) -> (&'static str, Vec<String>) {
    match model.claim(item.requester, item.resource, body["releaseToken"].as_str().unwrap()) {
        Ok(physical) => ("RELINQUISHED", model.end(&physical)),
        Err(status) => (status, Vec::new()),
    }
}

fn compare_released(expected: &[(&'static str, Vec<String>)], real: &Value) {
    for ((status, freed), real) in expected.iter().zip(real.as_array().unwrap()) {
        assert_eq!(real["status"], *status, "{real}");
        let mut released: Vec<String> = serde_json::from_value(real["released"].clone()).unwrap();
        released.sort();
        assert_eq!(&released, freed);
    }
}

/// One RESERVE group on the model: whether it stands, and what became of each item.
fn reserve_group(model: &mut Model, method: &str, items: &[Item], now_us: i64) -> (bool, Vec<TakeOutcome>) {
    let before = model.clone();
    let skipped = |status| TakeOutcome { status, physical: None };
    let mine = items.iter().position(|item| model.has(item.requester, item.resource)).filter(|_| method == "FIRST");
    let mut taken: Vec<TakeOutcome> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let found = taken.iter().any(|taken| taken.physical.is_some());
        let trial = model.clone();
        taken.push(if method == "FIRST" && found { skipped("SKIPPED") } else { model.take(&item.ask(), now_us) });
        if mine.is_some_and(|mine| at < mine) && taken[at].physical.is_some() {
            *model = trial;
            taken[at] = skipped("SKIPPED");
        }
    }
    let stands = if method == "ALL_OR_NONE" {
        taken.iter().all(|taken| taken.physical.is_some())
    } else {
        taken.iter().any(|taken| taken.physical.is_some())
    };
    if !stands {
        *model = before;
        for (item, taken) in items.iter().zip(&mut taken) {
            if taken.status == "ACQUIRED"
                || (taken.status == "ALREADY_HAD" && !model.has(item.requester, item.resource))
            {
                *taken = skipped("ROLLED_BACK");
            }
        }
    }
    (stands, taken)
}

/// One UNRESERVE group on the model: whether it stands, what became of each item, and what the tokens alone say of each.
#[allow(clippy::type_complexity, reason = "three lists that are looked at once")]
fn release_group(
    model: &mut Model,
    method: &str,
    items: &[Item],
    sent: &Value,
) -> (bool, Vec<(&'static str, Vec<String>)>, Vec<(&'static str, Vec<String>)>) {
    let before = model.clone();
    let (mut results, mut tokens): (Vec<(&'static str, Vec<String>)>, Vec<_>) = (Vec::new(), Vec::new());
    for (item, body) in items.iter().zip(sent.as_array().unwrap()) {
        let found = results.iter().any(|(status, _)| *status == "RELINQUISHED");
        let trial = model.clone();
        let result = release(model, item, body);
        tokens.push(if result.0 == "INVALID_RELEASE_TOKEN" { result.clone() } else { ("UNCHANGED", Vec::new()) });
        if method == "FIRST" && found {
            *model = trial;
            results.push(("SKIPPED", Vec::new()));
        } else {
            results.push(result);
        }
    }
    let conflict = results.iter().any(|(status, _)| *status == "DOESNT_OWN_RESERVATION");
    let good = results.iter().any(|(status, _)| matches!(*status, "RELINQUISHED" | "NOT_RESERVED"));
    let stands = if method == "ALL_OR_NONE" { !conflict } else { good };
    if !stands {
        *model = before;
        for result in results.iter_mut().filter(|(status, _)| *status == "RELINQUISHED") {
            *result = ("ROLLED_BACK", Vec::new());
        }
    }
    (stands, results, tokens)
}
