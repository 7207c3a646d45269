//! The real thing and the model, side by side: how both are called.

use std::time::{Duration, Instant};

use holdfast::store::{KeyKind, TenantHandle};
use serde_json::{Value, json};

use super::ops::Wait;
use crate::support::{
    waiting_model::{State, WaitingModel, Wish},
    world::{Answer, Client},
};

/// How long Redis may be out of reach: a machine that stands still takes connections with it.
pub(super) const OUTAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a case is left: nobody knows whether a call of it was carried out. It says nothing of the service, and the case is begun anew.
pub(super) struct Unknown;

fn leave_unknown() -> ! {
    std::panic::resume_unwind(Box::new(Unknown))
}

/// The real thing and the model, side by side.
pub(super) struct Pair<'a> {
    pub(super) model: WaitingModel,
    /// The tenant's keys, by name: to look for them in Redis takes the longer the more tenants there are.
    pub(super) keys: TenantHandle,
    pub(super) redis: redis::Connection,
    pub(super) at: [Client<'a>; 2],
    pub(super) turn: usize,
    pub(super) http: reqwest::Client,
    /// How many tickets were ended by a reset.
    pub(super) reset: usize,
}

impl Pair<'_> {
    /// Calls the replicas in turn.
    pub(super) async fn call(&mut self, method: reqwest::Method, path: &str, body: Option<Value>) -> Answer {
        self.turn += 1;
        let at = self.at[self.turn % 2];
        let mut request =
            self.http.request(method, format!("{}/api/v1/{path}", at.replica.url)).header("x-api-key", at.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let begun = Instant::now();
        let answer = loop {
            let request = request.try_clone().expect("its body is text");
            let answer = match request.send().await {
                Ok(response) => crate::support::world::answer(response).await,
                Err(_) => leave_unknown(),
            };
            match answer.status.as_u16() {
                // Redis was not reached, so nothing was changed.
                503 => assert!(begun.elapsed() < OUTAGE_TIMEOUT, "timeout: Redis is reached again"),
                504 => leave_unknown(),
                _ => break answer,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        if answer.status.is_success() {
            self.model.lapse(answer.number("holdfast-time"));
        }
        answer
    }

    pub(super) async fn post(&mut self, path: &str, body: Value) -> Answer {
        let answer = self.call(reqwest::Method::POST, path, Some(body)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    pub(super) async fn ticket(&mut self, at: usize) -> Value {
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
        for grant in &mut self.model.grants {
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
                let shown = result["releaseToken"].as_str().unwrap();
                grant.token.get_or_insert_with(|| shown.to_owned());
                assert_eq!(Some(shown), grant.token.as_deref(), "the token with which it is held\n{got}\n{grant:?}");
            }
        }
        answer.body
    }

    pub(super) fn item(wish: &Wish, at: usize) -> Value {
        json!({"requester": wish.requester, "resource": wish.items[at].0, "quantity": wish.items[at].1})
    }

    pub(super) fn with_wait(mut body: Value, wait: Wait) -> Value {
        if let Some((priority, _)) = wait {
            let waits = json!({"waitSeconds": 3_600, "priority": priority, "keepAliveSeconds": 3_600});
            body.as_object_mut().unwrap().extend(waits.as_object().unwrap().clone());
        }
        body
    }

    /// Lets the time pass for which a ticket lives while nobody asks for it: the moment is written into Redis, as if it had come.
    pub(super) fn outlive(&mut self, at: usize) {
        let script = "local at = redis.call('TIME')[1] * 1000 - 1000
            redis.call('ZADD', KEYS[1], at, ARGV[1])
            local state = redis.call('HGET', KEYS[2], 'state')
            state = state:sub(1, 8) .. struct.pack('<d', at) .. state:sub(17)
            redis.call('HSET', KEYS[2], 'state', state)";
        let [ends, meta] = [KeyKind::TicketEnds, KeyKind::Meta].map(|kind| self.key(kind));
        let ticket = self.model.tickets[at].id.replace('-', "");
        redis::Script::new(script).key(ends).key(meta).arg(ticket).invoke::<()>(&mut self.redis).unwrap();
    }

    /// The tenant's key of a kind.
    pub(super) fn key(&self, kind: KeyKind) -> String {
        self.keys.key(kind).to_string()
    }

    /// Where the token of a grant is to be had.
    pub(super) fn token_of(&self, which: usize) -> TokenPlace {
        match &self.model.grants[which] {
            grant if grant.token.is_some() => TokenPlace::Known,
            grant => grant.ticket.map_or(TokenPlace::Known, |(at, _)| TokenPlace::Ticket(at)),
        }
    }
}

pub(super) enum TokenPlace {
    Known,
    Ticket(usize),
}
