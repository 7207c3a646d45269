//! What the random calls are: which items, how they wait, what else happens.

use proptest::prelude::*;

use crate::support::waiting_model::Wish;

const NAMES: [&str; 10] = ["a", "b", "c", "P", "P_0", "P_1", "X", "root", "mid", "leaf"];
const REQUESTERS: [&str; 4] = ["w0", "w1", "w2", "w3"];

/// Where `leaf` may stand.
const PLACES: [&[&str]; 3] = [&["root", "mid"], &["root"], &[]];

/// How a wish waits: priority, and whether it lets others pass.
pub(super) type Wait = Option<(i64, bool)>;

#[derive(Debug, Clone)]
pub(super) enum Op {
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

pub(super) fn one(requester: &'static str, name: &'static str) -> Wish {
    Wish { method: None, requester, items: vec![item(requester, name)] }
}

pub(super) fn several(method: &'static str, requester: &'static str, names: &[&'static str]) -> Wish {
    Wish { method: Some(method), requester, items: names.iter().map(|name| item(requester, name)).collect() }
}

/// The same wish of another number of the pool's slots.
pub(super) fn with_quantity(mut wish: Wish, quantity: Option<usize>) -> Wish {
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

pub(super) fn op() -> impl Strategy<Value = Op> {
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

pub(super) fn take(requester: &'static str, name: &'static str) -> Op {
    Op::Reserve { wish: one(requester, name), wait: None, ends: false }
}

pub(super) fn queue(requester: &'static str, name: &'static str, priority: i64) -> Op {
    Op::Reserve { wish: one(requester, name), wait: Some((priority, false)), ends: false }
}

pub(super) fn queue_all(requester: &'static str, names: &[&'static str], priority: i64) -> Op {
    Op::Transactions(vec![(several("ALL_OR_NONE", requester, names), Some((priority, false)))])
}

/// The same for so many slots of the pool.
pub(super) fn queue_slots(requester: &'static str, quantity: usize, priority: i64) -> Op {
    let wish = with_quantity(one(requester, "P"), Some(quantity));
    Op::Reserve { wish, wait: Some((priority, false)), ends: false }
}
