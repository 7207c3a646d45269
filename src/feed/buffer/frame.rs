//! One event in the wire format of server-sent events (WHATWG HTML, section 9.2), encoded once for all of its
//! subscribers.
//!
//! A field ends at a line feed or a carriage return, an event at an empty line. [`Frame::new`] is the only place that
//! writes such lines, and it lets neither character into a field, so no content can end a line or an event early.

use bytes::Bytes;
use serde_json::json;

use crate::{
    domain::{
        event::{EventType, ReservationEvent},
        platform::PlatformEvent,
        time::iso,
    },
    feed::buffer::chunk::{CRLF, ChunkBuilder, SIZE_LINE_BYTES},
    store::{Notification, Payload},
};

/// An encoded event, with what cursors and filters need to know of it, so that nobody parses its JSON again.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Position in the tenant's order; `None` for live-only frames, which are neither kept nor replayed.
    pub position: Option<i64>,
    /// Event type, the value of the `event` line.
    pub kind: Box<str>,
    /// Event type as filters compare it: one bit per built-in type, 0 for a tenant's own.
    pub kind_bit: u32,
    /// What the event is about.
    pub subject: Subject,
    /// The frame's lines as one chunk of HTTP/1.1, behind unused bytes of the size line. Most writes carry one frame.
    buffer: Bytes,
    /// Offset in `buffer` at which the chunk begins.
    chunk_start: usize,
}

/// What an event is about, as filters see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The stream itself (`RESET_CURSOR`, `gap`, `heartbeat`): matches every filter.
    Stream,
    /// The tenant as a whole: matches every filter of resources, none of companies.
    Tenant,
    /// These resources and pools.
    Resources(Vec<Box<str>>),
    /// A company, by id and by slug, as far as it has them.
    Company {
        /// Its id.
        id: Option<Box<str>>,
        /// Its slug.
        slug: Option<Box<str>>,
    },
}

/// Why a stream cannot continue where its client stopped: the `reason` of `RESET_CURSOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetReason {
    /// There never was such a position.
    Unknown,
    /// The events after it are older than the history.
    TooOld,
    /// Redis lost events that were already published, or the message of one that is in no history was lost.
    Lost,
}

/// Built-in event types. The index of a type is its bit in [`Frame::kind_bit`].
const KINDS: [&str; 14] = [
    "RESERVED",
    "UNRESERVED",
    "RENEWED",
    "RESERVATION_EXPIRED",
    "RESERVE_FAILED",
    "UNRESERVE_FAILED",
    "TRANSACTION_APPLIED",
    "TRANSACTION_ROLLED_BACK",
    "RESET",
    "TIER_LIMIT_REACHED",
    "decision",
    "trade",
    "score",
    "season",
];

/// Bit of a built-in event type; 0 for any other.
#[must_use]
pub(in crate::feed) fn kind_bit(kind: &str) -> u32 {
    KINDS.iter().position(|known| *known == kind).map_or(0, |index| 1 << index)
}

impl ResetReason {
    /// The word on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::TooOld => "too_old",
            Self::Lost => "lost",
        }
    }
}

impl Frame {
    /// Encodes a notification; `None` for one that is not for subscribers.
    ///
    /// An event that cannot be encoded becomes a `RESET_CURSOR` at its position, so that subscribers know to read the
    /// state again.
    #[must_use]
    pub fn from_notification(notification: &Notification) -> Option<Self> {
        match &notification.payload {
            Payload::Reservation { position, event, .. } => {
                encoded_or_reset(*position, Self::reservation(*position, event))
            }
            Payload::Platform { position, event, .. } => {
                encoded_or_reset(Some(*position), Self::platform(*position, event))
            }
            Payload::Queues { .. } | Payload::Number { .. } | Payload::Ended { .. } => None,
        }
    }

