//! Transactions: groups of reserves or releases, each group atomic.

use crate::domain::{
    closed_set::{ClosedSet, closed_set},
    field_errors::FieldErrors,
    reservation::{MAX_BATCH, ReleaseOutcome, ReleaseRequest, ReserveOutcome, ReserveRequest},
    waiting::{Place, Wait},
};

closed_set! {
    /// Treatment of conflicts by a transaction.
    pub enum Method as "TransactionMethod" {
        /// Everything or nothing.
        AllOrNone = "ALL_OR_NONE",
        /// Whatever is free; the rest is left out.
        AsManyAsPossible = "AS_MANY_AS_POSSIBLE",
        /// The first that is free, in the order of the list.
        First = "FIRST",
    }
}

impl Method {
    /// The method of a name, which is required.
    ///
    /// # Errors
    /// A message that lists the methods.
    pub fn parse(name: Option<&str>) -> Result<Self, String> {
        let name = name.ok_or("is required")?;
        Self::of_name(name)
            .ok_or_else(|| format!("is \"{name}\"; it must be ALL_OR_NONE, AS_MANY_AS_POSSIBLE or FIRST"))
    }
}

closed_set! {
    /// Type of the items of a transaction.
    pub enum TransactionType as "TransactionType" {
        /// Items as in reserve.
        Reserve = "RESERVE",
        /// Items as in unreserve.
        Unreserve = "UNRESERVE",
    }
}

impl TransactionType {
    /// The type of a name, which is required.
    ///
    /// # Errors
    /// A message that lists the types.
    pub fn parse(name: Option<&str>) -> Result<Self, String> {
        let name = name.ok_or("is required: RESERVE or UNRESERVE")?;
        Self::of_name(name).ok_or_else(|| format!("is \"{name}\"; it must be RESERVE or UNRESERVE"))
    }
}

closed_set! {
    /// Outcome of a transaction.
    pub enum TransactionStatus as "TransactionStatus" {
        /// It was carried out, as far as its method asks for.
        Applied = "APPLIED",
        /// It changed nothing.
        RolledBack = "ROLLED_BACK",
        /// It is waited for.
        Waiting = "WAITING",
        /// Waiting for it would close a circle of requesters who wait for each other; nothing waits.
        WouldDeadlock = "WOULD_DEADLOCK",
    }
}

/// One transaction.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Treatment of conflicts.
    pub method: Method,
    /// Its items.
    pub items: Items,
    /// How long it is waited for where it cannot be carried out now; `None`: not at all.
    pub wait: Option<Wait>,
}

/// Items of one transaction: all of one type.
#[derive(Debug, Clone)]
pub enum Items {
    /// Resources to take.
    Reserve(Vec<ReserveRequest>),
    /// Reservations to give back.
    Unreserve(Vec<ReleaseRequest>),
}

impl Items {
    /// Which type the items are of.
    #[must_use]
    pub fn request_type(&self) -> TransactionType {
        match self {
            Self::Reserve(_) => TransactionType::Reserve,
            Self::Unreserve(_) => TransactionType::Unreserve,
        }
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Reserve(requests) => requests.len(),
            Self::Unreserve(claims) => claims.len(),
        }
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Requester and resource of each item, in order.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        let (reserves, releases): (&[ReserveRequest], &[ReleaseRequest]) = match self {
            Self::Reserve(requests) => (requests, &[]),
            Self::Unreserve(claims) => (&[], claims),
        };
        reserves
            .iter()
            .map(|item| (&*item.requester, &*item.resource))
            .chain(releases.iter().map(|item| (&*item.requester, &*item.resource)))
    }
}

/// Outcome of one transaction.
#[derive(Debug, Clone)]
pub struct TransactionOutcome<'t> {
    /// Whether it was carried out; if not, it changed nothing.
    pub status: TransactionStatus,
    /// Outcomes of its items; where it waits, as if it had been rolled back.
    pub results: Results<'t>,
    /// Its place in line, where it waits.
    pub place: Option<Place>,
    /// Requesters who would wait for each other, where it would close a circle.
    pub circle: Vec<String>,
}

/// The items of one transaction, each with its outcome, in order.
#[derive(Debug, Clone)]
pub enum Results<'t> {
    /// Of a transaction that takes.
    Reserve(Vec<(&'t ReserveRequest, ItemOutcome<ReserveOutcome>)>),
    /// Of a transaction that gives back.
    Unreserve(Vec<(&'t ReleaseRequest, ItemOutcome<ReleaseOutcome>)>),
}

/// Outcome of one item of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemOutcome<T> {
    /// As reserve or unreserve decides it.
    Decided(T),
    /// Not tried: `FIRST` took another item.
    Skipped,
    /// It would have been carried out, but the transaction was rolled back.
    RolledBack,
}

/// Checks the sizes of the transactions of one call: 1 to 1,000 items together, at least one in each.
pub fn check_sizes(errors: &mut FieldErrors, sizes: &[usize]) {
    if sizes.is_empty() {
        errors.add("", "the list is empty; send at least one transaction");
    }
    for (at, size) in sizes.iter().enumerate() {
        if *size == 0 {
            errors.add(format!("[{at}].requests"), "is empty; send at least one request");
        }
    }
    let total: usize = sizes.iter().sum();
    if total > MAX_BATCH {
        errors.add("", format!("the transactions have {total} requests together; at most {MAX_BATCH} are allowed"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_items_of_all_transactions_are_counted_together() {
        let errors = |sizes: &[usize]| {
            let mut errors = FieldErrors::default();
            check_sizes(&mut errors, sizes);
            errors.finish(|| Some(())).map_err(|errors| errors.len())
        };
        assert_eq!(errors(&[500, 500]), Ok(()));
        assert_eq!(errors(&[500, 501]), Err(1));
        assert_eq!(errors(&[]), Err(1));
        assert_eq!(errors(&[1, 0]), Err(1));
    }
}
