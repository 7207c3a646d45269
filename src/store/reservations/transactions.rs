//! Transactions: groups of items, each atomic.

use crate::{
    domain::{
        closed_set::ClosedSet,
        rate::cost,
        transaction::{Items, Results, Transaction, TransactionOutcome, TransactionStatus},
    },
    store::{
        Caller, Outcome, Stamped, Store, StoreError,
        codec::Writer,
        functions,
        reservations::{
            decode::{read_place, read_release_item, read_reserve_item},
            encode::{Ask, Item, columns, group_wait, quantities},
        },
    },
};

impl Store {
    /// Carries out transactions in order, each atomic; one outcome per transaction.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`]: it may have been done. Repeating RESERVE transactions is safe: what is held comes back.
    ///
    /// # Cancellation
    /// Dropping the future does not undo a call that was already sent.
    pub async fn transactions<'t>(
        &self,
        caller: &Caller,
        transactions: &'t [Transaction],
    ) -> Result<Stamped<Outcome<Vec<TransactionOutcome<'t>>>>, StoreError> {
        let items: Vec<Vec<Item<'_>>> = transactions.iter().map(|transaction| items_of(&transaction.items)).collect();
        let weight = items.iter().map(Vec::len).sum();
        let waits = transactions.iter().any(|transaction| transaction.wait.is_some());
        if waits {
            self.check_stored(caller).await?;
        }
        let encoded = transactions
            .iter()
            .zip(&items)
            .fold(Writer::default().int(transactions.len() as i64), |to, (transaction, items)| {
                let request_type = transaction.items.request_type();
                let to = to.text(transaction.method.name()).text(request_type.name()).int(items.len() as i64);
                columns(group_wait(quantities(to, items), transaction.wait.as_ref()), items, caller)
            })
            .done();
        let batched = Writer::default().text("G").sequence(&encoded).done();
        let cost = cost(weight, encoded.len());
        let ask = Ask { function: &functions::TRANSACTIONS, cost, weight, waits, alone: encoded, batched };
        let reply = self.call_batched(caller, ask).await?;
        reply.outcome(|reply| {
            reply.whole(|reader| {
                transactions
                    .iter()
                    .map(|transaction| {
                        let (mut place, mut circle) = (None, Vec::new());
                        let status = match reader.text()? {
                            "W" => {
                                place = Some(read_place(reader)?);
                                TransactionStatus::Waiting
                            }
                            "D" => {
                                circle = reader.texts()?;
                                TransactionStatus::WouldDeadlock
                            }
                            status => TransactionStatus::of_name(status)?,
                        };
                        let results = match &transaction.items {
                            Items::Reserve(wanted) => Results::Reserve(
                                wanted
                                    .iter()
                                    .map(|item| Some((item, read_reserve_item(reader, item)?)))
                                    .collect::<Option<_>>()?,
                            ),
                            Items::Unreserve(claims) => Results::Unreserve(
                                claims
                                    .iter()
                                    .map(|claim| Some((claim, read_release_item(reader, claim)?)))
                                    .collect::<Option<_>>()?,
                            ),
                        };
                        Some(TransactionOutcome { status, results, place, circle })
                    })
                    .collect()
            })
        })
    }
}

fn items_of(items: &Items) -> Vec<Item<'_>> {
    match items {
        Items::Reserve(requests) => requests.iter().map(Item::Reserve).collect(),
        Items::Unreserve(claims) => claims.iter().map(Item::Unreserve).collect(),
    }
}
