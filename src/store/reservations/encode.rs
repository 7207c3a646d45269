//! What functions are asked of reservations: items in columns. Of all items the name, then of all the next value, so that Redis unpacks a batch at once.

use uuid::Uuid;

use crate::{
    domain::{
        rate::cost,
        reservation::{ReleaseRequest, RenewRequest, ReserveRequest},
        waiting::Wait,
    },
    store::{
        Caller,
        codec::Writer,
        functions::{self, Function},
    },
};

/// An item of a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item<'a> {
    Unreserve(&'a ReleaseRequest),
    Reserve(&'a ReserveRequest),
    Renew(&'a RenewRequest),
}

impl<'a> Item<'a> {
    fn resource(self) -> &'a str {
        match self {
            Self::Unreserve(claim) | Self::Renew(RenewRequest { claim, .. }) => &claim.resource,
            Self::Reserve(request) => &request.resource,
        }
    }

    /// The token to give, or the one that was shown.
    fn token(self) -> Uuid {
        match self {
            Self::Unreserve(claim) | Self::Renew(RenewRequest { claim, .. }) => shown_token(claim),
            Self::Reserve(request) => request.token,
        }
    }

    /// What does not depend on the moment, as the function joins it: of a reservation its fields from the requester to the place, of a claim who
    /// claims it. The layout stands in `lua/README.md`.
    fn known(self, caller: &Caller) -> Vec<u8> {
        match self {
            Self::Unreserve(claim) | Self::Renew(RenewRequest { claim, .. }) => {
                Writer::default().text(&claim.requester).done()
            }
            Self::Reserve(ReserveRequest { requester, resource_type, note, .. }) => Writer::default()
                .text(requester)
                .text(resource_type)
                .maybe_text(caller.label())
                .maybe_text(caller.end_user())
                .maybe_text((!note.is_empty()).then_some(note))
                .int(0) // it stands alone, as far as we know
                .done(),
        }
    }

    /// Whether the same is known of both, where both are of one caller.
    fn is_alike(self, other: Self) -> bool {
        match (self, other) {
            (Self::Reserve(a), Self::Reserve(b)) => {
                a.requester == b.requester && a.resource_type == b.resource_type && a.note == b.note
            }
            (Self::Renew(a), Self::Renew(b)) => a.claim.requester == b.claim.requester,
            (Self::Unreserve(a), Self::Unreserve(b)) => a.requester == b.requester,
            _ => false,
        }
    }

    /// Time to live in milliseconds; 0 where none was given. `None` of what is given back.
    fn ttl_ms(self) -> Option<i64> {
        match self {
            Self::Unreserve(_) => None,
            Self::Reserve(request) => Some(request.ttl_ms.unwrap_or(0)),
            Self::Renew(renewal) => Some(renewal.ttl_ms),
        }
    }

    /// How long it is waited for.
    pub(super) fn wait(self) -> Option<&'a Wait> {
        if let Self::Reserve(request) = self { request.wait.as_ref() } else { None }
    }

    fn quantity(self) -> i64 {
        if let Self::Reserve(request) = self { request.quantity } else { 1 }
    }
}

