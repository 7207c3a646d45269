//! Reservations: what is asked and what is answered.

use uuid::Uuid;

use crate::domain::{
    fault::{FieldError, FieldErrors},
    names,
    time::{instant, iso},
};

/// The most items of one call.
pub const BATCH: usize = 1_000;
/// The longest TTL, in seconds.
pub const TTL_SECONDS_MAX: i64 = 2_147_483_647;
/// What a reservation is of, unless its maker says otherwise.
pub const DEFAULT_RESOURCE_TYPE: &str = "UserDefined";

/// One resource wanted by one requester.
#[derive(Debug, Clone)]
pub struct ReserveRequest {
    pub requester: String,
    pub resource: String,
    /// The token that the reservation will carry if it is granted.
    pub token: Uuid,
    /// How long, in milliseconds; `None` until it is released.
    pub ttl_ms: Option<i64>,
    pub resource_type: String,
    /// Shown wherever the holder is shown; empty when there is none.
    pub note: String,
}

/// One reservation that its holder gives back, or, with a TTL, prolongs.
#[derive(Debug, Clone)]
pub struct ReleaseRequest {
    pub requester: String,
    pub resource: String,
    /// The proof; `None` when the caller sent none, which proves nothing.
    pub token: Option<String>,
}

/// A claim with the time from now that it shall last, in milliseconds.
#[derive(Debug, Clone)]
pub struct RenewRequest {
    pub claim: ReleaseRequest,
    pub ttl_ms: i64,
}

/// Reads a TTL in whole seconds, as milliseconds.
///
/// # Errors
/// A sentence that gives the bounds.
pub fn ttl_ms(seconds: i64) -> Result<i64, String> {
    if (1..=TTL_SECONDS_MAX).contains(&seconds) {
        Ok(seconds * 1000)
    } else {
        Err(format!("is {seconds}; it must be a whole number of seconds from 1 to {TTL_SECONDS_MAX}"))
    }
}

/// Reads a batch: 1 to 1,000 items, each parsed by `item`, all faults of all items together.
///
/// # Errors
/// Every fault, each with the path of its item.
pub fn batch<R, T>(
    raw: Vec<R>,
    mut item: impl FnMut(&mut FieldErrors, usize, R) -> Option<T>,
) -> Result<Vec<T>, Vec<FieldError>> {
    let mut faults = FieldErrors::default();
    match raw.len() {
        0 => faults.add("", "the list is empty; send 1 to 1000 items"),
        1..=BATCH => {}
        many => faults.add("", format!("the list has {many} items; send 1 to {BATCH}")),
    }
    if raw.len() > BATCH {
        return faults.or(Vec::new());
    }
    let mut items = Vec::with_capacity(raw.len());
    for (at, raw) in raw.into_iter().enumerate() {
        items.extend(item(&mut faults, at, raw));
    }
    faults.or(items)
}

/// A requester's and a resource's name at position `at` of a batch.
pub fn named(
    faults: &mut FieldErrors,
    at: usize,
    requester: Option<String>,
    resource: Option<String>,
) -> Option<(String, String)> {
    let requester = faults.keep(|| format!("[{at}].requester"), names::name(requester));
    let resource = faults.keep(|| format!("[{at}].resource"), names::name(resource));
    requester.zip(resource)
}

/// What stands in the way of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// `resource`: the thing itself; `blocker`, `ancestor`, `descendant`: something that goes with it; `pool`: none of its slots is free;
    /// `registration`: the name needs one and has none.
    pub kind: String,
    /// Its name.
    pub resource: String,
    /// Who has it; empty where no one holder is to name.
    pub holder: String,
    /// Until when, in milliseconds since the Unix epoch; `None` until it is released.
    pub holder_deadline_ms: Option<i64>,
}

impl Conflict {
    /// A sentence that a person can act on.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { kind, resource, holder, holder_deadline_ms } = self;
        let until = holder_deadline_ms.map(|ms| iso(instant(ms)));
        match (kind.as_str(), holder.is_empty(), &until) {
            ("registration", ..) => {
                return format!(
                    "\"{resource}\" is not registered, or the pool has no such slot; register it first, or mend the name."
                );
            }
            (_, true, Some(until)) => {
                return format!("No slot of \"{resource}\" is free; the earliest ends at {until}.");
            }
            (_, true, None) => {
                return format!("No slot of \"{resource}\" is free; watch the event stream for a release.");
            }
            _ => {}
        }
        let what = if kind == "resource" { format!("\"{resource}\"") } else { format!("The {kind} \"{resource}\"") };
        match until {
            Some(until) => format!(
                "{what} is held by \"{holder}\" until {until}; try again then, or watch the event stream for its release."
            ),
            None => format!("{what} is held by \"{holder}\" without an end; watch the event stream for its release."),
        }
    }
}

