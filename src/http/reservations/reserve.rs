//! Items of reserve: requests and results.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::{
        field_errors::FieldErrors,
        names,
        reservation::{
            DEFAULT_RESOURCE_TYPE, ReserveOutcome, ReserveRequest, ReserveStatus, nameable, quantity,
            requester_and_resource, ttl_ms,
        },
        time::{instant, wire_option},
        waiting::{DEFAULT_KEEP_ALIVE_S, KEEP_ALIVE_S, MAX_PRIORITY, MAX_WAIT_S, Place, TicketId, Wait},
    },
    http::wire::{request::whole_number, word::Word},
};

/// A request of one requester for one resource.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[oai(rename_all = "camelCase")]
pub(super) struct ReserveItem {
    /// The requester: unique per holder. 1 to 1,024 bytes.
    #[oai(validator(min_length = 1))]
    pub(super) requester: Option<String>,
    /// The resource. 1 to 1,024 bytes; it need not be registered.
    #[oai(validator(min_length = 1))]
    pub(super) resource: Option<String>,
    /// Time to live in seconds, 1 to 2,147,483,647: then it is free again by itself. Without it, it is held until it is released.
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) ttl_seconds: Option<i64>,
    /// A tag of yours, shown in events. `UserDefined` without it.
    pub(super) resource_type: Option<String>,
    /// Shown wherever the holder is shown. At most 1,024 bytes.
    pub(super) note: Option<String>,
    /// Slots of a pool, 1 to 1,000: all or none, under one token, fence and time to live. 1 without it.
    /// A wish that waits already keeps its place when it is asked for again, with the quantity and the time to live of the last time.
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) quantity: Option<i64>,
    /// Seconds to wait where it cannot be had now, 1 to 86,400: then it is `WAITING`, with a ticket. Without it, it is refused.
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) wait_seconds: Option<i64>,
    /// Of a wait: -1,000 to 1,000, greater is served first. 0 without it.
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) priority: Option<i64>,
    /// Of a wait: seconds for which the ticket lives while nobody asks for it, 5 to 3,600. 30 without it.
    #[serde(default, deserialize_with = "whole_number")]
    pub(super) keep_alive_seconds: Option<i64>,
}

impl ReserveItem {
    pub(super) fn parse(errors: &mut FieldErrors, at: usize, raw: Self) -> Option<ReserveRequest> {
        let names = requester_and_resource(errors, at, raw.requester, raw.resource);
        let ttl_ms = raw
            .ttl_seconds
            .map_or(Some(None), |seconds| errors.check(|| format!("[{at}].ttlSeconds"), ttl_ms(seconds)).map(Some));
        let resource_type = raw.resource_type.or_else(|| Some(DEFAULT_RESOURCE_TYPE.into()));
        let resource_type = errors.check(|| format!("[{at}].resourceType"), names::label(resource_type));
        let note = errors.check(|| format!("[{at}].note"), names::note(raw.note));
        let quantity = errors.check(|| format!("[{at}].quantity"), quantity(raw.quantity));
        let wait = WaitFields {
            wait_seconds: raw.wait_seconds,
            priority: raw.priority,
            keep_alive_seconds: raw.keep_alive_seconds,
            overtake: None,
        };
        let wait = wait.parse(errors, &format!("[{at}]."));
        let ((requester, resource), ttl_ms, resource_type, note) = (names?, ttl_ms?, resource_type?, note?);
        let (token, quantity, wait) = (Uuid::new_v4(), quantity?, wait?);
        errors.check(|| format!("[{at}].quantity"), nameable(&resource, quantity))?;
        Some(ReserveRequest { requester, resource, token, ttl_ms, resource_type, note, quantity, wait })
    }
}

/// Outcome of one item of reserve. Every key is always present.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
pub(super) struct ReserveResult {
    resource: String,
    requester: String,
    status: Word<ReserveStatus>,
    /// The status word for a plain success, else a sentence that a person can act on.
    explanation: String,
    /// Give it back with unreserve, prolong it with renew: a random UUID.
    release_token: Option<String>,
    /// When it ends by itself.
    #[serde(with = "wire_option")]
    expires_at: Option<DateTime<Utc>>,
    /// Of a pool: its name and the slot that was taken; of several, the first.
    acquired_slots: Option<HashMap<String, String>>,
    /// Of a pool: every slot that was taken, the lowest first.
    slots: Option<Vec<String>>,
    /// Blockers taken along.
    acquired_blockers: Option<Vec<String>>,
    /// Path in the tree: `Equipment>IT>Printers`.
    reserved_at_path: Option<String>,
    /// Grows with every grant of the tenant: a protected service refuses a lower one than it has seen.
    fencing_token: Option<i64>,
    /// The holder.
    holder: Option<String>,
    /// Until when that holder has it.
    #[serde(with = "wire_option")]
    holder_expires_at: Option<DateTime<Utc>>,
    /// Of `WAITING`: the ticket; ask for it at least every `keepAliveSeconds`.
    ticket: Option<String>,
    /// Of `WAITING`: the place in line; 1 is next.
    place: Option<i64>,
    /// Of `WAITING`: when the wait ends.
    #[serde(with = "wire_option")]
    wait_expires_at: Option<DateTime<Utc>>,
    /// Of `WAITING`: when it is served if every holder keeps it to its deadline and everybody ahead for the whole time to live; null where one of
    /// them has none.
    #[serde(with = "wire_option")]
    expected_by: Option<DateTime<Utc>>,
}

