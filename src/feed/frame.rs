//! One event as it goes over the wire, made once for all its readers.
//!
//! The form is the WHATWG's "server-sent events": a field ends at a line feed or a carriage return, an event at an empty line.
//! [`encode`] is the only place that writes such lines, and lets neither into a field: so no content can end a line or an event
//! early, whatever it is.

use bytes::Bytes;
use serde_json::json;

use crate::{
    domain::{event::ReservationEvent, platform::PlatformEvent, time::iso},
    store::{Message, Note},
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
    /// `id`, `event` and `data` lines with the empty line that ends them.
    pub bytes: Bytes,
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
pub(super) fn kind_bit(kind: &str) -> u32 {
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
    pub fn of(note: &Note) -> Option<Self> {
        match &note.message {
            Message::Reservation { position, event, .. } => Some(Self::of_reservation(*position, event)),
            Message::Platform { position, event, .. } => Some(Self::of_platform(*position, event)),
            Message::Queues { .. } | Message::Ended { .. } => None,
        }
    }

    /// The frame of a reservation's event.
    #[must_use]
    pub fn of_reservation(position: Option<i64>, event: &ReservationEvent) -> Self {
        // Text, numbers and lists of them always serialise.
        let data = serde_json::to_string(event).unwrap_or_default();
        let about = if event.r#type == "RESET" {
            About::Everything
        } else {
            let changes = event.changes.iter().flatten().flat_map(|change| [Some(&change.resource), change.pool.as_ref()]);
            let names = [event.resource.as_ref(), event.pool.as_ref()].into_iter().chain(changes);
            About::Resources(names.flatten().map(|name| name.as_str().into()).collect())
        };
        Self { position, kind: event.r#type.as_str().into(), kind_bit: kind_bit(&event.r#type), about, bytes: encode(position, &event.r#type, &data) }
    }

    /// The frame of an event of the tenant's own platform. Its data is JSON already and goes through as it is.
    #[must_use]
    pub fn of_platform(position: i64, event: &PlatformEvent) -> Self {
        let PlatformEvent { kind, company_id, company_slug, data, timestamp } = event;
        let (kind_text, company) = (json!(kind), json!(company_id));
        let data = format!(r#"{{"id":"{position}","type":{kind_text},"companyId":{company},"data":{data},"timestamp":"{}"}}"#, iso(*timestamp));
        let about = About::Company { id: company_id.as_deref().map(Into::into), slug: company_slug.as_deref().map(Into::into) };
        Self { position: Some(position), kind: kind.as_str().into(), kind_bit: kind_bit(kind), about, bytes: encode(Some(position), kind, &data) }
    }

    /// The frame that says: what came between is not known here, look again. `as_of` is where the stream goes on.
    #[must_use]
    pub fn reset_cursor(reason: Reason, as_of: i64) -> Self {
        let data = json!({"reason": reason.name(), "asOf": as_of}).to_string();
        let bytes = encode(Some(as_of), "RESET_CURSOR", &data);
        Self { position: Some(as_of), kind: "RESET_CURSOR".into(), kind_bit: 0, about: About::Stream, bytes }
    }
}

/// The lines of one event. `data` is JSON, in which a line break can only be white space between tokens and becomes a space; in a
/// type it would be an attack and becomes an underscore, as NUL does.
#[must_use]
pub fn encode(id: Option<i64>, kind: &str, data: &str) -> Bytes {
    let mut lines = String::with_capacity(kind.len() + data.len() + 48);
    if let Some(id) = id {
        lines.push_str("id: ");
        lines.push_str(&id.to_string());
        lines.push('\n');
    }
    lines.push_str("event: ");
    push_without(&mut lines, kind, &['\r', '\n', '\0'], '_');
    lines.push_str("\ndata: ");
    push_without(&mut lines, data, &['\r', '\n'], ' ');
    lines.push_str("\n\n");
    Bytes::from(lines)
}

/// Appends `text` with each of `banned` replaced.
fn push_without(lines: &mut String, text: &str, banned: &[char], by: char) {
    let mut rest = text;
    while let Some(at) = rest.find(banned) {
        lines.push_str(&rest[..at]);
        lines.push(by);
        rest = &rest[at + 1..]; // all that is banned is one byte long
    }
    lines.push_str(rest);
}
