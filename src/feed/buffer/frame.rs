//! One event as it goes over the wire, made once for all its readers.
//!
//! The form is the WHATWG's "server-sent events": a field ends at a line feed or a carriage return, an event at an empty line.
//! `Frame::new` is the only place that writes such lines, and lets neither into a field: so no content can end a line or an event
//! early, whatever it is.

use bytes::Bytes;
use serde_json::json;

use crate::{
    domain::{
        event::{EventType, ReservationEvent},
        platform::PlatformEvent,
        time::iso,
    },
    store::{Notification, Payload},
};

/// A frame: its bytes, and what filters and cursors need to know of it.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its place in the tenant's order; `None` for what is live only.
    pub position: Option<i64>,
    /// The event's type.
    pub kind: Box<str>,
    /// The type as filters compare it: a bit for those that we know, 0 for a tenant's own.
    pub kind_bit: u32,
    /// What it is about.
    pub about: About,
    /// Its lines as a chunk of HTTP/1.1, after spare bytes: most often one frame is all that is written.
    lines: Bytes,
    /// Where the chunk begins.
    spare: usize,
}

/// Room for a chunk's size: digits, and a line's end.
const SIZE_BYTES: usize = 10;
/// What ends a chunk.
const CHUNK_END: &[u8] = b"\r\n";

/// Frames that are written together, as one chunk of HTTP/1.1.
#[derive(Debug, Default)]
pub(in crate::feed) struct Framing(Vec<u8>);

impl Framing {
    fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(SIZE_BYTES + bytes + CHUNK_END.len()))
    }

    /// How many bytes of lines it has.
    pub(in crate::feed) fn len(&self) -> usize {
        self.0.len().saturating_sub(SIZE_BYTES)
    }

    pub(in crate::feed) fn push(&mut self, lines: &[u8]) {
        if self.0.is_empty() {
            self.0.extend_from_slice(&[0; SIZE_BYTES]);
        }
        self.0.extend_from_slice(lines);
    }

    /// The spare bytes and the chunk, and where the chunk begins.
    fn close(mut self) -> (Bytes, usize) {
        let mut left = self.len();
        // The size's digits, from the last to the first, right before the line's end.
        let mut spare = SIZE_BYTES - CHUNK_END.len();
        self.0[spare..SIZE_BYTES].copy_from_slice(CHUNK_END);
        loop {
            spare -= 1;
            self.0[spare] = b"0123456789abcdef"[left % 16];
            left /= 16;
            if left == 0 || spare == 0 {
                break;
            }
        }
        self.0.extend_from_slice(CHUNK_END);
        (Bytes::from(self.0), spare)
    }

    /// The chunk, and where in it the lines begin; empty if there are none.
    pub(in crate::feed) fn finish(self) -> (Bytes, usize) {
        if self.0.is_empty() {
            return (Bytes::new(), 0);
        }
        let (bytes, spare) = self.close();
        (bytes.slice(spare..), SIZE_BYTES - spare)
    }
}

/// What an event is about, for filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// The stream itself: passes every filter.
    Stream,
    /// All of the tenant's reservations.
    Everything,
    /// These resources and pools.
    Resources(Vec<Box<str>>),
    /// A company, by its id and its slug, as far as it has them.
    Company { id: Option<Box<str>>, slug: Option<Box<str>> },
}

/// Why a stream cannot go on where its reader stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There never was such a position.
    Unknown,
    /// What followed it is kept no more.
    TooOld,
    /// Redis lost what was told.
    Lost,
}

/// The types that we know, each a bit of [`Frame::kind_bit`] by its place here.
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

/// The bit of a known type; 0 for any other.
#[must_use]
pub(in crate::feed) fn kind_bit(kind: &str) -> u32 {
    KINDS.iter().position(|known| *known == kind).map_or(0, |at| 1 << at)
}

impl Reason {
    /// The word as the frame spells it.
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
    /// The frame of what a script told; `None` for what is not for subscribers.
    #[must_use]
    pub fn of(note: &Notification) -> Option<Self> {
        match &note.message {
            Payload::Reservation { position, event, .. } => Some(Self::of_reservation(*position, event)),
            Payload::Platform { position, event, .. } => Some(Self::of_platform(*position, event)),
            Payload::Queues { .. } | Payload::Ended { .. } => None,
        }
    }

