//! What stands where after each call: who holds what, who waits at which place, and what the keys of tickets hold.

use std::collections::{BTreeMap, BTreeSet};

use holdfast::store::KeyKind;

use super::pair::Pair;
use crate::support::{
    tenant_state::TenantState,
    waiting_model::{State, Ticket},
};

/// Members of lines, fields of tickets, the tenant's state, and Redis' clock, of one moment.
type TicketKeys = (Vec<Vec<u8>>, Vec<Vec<u8>>, Vec<u8>, (i64, i64));

impl Pair<'_> {
    /// Compares who waits at which place and who holds what, and looks for what is left over in the keys of tickets.
    pub(super) async fn look(&mut self) {
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
    fn look_at_keys(&mut self) {
        let (lines, fields, state, (now_s, now_us)): TicketKeys = redis::pipe()
            .atomic()
            .zrange(self.key(KeyKind::Lines), 0, -1)
            .hkeys(self.key(KeyKind::Tickets))
            .hget(self.key(KeyKind::Meta), "state")
            .cmd("TIME")
            .query(&mut self.redis)
            .unwrap();
        let now_ms = now_s * 1_000 + now_us / 1_000;
        if self.model.grants.iter().any(|grant| grant.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms)) {
            return; // it has ended since, or will by the next call
        }
        let digits = |id: &str| id.replace('-', "").into_bytes();
        let waiting: BTreeSet<_> =
            self.model.waiting().into_iter().map(|at| digits(&self.model.tickets[at].id)).collect();
        let mut in_lines: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
        // Beside them one that stands for nothing, while anybody waits.
        let (aside, members): (Vec<_>, Vec<_>) = lines.iter().partition(|member| member[0] == 0);
        assert_eq!(aside.len(), usize::from(!members.is_empty()), "{lines:?}");
        for member in members {
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
