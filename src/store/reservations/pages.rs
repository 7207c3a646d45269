//! Lists read page by page: the cursor of all three (reservations, resources, tickets), and the list of reservations.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    domain::reservation::HeldReservation,
    store::{
        Caller, Reply, Stamped, Store, StoreError,
        call::Call,
        codec::{Reader, Writer},
        functions::{self, Function},
        reservations::decode::read_row,
    },
};

/// Rows per call while the whole list is streamed.
const STREAM_PAGE_ROWS: usize = 1_000;

/// A page of the list of what is held.
#[derive(Debug)]
pub struct ReservationPage {
    /// What is held, in no order that means anything.
    pub reservations: Vec<HeldReservation>,
    /// Position to subscribe from so that no change is missed: the first page's.
    pub as_of: i64,
    /// Where the next page begins; `None` at the end.
    pub next: Option<PageCursor>,
}

/// Where a page begins: the cursor of HSCAN, and, of a hash that one step reads whole, the last name already given ("": none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageCursor {
    scan: String,
    after: String,
    as_of: Option<i64>,
}

impl PageCursor {
    /// The beginning.
    #[must_use]
    pub fn start() -> Self {
        Self { scan: "0".into(), after: String::new(), as_of: None }
    }

    /// The same position; `None` before the first page.
    pub(super) fn as_of(&self) -> Option<i64> {
        self.as_of
    }

    /// As clients carry it: opaque, and safe in a URL.
    #[must_use]
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}:{}:{}", self.as_of.unwrap_or(0), self.scan, self.after))
    }

    /// Reads one that a client gives back.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = text.splitn(3, ':');
        let as_of: i64 = parts.next()?.parse().ok()?;
        let scan = parts.next()?;
        scan.parse::<u64>().ok()?;
        Some(Self { scan: scan.into(), after: parts.next()?.into(), as_of: Some(as_of) })
    }
}

impl Store {
    /// A page of the active reservations: from `cursor` on, at most `limit`, perhaps fewer; a few more where HSCAN gives them together.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn reservation_page(
        &self,
        caller: &Caller,
        cursor: &PageCursor,
        limit: usize,
    ) -> Result<Stamped<ReservationPage>, StoreError> {
        self.reservation_page_at_cost(1, caller, cursor, limit).await
    }

    /// The first page of a list that is streamed whole. It is charged for all of it.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn first_streamed_page(
        &self,
        caller: &Caller,
        cursor: &PageCursor,
    ) -> Result<Stamped<ReservationPage>, StoreError> {
        self.reservation_page_at_cost(1, caller, cursor, STREAM_PAGE_ROWS).await
    }

    /// The next page of a list begun by [`first_streamed_page`](Self::first_streamed_page); free.
    ///
    /// # Errors
    /// As [`StoreError`] says; a look changes nothing.
    pub async fn next_streamed_page(
        &self,
        caller: &Caller,
        cursor: &PageCursor,
    ) -> Result<Stamped<ReservationPage>, StoreError> {
        self.reservation_page_at_cost(0, caller, cursor, STREAM_PAGE_ROWS).await
    }

    async fn reservation_page_at_cost(
        &self,
        cost: u32,
        caller: &Caller,
        cursor: &PageCursor,
        limit: usize,
    ) -> Result<Stamped<ReservationPage>, StoreError> {
        let (reply, next, reservations) = self.rows(&functions::LIST, cost, caller, cursor, limit, read_row).await?;
        let as_of = cursor.as_of.unwrap_or(reply.position);
        Ok(reply.stamped(ReservationPage { reservations, as_of, next }))
    }

    /// Reads a page of a list: its reply, where the next page begins, and its rows.
    pub(super) async fn rows<T>(
        &self,
        function: &'static Function,
        cost: u32,
        caller: &Caller,
        cursor: &PageCursor,
        limit: usize,
        row: impl Fn(&mut Reader<'_>) -> Option<T>,
    ) -> Result<(Reply, Option<PageCursor>, Vec<T>), StoreError> {
        let packed = Writer::default().text(&cursor.scan).text(&cursor.after).int(limit as i64).done();
        let reply = self.call(caller, Call::packed(function, packed).at_cost(cost).weighing(limit)).await?;
        let as_of = Some(cursor.as_of.unwrap_or(reply.position));
        let (next, rows) = reply.whole(|reader| {
            let (scan, after) = (reader.text()?.to_owned(), reader.text()?.to_owned());
            let mut rows = Vec::new();
            while reader.left() > 0 {
                rows.push(row(reader)?);
            }
            let is_end = scan == "0" && after.is_empty();
            Some(((!is_end).then_some(PageCursor { scan, after, as_of }), rows))
        })?;
        Ok((reply, next, rows))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_cursor_that_comes_back_or_none(text in "[A-Za-z0-9_-]{0,40}", inside in "[0-9:-]{0,30}[a-z:]{0,5}") {
            for text in [text, URL_SAFE_NO_PAD.encode(inside)] {
                if let Some(cursor) = PageCursor::decode(&text) {
                    prop_assert_eq!(PageCursor::decode(&cursor.encode()), Some(cursor));
                }
            }
        }
    }

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        for after in ["", "a:b/é"] {
            let cursor =
                PageCursor { scan: "17179869184".into(), after: after.into(), as_of: Some(1_790_000_000_000_000) };
            assert_eq!(PageCursor::decode(&cursor.encode()), Some(cursor));
        }
        for bad in ["", "!", "AAAA", &URL_SAFE_NO_PAD.encode("1"), &URL_SAFE_NO_PAD.encode("1:x:")] {
            assert_eq!(PageCursor::decode(bad), None, "{bad}");
        }
    }
}
