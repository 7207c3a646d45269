//! The reservation scripts, typed: what each is given and what it answers.

pub(super) mod batcher;
pub(super) mod expiry;
pub(super) mod plain;
pub(super) mod resources;
pub(super) mod transactions;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{
    domain::{
        closed_set::ClosedSet,
        rate::cost,
        reservation::{
            Checked, Conflict, Grant, HeldReservation, Holder, ReleaseOutcome, ReleaseRequest, ReleaseStatus,
            RenewOutcome, RenewRequest, RenewStatus, ReserveOutcome, ReserveRequest, ReserveStatus,
        },
        transaction::ItemOutcome,
    },
    store::{
        Arg, Call, Caller, Outcome, Reply, Stamped, Store, StoreError,
        codec::Reader,
        reservations::batcher::{Decision, PendingCall, Waiter},
        scripts::{self, Variants},
    },
};

const RESERVE: Variants = Variants { full: &scripts::RESERVE, fast: &scripts::RESERVE_PLAIN };
const UNRESERVE: Variants = Variants { full: &scripts::UNRESERVE, fast: &scripts::UNRESERVE_PLAIN };
const RENEW: Variants = Variants { full: &scripts::RENEW, fast: &scripts::RENEW_PLAIN };

/// How many reservations are looked at in one call of the listing, when the caller wants all of them.
const LIST_STEP: usize = 1_000;

impl Store {
    /// Reserves what is free, each item on its own; one answer per item, in order.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe: what is held comes back as `ALREADY_HAD`.
    ///
    /// # Cancellation
    /// Dropping the future does not undo a call that was already sent; one that still waits in a batch is not sent.
    pub async fn reserve(
        &self,
        caller: &Caller,
        items: &[ReserveRequest],
    ) -> Result<Stamped<Outcome<Vec<ReserveOutcome>>>, StoreError> {
        self.submit(caller, items).await
    }

    /// Releases what the caller proves it holds; one wrong token and nothing is released.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe: what is free comes back as `NOT_RESERVED`.
    ///
    /// # Cancellation
    /// As for [`reserve`](Self::reserve).
    pub async fn unreserve(
        &self,
        caller: &Caller,
        items: &[ReleaseRequest],
    ) -> Result<Stamped<Outcome<Vec<ReleaseOutcome>>>, StoreError> {
        self.submit(caller, items).await
    }

    /// Moves the deadline of what the caller proves it holds; one wrong token and nothing is moved.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    ///
    /// # Cancellation
    /// As for [`reserve`](Self::reserve).
    pub async fn renew(
        &self,
        caller: &Caller,
        items: &[RenewRequest],
    ) -> Result<Stamped<Outcome<Vec<RenewOutcome>>>, StoreError> {
        self.submit(caller, items).await
    }

