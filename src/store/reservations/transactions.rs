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
            decode::{read_release_item, read_reserve_item},
            encode::{Ask, Item, columns, quantities},
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
        let encoded = transactions
            .iter()
            .zip(&items)
            .fold(Writer::default().int(transactions.len() as i64), |to, (transaction, items)| {
                let request_type = transaction.items.request_type();
                let to = to.text(transaction.method.name()).text(request_type.name()).int(items.len() as i64);
                columns(quantities(to, items), items, caller)
            })
            .done();
        let shared = Writer::default().text("G").sequence(&encoded).done();
        let ask = Ask { function: &functions::TRANSACTIONS, cost: cost(weight), weight, alone: encoded, shared };
        let reply = self.share(caller, ask).await?;
        reply.outcome(|reply| {
            reply.whole(|reader| {
                transactions
                    .iter()
                    .map(|transaction| {
                        let status = TransactionStatus::of_name(reader.text()?)?;
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
                        Some(TransactionOutcome { status, results })
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
