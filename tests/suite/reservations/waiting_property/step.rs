//! Each kind of call, carried out on the real thing and on the model.

use serde_json::json;

use super::{
    ops::Op,
    pair::{Pair, TokenPlace},
};
use crate::support::waiting_model::State;

impl Pair<'_> {
    pub(super) async fn step(&mut self, op: &Op) {
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
}
