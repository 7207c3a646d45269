//! Memory budget of request bodies: bytes that a replica holds of bodies that are being read or served.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use crate::{domain::names::TenantId, sync::lock};

/// Bytes of all bodies of a replica, 64 MiB. What is parsed of them and sent to Redis is as large, so the most that
/// bodies hold of a replica's memory is about four times this.
const MAX_BYTES: usize = 64 << 20;
/// Bytes of the bodies of one owner, 32 MiB: two of the largest bodies, and half of the budget, so that nobody has all.
const MAX_BYTES_OF_ONE: usize = 32 << 20;
/// Bodies up to this, 4 KiB, need no budget: small calls go on when large ones fill it.
pub const FREE_BODY_BYTES: usize = 4 << 10;

/// Whose body it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BodyOwner {
    /// A tenant's: its credential is proved.
    Tenant(TenantId),
    /// Nobody's yet: a client at this address sends it.
    Address(IpAddr),
}

/// The budget of one replica, shared by its runtimes.
#[derive(Debug, Default)]
pub struct BodyBudget(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_owner: HashMap<BodyOwner, usize>,
}

/// The bytes that one body holds. Dropping it gives them back.
#[derive(Debug)]
pub struct BodyShare {
    budget: Arc<BodyBudget>,
    owner: BodyOwner,
    held: usize,
}

impl BodyShare {
    /// The share of a body that is about to be read.
    #[must_use]
    pub fn new(budget: Arc<BodyBudget>, owner: BodyOwner) -> Self {
        Self { budget, owner, held: 0 }
    }

    /// Makes the share as large as what is there of the body; `false`: the budget does not allow it, and the share stays
    /// as it was.
    #[must_use]
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.held);
        let mut held = lock(&self.budget.0);
        let of_owner = held.by_owner.get(&self.owner).copied().unwrap_or(0);
        if held.total + more > MAX_BYTES || of_owner + more > MAX_BYTES_OF_ONE {
            return false;
        }
        held.total += more;
        held.by_owner.insert(self.owner.clone(), of_owner + more);
        self.held += more;
        true
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        let mut held = lock(&self.budget.0);
        held.total -= self.held;
        if let Some(of_owner) = held.by_owner.get_mut(&self.owner) {
            *of_owner -= self.held;
            if *of_owner == 0 {
                held.by_owner.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(last: u8) -> BodyOwner {
        BodyOwner::Address([192, 0, 2, last].into())
    }

    #[test]
    fn nobody_has_all_and_all_have_a_bound() {
        let budget = Arc::new(BodyBudget::default());
        let share = |last| BodyShare::new(budget.clone(), owner(last));
        let (mut one, mut two, mut three) = (share(1), share(2), share(3));
        assert!(one.grow_to(MAX_BYTES_OF_ONE));
        assert!(!share(1).grow_to(1), "its part is used up");
        assert!(two.grow_to(MAX_BYTES_OF_ONE));
        assert!(!three.grow_to(1), "all is used up");
        drop(one);
        assert!(three.grow_to(1) && three.grow_to(16 << 10));
        assert_eq!(lock(&budget.0).total, MAX_BYTES_OF_ONE + (16 << 10), "it grew to this, not by this");
        drop((two, three));
        let held = lock(&budget.0);
        assert_eq!((held.total, held.by_owner.len()), (0, 0), "everything was given back");
    }
}