    /// Looks who holds these resources.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn check(&self, caller: &Caller, resources: &[String]) -> Result<Stamped<Vec<Checked>>, StoreError> {
        let args: Vec<_> = resources.iter().map(|resource| Arg::Text(resource)).collect();
        let reply = self.ask_at_cost(cost(resources.len()), &scripts::CHECK, caller, &args).await?;
        let checked = reply.each(6, |reader| {
            Some(Checked {
                holder: reader.maybe_text()?,
                deadline_ms: reader.maybe_int()?,
                note: reader.maybe_text()?,
                capacity: reader.int()?,
                available: reader.int()?,
                takeable: reader.boolean()?,
            })
        })?;
        Ok(reply.stamped(checked))
    }

    /// The fencing token of the resource's present holder; `None` when it is free. Of a pool it is `fence` where that is one of its
    /// slots', else the latest of its slots'.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn verify_fence(
        &self,
        caller: &Caller,
        resource: &str,
        fence: i64,
    ) -> Result<Stamped<Option<i64>>, StoreError> {
        let reply = self.ask(&scripts::VERIFY_FENCE, caller, &[Arg::Text(resource), Arg::Number(fence)]).await?;
        let fence = reply.whole(Reader::maybe_int)?;
        Ok(reply.stamped(fence))
    }

    /// The tenant's latest position, if the caller's credential still holds.
    ///
    /// # Errors
    /// [`StoreError::Unauthorized`] when it does not.
    pub async fn position(&self, caller: &Caller) -> Result<Stamped<()>, StoreError> {
        Ok(self.ask(&scripts::POSITION, caller, &[]).await?.stamped(()))
    }

    /// Ends a reservation whoever holds it; answers what was freed.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done.
    pub async fn force_release(
        &self,
        caller: &Caller,
        resource: &str,
        reason: &str,
    ) -> Result<Stamped<Outcome<Vec<String>>>, StoreError> {
        let reply = self.ask(&scripts::FORCE_RELEASE, caller, &[Arg::Text(resource), Arg::Text(reason)]).await?;
        reply.outcome(|reply| reply.each(1, |reader| reader.text().map(Into::into)))
    }

    /// Ends every reservation of the tenant; answers how many there were.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating is safe.
    pub async fn reset(&self, caller: &Caller) -> Result<Stamped<i64>, StoreError> {
        let reply = self.ask(&scripts::RESET, caller, &[]).await?;
        let ended = reply.whole(Reader::int)?;
        Ok(reply.stamped(ended))
    }

    /// A piece of the active reservations: from `cursor` on, at most `limit`, perhaps fewer.
    ///
    /// A step of the scan can hold more than fits in a page. The rest of it is then found again by name: the cursor keeps the step and
    /// the last name given, in the order of bytes, so nothing that stays held is left out.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn page(&self, caller: &Caller, cursor: &PageCursor, limit: usize) -> Result<Stamped<Page>, StoreError> {
        let (scanned, next_step) = self.scan_step(1, caller, &cursor.step, limit).await?;
        let as_of = cursor.as_of.unwrap_or(scanned.position);
        Ok(scanned.map(|found| {
            let (found, next) = cursor.cut(found, |active| &active.resource, limit, next_step, as_of);
            Page { found, as_of, next }
        }))
    }

    /// The next piece of the whole list, as large as is good for one call.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn scan(&self, caller: &Caller, cursor: &PageCursor) -> Result<Stamped<Page>, StoreError> {
        self.scan_at_cost(1, caller, cursor).await
    }

    /// The piece after that, of the same call, which was paid for.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn scan_next(&self, caller: &Caller, cursor: &PageCursor) -> Result<Stamped<Page>, StoreError> {
        self.scan_at_cost(0, caller, cursor).await
    }

    async fn scan_at_cost(&self, cost: u32, caller: &Caller, cursor: &PageCursor) -> Result<Stamped<Page>, StoreError> {
        let (scanned, next_step) = self.scan_step(cost, caller, &cursor.step, LIST_STEP).await?;
        let as_of = cursor.as_of.unwrap_or(scanned.position);
        let next = (next_step != "0").then_some(PageCursor { step: next_step, after: None, as_of: Some(as_of) });
        Ok(scanned.map(|found| Page { found, as_of, next }))
    }

    async fn scan_step(
        &self,
        cost: u32,
        caller: &Caller,
        step: &str,
        count: usize,
    ) -> Result<(Stamped<Vec<HeldReservation>>, String), StoreError> {
        let reply =
            self.ask_at_cost(cost, &scripts::LIST, caller, &[Arg::Text(step), Arg::Number(count as i64)]).await?;
        let (next, found) = reply.whole(|reader| {
            let next = reader.text()?.to_owned();
            let mut found = Vec::new();
            while reader.left() > 0 {
                let resource = reader.text()?.to_owned();
                let active = read_active(resource, reader.bytes()?)?;
                found.push(HeldReservation {
                    deadline_ms: reader.maybe_int()?,
                    blocker_of: reader.maybe_texts()?,
                    ..active
                });
            }
            Some((next, found))
        })?;
        Ok((reply.stamped(found), next))
    }
}

