//! Notifications: what functions publish and keep in the history, decoded. A message holds one or more.

use uuid::Uuid;

use crate::{
    domain::{
        closed_set::ClosedSet,
        event::{Change, EventType, Explanation, ReservationEvent},
        platform::PlatformEvent,
        queue::{GapReason, JobState, QueueChange, WorkerState, worker_id},
        reservation::Conflict,
        tier::LimitType,
        time::instant,
        waiting::TicketId,
    },
    store::{codec::Reader, reservations::Place},
};

/// A change that a function published, or kept in the history.
#[derive(Debug, Clone)]
pub struct Notification {
    /// The tenant's id.
    pub tenant: String,
    /// The change.
    pub payload: Payload,
}

/// The content of a notification.
#[derive(Debug, Clone)]
pub enum Payload {
    /// A reservation changed, or was refused.
    Reservation {
        /// The position before it; a reader that has not seen that one has a gap. Absent in a refusal.
        previous: Option<i64>,
        /// Its own position. Absent in a refusal, which is live only.
        position: Option<i64>,
        /// The event as subscribers read it.
        event: Box<ReservationEvent>,
    },
    /// The tenant's own platform published something.
    Platform {
        /// The position before it.
        previous: i64,
        /// Its own position.
        position: i64,
        /// The published event.
        event: Box<PlatformEvent>,
    },
    /// Changes that the queue monitor has observed through a connection: live only.
    Queues {
        /// The connection's id.
        connection: Uuid,
        /// The changes, in order.
        changes: Vec<QueueChange>,
    },
    /// Stands before what is live only in its message.
    Number {
        /// How many messages of what is live only the tenant has had, with this one. A reader that has not seen the one before it has missed
        /// something.
        number: i64,
    },
    /// A credential has ended, or, with the tenant, all of them.
    Ended {
        /// The credential's field in the tenant's state; `None`: all.
        credential: Option<String>,
    },
}

impl Notification {
    /// The position before it and its own; `None` where it is live only and not kept.
    #[must_use]
    pub fn positions(&self) -> Option<(i64, i64)> {
        match self.payload {
            Payload::Reservation { previous, position, .. } => previous.zip(position),
            Payload::Platform { previous, position, .. } => Some((previous, position)),
            Payload::Queues { .. } | Payload::Number { .. } | Payload::Ended { .. } => None,
        }
    }

    /// Decodes one entry of the history: the events of a batch share entries.
    pub(in crate::store) fn read_kept(bytes: &[u8]) -> Option<Vec<Self>> {
        let mut reader = Reader::new(bytes);
        let mut notifications = Vec::with_capacity(1);
        while reader.left() > 0 {
            notifications.push(Self::read(&mut reader, notifications.last())?);
        }
        Some(notifications)
    }

    /// Decodes every notification of one message. One that cannot be decoded is left out with the rest of its message; the positions show the
    /// gap.
    #[must_use]
    pub fn read_all(bytes: &[u8]) -> Vec<Self> {
        let mut reader = Reader::new(bytes);
        let mut notifications = Vec::new();
        while reader.left() > 0 {
            match Self::read(&mut reader, notifications.last()) {
                Some(notification) => notifications.push(notification),
                None => break,
            }
        }
        notifications
    }

    /// Decodes the next notification; `before` is the one before it in its message.
    fn read(reader: &mut Reader<'_>, before: Option<&Self>) -> Option<Self> {
        match reader.text()? {
            "R" => Self::read_reservation(reader),
            "S" => before?.next(reader, false),
            "T" => before?.next(reader, true),
            "P" => Self::read_platform(reader),
            "L" => Self::read_limit(reader),
            "Q" => Self::read_queues(reader),
            "N" => Some(Self { tenant: reader.text()?.into(), payload: Payload::Number { number: reader.int()? } }),
            "C" => Some(Self {
                tenant: reader.text()?.into(),
                payload: Payload::Ended { credential: reader.maybe_text()? },
            }),
            _ => None,
        }
    }

    fn read_queues(reader: &mut Reader<'_>) -> Option<Self> {
        let tenant = reader.text()?.into();
        let connection = Uuid::from_slice(reader.bytes()?).ok()?;
        let len = reader.array()?;
        let changes = (0..len).map(|_| read_queue_change(reader, connection)).collect::<Option<_>>()?;
        Some(Self { tenant, payload: Payload::Queues { connection, changes } })
    }

