//! The short scripts of tenants that never registered anything: what they are sent ready-made, and what they answer.
//!
//! What does not depend on the moment is packed here, so that Redis, which is one thread for everybody, only puts it together.

use std::collections::HashSet;

use crate::{
    domain::reservation::{Claim, Granted, Obstacle, Released, Renewal, Renewed, Wanted},
    store::{
        Caller,
        packed::{Reader, Writer},
        resp::Arguments,
    },
};

pub(super) fn write_wanted(to: &mut dyn Arguments, caller: &Caller, items: &[Wanted]) {
    let mut packed = Writer::default();
    for Wanted { requester, resource, token, ttl_ms, resource_type, note } in items {
        let reservation = Writer::default()
            .text(requester)
            .text(token.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
            .text(resource_type)
            .maybe_text(caller.label())
            .maybe_text(caller.end_user())
            .maybe_text((!note.is_empty()).then_some(note))
            .boolean(false)
            .boolean(false)
            .boolean(false)
            .int(0);
        let event = event(Writer::default().text(resource_type), resource, requester, caller);
        packed = packed.int(ttl_ms.unwrap_or(0)).text(resource).binary(&reservation.done()).binary(&event);
    }
    write_items(to, packed, items.iter().map(|item| &*item.resource));
}

pub(super) fn write_claims(to: &mut dyn Arguments, caller: &Caller, claims: &[Claim]) {
    let packed = claims.iter().fold(Writer::default(), |packed, claim| write_claim(packed, caller, claim));
    write_items(to, packed, claims.iter().map(|claim| &*claim.resource));
}

pub(super) fn write_renewals(to: &mut dyn Arguments, caller: &Caller, renewals: &[Renewal]) {
    let packed = renewals.iter().fold(Writer::default(), |packed, renewal| write_claim(packed.int(renewal.ttl_ms), caller, &renewal.claim));
    to.bytes(&packed.done());
}

fn write_claim(to: Writer, caller: &Caller, Claim { requester, resource, token }: &Claim) -> Writer {
    let proof = Writer::default().text(requester).text(token.as_deref().unwrap_or(""));
    to.text(resource).binary(&proof.done()).binary(&event(Writer::default(), resource, requester, caller))
}

/// All items, and whether a resource is named twice: only then does the script look what an item before has done to it.
fn write_items<'a>(to: &mut dyn Arguments, packed: Writer, mut resources: impl Iterator<Item = &'a str>) {
    to.bytes(&packed.done());
    let mut seen = HashSet::new();
    if !resources.all(|resource| seen.insert(resource)) {
        to.text("twice");
    }
}

/// An event's fields from its resource on; its layout stands in `lua/README.md`.
fn event(to: Writer, resource: &str, requester: &str, caller: &Caller) -> Vec<u8> {
    to.text(resource)
        .text(requester)
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
        Some("ALREADY_HAD") => ("ALREADY_HAD", reader.text()?.into()),
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