impl Decision for ReserveRequest {
    type Answer = ReserveOutcome;

    fn resource(&self) -> &str {
        &self.resource
    }

    fn pending(self, reply_to: Waiter<ReserveOutcome>) -> PendingCall {
        PendingCall::Reserve(self, reply_to)
    }

    fn encode<'a>(items: &'a [Self], caller: &Caller) -> Call<'a> {
        if caller.has_definitions() {
            Call::new(RESERVE.full, items.iter().flat_map(wanted_args).collect::<Vec<_>>())
        } else {
            Call::new(RESERVE.fast, plain::wanted_args(caller, items))
        }
    }

    fn read(items: &[Self], reply: &Reply) -> Result<Vec<ReserveOutcome>, StoreError> {
        let mut items = items.iter();
        if reply.is_fast(&RESERVE) {
            reply.each(1, |reader| plain::read_granted(reader, items.next()?))
        } else {
            reply.each(12, read_granted)
        }
    }
}

impl Decision for ReleaseRequest {
    type Answer = ReleaseOutcome;

    fn resource(&self) -> &str {
        &self.resource
    }

    fn pending(self, reply_to: Waiter<ReleaseOutcome>) -> PendingCall {
        PendingCall::Unreserve(self, reply_to)
    }

    fn encode<'a>(items: &'a [Self], caller: &Caller) -> Call<'a> {
        if caller.has_definitions() {
            Call::new(UNRESERVE.full, items.iter().flat_map(claim_args).collect::<Vec<_>>())
        } else {
            Call::new(UNRESERVE.fast, plain::claim_args(caller, items))
        }
    }

    fn read(items: &[Self], reply: &Reply) -> Result<Vec<ReleaseOutcome>, StoreError> {
        let mut items = items.iter();
        if reply.is_fast(&UNRESERVE) {
            reply.each(1, |reader| plain::read_released(reader, items.next()?))
        } else {
            reply.each(4, read_released)
        }
    }
}

impl Decision for RenewRequest {
    type Answer = RenewOutcome;

    fn resource(&self) -> &str {
        &self.claim.resource
    }

    fn pending(self, reply_to: Waiter<RenewOutcome>) -> PendingCall {
        PendingCall::Renew(self, reply_to)
    }

    fn encode<'a>(items: &'a [Self], caller: &Caller) -> Call<'a> {
        if caller.has_definitions() {
            let args = |item: &'a Self| claim_args(&item.claim).into_iter().chain([Arg::Number(item.ttl_ms)]);
            Call::new(RENEW.full, items.iter().flat_map(args).collect::<Vec<_>>())
        } else {
            Call::new(RENEW.fast, plain::renewal_args(caller, items))
        }
    }

    fn read(_: &[Self], reply: &Reply) -> Result<Vec<RenewOutcome>, StoreError> {
        if reply.is_fast(&RENEW) { reply.each(1, plain::read_renewed) } else { reply.each(5, read_renewed) }
    }
}

pub(in crate::store) fn wanted_args(item: &ReserveRequest) -> [Arg<'_>; 6] {
    [
        Arg::Text(&item.requester),
        Arg::Text(&item.resource),
        Arg::Token(item.token),
        Arg::Number(item.ttl_ms.unwrap_or(0)),
        Arg::Text(&item.resource_type),
        Arg::Text(&item.note),
    ]
}

pub(in crate::store) fn claim_args(claim: &ReleaseRequest) -> [Arg<'_>; 3] {
    [Arg::Text(&claim.requester), Arg::Text(&claim.resource), Arg::Token(shown_token(claim))]
}

/// The token that a caller shows, of which Redis keeps the 16 bytes: exactly as we write it, or it is no token of ours. Zero stands for that,
/// which is nobody's.
pub(in crate::store) fn shown_token(claim: &ReleaseRequest) -> Uuid {
    let text = claim.token.as_deref().unwrap_or("");
    let token = Uuid::try_parse(text).unwrap_or_default();
    if *token.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *text { token } else { Uuid::nil() }
}