    fn read_platform(reader: &mut Reader<'_>) -> Option<Self> {
        let tenant = reader.text()?.into();
        let (previous, position) = (reader.int()?, reader.int()?);
        let _published_ms = reader.int()?;
        let event = PlatformEvent {
            kind: reader.text()?.into(),
            company_id: reader.maybe_text()?,
            company_slug: reader.maybe_text()?,
            data: reader.text()?.into(),
            timestamp: instant(reader.int()?),
        };
        Some(Self { tenant, payload: Payload::Platform { previous, position, event: Box::new(event) } })
    }

    /// Decodes a limit that was reached: live only, like a refusal.
    fn read_limit(reader: &mut Reader<'_>) -> Option<Self> {
        let tenant: String = reader.text()?.into();
        let timestamp = instant(reader.int()?);
        let event = ReservationEvent {
            api_key_label: reader.maybe_text()?,
            limit_type: Some(LimitType::of_name(reader.text()?)?),
            limit: Some(reader.int()?),
            ..ReservationEvent::bare(EventType::TierLimitReached, &tenant, timestamp)
        };
        Some(Self { tenant, payload: Payload::Reservation { previous: None, position: None, event: Box::new(event) } })
    }

    fn read_reservation(reader: &mut Reader<'_>) -> Option<Self> {
        let tenant: String = reader.text()?.into();
        let previous = reader.maybe_int()?;
        let fence = reader.maybe_int()?;
        let deadline_ms = reader.maybe_int()?;
        let timestamp = instant(reader.int()?);
        let position = if reader.truth() { fence } else { reader.maybe_int()? };
        let kind = EventType::of_name(reader.text()?)?;
        let mut event = ReservationEvent {
            id: position.map(|position| position.to_string()),
            fencing_token: fence,
            expires_at: deadline_ms.map(instant),
            explanation: read_word(reader)?,
            reason: read_reason(reader)?,
            request_type: read_word(reader)?,
            ..ReservationEvent::bare(kind, &tenant, timestamp)
        };
        let actor = reader.maybe_text()?;
        let reserved = Reserved::read(reader, &mut event)?;
        read_extra(reader, &mut event)?;
        event.resource = reader.maybe_text()?;
        event.slots = reserved.slots(&event);
        // Nobody acts where something expires: then it is who reserved it.
        event.api_key_label = if is_expiry(&event) { reserved.label } else { actor };
        Some(Self { tenant, payload: Payload::Reservation { previous, position, event: Box::new(event) } })
    }

    /// Decodes the event at the next position. Delta encoding: only its fence, its resource, and, where they `differ`, the fields from requester to
    /// place are written; the others are equal to this one's.
    fn next(&self, reader: &mut Reader<'_>, differ: bool) -> Option<Self> {
        let Payload::Reservation { position: Some(previous), event, .. } = &self.payload else { return None };
        let position = previous + 1;
        let mut event = event.clone();
        event.id = Some(position.to_string());
        event.fencing_token = Some(if reader.truth() { position } else { reader.int()? });
        let reserved = if differ { Some(Reserved::read(reader, &mut event)?) } else { None };
        event.resource = reader.maybe_text()?;
        if let Some(reserved) = reserved {
            event.slots = reserved.slots(&event);
            if is_expiry(&event) {
                event.api_key_label = reserved.label;
            }
        } else if event.slots.is_some() {
            event.slots = event.resource.clone().map(|slot| vec![slot]);
        }
        Some(Self {
            tenant: self.tenant.clone(),
            payload: Payload::Reservation { previous: Some(*previous), position: Some(position), event },
        })
    }
}

fn is_expiry(event: &ReservationEvent) -> bool {
    event.explanation == Some(Explanation::Expired)
}

/// The part of an event that is as the reservation has it.
struct Reserved {
    /// Label of the key, or the end user, that made it.
    label: Option<String>,
    place: Place,
}

impl Reserved {
    /// Decodes requester to place, of which the event gets what it shows.
    fn read(reader: &mut Reader<'_>, event: &mut ReservationEvent) -> Option<Self> {
        event.requester = reader.maybe_text()?;
        event.resource_type = reader.maybe_text()?;
        let label = reader.maybe_text()?;
        let _end_user = reader.maybe_text()?;
        event.note = reader.maybe_text()?;
        let place = Place::read(reader)?;
        event.pool.clone_from(&place.pool);
        event.blockers.clone_from(&place.blockers);
        Some(Self { label, place })
    }

    fn slots(&self, event: &ReservationEvent) -> Option<Vec<String>> {
        self.place.slots(event.resource.as_deref()?)
    }
}

