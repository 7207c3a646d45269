//! The short scripts of tenants that never registered anything: what they are sent ready-made, and what they answer.
//!
//! What does not depend on the moment is packed here, so that Redis, which is one thread for everybody, only puts it together.

use std::collections::HashSet;

use crate::{
    domain::reservation::{Claim, Granted, Obstacle, Released, Renewal, Renewed, Wanted},
    store::{
        Caller,
        packed::{Reader, Writer},
        reservations::{read_token, shown_token},
        resp::Arguments,
    },
};

pub(super) fn write_wanted(to: &mut dyn Arguments, caller: &Caller, items: &[Wanted]) {
    let write = |packed: Writer, item: &Wanted, before: Option<&Wanted>| {
        let Wanted { requester, resource, token, ttl_ms, resource_type, note } = item;
        let packed = packed.int(ttl_ms.unwrap_or(0)).text(resource).binary(token.as_bytes());
        if before.is_some_and(|before| before.requester == *requester && before.resource_type == *resource_type && before.note == *note) {
            return packed.text("").text("");
        }
        let kept = Writer::default()
            .text(requester)
            .text(resource_type)
            .maybe_text(caller.label())
            .maybe_text(caller.end_user())
            .maybe_text((!note.is_empty()).then_some(note))
            .boolean(false) // no pool
            .boolean(false) // no path
            .boolean(false) // no blockers
            .int(0); // nobody blocks with it
        packed.binary(&kept.done()).binary(&told(Writer::default().text(resource_type), requester, caller))
    };
    to.bytes(&write_items(items, write));
    write_twice(to, items.iter().map(|item| &*item.resource));
}

pub(super) fn write_claims(to: &mut dyn Arguments, caller: &Caller, claims: &[Claim]) {
    to.bytes(&write_items(claims, |packed, claim, before| write_claim(packed, caller, claim, before)));
    write_twice(to, claims.iter().map(|claim| &*claim.resource));
}

pub(super) fn write_renewals(to: &mut dyn Arguments, caller: &Caller, renewals: &[Renewal]) {
    let write = |packed: Writer, renewal: &Renewal, before: Option<&Renewal>| {
        write_claim(packed.int(renewal.ttl_ms), caller, &renewal.claim, before.map(|before| &before.claim))
    };
    to.bytes(&write_items(renewals, write));
}

/// All items, each with the one before it: what most of a batch have in common is sent once.
fn write_items<T>(items: &[T], write: impl Fn(Writer, &T, Option<&T>) -> Writer) -> Vec<u8> {
    let before = std::iter::once(None).chain(items.iter().map(Some));
    items.iter().zip(before).fold(Writer::default(), |packed, (item, before)| write(packed, item, before)).done()
}

fn write_claim(packed: Writer, caller: &Caller, claim: &Claim, before: Option<&Claim>) -> Writer {
    let packed = packed.text(&claim.resource).binary(shown_token(claim).as_bytes());
    if before.is_some_and(|before| before.requester == claim.requester) {
        return packed.text("").text("");
    }
    let who = Writer::default().text(&claim.requester).done();
    packed.binary(&who).binary(&told(Writer::default(), &claim.requester, caller))
}

/// Whether a resource is named twice: only then does the script look what an item before has done to it.
fn write_twice<'a>(to: &mut dyn Arguments, mut resources: impl ExactSizeIterator<Item = &'a str>) {
    let mut seen = HashSet::new();
    if resources.len() > 1 && !resources.all(|resource| seen.insert(resource)) {
        to.text("twice");
    }
}

/// An event's fields from its requester to its resource; its layout stands in `lua/README.md`.
fn told(to: Writer, requester: &str, caller: &Caller) -> Vec<u8> {
    to.text(requester)
        .maybe_text(caller.label())
        .boolean(false) // no pool
        .boolean(false) // no blockers
        .boolean(false) // no method
        .boolean(false) // no changes
        .done()
}

pub(super) fn read_granted(reader: &mut Reader<'_>, wanted: &Wanted) -> Option<Granted> {
    let (status, token) = match reader.text_ahead() {
        None => ("ACQUIRED", wanted.token.to_string()),
        Some("ALREADY_HAD") => ("ALREADY_HAD", read_token(reader)??),
        Some(status) => {
            let obstacle = read_obstacle(reader, &wanted.resource)?;
            let (holder, holder_deadline_ms) = (Some(obstacle.holder.clone()), obstacle.holder_deadline_ms);
            return Some(Granted { holder, holder_deadline_ms, obstacle: Some(obstacle), ..Granted::of(status) });
        }
    };
    let (fence, deadline_ms) = (Some(reader.int()?), reader.maybe_int()?);
    if status == "ACQUIRED" {
        reader.int()?; // since when: now
    }
    let holder = Some(wanted.requester.clone());
    Some(Granted { token: Some(token), fence, deadline_ms, holder, holder_deadline_ms: deadline_ms, ..Granted::of(status) })
}

pub(super) fn read_released(reader: &mut Reader<'_>, claim: &Claim) -> Option<Released> {
    if reader.truth() {
        return Some(Released { status: "RELINQUISHED".into(), freed: vec![claim.resource.clone()], holder: None });
    }
    let status = reader.text()?;
    Some(Released { status: status.into(), freed: Vec::new(), holder: read_owner(reader, status, claim)? })
}

pub(super) fn read_renewed(reader: &mut Reader<'_>, claim: &Claim) -> Option<Renewed> {
    let Some(status) = reader.text_ahead() else {
        return Some(Renewed { status: "RENEWED".into(), fence: Some(reader.int()?), deadline_ms: Some(reader.int()?), holder: None });
    };
    Some(Renewed { status: status.into(), fence: None, deadline_ms: None, holder: read_owner(reader, status, claim)? })
}

/// Who holds it instead, where that is the answer.
fn read_owner(reader: &mut Reader<'_>, status: &str, claim: &Claim) -> Option<Option<Obstacle>> {
    if status == "DOESNT_OWN_RESERVATION" { read_obstacle(reader, &claim.resource).map(Some) } else { Some(None) }
}

fn read_obstacle(reader: &mut Reader<'_>, resource: &str) -> Option<Obstacle> {
    Some(Obstacle { kind: "resource".into(), resource: resource.into(), holder: reader.text()?.into(), holder_deadline_ms: reader.maybe_int()? })
}
