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
/// The same of calls that are held back: a share of its own, since what is held for a minute must not keep others' bodies out.
const MAX_HELD_BYTES: usize = 64 << 20;
const MAX_HELD_BYTES_OF_ONE: usize = 16 << 20;
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

/// The budgets of one replica, shared by its runtimes.
#[derive(Debug, Default)]
pub struct BodyBudget {
    /// Of calls that are being read or carried out.
    active: Mutex<InUse>,
    /// Of calls that are held back.
    held: Mutex<InUse>,
}

#[derive(Debug, Default)]
struct InUse {
    total: usize,
    by_owner: HashMap<BodyOwner, usize>,
}

impl InUse {
    /// Takes that many more bytes; `false`: a bound forbids it, and nothing was taken.
    fn take(&mut self, owner: &BodyOwner, more: usize, max: usize, max_of_one: usize) -> bool {
        let of_owner = self.by_owner.get(owner).copied().unwrap_or(0);
        if self.total + more > max || of_owner + more > max_of_one {
            return false;
        }
        self.total += more;
        self.by_owner.insert(owner.clone(), of_owner + more);
        true
    }

    fn give_back(&mut self, owner: &BodyOwner, bytes: usize) {
        self.total -= bytes;
        if let Some(of_owner) = self.by_owner.get_mut(owner) {
            *of_owner -= bytes;
            if *of_owner == 0 {
                self.by_owner.remove(owner);
            }
        }
    }
}

/// The bytes that one body takes. Dropping it gives them back.
#[derive(Debug)]
pub struct BodyShare {
    budget: Arc<BodyBudget>,
    owner: BodyOwner,
    bytes: usize,
    is_held: bool,
}

impl BodyShare {
    /// The share of a body that is about to be read.
    #[must_use]
    pub fn new(budget: Arc<BodyBudget>, owner: BodyOwner) -> Self {
        Self { budget, owner, bytes: 0, is_held: false }
    }

    /// Makes the share as large as what is there of the body; `false`: the budget does not allow it, and the share stays
    /// as it was.
    #[must_use]
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let is_taken = lock(&self.budget.active).take(&self.owner, more, MAX_BYTES, MAX_BYTES_OF_ONE);
        self.bytes += if is_taken { more } else { 0 };
        is_taken
    }

    /// Moves the share to the budget of calls that are held back; `false`: it is full, and the share stays where it was.
    #[must_use]
    pub fn hold(&mut self) -> bool {
        if !self.is_held {
            self.is_held = lock(&self.budget.held).take(&self.owner, self.bytes, MAX_HELD_BYTES, MAX_HELD_BYTES_OF_ONE);
            if self.is_held {
                lock(&self.budget.active).give_back(&self.owner, self.bytes);
            }
        }
        self.is_held
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        let of = if self.is_held { &self.budget.held } else { &self.budget.active };
        lock(of).give_back(&self.owner, self.bytes);
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
        assert_eq!(lock(&budget.active).total, MAX_BYTES_OF_ONE + (16 << 10), "it grew to this, not by this");
        drop((two, three));
        assert_all_given_back(&budget);
    }

    fn assert_all_given_back(budget: &BodyBudget) {
        for of in [&budget.active, &budget.held] {
            let in_use = lock(of);
            assert_eq!((in_use.total, in_use.by_owner.len()), (0, 0), "everything was given back");
        }
    }

    #[test]
    fn what_is_held_leaves_room_for_others_bodies_and_has_a_bound_of_its_own() {
        let budget = Arc::new(BodyBudget::default());
        let held = |last, bytes| {
            let mut share = BodyShare::new(budget.clone(), owner(last));
            assert!(share.grow_to(bytes));
            (share.hold(), share)
        };
        let whole: Vec<_> = (1..=4).map(|last| held(last, MAX_HELD_BYTES_OF_ONE)).collect();
        assert!(whole.iter().all(|(is_held, _)| *is_held));
        assert_eq!(lock(&budget.active).total, 0);
        // Both bounds: of one, and of all. What is not held goes on counting where it was.
        let (beyond, fifth) = (held(1, 1), held(5, 1));
        assert_eq!((beyond.0, fifth.0, lock(&budget.active).total), (false, false, 2));
        drop((whole, beyond, fifth));
        assert_all_given_back(&budget);
    }
}
