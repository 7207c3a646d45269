//! The short scripts of tenants that never registered anything: what they are sent ready-made, and what they answer.
//!
//! What does not depend on the moment is packed here, so that Redis, which is one thread for everybody, only puts it together.

use std::collections::HashSet;

use uuid::Uuid;

use crate::{
    domain::reservation::{
        Conflict, Grant, Holder, Relation, ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, ReserveOutcome,
        ReserveRequest,
    },
    store::{
        Arg, Caller,
        codec::{Reader, Writer},
        reservations::shown_token,
    },
};

pub(in crate::store) fn wanted_args<'a>(caller: &Caller, items: &'a [ReserveRequest]) -> Vec<Arg<'a>> {
    let packed = column(Writer::default(), items, |to, item| to.int(item.ttl_ms.unwrap_or(0)));
    let packed = column(packed, items, |to, item| to.text(&item.resource));
    let packed = column(packed, items, |to, item| to.binary(item.token.as_bytes()));
    let packed = new_column(packed, items, is_alike, |item| kept(item, caller));
    let packed = new_column(packed, items, is_alike, |item| told_of_wanted(item, caller));
    with_twice(packed, items.iter().map(|item| &*item.resource))
}

pub(in crate::store) fn claim_args<'a>(caller: &Caller, claims: &'a [ReleaseRequest]) -> Vec<Arg<'a>> {
    let packed = claim_columns(Writer::default(), caller, claims, |claim| claim);
    with_twice(packed, claims.iter().map(|claim| &*claim.resource))
}

pub(in crate::store) fn renewal_args<'a>(caller: &Caller, renewals: &'a [RenewRequest]) -> Vec<Arg<'a>> {
    let packed = column(Writer::default(), renewals, |to, renewal| to.int(renewal.ttl_ms));
    vec![Arg::Packed(claim_columns(packed, caller, renewals, |renewal| &renewal.claim).done())]
}

fn claim_columns<T>(packed: Writer, caller: &Caller, items: &[T], claim: impl Fn(&T) -> &ReleaseRequest) -> Writer {
    let alike = |a: &T, b: &T| claim(a).requester == claim(b).requester;
    let packed = column(packed, items, |to, item| to.text(&claim(item).resource));
    let packed = column(packed, items, |to, item| to.binary(shown_token(claim(item)).as_bytes()));
    let packed = new_column(packed, items, alike, |item| who(claim(item)));
    new_column(packed, items, alike, |item| told_of_claim(claim(item), caller))
}

/// One value of each item. A script unpacks all columns at once, which costs Redis less than item after item.
pub(in crate::store) fn column<T>(packed: Writer, items: &[T], write: impl Fn(Writer, &T) -> Writer) -> Writer {
    items.iter().fold(packed, write)
}

/// Whether the same is known of both beforehand.
pub(in crate::store) fn is_alike(a: &ReserveRequest, b: &ReserveRequest) -> bool {
    a.requester == b.requester && a.resource_type == b.resource_type && a.note == b.note
}

/// One packed value of each item, or nothing where it is as of the item before: what most of a batch have in common is sent once.
pub(in crate::store) fn new_column<T>(
    packed: Writer,
    items: &[T],
    alike: impl Fn(&T, &T) -> bool,
    value: impl Fn(&T) -> Vec<u8>,
) -> Writer {
    let before = std::iter::once(None).chain(items.iter().map(Some));
    items.iter().zip(before).fold(packed, |packed, (item, before)| {
        let is_alike = before.is_some_and(|before| alike(before, item));
        if is_alike { packed.text("") } else { packed.binary(&value(item)) }
    })
}