/// Reads a wanted resource's twelve values; outside of a transaction each is decided.
fn read_granted(reader: &mut Reader<'_>) -> Option<ReserveOutcome> {
    decided(read_reserve_item(reader)?)
}

fn decided<T>(outcome: ItemOutcome<T>) -> Option<T> {
    match outcome {
        ItemOutcome::Decided(outcome) => Some(outcome),
        ItemOutcome::Skipped | ItemOutcome::RolledBack => None,
    }
}

/// Reads a wanted resource's twelve values, in a transaction or not.
pub(in crate::store) fn read_reserve_item(reader: &mut Reader<'_>) -> Option<ItemOutcome<ReserveOutcome>> {
    let status = ReserveStatus::of_name(reader.text()?)?;
    let token = if reader.absent() { None } else { Some(Uuid::from_slice(reader.bytes()?).ok()?) };
    let fence = reader.maybe_int()?;
    let deadline_ms = reader.maybe_int()?;
    let holder = reader.maybe_text()?;
    let free_ms = reader.maybe_int()?;
    let slot = reader.maybe_text()?.zip(reader.maybe_text()?);
    let blockers = reader.maybe_texts()?;
    let path = reader.maybe_text()?;
    let conflict = reader.maybe_text()?.zip(reader.maybe_text()?);
    let grant = || Some(Grant { token: token?, fence: fence?, deadline_ms, free_ms, slot, blockers, path });
    Some(ItemOutcome::Decided(match status {
        ReserveStatus::Acquired => ReserveOutcome::Acquired(grant()?),
        ReserveStatus::AlreadyHad => ReserveOutcome::AlreadyHad(grant()?),
        ReserveStatus::AlreadyHeld | ReserveStatus::NotAvailable | ReserveStatus::NotValid => {
            let (kind, resource) = conflict?;
            let conflict = Conflict::of_parts(&kind, resource, holder.unwrap_or_default(), free_ms)?;
            (conflict.status() == status).then_some(ReserveOutcome::Refused(conflict))?
        }
        ReserveStatus::Skipped => return Some(ItemOutcome::Skipped),
        ReserveStatus::RolledBack => return Some(ItemOutcome::RolledBack),
    }))
}

fn read_released(reader: &mut Reader<'_>) -> Option<ReleaseOutcome> {
    decided(read_release_item(reader)?)
}

/// Reads the four values of a release, in a transaction or not.
pub(in crate::store) fn read_release_item(reader: &mut Reader<'_>) -> Option<ItemOutcome<ReleaseOutcome>> {
    let status = ReleaseStatus::of_name(reader.text()?)?;
    let (freed, holder) = (reader.maybe_texts()?, read_holder(reader)?);
    Some(ItemOutcome::Decided(match status {
        ReleaseStatus::Relinquished => ReleaseOutcome::Relinquished(freed?),
        ReleaseStatus::NotReserved => ReleaseOutcome::NotReserved,
        ReleaseStatus::DoesntOwnReservation => ReleaseOutcome::NotOwner(holder?),
        ReleaseStatus::Skipped => return Some(ItemOutcome::Skipped),
        ReleaseStatus::RolledBack => return Some(ItemOutcome::RolledBack),
    }))
}

fn read_renewed(reader: &mut Reader<'_>) -> Option<RenewOutcome> {
    let status = RenewStatus::of_name(reader.text()?)?;
    let (fence, deadline_ms, holder) = (reader.maybe_int()?, reader.maybe_int()?, read_holder(reader)?);
    Some(match status {
        RenewStatus::Renewed => RenewOutcome::Renewed { fence: fence?, deadline_ms: deadline_ms? },
        RenewStatus::NotReserved => RenewOutcome::NotReserved,
        RenewStatus::DoesntOwnReservation => RenewOutcome::NotOwner(holder?),
    })
}

/// Reads who holds a resource and until when; `Some(None)` where nobody does.
fn read_holder(reader: &mut Reader<'_>) -> Option<Option<Holder>> {
    let (requester, until_ms) = (reader.maybe_text()?, reader.maybe_int()?);
    Some(requester.map(|requester| Holder { requester, until_ms }))
}