/// Adds which of these items want more than one slot, as pairs of item and quantity, counted from 1; or that none does.
pub(super) fn quantities(to: Writer, items: &[Item<'_>]) -> Writer {
    let several = || (1..).zip(items).map(|(at, item)| (at, item.quantity())).filter(|(_, quantity)| *quantity > 1);
    match several().count() {
        0 => to.boolean(false),
        count => several().fold(to.array(2 * count), |to, (at, quantity)| to.int(at).int(quantity)),
    }
}

/// Adds how long which of these items are waited for, as arrays that begin with the item, counted from 1; or that none is.
pub(super) fn waits(to: Writer, items: &[Item<'_>]) -> Writer {
    let waiting = || (1..).zip(items).filter_map(|(at, item)| Some((at, item.wait()?)));
    match waiting().count() {
        0 => to.boolean(false),
        count => waiting().fold(to.array(count), |to, (at, wait)| wait_fields(to.array(5).int(at), wait)),
    }
}

/// Adds how long a transaction is waited for; or that it is not.
pub(super) fn group_wait(to: Writer, wait: Option<&Wait>) -> Writer {
    match wait {
        None => to.boolean(false),
        Some(wait) => wait_fields(to.array(5), wait).boolean(wait.overtake),
    }
}

fn wait_fields(to: Writer, wait: &Wait) -> Writer {
    to.int(wait.wait_ms).int(wait.priority).int(wait.keep_alive_ms).text(&wait.ticket.digits())
}

/// Adds the columns: name, token, what is known (empty where it is as of the item before), time to live. Items that are given back come first,
/// since they have no time to live.
pub(super) fn columns(to: Writer, items: &[Item<'_>], caller: &Caller) -> Writer {
    let to = items.iter().fold(to, |to, item| to.text(item.resource()));
    let to = items.iter().fold(to, |to, item| to.binary(item.token().as_bytes()));
    let before = std::iter::once(None).chain(items.iter().map(Some));
    let to = items.iter().zip(before).fold(to, |to, (item, before)| {
        let is_alike = before.is_some_and(|before| before.is_alike(*item));
        if is_alike { to.text("") } else { to.binary(&item.known(caller)) }
    });
    items.iter().filter_map(|item| item.ttl_ms()).fold(to, Writer::int)
}

/// One call that may also be made together with others.
pub(super) struct Ask {
    /// The function that answers it by itself.
    pub(super) function: &'static Function,
    /// Units of the tenant's rate that it costs.
    pub(super) cost: u32,
    /// Number of its items.
    pub(super) weight: usize,
    /// Whether something of it may be waited for: then it is made by itself.
    pub(super) waits: bool,
    /// Its second argument behind cost and floor, by itself ...
    pub(super) alone: Vec<u8>,
    /// ... and among others.
    pub(super) batched: Vec<u8>,
}

impl Ask {
    /// A call for items of one kind.
    pub(super) fn items(items: &[Item<'_>], caller: &Caller) -> Self {
        let count = items.len() as i64;
        let columns = columns(Writer::default(), items, caller).done();
        let (function, [releases, takes, renewals]) = match items.first() {
            Some(Item::Unreserve(_)) => (&functions::UNRESERVE, [count, 0, 0]),
            Some(Item::Renew(_)) => (&functions::RENEW, [0, 0, count]),
            Some(Item::Reserve(_)) | None => (&functions::RESERVE, [0, count, 0]),
        };
        let alone = Writer::default().int(count);
        let alone = if takes > 0 { waits(quantities(alone, items), items) } else { alone };
        let batched = Writer::default().text("T").int(releases).int(takes).int(renewals);
        Self {
            function,
            cost: cost(items.len(), columns.len()),
            weight: items.len(),
            waits: items.iter().any(|item| item.wait().is_some()),
            alone: alone.sequence(&columns).done(),
            batched: quantities(batched, items).sequence(&columns).done(),
        }
    }
}

/// The token that a caller shows, of which Redis keeps the 16 bytes: exactly as we write it, or it is no token of ours. Zero stands for that,
/// which is nobody's.
fn shown_token(claim: &ReleaseRequest) -> Uuid {
    let text = claim.token.as_deref().unwrap_or("");
    let token = Uuid::try_parse(text).unwrap_or_default();
    if *token.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *text { token } else { Uuid::nil() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_as_we_write_it_or_not_at_all() {
        let token = Uuid::from_u128(0x0f8f_ad5b_d9cb_469f_a165_7086_7728_950e);
        let shown = |text: &str| {
            shown_token(&ReleaseRequest { requester: "w".into(), resource: "r".into(), token: Some(text.into()) })
        };
        assert_eq!(shown("0f8fad5b-d9cb-469f-a165-70867728950e"), token);
        for other in [
            "",
            "x",
            "0F8FAD5B-D9CB-469F-A165-70867728950E",
            "0f8fad5bd9cb469fa16570867728950e",
            "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
        ] {
            assert_eq!(shown(other), Uuid::nil(), "{other}");
        }
    }
}
