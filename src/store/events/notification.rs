//! What scripts publish and keep, unpacked: one or more packed notes per message.

use uuid::Uuid;

use crate::{
    domain::{
        closed_set::ClosedSet,
        event::{Change, EventType, ReservationEvent},
        platform::PlatformEvent,
        queue::{GapReason, JobState, QueueChange, WorkerState, worker_id},
        reservation::Conflict,
        tier::LimitType,
        time::instant,
    },
    store::codec::Reader,
};

/// Something that a script told.
#[derive(Debug, Clone)]
pub struct Notification {
    /// Whose it is.
    pub tenant: String,
    /// What it is.
    pub message: Payload,
}

/// What was told.
#[derive(Debug, Clone)]
pub enum Payload {
    /// A reservation changed, or was refused.
    Reservation {
        /// The position before it; a reader that has not seen that one has a hole. Absent in a refusal.
        previous: Option<i64>,
        /// Its own position. Absent in a refusal, which is live only.
        position: Option<i64>,
        /// What subscribers read.
        event: Box<ReservationEvent>,
    },
    /// The tenant's own platform published something.
    Platform {
        /// The position before it.
        previous: i64,
        /// Its own position.
        position: i64,
        /// What was published.
        event: Box<PlatformEvent>,
    },
    /// Something changed of what is seen through a connection: live only.
    Queues {
        /// Which connection.
        connection: Uuid,
        /// What changed, in order.
        changes: Vec<QueueChange>,
    },
    /// Credentials ended: one of them, or, with the tenant, all.
    Ended {
        /// The credential's field in the tenant's state.
        credential: Option<String>,
    },
}

impl Notification {
    /// The position before it and its own, of what is kept; `None` of what is live only.
    #[must_use]
    pub fn positions(&self) -> Option<(i64, i64)> {
        match self.message {
            Payload::Reservation { previous, position, .. } => previous.zip(position),
            Payload::Platform { previous, position, .. } => Some((previous, position)),
            Payload::Queues { .. } | Payload::Ended { .. } => None,
        }
    }

    /// Reads the notes of one entry of the history: those of a batch share some.
    pub(in crate::store) fn read_kept(bytes: &[u8]) -> Option<Vec<Self>> {
        let mut reader = Reader::new(bytes);
        let mut notes = Vec::with_capacity(1);
        while reader.left() > 0 {
            notes.push(Self::read(&mut reader, notes.last())?);
        }
        Some(notes)
    }

    /// Reads every note of one message. What cannot be read is left out with the rest of its message, and counted by the caller as
    /// a hole: the positions show it.
    #[must_use]
    pub fn read_all(bytes: &[u8]) -> Vec<Self> {
        let mut reader = Reader::new(bytes);
        let mut notes = Vec::new();
        while reader.left() > 0 {
            match Self::read(&mut reader, notes.last()) {
                Some(note) => notes.push(note),
                None => break,
            }
        }
        notes
    }

    /// Reads the next note; `before` is the one before it in its message.
    fn read(reader: &mut Reader<'_>, before: Option<&Self>) -> Option<Self> {
        match reader.text()? {
            "R" => Self::read_reservation(reader),
            "S" => before?.followed(reader, false),
            "T" => before?.followed(reader, true),
            "P" => Self::read_platform(reader),
            "L" => Self::read_limit(reader),
            "Q" => Self::read_queues(reader),
            "C" => Some(Self {
                tenant: reader.text()?.into(),
                message: Payload::Ended { credential: reader.maybe_text()? },
            }),
            _ => None,
        }
    }

    fn read_queues(reader: &mut Reader<'_>) -> Option<Self> {
        let tenant = reader.text()?.into();
        let connection = Uuid::from_slice(reader.bytes()?).ok()?;
        let len = reader.array()?;
        let changes = (0..len).map(|_| read_queue_change(reader, connection)).collect::<Option<_>>()?;
        Some(Self { tenant, message: Payload::Queues { connection, changes } })
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
        Some(Self { tenant, message: Payload::Platform { previous, position, event: Box::new(event) } })
    }

    /// A limit that was reached: live only, like a refusal.
    fn read_limit(reader: &mut Reader<'_>) -> Option<Self> {
        let tenant: String = reader.text()?.into();
        let timestamp = instant(reader.int()?);
        let event = ReservationEvent {
            api_key_label: reader.maybe_text()?,
            limit_type: Some(LimitType::of_name(reader.text()?)?),
            limit: Some(reader.int()?),
            ..ReservationEvent::bare(EventType::TierLimitReached, &tenant, timestamp)
        };
        Some(Self { tenant, message: Payload::Reservation { previous: None, position: None, event: Box::new(event) } })
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
        read_told(reader, &mut event)?;
        event.resource = reader.maybe_text()?;
        Some(Self { tenant, message: Payload::Reservation { previous, position, event: Box::new(event) } })
    }

    /// The event that follows this one at the next position, of which is said only what it does not have in common with it: its fence, from its
    /// resource type to its changes where these `differ`, and its resource.
    fn followed(&self, reader: &mut Reader<'_>, differ: bool) -> Option<Self> {
        let Payload::Reservation { position: Some(previous), event, .. } = &self.message else { return None };
        let position = previous + 1;
        let mut event = event.clone();
        event.id = Some(position.to_string());
        event.fencing_token = Some(if reader.truth() { position } else { reader.int()? });
        if differ {
            read_told(reader, &mut event)?;
        }
        event.resource = reader.maybe_text()?;
        Some(Self {
            tenant: self.tenant.clone(),
            message: Payload::Reservation { previous: Some(*previous), position: Some(position), event },
        })
    }
}

/// The fields of an event that mostly were known before the script ran.
fn read_told(reader: &mut Reader<'_>, event: &mut ReservationEvent) -> Option<()> {
    event.resource_type = reader.maybe_text()?;
    event.requester = reader.maybe_text()?;
    event.api_key_label = reader.maybe_text()?;
    event.pool = reader.maybe_text()?;
    event.blockers = reader.maybe_texts()?;
    event.method = read_word(reader)?;
    event.changes = read_changes(reader)?;
    Some(())
}

/// One thing that changed: a letter for its kind, and its parts.
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

/// A reason is a sentence that somebody wrote, or what stood in the way, told as a sentence here.
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

/// A word of a closed set, or none.
fn read_word<T: ClosedSet>(reader: &mut Reader<'_>) -> Option<Option<T>> {
    if reader.absent() { Some(None) } else { T::of_name(reader.text()?).map(Some) }
}

/// The items of a transaction.
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