impl ReserveResult {
    /// The result of an item that was decided.
    pub(super) fn of(resource: String, requester: String, outcome: ReserveOutcome) -> Self {
        let status = outcome.status();
        match outcome {
            ReserveOutcome::Acquired(grant) | ReserveOutcome::AlreadyHad(grant) => Self {
                acquired_slots: grant
                    .pool
                    .zip(grant.slots.as_ref().and_then(|slots| slots.first()))
                    .map(|(pool, slot)| HashMap::from([(pool, slot.clone())])),
                slots: grant.slots,
                explanation: status.name().into(),
                release_token: Some(grant.token.to_string()),
                expires_at: grant.deadline_ms.map(instant),
                acquired_blockers: grant.blockers,
                reserved_at_path: grant.path,
                fencing_token: Some(grant.fence),
                holder: Some(requester.clone()),
                holder_expires_at: grant.deadline_ms.map(instant),
                ..Self::bare(resource, requester, status)
            },
            ReserveOutcome::Waiting(place) => Self {
                explanation: explain_place(&place),
                holder: place.conflict.holder().map(|holder| holder.requester.clone()),
                holder_expires_at: place.conflict.free_ms().map(instant),
                ticket: Some(place.ticket.to_string()),
                place: Some(place.place),
                wait_expires_at: Some(instant(place.ends_ms)),
                expected_by: place.expected_ms.map(instant),
                ..Self::bare(resource, requester, status)
            },
            ReserveOutcome::WouldDeadlock(circle) => {
                Self { explanation: explain_circle(&circle), ..Self::bare(resource, requester, status) }
            }
            ReserveOutcome::Refused(conflict) => Self {
                explanation: conflict.explain(),
                holder: conflict.holder().map(|holder| holder.requester.clone()),
                holder_expires_at: conflict.free_ms().map(instant),
                ..Self::bare(resource, requester, status)
            },
        }
    }

    /// The result of an item that a transaction did not carry out.
    pub(super) fn not_carried_out(request: &ReserveRequest, status: ReserveStatus) -> Self {
        Self {
            explanation: status.name().into(),
            ..Self::bare(request.resource.clone(), request.requester.clone(), status)
        }
    }

    /// A result with a status; everything else is absent.
    fn bare(resource: String, requester: String, status: ReserveStatus) -> Self {
        Self {
            resource,
            requester,
            status: Word(status),
            explanation: String::new(),
            release_token: None,
            expires_at: None,
            acquired_slots: None,
            slots: None,
            acquired_blockers: None,
            reserved_at_path: None,
            fencing_token: None,
            holder: None,
            holder_expires_at: None,
            ticket: None,
            place: None,
            wait_expires_at: None,
            expected_by: None,
        }
    }
}

/// A sentence: what is in the way, how many are before, and who of these comes first.
pub(super) fn explain_place(place: &Place) -> String {
    let ahead = match (place.place - 1, &place.next_requester) {
        (0, _) => "nobody is before you".to_owned(),
        (1, None) => "1 is before you".to_owned(),
        (1, Some(next)) => format!("1 is before you: \"{next}\""),
        (ahead, None) => format!("{ahead} are before you"),
        (ahead, Some(next)) => format!("{ahead} are before you, first \"{next}\""),
    };
    format!("{} You wait for it; {ahead}.", place.conflict.explain_briefly())
}

/// A sentence: who would wait for whom.
pub(super) fn explain_circle(circle: &[String]) -> String {
    let names: Vec<_> = circle.iter().chain(circle.first()).map(|name| format!("\"{name}\"")).collect();
    format!(
        "Nothing waits: {} would each wait for what the next one holds; give back one of these things first.",
        names.join(", ")
    )
}

/// How long something is waited for, as a request says it.
pub(super) struct WaitFields {
    pub(super) wait_seconds: Option<i64>,
    pub(super) priority: Option<i64>,
    pub(super) keep_alive_seconds: Option<i64>,
    pub(super) overtake: Option<bool>,
}

impl WaitFields {
    /// Checks them; the paths of faults begin with `prefix`. `Some(None)`: nothing is waited for.
    pub(super) fn parse(self, errors: &mut FieldErrors, prefix: &str) -> Option<Option<Wait>> {
        let Some(seconds) = self.wait_seconds else {
            let given = [
                ("priority", self.priority.is_some()),
                ("keepAliveSeconds", self.keep_alive_seconds.is_some()),
                ("overtake", self.overtake.is_some()),
            ];
            let mut is_good = true;
            for (name, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
                errors.add(format!("{prefix}{name}"), "needs waitSeconds beside it");
                is_good = false;
            }
            return is_good.then_some(None);
        };
        let mut within = |name: &str, value: i64, bounds: std::ops::RangeInclusive<i64>| {
            let (least, most) = (*bounds.start(), *bounds.end());
            let checked = if bounds.contains(&value) {
                Ok(value)
            } else {
                Err(format!("is {value}; it must be a whole number from {least} to {most}"))
            };
            errors.check(|| format!("{prefix}{name}"), checked)
        };
        let wait_s = within("waitSeconds", seconds, 1..=MAX_WAIT_S);
        let priority = within("priority", self.priority.unwrap_or(0), -MAX_PRIORITY..=MAX_PRIORITY);
        let keep_alive = self.keep_alive_seconds.unwrap_or(DEFAULT_KEEP_ALIVE_S);
        let keep_alive_s = within("keepAliveSeconds", keep_alive, KEEP_ALIVE_S);
        Some(Some(Wait {
            ticket: TicketId::random(),
            wait_ms: wait_s? * 1_000,
            priority: priority?,
            keep_alive_ms: keep_alive_s? * 1_000,
            overtake: self.overtake.unwrap_or(false),
        }))
    }
}
