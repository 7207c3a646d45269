//! What a wish is answered, compared with what the model answers.

use serde_json::Value;

use super::{ops::Wait, pair::Pair};
use crate::support::waiting_model::{Grant, State, Ticket, Wish, last_of};

impl Pair<'_> {
    /// Carries a wish out on the model, and compares what it was answered: `status` of the whole, `results` of the items.
    pub(super) fn compare(&mut self, wish: &Wish, wait: Wait, status: &Value, results: &[Value], ticket: &Value) {
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
                grant.ticket = waiting.map(|ticket| (ticket, at)); // it was served by this
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
}