/// The arguments, and whether a resource is named twice: only then does the script look what an item before has done to it.
fn with_twice<'a, 'r>(packed: Writer, mut resources: impl ExactSizeIterator<Item = &'r str>) -> Vec<Arg<'a>> {
    let mut args = vec![Arg::Packed(packed.done())];
    let mut seen = HashSet::new();
    if resources.len() > 1 && !resources.all(|resource| seen.insert(resource)) {
        args.push(Arg::Text("twice"));
    }
    args
}

/// A reservation's fields from its requester on; its layout stands in `lua/README.md`.
pub(in crate::store) fn kept(item: &ReserveRequest, caller: &Caller) -> Vec<u8> {
    let ReserveRequest { requester, resource_type, note, .. } = item;
    Writer::default()
        .text(requester)
        .text(resource_type)
        .maybe_text(caller.label())
        .maybe_text(caller.end_user())
        .maybe_text((!note.is_empty()).then_some(note))
        .boolean(false) // no pool
        .boolean(false) // no path
        .boolean(false) // no blockers
        .int(0) // nobody blocks with it
        .done()
}

/// What proves, beside the token, who holds it.
pub(in crate::store) fn who(claim: &ReleaseRequest) -> Vec<u8> {
    Writer::default().text(&claim.requester).done()
}

/// Of the event RESERVED, the fields from the resource type to the resource; its layout stands in `lua/README.md`.
pub(in crate::store) fn told_of_wanted(item: &ReserveRequest, caller: &Caller) -> Vec<u8> {
    told(Writer::default().text(&item.resource_type), &item.requester, caller)
}

/// Of the events UNRESERVED and RENEWED, those from the requester to the resource.
pub(in crate::store) fn told_of_claim(claim: &ReleaseRequest, caller: &Caller) -> Vec<u8> {
    told(Writer::default(), &claim.requester, caller)
}

fn told(to: Writer, requester: &str, caller: &Caller) -> Vec<u8> {
    to.text(requester)
        .maybe_text(caller.label())
        .boolean(false) // no pool
        .boolean(false) // no blockers
        .boolean(false) // no method
        .boolean(false) // no changes
        .done()
}

pub(in crate::store) fn read_granted(reader: &mut Reader<'_>, wanted: &ReserveRequest) -> Option<ReserveOutcome> {
    match reader.text_ahead() {
        None => {
            let grant = read_grant(reader, wanted.token)?;
            reader.int()?; // since when: now
            Some(ReserveOutcome::Acquired(grant))
        }
        Some("ALREADY_HAD") => {
            let token = Uuid::from_slice(reader.bytes()?).ok()?;
            read_grant(reader, token).map(ReserveOutcome::AlreadyHad)
        }
        Some("ALREADY_HELD") => {
            let (relation, resource) = (Relation::Itself, wanted.resource.clone());
            Some(ReserveOutcome::Refused(Conflict::Held { relation, resource, holder: read_holder(reader)? }))
        }
        Some(_) => None,
    }
}

fn read_grant(reader: &mut Reader<'_>, token: Uuid) -> Option<Grant> {
    let (fence, deadline_ms) = (reader.int()?, reader.maybe_int()?);
    Some(Grant { token, fence, deadline_ms, free_ms: deadline_ms, slot: None, blockers: None, path: None })
}

pub(in crate::store) fn read_released(reader: &mut Reader<'_>, claim: &ReleaseRequest) -> Option<ReleaseOutcome> {
    if reader.truth() {
        return Some(ReleaseOutcome::Relinquished(vec![claim.resource.clone()]));
    }
    match reader.text()? {
        "NOT_RESERVED" => Some(ReleaseOutcome::NotReserved),
        "DOESNT_OWN_RESERVATION" => read_holder(reader).map(ReleaseOutcome::NotOwner),
        _ => None,
    }
}

pub(in crate::store) fn read_renewed(reader: &mut Reader<'_>) -> Option<RenewOutcome> {
    match reader.text_ahead() {
        None => Some(RenewOutcome::Renewed { fence: reader.int()?, deadline_ms: reader.int()? }),
        Some("NOT_RESERVED") => Some(RenewOutcome::NotReserved),
        Some("DOESNT_OWN_RESERVATION") => read_holder(reader).map(RenewOutcome::NotOwner),
        Some(_) => None,
    }
}

fn read_holder(reader: &mut Reader<'_>) -> Option<Holder> {
    Some(Holder { requester: reader.text()?.into(), until_ms: reader.maybe_int()? })
}
