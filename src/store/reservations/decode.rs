//! What functions answer of reservations, decoded. The layouts stand in `lua/README.md`.

use uuid::Uuid;

use crate::{
    domain::{
        closed_set::ClosedSet,
        reservation::{
            Conflict, Grant, HeldReservation, Holder, ReleaseOutcome, ReleaseRequest, RenewOutcome, ReserveOutcome,
            ReserveRequest, ReserveStatus,
        },
        transaction::ItemOutcome,
        waiting::TicketId,
    },
    store::codec::Reader,
};

/// Where a reservation stands, and what was taken with it.
#[derive(Debug, Default)]
pub(in crate::store) struct Place {
    /// Of a slot: its pool.
    pub(in crate::store) pool: Option<String>,
    /// Of a thing in the tree: its path when it was taken.
    pub(in crate::store) path: Option<String>,
    /// Names that were taken along.
    pub(in crate::store) blockers: Option<Vec<String>>,
    /// Of the first of several slots that one reservation has: the indexes of all.
    indexes: Vec<i64>,
}

impl Place {
    /// Decodes a place: 0 for what stands alone.
    pub(in crate::store) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        if let Some(0) = reader.int_ahead() {
            return Some(Self::default());
        }
        let (pool, path, blockers) = (reader.maybe_text()?, reader.maybe_text()?, reader.maybe_texts()?);
        let indexes = match reader.array_ahead() {
            Some(count) => (0..count).map(|_| reader.int()).collect::<Option<_>>()?,
            // How it was taken, or of which other slot's reservation it is part.
            None if reader.absent() || reader.truth() => Vec::new(),
            None => reader.int().map(|_| Vec::new())?,
        };
        let (_used, _length, _end) = (reader.int()?, reader.int()?, reader.int()?);
        Some(Self { pool, path, blockers, indexes })
    }

    /// Names of all slots of a reservation whose first one has this name; `None` of what is no slot.
    pub(in crate::store) fn slots(&self, physical: &str) -> Option<Vec<String>> {
        let pool = self.pool.as_ref()?;
        if self.indexes.is_empty() {
            return Some(vec![physical.to_owned()]);
        }
        Some(self.indexes.iter().map(|index| format!("{pool}_{index}")).collect())
    }
}

/// Decodes what became of an item of reserve, in a transaction or not.
pub(super) fn read_reserve_item(
    reader: &mut Reader<'_>,
    request: &ReserveRequest,
) -> Option<ItemOutcome<ReserveOutcome>> {
    let outcome = match reader.text_ahead() {
        // It stands alone, as most do.
        None => {
            let (fence, deadline_ms, _now_ms) = (reader.int()?, reader.maybe_int()?, reader.int()?);
            let grant =
                Grant { token: request.token, fence, deadline_ms, pool: None, slots: None, blockers: None, path: None };
            ReserveOutcome::Acquired(grant)
        }
        Some("A") => {
            let (fence, deadline_ms, _now_ms) = (reader.int()?, reader.maybe_int()?, reader.int()?);
            let place = Place::read(reader)?;
            ReserveOutcome::Acquired(grant(request.token, fence, deadline_ms, place, reader.text()?))
        }
        Some("H") => {
            let held = Held::read(reader)?;
            let token = held.token?;
            ReserveOutcome::AlreadyHad(grant(token, held.fence, held.deadline_ms, held.place, reader.text()?))
        }
        Some("SKIPPED") => return Some(ItemOutcome::Skipped),
        Some("ROLLED_BACK") => return Some(ItemOutcome::RolledBack),
        Some("W") => ReserveOutcome::Waiting(read_place(reader)?),
        Some("D") => ReserveOutcome::WouldDeadlock(reader.texts()?),
        Some(status) => ReserveOutcome::Refused(read_conflict(reader, status)?),
    };
    Some(ItemOutcome::Decided(outcome))
}

/// Decodes what is in the way, behind the status.
fn read_conflict(reader: &mut Reader<'_>, status: &str) -> Option<Conflict> {
    let (kind, resource) = (reader.text()?, reader.text()?.to_owned());
    let (holder, until_ms) = (reader.maybe_text()?.unwrap_or_default(), reader.maybe_int()?);
    let (note, ahead) = (reader.maybe_text()?, reader.int()?);
    let conflict = Conflict::of_parts(kind, resource, holder, until_ms)?.with_note(note).behind(ahead);
    (conflict.status() == ReserveStatus::of_name(status)?).then_some(conflict)
}

