//! One event as it goes over the wire, made once for all its readers.
//!
//! The form is the WHATWG's "server-sent events": fields end at a line feed, an event at an empty line. Data is JSON on one line,
//! in which a carriage return or line feed can only stand escaped; ids are digits; types come from a fixed list. So no content can
//! end a line or an event early.

use bytes::Bytes;

use crate::domain::event::ReservationEvent;

/// A frame: its bytes, and what filters and cursors need to know of it.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its place in the tenant's order; `None` for what is live only.
    pub position: Option<i64>,
    /// The event's type.
    pub kind: Box<str>,
    /// `id`, `event` and `data` lines with the empty line that ends them.
    pub bytes: Bytes,
}

impl Frame {
    /// The frame of a reservation's event.
    #[must_use]
    pub fn of_reservation(position: Option<i64>, event: &ReservationEvent) -> Self {
        let id = position.map(|position| format!("id: {position}\n")).unwrap_or_default();
        // Text, numbers and lists of them always serialise.
        let data = serde_json::to_string(event).unwrap_or_default();
        let bytes = Bytes::from(format!("{id}event: {}\ndata: {data}\n\n", event.r#type));
        Self { position, kind: event.r#type.as_str().into(), bytes }
    }
}