    /// Encodes a reservation event.
    ///
    /// # Errors
    /// When the event does not serialise, which its types exclude.
    pub fn reservation(position: Option<i64>, event: &ReservationEvent) -> serde_json::Result<Self> {
        let subject = if event.r#type == EventType::Reset {
            Subject::Tenant
        } else {
            let changes =
                event.changes.iter().flatten().flat_map(|change| [Some(&change.resource), change.pool.as_ref()]);
            let names = [event.resource.as_ref(), event.pool.as_ref()].into_iter().chain(changes);
            Subject::Resources(names.flatten().map(|name| name.as_str().into()).collect())
        };
        let data = serde_json::to_string(event)?;
        Ok(Self::new(position, event.r#type.name(), subject, &[&data]))
    }

    /// Encodes an event of the tenant's own platform. Its data is JSON already and is copied as it is.
    ///
    /// # Errors
    /// When the event does not serialise, which its types exclude.
    pub fn platform(position: i64, event: &PlatformEvent) -> serde_json::Result<Self> {
        let PlatformEvent { kind, company_id, company_slug, data, timestamp } = event;
        let subject = Subject::Company {
            id: company_id.as_deref().map(Into::into),
            slug: company_slug.as_deref().map(Into::into),
        };
        let (kind_json, company_json) = (serde_json::to_string(kind)?, serde_json::to_string(company_id)?);
        let head = format!(r#"{{"id":"{position}","type":{kind_json},"companyId":{company_json},"data":"#);
        let parts = [head.as_str(), data, r#","timestamp":""#, &iso(*timestamp), r#""}"#];
        Ok(Self::new(Some(position), kind, subject, &parts))
    }

    /// `RESET_CURSOR`: events are missing, so the client must read the state again. The stream continues from `as_of`.
    #[must_use]
    pub fn reset_cursor(reason: ResetReason, as_of: i64) -> Self {
        let data = json!({"reason": reason.name(), "asOf": as_of}).to_string();
        Self::new(Some(as_of), "RESET_CURSOR", Subject::Stream, &[&data])
    }

    /// Writes the lines of an event.
    ///
    /// The parts of `data` form one JSON text, in which a line break can only be white space between tokens; it becomes
    /// a space. In a type a line break or a NUL becomes an underscore.
    #[must_use]
    pub fn new(position: Option<i64>, kind: &str, subject: Subject, data: &[&str]) -> Self {
        /// Field names, line ends and a position of 16 digits.
        const OVERHEAD_BYTES: usize = 48;
        let data_bytes = data.iter().map(|part| part.len()).sum::<usize>();
        let mut lines = ChunkBuilder::with_capacity(kind.len() + data_bytes + OVERHEAD_BYTES);
        if let Some(id) = position {
            lines.push(b"id: ");
            lines.push(id.to_string().as_bytes());
            lines.push(b"\n");
        }
        lines.push(b"event: ");
        push_replacing(&mut lines, kind, b"\r\n\0", b"_");
        lines.push(b"\ndata: ");
        data.iter().for_each(|part| push_replacing(&mut lines, part, b"\r\n", b" "));
        lines.push(b"\n\n");
        let (buffer, chunk_start) = lines.into_buffer();
        Self { position, kind: kind.into(), kind_bit: kind_bit(kind), subject, buffer, chunk_start }
    }

    /// The `id`, `event` and `data` lines, with the empty line that ends them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[SIZE_LINE_BYTES..self.buffer.len() - CRLF.len()]
    }

    /// The JSON of its `data` line.
    #[must_use]
    pub fn data(&self) -> &str {
        const DATA: &[u8] = b"\ndata: ";
        // The type above it has no line break, so the first one that data follows is the right one.
        let lines = self.bytes();
        let begin = lines.windows(DATA.len()).position(|part| part == DATA).map_or(lines.len(), |at| at + DATA.len());
        std::str::from_utf8(&lines[begin..]).unwrap_or_default().trim_end_matches('\n')
    }

    /// The same lines as one chunk of HTTP/1.1, and the offset at which they begin in it.
    pub(in crate::feed) fn chunk(&self) -> (Bytes, usize) {
        (self.buffer.slice(self.chunk_start..), SIZE_LINE_BYTES - self.chunk_start)
    }
}

/// The frame, or, if it could not be encoded, `RESET_CURSOR` in its place. A live-only event has no place, and is left
/// out.
fn encoded_or_reset(position: Option<i64>, encoded: serde_json::Result<Frame>) -> Option<Frame> {
    encoded
        .inspect_err(
            |error| tracing::error!(%error, position, "an event could not be encoded; its subscribers are reset"),
        )
        .map_or_else(|_| position.map(|position| Frame::reset_cursor(ResetReason::Lost, position)), Some)
}

/// Appends `text` with each of the `banned` bytes replaced by `replacement`.
fn push_replacing(lines: &mut ChunkBuilder, text: &str, banned: &[u8], replacement: &[u8]) {
    let mut rest = text.as_bytes();
    while let Some(index) = rest.iter().position(|byte| banned.contains(byte)) {
        lines.push(&rest[..index]);
        lines.push(replacement);
        rest = &rest[index + 1..];
    }
    lines.push(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_and_several_together_are_chunks() {
        for size in [0, 200, 255, 256, 70_000] {
            let frame = Frame::new(Some(1), "trade", Subject::Stream, &[&"x".repeat(size)]);
            let chunk_of = |lines: &[u8]| [format!("{:x}\r\n", lines.len()).as_bytes(), lines, b"\r\n"].concat();
            let (chunk, start) = frame.chunk();
            assert_eq!(chunk, chunk_of(frame.bytes()));
            assert_eq!(&chunk[start..chunk.len() - 2], frame.bytes());

            let mut builder = ChunkBuilder::default();
            (0..3).for_each(|_| builder.push(frame.bytes()));
            let (chunk, start) = builder.finish();
            assert_eq!(chunk, chunk_of(&frame.bytes().repeat(3)));
            assert_eq!(&chunk[start..chunk.len() - 2], frame.bytes().repeat(3));
        }
    }

    #[test]
    fn the_data_of_a_frame_is_its_json_alone() {
        for position in [None, Some(7)] {
            let frame = Frame::new(position, "data: x", Subject::Stream, &["{\"a\":\"\\ndata: \"", "}"]);
            assert_eq!(frame.data(), "{\"a\":\"\\ndata: \"}");
        }
    }

    #[test]
    fn an_event_that_does_not_serialise_resets_its_subscribers_instead_of_being_empty() {
        let failure = || serde_json::from_str::<i64>("none").map(|_| Frame::new(None, "never", Subject::Stream, &[]));
        let reset = encoded_or_reset(Some(7), failure()).unwrap();
        assert_eq!(
            std::str::from_utf8(reset.bytes()).unwrap(),
            "id: 7\nevent: RESET_CURSOR\ndata: {\"reason\":\"lost\",\"asOf\":7}\n\n"
        );
        assert!(encoded_or_reset(None, failure()).is_none());
    }
}
