//! Reservations: requests as they are checked, outcomes, and what a reader sees of a reservation.

mod conflict;
mod outcome;

pub use conflict::{Conflict, Holder, Relation};
pub use outcome::{
    Grant, ReleaseOutcome, ReleaseStatus, RenewOutcome, RenewStatus, ReserveOutcome, ReserveStatus, TokenStatus,
};

use uuid::Uuid;

use crate::domain::{
    field_errors::{FieldError, FieldErrors},
    names,
    waiting::Wait,
};

/// Most items of one call.
pub const MAX_BATCH: usize = 1_000;
/// Most slots of one reservation.
pub const MAX_QUANTITY: i64 = 1_000;
/// Most bytes of JSON that the names of one reservation's slots take in an answer or an event, 1 MiB.
pub const MAX_SLOT_NAMES_BYTES: usize = 1 << 20;
/// Longest TTL, in seconds: 68 years.
pub const MAX_TTL_SECONDS: i64 = 2_147_483_647;
/// Type of a reservation whose request names none.
pub const DEFAULT_RESOURCE_TYPE: &str = "UserDefined";

/// Request of one requester for one resource.
#[derive(Debug, Clone)]
pub struct ReserveRequest {
    /// The requester: unique per holder.
    pub requester: String,
    /// The resource.
    pub resource: String,
    /// The release token that the reservation gets if it is granted.
    pub token: Uuid,
    /// Time to live in milliseconds; `None`: until it is released.
    pub ttl_ms: Option<i64>,
    /// A tag of the client's, shown in events.
    pub resource_type: String,
    /// Shown wherever the holder is shown; empty: none.
    pub note: String,
    /// Slots that are wanted of a pool, 1 to [`MAX_QUANTITY`].
    pub quantity: i64,
    /// How long it is waited for where it cannot be had now; `None`: not at all.
    pub wait: Option<Wait>,
}

/// Request to give one reservation back: a claim to hold it, with the proof.
#[derive(Debug, Clone)]
pub struct ReleaseRequest {
    /// The requester that claims to hold it.
    pub requester: String,
    /// The resource, a slot, or the pool of a slot.
    pub resource: String,
    /// Release token as the client sent it; `None`, like any other text, proves nothing.
    pub token: Option<String>,
}

/// Request to move the deadline of one reservation.
#[derive(Debug, Clone)]
pub struct RenewRequest {
    /// The claim to hold it, with the proof.
    pub claim: ReleaseRequest,
    /// New time to live, from now on, in milliseconds.
    pub ttl_ms: i64,
}

/// Reads a TTL in whole seconds, as milliseconds.
///
/// # Errors
/// A message that gives the bounds.
pub fn ttl_ms(seconds: i64) -> Result<i64, String> {
    if (1..=MAX_TTL_SECONDS).contains(&seconds) {
        Ok(seconds * 1000)
    } else {
        Err(format!("is {seconds}; it must be a whole number of seconds from 1 to {MAX_TTL_SECONDS}"))
    }
}

/// Checks how many slots are wanted; 1 where nothing says it.
///
/// # Errors
/// A message that gives the bounds.
pub fn quantity(wanted: Option<i64>) -> Result<i64, String> {
    match wanted.unwrap_or(1) {
        quantity @ 1..=MAX_QUANTITY => Ok(quantity),
        quantity => Err(format!("is {quantity}; it must be a whole number from 1 to {MAX_QUANTITY}")),
    }
}

/// Checks that answers and events can list the slots that are wanted of a pool by their names.
///
/// # Errors
/// A message that gives the most of that name. Without control characters, quotes and backslashes, which JSON writes in up to six bytes each, every
/// quantity is good.
pub fn nameable(resource: &str, quantity: i64) -> Result<(), String> {
    // Of nearly every call, which then counts no characters.
    if quantity <= 1 {
        return Ok(());
    }
    // A quote at each end, an underscore, up to five digits, a comma.
    let length = json_bytes(resource) + 9;
    let most = (MAX_SLOT_NAMES_BYTES / length).max(1) as i64;
    if quantity <= most {
        return Ok(());
    }
    Err(format!("is {quantity}; of a pool whose name takes {length} bytes in JSON it must be at most {most}"))
}