/// What became of one wanted resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReserveOutcome {
    /// `ACQUIRED`, `ALREADY_HAD`, `ALREADY_HELD`, `NOT_AVAILABLE` or `NOT_VALID`.
    pub status: String,
    /// The holder's proof, when this requester holds it.
    pub token: Option<String>,
    /// Grows with every grant; a protected service refuses a lower one.
    pub fence: Option<i64>,
    /// Milliseconds since the Unix epoch.
    pub deadline_ms: Option<i64>,
    /// Who holds it, if anybody.
    pub holder: Option<String>,
    /// Until when that holder has it, in milliseconds since the Unix epoch.
    pub holder_deadline_ms: Option<i64>,
    /// Of a pool: its name and the slot.
    pub slot: Option<(String, String)>,
    /// What was taken along.
    pub blockers: Option<Vec<String>>,
    /// Where it stands in the tree.
    pub path: Option<String>,
    /// What was in the way.
    pub obstacle: Option<Conflict>,
}

impl ReserveOutcome {
    /// A status, and nothing else yet.
    #[must_use]
    pub fn of(status: &str) -> Self {
        Self {
            status: status.into(),
            token: None,
            fence: None,
            deadline_ms: None,
            holder: None,
            holder_deadline_ms: None,
            slot: None,
            blockers: None,
            path: None,
            obstacle: None,
        }
    }
}

/// What became of one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseOutcome {
    /// `RELINQUISHED`, `NOT_RESERVED` or `DOESNT_OWN_RESERVATION`.
    pub status: String,
    /// Every physical resource that was freed.
    pub freed: Vec<String>,
    /// Who holds it instead.
    pub holder: Option<Conflict>,
}

/// What became of one renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewOutcome {
    /// `RENEWED`, `NOT_RESERVED` or `DOESNT_OWN_RESERVATION`.
    pub status: String,
    /// Unchanged by a renewal.
    pub fence: Option<i64>,
    /// The new deadline, in milliseconds since the Unix epoch.
    pub deadline_ms: Option<i64>,
    /// Who holds it instead.
    pub holder: Option<Conflict>,
}

/// What a look at one resource shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub holder: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub deadline_ms: Option<i64>,
    pub note: Option<String>,
    /// How many can have it at once.
    pub capacity: i64,
    /// How many of these are free.
    pub available: i64,
    /// Whether a stranger could take it now.
    pub takeable: bool,
}

/// A reservation as the listing shows it: never its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldReservation {
    pub resource: String,
    pub requester: String,
    pub fence: i64,
    /// Milliseconds since the Unix epoch.
    pub deadline_ms: Option<i64>,
    /// Milliseconds since the Unix epoch.
    pub reserved_ms: i64,
    pub resource_type: String,
    /// Which key or end user made it.
    pub label: Option<String>,
    pub note: Option<String>,
    /// The pool that it is a slot of.
    pub pool: Option<String>,
    /// Where it stands in the tree.
    pub path: Option<String>,
    /// What was taken along.
    pub blockers: Option<Vec<String>>,
    /// Of a blocker: what it was taken along with.
    pub blocker_of: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_names_every_fault_of_every_item() {
        let raw = vec![Some("a"), None, Some("")];
        let faults = batch(raw, |faults, at, raw| {
            faults.keep(|| format!("[{at}].resource"), names::name(raw.map(str::to_owned)))
        })
        .unwrap_err();
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["[1].resource", "[2].resource"]);
    }

    #[test]
    fn a_batch_is_never_empty_and_never_too_long() {
        assert!(batch(Vec::<()>::new(), |_, _, ()| Some(())).is_err());
        assert!(batch(vec![(); BATCH], |_, _, ()| Some(())).is_ok());
        assert!(batch(vec![(); BATCH + 1], |_, _, ()| Some(())).is_err());
    }

    #[test]
    fn a_ttl_is_a_positive_number_of_seconds() {
        assert_eq!(ttl_ms(1), Ok(1000));
        assert_eq!(ttl_ms(TTL_SECONDS_MAX), Ok(2_147_483_647_000));
        assert!(ttl_ms(0).is_err());
        assert!(ttl_ms(-5).is_err());
        assert!(ttl_ms(TTL_SECONDS_MAX + 1).is_err());
    }
}
