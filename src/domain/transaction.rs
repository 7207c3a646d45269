//! Transactions: groups of reserves and releases, each group atomic.

use crate::domain::{
    fault::{FieldError, FieldErrors},
    reservation::{BATCH, ReleaseOutcome, ReleaseRequest, ReserveOutcome, ReserveRequest},
};

/// What a group does about conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Everything or nothing.
    AllOrNone,
    /// What can be had; the rest is skipped.
    AsManyAsPossible,
    /// The first that can be had, in the order of the list.
    First,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 3] = [Self::AllOrNone, Self::AsManyAsPossible, Self::First];

    /// The name as the API spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AllOrNone => "ALL_OR_NONE",
            Self::AsManyAsPossible => "AS_MANY_AS_POSSIBLE",
            Self::First => "FIRST",
        }
    }

    /// The method of that name.
    ///
    /// # Errors
    /// A sentence that lists the methods there are.
    pub fn parse(name: Option<&str>) -> Result<Self, String> {
        let name = name.ok_or("is required")?;
        Self::ALL
            .into_iter()
            .find(|method| method.name() == name)
            .ok_or_else(|| format!("is \"{name}\"; it must be ALL_OR_NONE, AS_MANY_AS_POSSIBLE or FIRST"))
    }
}

/// One group.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// What it does about conflicts.
    pub method: Method,
    /// What it asks for.
    pub items: Items,
}

/// What a group asks for: all of one kind.
#[derive(Debug, Clone)]
pub enum Items {
    /// To be taken.
    Reserve(Vec<ReserveRequest>),
    /// To be given back.
    Unreserve(Vec<ReleaseRequest>),
}

impl Items {
    /// The request type as the API spells it.
    #[must_use]
    pub fn request_type(&self) -> &'static str {
        match self {
            Self::Reserve(_) => "RESERVE",
            Self::Unreserve(_) => "UNRESERVE",
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Reserve(wanted) => wanted.len(),
            Self::Unreserve(claims) => claims.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What became of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionOutcome {
    /// Whether it stands; if not, it changed nothing.
    pub applied: bool,
    /// What became of its items.
    pub results: Results,
}

/// What became of a group's items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Results {
    /// Of those to be taken. Beside the statuses of reserve: `ROLLED_BACK`, `SKIPPED`.
    Reserve(Vec<ReserveOutcome>),
    /// Of those to be given back. Beside the statuses of unreserve: `ROLLED_BACK`, `SKIPPED`.
    Unreserve(Vec<ReleaseOutcome>),
}

/// Checks that a call has 1 to 1,000 items over all its groups, and each group at least one.
pub fn bound(faults: &mut FieldErrors, groups: &[usize]) {
    if groups.is_empty() {
        faults.add("", "the list is empty; send at least one transaction");
    }
    for (at, items) in groups.iter().enumerate() {
        if *items == 0 {
            faults.add(format!("[{at}].requests"), "is empty; send at least one request");
        }
    }
    let all: usize = groups.iter().sum();
    if all > BATCH {
        faults.add("", format!("the transactions have {all} requests together; at most {BATCH} are allowed"));
    }
}

/// Puts `prefix` before the path of each fault: those of a group's items are told within the call.
pub fn within(faults: Vec<FieldError>, prefix: &str, into: &mut FieldErrors) {
    for FieldError { path, message } in faults {
        into.add(format!("{prefix}{path}"), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_items_of_all_groups_are_counted_together() {
        let faults = |groups: &[usize]| {
            let mut faults = FieldErrors::default();
            bound(&mut faults, groups);
            faults.or(()).map_err(|faults| faults.len())
        };
        assert_eq!(faults(&[500, 500]), Ok(()));
        assert_eq!(faults(&[500, 501]), Err(1));
        assert_eq!(faults(&[]), Err(1));
        assert_eq!(faults(&[1, 0]), Err(1));
    }
}
