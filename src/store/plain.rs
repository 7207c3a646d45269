//! The short scripts of tenants that never registered anything: what they are sent ready-made, and what they answer.
//!
//! What does not depend on the moment is packed here, so that Redis, which is one thread for everybody, only puts it together.

use crate::{
    domain::reservation::{Claim, Granted, Obstacle, Released, Renewal, Renewed, Wanted},
    store::{
        Caller,
        packed::{Reader, Writer},
        resp::Arguments,
    },
};

pub(super) fn write_wanted(to: &mut dyn Arguments, caller: &Caller, item: &Wanted) {
    let Wanted { requester, resource, token, ttl_ms, resource_type, note } = item;
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
    let event = event(Writer::default().boolean(true).text(resource_type), ["RESERVED", "ACQUIRED", "RESERVE"], resource, requester, caller);
    to.bytes(&Writer::default().text(requester).text(resource).int(ttl_ms.unwrap_or(0)).binary(&reservation.done()).binary(&event).done());
}

pub(super) fn write_claim(to: &mut dyn Arguments, caller: &Caller, claim: &Claim) {
    let Claim { requester, resource, token } = claim;
    let event = event(Writer::default(), ["UNRESERVED", "RELINQUISHED", "UNRESERVE"], resource, requester, caller);
    to.bytes(&Writer::default().text(requester).text(resource).text(token.as_deref().unwrap_or("")).binary(&event).done());
}

pub(super) fn write_renewal(to: &mut dyn Arguments, caller: &Caller, renewal: &Renewal) {
    let Claim { requester, resource, token } = &renewal.claim;
    let event = event(Writer::default(), ["RENEWED", "RENEWED", "RENEW"], resource, requester, caller);
    let claim = Writer::default().text(requester).text(resource).text(token.as_deref().unwrap_or(""));
    to.bytes(&claim.int(renewal.ttl_ms).binary(&event).done());
}

/// An event's fields from its type on; its layout stands in `lua/README.md`.
fn event(to: Writer, [kind, explanation, request]: [&str; 3], resource: &str, requester: &str, caller: &Caller) -> Vec<u8> {
    to.text(kind)
        .text(explanation)
        .boolean(false) // no reason
        .text(request)
        .text(resource)
        .text(requester)
        .maybe_text(caller.label())
        .boolean(false) // no pool
        .boolean(false) // no blockers
        .boolean(false) // no method
        .boolean(false) // no changes
        .done()
}

pub(super) fn read_granted(reader: &mut Reader<'_>, wanted: &Wanted) -> Option<Granted> {
    let status = reader.text()?;
    let token = match status {
        "ACQUIRED" => Some(wanted.token.to_string()),
        "ALREADY_HAD" => Some(reader.text()?.into()),
        _ => {
            let obstacle = read_obstacle(reader, &wanted.resource)?;
            let (holder, holder_deadline_ms) = (Some(obstacle.holder.clone()), obstacle.holder_deadline_ms);
            return Some(Granted { holder, holder_deadline_ms, obstacle: Some(obstacle), ..Granted::of(status) });
        }
    };
    let (fence, deadline_ms) = (Some(reader.int()?), reader.maybe_int()?);
    if status == "ACQUIRED" {
        reader.int()?; // since when: now
    }
    Some(Granted { token, fence, deadline_ms, holder: Some(wanted.requester.clone()), holder_deadline_ms: deadline_ms, ..Granted::of(status) })
}

pub(super) fn read_released(reader: &mut Reader<'_>, claim: &Claim) -> Option<Released> {
    let status = reader.text()?;
    let freed = if status == "RELINQUISHED" { vec![claim.resource.clone()] } else { Vec::new() };
    Some(Released { status: status.into(), freed, holder: read_owner(reader, status, claim)? })
}

pub(super) fn read_renewed(reader: &mut Reader<'_>, claim: &Claim) -> Option<Renewed> {
    let status = reader.text()?;
    let (fence, deadline_ms) = if status == "RENEWED" { (Some(reader.int()?), Some(reader.int()?)) } else { (None, None) };
    Some(Renewed { status: status.into(), fence, deadline_ms, holder: read_owner(reader, status, claim)? })
}

/// Who holds it instead, where that is the answer.
fn read_owner(reader: &mut Reader<'_>, status: &str, claim: &Claim) -> Option<Option<Obstacle>> {
    if status == "DOESNT_OWN_RESERVATION" { read_obstacle(reader, &claim.resource).map(Some) } else { Some(None) }
}

fn read_obstacle(reader: &mut Reader<'_>, resource: &str) -> Option<Obstacle> {
    Some(Obstacle { kind: "resource".into(), resource: resource.into(), holder: reader.text()?.into(), holder_deadline_ms: reader.maybe_int()? })
}