/// Decodes what only few events have: of a transaction how it treats conflicts, and its items.
fn read_extra(reader: &mut Reader<'_>, event: &mut ReservationEvent) -> Option<()> {
    if reader.absent() {
        return Some(());
    }
    let len = reader.array()?;
    event.method = read_word(reader)?;
    event.changes = read_changes(reader)?;
    match len {
        2 => Some(()),
        6 => {
            event.ticket = reader.maybe_text()?.and_then(|digits| TicketId::parse(&digits)).map(|id| id.to_string());
            event.waited_ms = reader.maybe_int()?;
            event.place = reader.maybe_int()?;
            event.wait_expires_at = reader.maybe_int()?.map(instant);
            Some(())
        }
        _ => None,
    }
}

/// Decodes one change: a letter for its kind, and its parts.
fn read_queue_change(reader: &mut Reader<'_>, connection: Uuid) -> Option<QueueChange> {
    let _parts = reader.array()?;
    Some(match reader.text()? {
        "j" => QueueChange::Job {
            id: Uuid::from_slice(reader.bytes()?).ok()?,
            name: reader.maybe_text()?.unwrap_or_default(),
            state: JobState::from_code(reader.int()?)?,
            previous: reader.maybe_int()?.and_then(JobState::from_code),
            at_ms: reader.int()?,
        },
        "b" => QueueChange::Heartbeat {
            id: Uuid::from_slice(reader.bytes()?).ok()?,
            hostname: reader.text()?.into(),
            state: WorkerState::from_code(reader.int()?)?,
            active_jobs: reader.int()?,
        },
        "s" => QueueChange::Worker {
            id: Uuid::from_slice(reader.bytes()?).ok()?,
            hostname: reader.text()?.into(),
            state: WorkerState::from_code(reader.int()?)?,
            previous: WorkerState::from_code(reader.int()?)?,
            at_ms: reader.int()?,
        },
        "w" => QueueChange::Worker {
            id: worker_id(connection, reader.text()?),
            hostname: reader.text()?.into(),
            state: WorkerState::from_code(reader.int()?)?,
            previous: WorkerState::from_code(reader.int()?)?,
            at_ms: reader.int()?,
        },
        "o" => QueueChange::Worker {
            id: worker_id(connection, reader.text()?),
            hostname: reader.text()?.into(),
            state: WorkerState::Offline,
            previous: WorkerState::from_code(reader.int()?)?,
            at_ms: reader.int()?,
        },
        "q" => QueueChange::Queue {
            name: reader.text()?.into(),
            depth: reader.maybe_int()?,
            consumers: reader.maybe_int()?,
        },
        "g" => QueueChange::Gap {
            from_ms: reader.int()?,
            to_ms: reader.int()?,
            reason: GapReason::of_name(reader.text()?)?,
        },
        _ => return None,
    })
}

/// Decodes a reason: a sentence that a caller wrote, or a conflict, which becomes a sentence here.
fn read_reason(reader: &mut Reader<'_>) -> Option<Option<String>> {
    if reader.absent() {
        return Some(None);
    }
    if let Some(text) = reader.text_ahead() {
        return Some(Some(text.into()));
    }
    (reader.array()? == 4).then_some(())?;
    let (kind, resource, holder) = (reader.text()?, reader.text()?.into(), reader.text()?.into());
    Some(Some(Conflict::of_parts(kind, resource, holder, reader.maybe_int()?)?.explain()))
}

/// Decodes a word of a closed set, or an absent value.
fn read_word<T: ClosedSet>(reader: &mut Reader<'_>) -> Option<Option<T>> {
    if reader.absent() { Some(None) } else { T::of_name(reader.text()?).map(Some) }
}

/// Decodes the items of a transaction.
fn read_changes(reader: &mut Reader<'_>) -> Option<Option<Vec<Change>>> {
    if reader.absent() {
        return Some(None);
    }
    let len = reader.array()?;
    let change = |reader: &mut Reader<'_>| {
        (reader.array()? == 7).then_some(())?;
        Some(Change {
            resource: reader.text()?.into(),
            requester: reader.text()?.into(),
            request_type: ClosedSet::of_name(reader.text()?)?,
            explanation: ClosedSet::of_name(reader.text()?)?,
            fencing_token: reader.maybe_int()?,
            expires_at: reader.maybe_int()?.map(instant),
            pool: reader.maybe_text()?,
        })
    };
    (0..len).map(|_| change(reader)).collect::<Option<Vec<_>>>().map(Some)
}
