//! What a replica has to know of a message about a tenant whose events nobody reads there. Hot path: each hand-over is published to every replica,
//! and decoding its events costs several times as much as finding whose turn it is.

use crate::{domain::waiting::TicketId, store::codec::Reader};

/// Values of an event between its type and its place: explanation, reason, request type, who acted, requester, type, label, end user, note.
const BEFORE_PLACE: usize = 9;
/// Of these, the ones that an event of a group may have of its own.
const OF_GROUP: usize = 5;
/// Values of a place that says more than that a thing stands alone.
const PLACE: usize = 7;

/// What reservation events of one message say of positions and tickets.
#[derive(Debug, PartialEq, Eq)]
pub struct Digest<'a> {
    /// The tenant's id.
    pub tenant: &'a str,
    /// The latest position; `None` where nothing of it is kept.
    pub position: Option<i64>,
    /// Tickets that wait no longer.
    pub ended: Vec<TicketId>,
    /// Whether everything of the tenant was ended at once.
    pub is_reset: bool,
}

impl<'a> Digest<'a> {
    /// The tenant of a message that begins with a reservation's event.
    #[must_use]
    pub fn tenant_of(bytes: &'a [u8]) -> Option<&'a str> {
        let mut reader = Reader::new(bytes);
        if reader.text()? == "R" { reader.text() } else { None }
    }

    /// Reads a message of reservations' events alone; any other is `None`, and to be decoded.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut digest = Self { tenant: Self::tenant_of(bytes)?, position: None, ended: Vec::new(), is_reset: false };
        let mut reader = Reader::new(bytes);
        while reader.left() > 0 {
            match reader.text()? {
                "R" => digest.add(&mut reader)?,
                "S" => digest.add_alike(&mut reader, false)?,
                "T" => digest.add_alike(&mut reader, true)?,
                _ => return None,
            }
        }
        Some(digest)
    }

    fn add(&mut self, reader: &mut Reader<'a>) -> Option<()> {
        let (_tenant, _previous, fence) = (reader.text()?, reader.maybe_int()?, reader.maybe_int()?);
        let (_deadline_ms, _timestamp) = (reader.maybe_int()?, reader.int()?);
        let position = if reader.truth() { fence } else { reader.maybe_int()? };
        self.position = position.or(self.position);
        let kind = reader.text()?;
        reader.skip(BEFORE_PLACE)?;
        skip_place(reader)?;
        let ticket = read_ticket(reader)?;
        reader.skip(1)?;
        match kind {
            "RESET" => self.is_reset = true,
            "WAITING" => {}
            _ => self.ended.extend(ticket),
        }
        Some(())
    }

    /// An event that is as the one before it, but for what is said; `differs`: its requester to place are said, too.
    fn add_alike(&mut self, reader: &mut Reader<'a>, differs: bool) -> Option<()> {
        self.position = Some(self.position? + 1);
        reader.skip(1)?;
        if differs {
            reader.skip(OF_GROUP)?;
            skip_place(reader)?;
        }
        reader.skip(1)
    }
}

fn skip_place(reader: &mut Reader<'_>) -> Option<()> {
    if reader.int_ahead() == Some(0) { Some(()) } else { reader.skip(PLACE) }
}

/// The ticket of an event's extra, if it has one.
fn read_ticket(reader: &mut Reader<'_>) -> Option<Option<TicketId>> {
    if reader.absent() {
        return Some(None);
    }
    let len = reader.array()?;
    reader.skip(2)?; // method, changes
    match len {
        2 => Some(None),
        6 => {
            let ticket = if reader.absent() { None } else { Some(TicketId::parse(reader.text()?)?) };
            reader.skip(3)?; // waited, place, when the wait ends
            Some(ticket)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Notification, Payload, codec::Writer};

    const TENANT: &str = "a4b0312f-1ae4-4843-851d-000000000001";

    /// An event at a position, whose fence it is, of what stands alone.
    fn event(to: Writer, position: i64, kind: &str, extra: Option<TicketId>) -> Writer {
        let to = to.text("R").text(TENANT).int(position - 1).int(position).boolean(false).int(1_700_000_000_000);
        let to = to.boolean(true).text(kind).text("ACQUIRED").boolean(false).text("RESERVE").boolean(false);
        let to = to.text("w").text("UserDefined").boolean(false).boolean(false).boolean(false).int(0);
        match extra {
            None => to.boolean(false),
            Some(ticket) => {
                let to = to.array(6).boolean(false).boolean(false).text(&ticket.digits());
                to.int(17).boolean(false).boolean(false)
            }
        }
        .text("build")
    }

    /// What the whole decoding says of the same.
    fn decoded(bytes: &[u8]) -> (Option<i64>, Vec<String>) {
        let all = Notification::read_all(bytes);
        let position = all.last().and_then(Notification::positions).map(|(_, position)| position);
        let ended = all.iter().filter_map(|one| match &one.payload {
            Payload::Reservation { event, .. } if event.r#type.name() != "WAITING" => event.ticket.clone(),
            _ => None,
        });
        (position, ended.collect())
    }

    #[test]
    fn it_says_what_the_decoded_events_say() {
        let [served, waits] = [(); 2].map(|()| TicketId::random());
        let to = event(Writer::default(), 7, "UNRESERVED", None);
        let to = to.text("S").boolean(true).text("other");
        let to = to.text("T").boolean(true).text("w2").text("UserDefined").boolean(false).boolean(false).text("a note");
        let to = to.text("pool").boolean(false).boolean(false).boolean(true).int(0).int(9).int(1).text("pool_1");
        let to = event(to, 10, "RESERVED", Some(served));
        let bytes = event(to, 11, "WAITING", Some(waits)).done();
        let digest = Digest::read(&bytes).unwrap();
        assert_eq!((digest.tenant, digest.is_reset), (TENANT, false));
        assert_eq!(digest.ended, [served]);
        let tickets: Vec<_> = digest.ended.iter().map(TicketId::to_string).collect();
        assert_eq!((digest.position, tickets), decoded(&bytes));
    }

    #[test]
    fn a_reset_is_reported_and_what_is_no_reservations_event_is_left_to_be_decoded() {
        let reset = event(Writer::default(), 7, "RESET", None).done();
        assert!(Digest::read(&reset).unwrap().is_reset);
        assert_eq!(Digest::read(&Writer::default().text("C").text(TENANT).boolean(false).done()), None);
        assert_eq!(Digest::read(&reset[..reset.len() - 1]), None);
    }
}