/// Length of a text in JSON, in bytes, without its quotes.
fn json_bytes(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

/// Checks a batch: 1 to 1,000 items, each parsed by `item`, the errors of all items together.
///
/// A batch that is too long is refused for its length alone: its items are not looked at.
///
/// # Errors
/// Every error, each with the path of its item.
pub fn batch<R, T>(
    raw: Vec<R>,
    mut item: impl FnMut(&mut FieldErrors, usize, R) -> Option<T>,
) -> Result<Vec<T>, Vec<FieldError>> {
    let mut errors = FieldErrors::default();
    match raw.len() {
        0 => errors.add("", "the list is empty; send 1 to 1000 items"),
        1..=MAX_BATCH => {}
        many => {
            errors.add("", format!("the list has {many} items; send 1 to {MAX_BATCH}"));
            return errors.finish(|| None);
        }
    }
    let mut items = Vec::with_capacity(raw.len());
    for (at, raw) in raw.into_iter().enumerate() {
        items.extend(item(&mut errors, at, raw));
    }
    errors.finish(|| Some(items))
}

/// Checks the names of the requester and the resource of item `at` of a batch.
pub fn requester_and_resource(
    errors: &mut FieldErrors,
    at: usize,
    requester: Option<String>,
    resource: Option<String>,
) -> Option<(String, String)> {
    let requester = errors.check(|| format!("[{at}].requester"), names::name(requester));
    let resource = errors.check(|| format!("[{at}].resource"), names::name(resource));
    requester.zip(resource)
}

/// State of one resource, as check shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The holder; `None` where it is free, and of a pool.
    pub holder: Option<String>,
    /// When it becomes free; of a pool, its first slot: milliseconds since the Unix epoch.
    pub deadline_ms: Option<i64>,
    /// The holder's note.
    pub note: Option<String>,
    /// Capacity: how many can hold it at once; of a pool its slots, else 1.
    pub capacity: i64,
    /// The free part of the capacity.
    pub available: i64,
    /// Whether a requester that holds nothing could take it now, tree and blockers considered.
    pub takeable: bool,
    /// How many tickets want it.
    pub waiting: i64,
}

/// An active reservation as the listing shows it: never its release token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldReservation {
    /// Physical name: of a pool, the slot's.
    pub resource: String,
    /// The holder.
    pub requester: String,
    /// Fencing token.
    pub fence: i64,
    /// End, in milliseconds since the Unix epoch; `None`: until it is released.
    pub deadline_ms: Option<i64>,
    /// Begin, in milliseconds since the Unix epoch.
    pub reserved_ms: i64,
    /// A tag of the client's.
    pub resource_type: String,
    /// Label of the key, or the end user, that made it.
    pub label: Option<String>,
    /// The holder's note.
    pub note: Option<String>,
    /// Pool of which it is a slot.
    pub pool: Option<String>,
    /// Path in the tree, its own name included.
    pub path: Option<String>,
    /// Blockers taken along.
    pub blockers: Option<Vec<String>>,
    /// Of a blocker: what it was taken along with.
    pub blocker_of: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_names_every_error_of_every_item() {
        let raw = vec![Some("a"), None, Some("")];
        let errors = batch(raw, |errors, at, raw| {
            errors.check(|| format!("[{at}].resource"), names::name(raw.map(str::to_owned)))
        })
        .unwrap_err();
        let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["[1].resource", "[2].resource"]);
    }

    #[test]
    fn a_batch_is_never_empty_and_never_too_long() {
        assert!(batch(Vec::<()>::new(), |_, _, ()| Some(())).is_err());
        assert!(batch(vec![(); MAX_BATCH], |_, _, ()| Some(())).is_ok());
        assert!(batch(vec![(); MAX_BATCH + 1], |_, _, ()| Some(())).is_err());
    }

    #[test]
    fn the_names_of_slots_fit_into_an_event() {
        for name in ["GPU", &"x".repeat(1_018), &"\u{5d0}".repeat(509)] {
            assert_eq!(nameable(name, MAX_QUANTITY), Ok(()), "{name}");
        }
        let controls = "\u{1}".repeat(1_018);
        assert_eq!(json_bytes(&controls) + 2, serde_json::to_string(&controls).unwrap().len());
        assert_eq!(json_bytes("\"\\\n\u{7f}a"), 8);
        assert!(nameable(&controls, 171).is_ok() && nameable(&controls, 1).is_ok());
        assert!(nameable(&controls, 172).unwrap_err().ends_with("must be at most 171"));
    }

    #[test]
    fn a_ttl_is_a_positive_number_of_seconds() {
        assert_eq!(ttl_ms(1), Ok(1000));
        assert_eq!(ttl_ms(MAX_TTL_SECONDS), Ok(2_147_483_647_000));
        assert!(ttl_ms(0).is_err());
        assert!(ttl_ms(-5).is_err());
        assert!(ttl_ms(MAX_TTL_SECONDS + 1).is_err());
    }
}