    /// The frame of a reservation's event.
    #[must_use]
    pub fn of_reservation(position: Option<i64>, event: &ReservationEvent) -> Self {
        let about = if event.r#type == EventType::Reset {
            About::Everything
        } else {
            let changes =
                event.changes.iter().flatten().flat_map(|change| [Some(&change.resource), change.pool.as_ref()]);
            let names = [event.resource.as_ref(), event.pool.as_ref()].into_iter().chain(changes);
            About::Resources(names.flatten().map(|name| name.as_str().into()).collect())
        };
        // Text, numbers and lists of them always serialise.
        let data = serde_json::to_string(event).unwrap_or_default();
        Self::new(position, event.r#type.name(), about, &[&data])
    }

    /// The frame of an event of the tenant's own platform. Its data is JSON already and goes through as it is.
    #[must_use]
    pub fn of_platform(position: i64, event: &PlatformEvent) -> Self {
        let PlatformEvent { kind, company_id, company_slug, data, timestamp } = event;
        let about =
            About::Company { id: company_id.as_deref().map(Into::into), slug: company_slug.as_deref().map(Into::into) };
        // Text always serialises.
        let (kind_text, company) =
            (serde_json::to_string(kind).unwrap_or_default(), serde_json::to_string(company_id).unwrap_or_default());
        let head = format!(r#"{{"id":"{position}","type":{kind_text},"companyId":{company},"data":"#);
        let parts = [head.as_str(), data, r#","timestamp":""#, &iso(*timestamp), r#""}"#];
        Self::new(Some(position), kind, about, &parts)
    }

    /// The frame that says: what came between is not known here, look again. `as_of` is where the stream goes on.
    #[must_use]
    pub fn reset_cursor(reason: Reason, as_of: i64) -> Self {
        let data = json!({"reason": reason.name(), "asOf": as_of}).to_string();
        Self::new(Some(as_of), "RESET_CURSOR", About::Stream, &[&data])
    }

    /// The only place that writes the lines of an event. The parts of `data` are JSON together, in which a line break can only be white
    /// space between tokens and becomes a space; in a type it would be an attack and becomes an underscore, as NUL does.
    #[must_use]
    pub fn new(position: Option<i64>, kind: &str, about: About, data: &[&str]) -> Self {
        const AROUND: usize = 48;
        let mut lines = Framing::with_capacity(kind.len() + data.iter().map(|part| part.len()).sum::<usize>() + AROUND);
        if let Some(id) = position {
            lines.push(b"id: ");
            lines.push(id.to_string().as_bytes());
            lines.push(b"\n");
        }
        lines.push(b"event: ");
        push_without(&mut lines, kind, b"\r\n\0", b"_");
        lines.push(b"\ndata: ");
        data.iter().for_each(|part| push_without(&mut lines, part, b"\r\n", b" "));
        lines.push(b"\n\n");
        let (lines, spare) = lines.close();
        Self { position, kind: kind.into(), kind_bit: kind_bit(kind), about, lines, spare }
    }

    /// `id`, `event` and `data` lines with the empty line that ends them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.lines[SIZE_BYTES..self.lines.len() - CHUNK_END.len()]
    }

    /// The same as a chunk, and where in it they begin.
    pub(in crate::feed) fn chunk(&self) -> (Bytes, usize) {
        (self.lines.slice(self.spare..), SIZE_BYTES - self.spare)
    }
}

/// Appends `text` with each of `banned` replaced, all of them one byte long.
fn push_without(lines: &mut Framing, text: &str, banned: &[u8], by: &[u8]) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| banned.contains(byte)) {
        lines.push(&rest[..at]);
        lines.push(by);
        rest = &rest[at + 1..];
    }
    lines.push(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_and_frames_together_are_chunks() {
        for size in [0, 1, 15, 200, 255, 256, 4_095, 70_000] {
            let data = "x".repeat(size);
            let frame = Frame::new(Some(1), "trade", About::Stream, &[&data]);
            let chunk_of = |lines: &[u8]| [format!("{:x}\r\n", lines.len()).as_bytes(), lines, b"\r\n"].concat();
            let (chunk, begins) = frame.chunk();
            assert_eq!(chunk, chunk_of(frame.bytes()));
            assert_eq!(&chunk[begins..chunk.len() - 2], frame.bytes());

            let mut framing = Framing::default();
            (0..3).for_each(|_| framing.push(frame.bytes()));
            let (chunk, begins) = framing.finish();
            assert_eq!(chunk, chunk_of(&frame.bytes().repeat(3)));
            assert_eq!(&chunk[begins..chunk.len() - 2], frame.bytes().repeat(3));
        }
        assert!(Framing::default().finish().0.is_empty());
    }
}