/// Decodes a place in line, behind its letter.
pub(super) fn read_place(reader: &mut Reader<'_>) -> Option<crate::domain::waiting::Place> {
    let ticket = TicketId::parse(reader.text()?)?;
    let (place, ends_ms, expected_ms) = (reader.int()?, reader.int()?, reader.maybe_int()?);
    let next_requester = reader.maybe_text()?;
    let status = reader.text()?;
    Some(crate::domain::waiting::Place {
        ticket,
        place,
        ends_ms,
        expected_ms,
        next_requester,
        conflict: read_conflict(reader, status)?,
    })
}

fn grant(token: Uuid, fence: i64, deadline_ms: Option<i64>, place: Place, physical: &str) -> Grant {
    let slots = place.slots(physical);
    Grant { token, fence, deadline_ms, pool: place.pool, slots, blockers: place.blockers, path: place.path }
}

/// Decodes what became of an item of unreserve, in a transaction or not.
pub(super) fn read_release_item(
    reader: &mut Reader<'_>,
    claim: &ReleaseRequest,
) -> Option<ItemOutcome<ReleaseOutcome>> {
    if reader.truth() {
        return Some(ItemOutcome::Decided(ReleaseOutcome::Relinquished(vec![claim.resource.clone()])));
    }
    Some(ItemOutcome::Decided(match reader.text()? {
        "R" => ReleaseOutcome::Relinquished(reader.texts()?),
        "NOT_RESERVED" => ReleaseOutcome::NotReserved,
        "DOESNT_OWN_RESERVATION" => ReleaseOutcome::NotOwner(read_holder(reader)?),
        "SKIPPED" => return Some(ItemOutcome::Skipped),
        "ROLLED_BACK" => return Some(ItemOutcome::RolledBack),
        _ => return None,
    }))
}

/// Decodes what became of an item of renew.
pub(super) fn read_renewed(reader: &mut Reader<'_>) -> Option<RenewOutcome> {
    Some(match reader.text_ahead() {
        None => RenewOutcome::Renewed { fence: reader.int()?, deadline_ms: reader.int()?, waiting: reader.int()? },
        Some("NOT_RESERVED") => RenewOutcome::NotReserved,
        Some("DOESNT_OWN_RESERVATION") => RenewOutcome::NotOwner(read_holder(reader)?),
        Some(_) => return None,
    })
}

/// An item's outcome outside of a transaction, where each is decided.
pub(super) fn decided<T>(outcome: ItemOutcome<T>) -> Option<T> {
    match outcome {
        ItemOutcome::Decided(outcome) => Some(outcome),
        ItemOutcome::Skipped | ItemOutcome::RolledBack => None,
    }
}

fn read_holder(reader: &mut Reader<'_>) -> Option<Holder> {
    Some(Holder { requester: reader.text()?.into(), until_ms: reader.maybe_int()?, note: None })
}

/// A reservation as it is kept.
struct Held {
    fence: i64,
    deadline_ms: Option<i64>,
    reserved_ms: i64,
    /// The release token; `None` of what is held only as a blocker.
    token: Option<Uuid>,
    requester: String,
    resource_type: String,
    label: Option<String>,
    note: Option<String>,
    place: Place,
}

impl Held {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            fence: reader.int()?,
            deadline_ms: reader.maybe_int()?,
            reserved_ms: reader.int()?,
            token: match reader.maybe_bytes()? {
                Some(bytes) => Some(Uuid::from_slice(bytes).ok()?),
                None => None,
            },
            requester: reader.text()?.into(),
            resource_type: reader.text()?.into(),
            label: reader.maybe_text()?,
            note: {
                reader.maybe_text()?; // the end user, which is the label where there is one
                reader.maybe_text()?
            },
            place: Place::read(reader)?,
        })
    }
}

/// Decodes a row of the list: name, packed reservation, when it ends as a whole, what it blocks for. The token is shown to nobody.
pub(super) fn read_row(reader: &mut Reader<'_>) -> Option<HeldReservation> {
    let resource = reader.text()?.to_owned();
    let held = Held::read(&mut Reader::new(reader.bytes()?))?;
    Some(HeldReservation {
        resource,
        requester: held.requester,
        fence: held.fence,
        deadline_ms: reader.maybe_int()?,
        reserved_ms: held.reserved_ms,
        resource_type: held.resource_type,
        label: held.label,
        note: held.note,
        pool: held.place.pool,
        path: held.place.path,
        blockers: held.place.blockers,
        blocker_of: reader.maybe_texts()?,
    })
}
