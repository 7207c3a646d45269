//! What is asked at random of the whole domain.

use proptest::prelude::*;

use crate::support::reference_model::{Ask, Definition};

/// Plain names, a pool and its slots (one beyond it), what blocks, a tree with a pool in it.
pub const NAMES: [&str; 16] =
    ["a", "P", "P_0", "P_1", "P_2", "P_5", "X", "Y", "Z", "root", "mid", "leaf", "pool", "pool_0", "pool_1", "side"];
const REQUESTERS: [&str; 3] = ["w0", "w1", "w2"];

#[derive(Debug, Clone)]
pub struct Item {
    pub requester: &'static str,
    pub resource: &'static str,
    pub ttl: Option<i64>,
    pub right_token: bool,
}

#[derive(Debug, Clone)]
pub enum Op {
    Reserve(Vec<Item>),
    Unreserve(Vec<Item>),
    Renew(Vec<Item>),
    Transactions(Vec<(&'static str, bool, Vec<Item>)>),
    Register(&'static str, Definition),
    Delete(&'static str),
    ForceRelease(&'static str),
    Reset,
    DueTenants,
    /// Go on once the next deadline is past, whether or not anybody told of it.
    Outlive,
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn item() -> impl Strategy<Value = Item> {
    let ttl = prop_oneof![Just(None), Just(Some(1)), Just(Some(2)), Just(Some(60))];
    (prop::sample::select(&REQUESTERS[..]), name(), ttl, prop::bool::weighted(0.97))
        .prop_map(|(requester, resource, ttl, right_token)| Item { requester, resource, ttl, right_token })
}

fn definition() -> impl Strategy<Value = (&'static str, Definition)> {
    let tree = |name: &'static str, path: &'static [&'static str]| {
        (name, Definition { capacity: 1, blocks: vec![], ancestors: path.iter().map(|s| (*s).to_owned()).collect() })
    };
    let pool = |name: &'static str, capacity: i64, path: &[&str]| {
        (name, Definition { capacity, blocks: vec![], ancestors: path.iter().map(|s| (*s).to_owned()).collect() })
    };
    let blocks = |name: &'static str, blocks: &[&str]| {
        (name, Definition { capacity: 1, blocks: blocks.iter().map(|s| (*s).to_owned()).collect(), ancestors: vec![] })
    };
    prop::sample::select(vec![
        pool("P", 3, &[]),
        pool("P", 2, &[]),
        pool("P", 7, &[]),
        pool("P", 1, &[]),
        blocks("X", &["Y", "P"]),
        blocks("X", &["Y"]),
        blocks("Y", &["X"]),
        blocks("Z", &["Y", "leaf"]),
        blocks("Z", &["P_1"]),
        blocks("a", &["pool"]),
        tree("leaf", &["root", "mid"]),
        tree("leaf", &["side", "mid"]),
        tree("leaf", &[]),
        tree("mid", &["root"]),
        tree("mid", &[]),
        tree("mid", &["side"]),
        tree("side", &["root"]),
        pool("pool", 2, &["root", "mid"]),
        pool("pool", 3, &["root"]),
        tree("P_1", &[]),
    ])
}

pub fn op() -> impl Strategy<Value = Op> {
    let items = || prop::collection::vec(item(), 1..4);
    let method = prop::sample::select(&["ALL_OR_NONE", "AS_MANY_AS_POSSIBLE", "FIRST"][..]);
    prop_oneof![
        20 => items().prop_map(Op::Reserve),
        12 => items().prop_map(Op::Unreserve),
        6 => items().prop_map(Op::Renew),
        16 => prop::collection::vec((method, prop::bool::ANY, items()), 1..3).prop_map(Op::Transactions),
        8 => definition().prop_map(|(name, definition)| Op::Register(name, definition)),
        2 => name().prop_map(Op::Delete),
        2 => name().prop_map(Op::ForceRelease),
        1 => Just(Op::Reset),
        3 => Just(Op::DueTenants),
        1 => Just(Op::Outlive),
    ]
}

impl Item {
    pub fn ask(&self) -> Ask<'static> {
        Ask { requester: self.requester, resource: self.resource, ttl_ms: self.ttl.map(|ttl| ttl * 1000) }
    }
}
