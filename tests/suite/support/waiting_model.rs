//! The reference model of waiting: one list of grants, one list of tickets, every rule by brute force.
//!
//! Names: `a`, `b`, `c` stand alone; `P` is a pool; `X` blocks some of them; `mid` stands below `root`, `leaf` where it was moved to last.

use std::collections::{BTreeMap, BTreeSet};

/// Priority, the greater first, and age: less is served first.
pub type Order = (i64, usize);

/// What a requester holds by one item.
#[derive(Debug, Clone)]
pub struct Grant {
    pub requester: &'static str,
    pub name: &'static str,
    /// Its own physical names.
    pub own: Vec<String>,
    pub blockers: Vec<String>,
    /// `None`: a ticket got it, and its answer was not seen yet.
    pub token: Option<String>,
    pub deadline_ms: Option<i64>,
    /// The ticket that got it, and the item of it.
    pub ticket: Option<(usize, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum State {
    Waiting,
    /// Served, and nobody has seen it.
    Granted,
    Claimed,
    Cancelled,
    /// Nobody asked for it, or saw what it got.
    Lapsed,
}

#[derive(Debug, Clone)]
pub struct Ticket {
    pub id: String,
    pub priority: i64,
    /// `None`: a reserve of one item.
    pub method: Option<&'static str>,
    pub requester: &'static str,
    pub items: Vec<(&'static str, usize)>,
    pub overtake: bool,
    pub state: State,
}

/// What is asked: by whom, which names and how many slots of each.
#[derive(Debug, Clone)]
pub struct Wish {
    pub method: Option<&'static str>,
    pub requester: &'static str,
    pub items: Vec<(&'static str, usize)>,
}

#[derive(Debug, Clone)]
pub struct WaitingModel {
    pub capacity: usize,
    pub grants: Vec<Grant>,
    /// In the order in which they came.
    pub tickets: Vec<Ticket>,
    /// What `X` takes along.
    pub blocks: Vec<&'static str>,
    /// What `leaf` stands below.
    pub above_leaf: Vec<&'static str>,
    /// Tickets that nobody asks for any more; the next call ends them.
    pub dying: Vec<usize>,
}

/// The order of who has no ticket: after all of its priority that wait.
pub fn last_of(priority: i64) -> Order {
    (-priority, usize::MAX)
}

fn slot_of(name: &str) -> Option<usize> {
    name.strip_prefix("P_").and_then(|number| number.parse().ok())
}

impl WaitingModel {
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            grants: Vec::new(),
            tickets: Vec::new(),
            blocks: vec!["b"],
            above_leaf: vec!["root", "mid"],
            dying: Vec::new(),
        }
    }

    fn ancestors(&self, name: &str) -> &[&'static str] {
        match name {
            "mid" => &["root"],
            "leaf" => &self.above_leaf,
            _ => &[],
        }
    }

    fn blocks(&self, name: &str) -> &[&'static str] {
        if name == "X" { &self.blocks } else { &[] }
    }

    fn related(&self, one: &str, other: &str) -> bool {
        self.ancestors(one).contains(&other) || self.ancestors(other).contains(&one)
    }

    /// Whether a name is a slot that the pool had when it was larger: nobody gets it any more.
    fn is_beyond(&self, name: &str) -> bool {
        slot_of(name).is_some_and(|slot| slot >= self.capacity)
    }

    /// Whether items with these statuses can be waited for.
    pub fn can_wait(&self, wish: &Wish, statuses: &[&str]) -> bool {
        let is_lost = |(status, (name, _)): (&&str, &(&str, usize))| match *status {
            "NOT_VALID" => true,
            "ALREADY_HELD" => self.is_beyond(name),
            _ => false,
        };
        !statuses.iter().zip(&wish.items).any(is_lost)
    }

    /// Physical name -> holder.
    pub fn held(&self) -> BTreeMap<String, &'static str> {
        let names = |grant: &Grant| -> Vec<_> {
            grant.own.iter().chain(&grant.blockers).map(|name| (name.clone(), grant.requester)).collect()
        };
        self.grants.iter().flat_map(names).collect()
    }

    /// Those that wait, in the order in which they are served.
    pub fn waiting(&self) -> Vec<usize> {
        let mut waiting: Vec<_> =
            (0..self.tickets.len()).filter(|at| self.tickets[*at].state == State::Waiting).collect();
        waiting.sort_by_key(|at| self.order(*at));
        waiting
    }

    pub fn order(&self, at: usize) -> Order {
        (-self.tickets[at].priority, at)
    }

    /// What tickets before `order` keep for themselves, with quantities.
    fn wanted_before(&self, order: Order) -> Vec<(&'static str, usize)> {
        let before = self.waiting().into_iter().filter(|at| self.order(*at) < order && !self.tickets[*at].overtake);
        let wants = |at: usize| {
            let items = self.tickets[at].items.clone();
            let mut seen = BTreeSet::new();
            let along: Vec<_> = items.iter().flat_map(|(name, _)| self.blocks(name)).map(|name| (*name, 1)).collect();
            items.into_iter().chain(along).filter(move |(name, _)| seen.insert(*name))
        };
        before.flat_map(wants).collect()
    }

    /// The place of a ticket: 1 is next.
    pub fn place(&self, at: usize) -> usize {
        let wanted = self.wanted_before(self.order(at));
        let ahead = |name: &str| wanted.iter().filter(|(other, _)| *other == name).count();
        1 + self.tickets[at].items.iter().map(|(name, _)| ahead(name)).max().unwrap()
    }

    /// The grant by which a requester has a name already.
    pub fn had(&self, requester: &str, name: &str) -> Option<usize> {
        self.grants.iter().position(|grant| {
            grant.requester == requester
                && (grant.name == name && name == "P" || grant.own.iter().any(|own| own == name))
        })
    }

    /// One free physical thing of a name, or slots of the pool, at a place of the order.
    fn choose(&self, requester: &str, name: &str, quantity: usize, order: Order) -> Result<Vec<String>, &'static str> {
        let held = self.held();
        let wanted = self.wanted_before(order);
        let is_wanted = |name: &str| wanted.iter().any(|(other, _)| *other == name);
        let free: Vec<_> =
            (0..self.capacity).map(|slot| format!("P_{slot}")).filter(|slot| !held.contains_key(slot)).collect();
        let kept: usize = wanted.iter().filter(|(other, _)| *other == "P").map(|(_, quantity)| quantity).sum();
        if name == "P" {
            if quantity > self.capacity {
                return Err("NOT_VALID");
            } else if free.len() < quantity {
                return Err("NOT_AVAILABLE");
            }
            let open: Vec<_> = free.iter().filter(|slot| !is_wanted(slot)).take(quantity).cloned().collect();
            return if free.len() >= kept + quantity && open.len() == quantity {
                Ok(open)
            } else {
                Err("ALREADY_HELD")
            };
        }
        match held.get(name) {
            Some(holder) if *holder != requester => return Err("ALREADY_HELD"),
            Some(_) => return Ok(vec![name.to_owned()]),
            None => {}
        }
        if let Some(slot) = slot_of(name) {
            return match () {
                () if slot >= self.capacity => Err("NOT_VALID"),
                () if is_wanted(name) || free.len() < kept + 1 => Err("ALREADY_HELD"),
                () => Ok(vec![name.to_owned()]),
            };
        }
        let in_way = held.iter().any(|(other, holder)| self.related(name, other) && *holder != requester);
        let is_kept = is_wanted(name) || wanted.iter().any(|(other, _)| self.related(name, other));
        if in_way || is_kept { Err("ALREADY_HELD") } else { Ok(vec![name.to_owned()]) }
    }