/// Reads a packed reservation; its layout stands in `lua/README.md`.
fn read_active(resource: String, packed: &[u8]) -> Option<HeldReservation> {
    let mut reader = Reader::new(packed);
    let fence = reader.int()?;
    let deadline_ms = reader.maybe_int()?;
    let reserved_ms = reader.int()?;
    reader.maybe_bytes()?; // the token, which nobody is shown; a blocker has none
    let requester = reader.text()?.into();
    let resource_type = reader.text()?.into();
    let label = reader.maybe_text()?;
    reader.maybe_text()?; // the end user, which is the label's where there is one
    let note = reader.maybe_text()?;
    let pool = reader.maybe_text()?;
    let path = reader.maybe_text()?;
    let blockers = reader.maybe_texts()?;
    Some(HeldReservation {
        resource,
        requester,
        fence,
        deadline_ms,
        reserved_ms,
        resource_type,
        label,
        note,
        pool,
        path,
        blockers,
        blocker_of: None,
    })
}

/// A piece of the listing.
#[derive(Debug)]
pub struct Page {
    /// What was found, in no order that means anything.
    pub found: Vec<HeldReservation>,
    /// The position as of which the listing holds: the first piece's.
    pub as_of: i64,
    /// Where the next piece begins; `None` at the end.
    pub next: Option<PageCursor>,
}

/// Where a piece of the listing begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageCursor {
    step: String,
    after: Option<String>,
    as_of: Option<i64>,
}

impl PageCursor {
    /// The beginning.
    #[must_use]
    pub fn start() -> Self {
        Self { step: "0".into(), after: None, as_of: None }
    }

    /// Where a scan of Redis continues.
    pub(in crate::store) fn step(&self) -> &str {
        &self.step
    }

    /// Cuts what a step of a scan found to at most `limit`, and says where the next page begins.
    pub(in crate::store) fn cut<T>(
        &self,
        mut found: Vec<T>,
        name: impl Fn(&T) -> &String,
        limit: usize,
        next_step: String,
        as_of: i64,
    ) -> (Vec<T>, Option<Self>) {
        found.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        if let Some(after) = &self.after {
            found.retain(|one| name(one) > after);
        }
        let cut = found.len() > limit;
        found.truncate(limit);
        let next = match found.last() {
            Some(last) if cut => {
                Some(Self { step: self.step.clone(), after: Some(name(last).clone()), as_of: Some(as_of) })
            }
            _ if next_step == "0" => None,
            _ => Some(Self { step: next_step, after: None, as_of: Some(as_of) }),
        };
        (found, next)
    }

    /// As clients carry it: opaque, and safe in a URL.
    #[must_use]
    pub fn encode(&self) -> String {
        let as_of = self.as_of.unwrap_or(0);
        URL_SAFE_NO_PAD.encode(match &self.after {
            Some(after) => format!("{as_of}:{}:{after}", self.step),
            None => format!("{as_of}:{}", self.step),
        })
    }

    /// Reads one that a client gives back.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = text.splitn(3, ':');
        let as_of: i64 = parts.next()?.parse().ok()?;
        let step = parts.next()?;
        step.parse::<u64>().ok()?;
        Some(Self { step: step.into(), after: parts.next().map(Into::into), as_of: Some(as_of) })
    }
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

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        for after in [None, Some("a:b/é".to_owned()), Some(String::new())] {
            let cursor = PageCursor { step: "17179869184".into(), after, as_of: Some(1_790_000_000_000_000) };
            assert_eq!(PageCursor::decode(&cursor.encode()), Some(cursor));
        }
        for bad in ["", "!", "AAAA", &URL_SAFE_NO_PAD.encode("1"), &URL_SAFE_NO_PAD.encode("1:x")] {
            assert_eq!(PageCursor::decode(bad), None, "{bad}");
        }
    }
}