    /// Takes one item; its status.
    pub fn take(&mut self, requester: &'static str, item: (&'static str, usize), order: Order) -> &'static str {
        let (name, quantity) = item;
        if self.had(requester, name).is_some() {
            return "ALREADY_HAD";
        }
        let own = match self.choose(requester, name, quantity, order) {
            Ok(own) => own,
            Err(status) => return status,
        };
        let mut blockers = Vec::new();
        for blocked in self.blocks(name) {
            match self.choose(requester, blocked, 1, order) {
                Ok(one) => blockers.extend(one),
                Err(status) => return status,
            }
        }
        self.grants.push(Grant { requester, name, own, blockers, token: None, deadline_ms: None, ticket: None });
        "ACQUIRED"
    }

    /// Carries out a wish, or nothing of it; whether it stands, and the status of each item.
    pub fn carry_out(&mut self, wish: &Wish, order: Order) -> (bool, Vec<&'static str>) {
        let before = self.grants.clone();
        let mine = wish.items.iter().position(|(name, _)| self.had(wish.requester, name).is_some());
        let chosen = mine.filter(|_| wish.method == Some("FIRST"));
        let (mut statuses, mut found) = (Vec::new(), false);
        for (at, item) in wish.items.iter().enumerate() {
            if wish.method == Some("FIRST") && found {
                statuses.push("SKIPPED");
                continue;
            }
            let trial = self.grants.clone();
            let status = self.take(wish.requester, *item, order);
            if chosen.is_some_and(|chosen| at < chosen) {
                self.grants = trial;
                statuses.push(if status == "ACQUIRED" { "SKIPPED" } else { status });
                continue;
            }
            found |= matches!(status, "ACQUIRED" | "ALREADY_HAD");
            statuses.push(status);
        }
        let is_had = |status: &&str| matches!(*status, "ACQUIRED" | "ALREADY_HAD");
        let stands = match wish.method {
            Some("ALL_OR_NONE") | None => statuses.iter().all(is_had),
            _ => statuses.iter().any(is_had),
        };
        if !stands {
            self.grants = before;
            statuses.iter_mut().filter(|status| **status == "ACQUIRED").for_each(|status| *status = "ROLLED_BACK");
        }
        (stands, statuses)
    }

    /// Serves whoever can be served, in order, and ends who never can be.
    pub fn hand_over(&mut self) {
        while let Some((at, state)) = self.waiting().into_iter().find_map(|at| Some((at, self.serve(at)?))) {
            self.tickets[at].state = state;
        }
    }

    /// What becomes of a ticket whose turn it is; `None`: it waits on.
    fn serve(&mut self, at: usize) -> Option<State> {
        let ticket = &self.tickets[at];
        let wish = Wish { method: ticket.method, requester: ticket.requester, items: ticket.items.clone() };
        let before = self.grants.len();
        let (stands, statuses) = self.carry_out(&wish, self.order(at));
        for grant in self.grants.iter_mut().skip(before).filter(|_| stands) {
            let item = wish.items.iter().position(|(name, _)| *name == grant.name).unwrap();
            grant.ticket = Some((at, item));
        }
        match stands {
            true => Some(State::Granted),
            false => (!self.can_wait(&wish, &statuses)).then_some(State::Cancelled),
        }
    }

    /// The ticket that stands for a wish.
    pub fn ticket_of(&self, wish: &Wish) -> Option<usize> {
        let names = |items: &[(&'static str, usize)]| items.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        self.tickets.iter().rposition(|ticket| {
            matches!(ticket.state, State::Waiting | State::Granted)
                && (ticket.method, ticket.requester) == (wish.method, wish.requester)
                && names(&ticket.items) == names(&wish.items)
        })
    }

    /// Ends what has lapsed by then.
    pub fn lapse(&mut self, now_us: i64) {
        self.grants.retain(|grant| grant.deadline_ms.is_none_or(|deadline_ms| deadline_ms > now_us / 1000));
        for at in std::mem::take(&mut self.dying) {
            self.give_back(at);
            self.tickets[at].state = State::Lapsed;
        }
        self.hand_over();
    }

    /// What a ticket got and nobody saw is free again.
    pub fn give_back(&mut self, at: usize) {
        if self.tickets[at].state == State::Granted {
            self.grants.retain(|grant| grant.ticket.is_none_or(|(of, _)| of != at));
        }
    }

    /// Everybody else who holds what a requester needs for a name.
    fn holders_in_way(&self, requester: &str, name: &str) -> BTreeSet<&'static str> {
        let in_way = |other: &str| other == name || self.related(other, name) || self.blocks(name).contains(&other);
        self.held()
            .into_iter()
            .filter(|(other, holder)| in_way(other) && *holder != requester)
            .map(|(_, holder)| holder)
            .collect()
    }

    /// Whether requesters would wait for each other in a circle, if this wish were waited for.
    pub fn closes_circle(&self, wish: &Wish) -> bool {
        let mut reached: BTreeSet<&'static str> = BTreeSet::new();
        let mut next: Vec<(&str, &'static str)> = wish.items.iter().map(|(name, _)| (wish.requester, *name)).collect();
        while let Some((who, name)) = next.pop() {
            for holder in self.holders_in_way(who, name) {
                if holder == wish.requester {
                    return true;
                } else if reached.insert(holder) {
                    let theirs = self.tickets.iter().filter(|ticket| {
                        ticket.state == State::Waiting
                            && ticket.requester == holder
                            && matches!(ticket.method, None | Some("ALL_OR_NONE"))
                    });
                    next.extend(theirs.flat_map(|ticket| ticket.items.iter().map(|(name, _)| (holder, *name))));
                }
            }
        }
        false
    }
}
