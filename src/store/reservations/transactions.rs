//! The transactions script, typed.

use crate::{
    domain::{
        closed_set::ClosedSet,
        rate::cost,
        transaction::{Items, Results, Transaction, TransactionOutcome, TransactionStatus},
    },
    store::{
        Arg, Caller, Outcome, Stamped, Store, StoreError,
        reservations::{claim_args, read_release_item, read_reserve_item, wanted_args},
        scripts,
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
        let mut args = Vec::new();
        for transaction in transactions {
            let items = &transaction.items;
            args.extend([
                Arg::Text(transaction.method.name()),
                Arg::Text(items.request_type().name()),
                Arg::Number(items.len() as i64),
            ]);
            match items {
                Items::Reserve(wanted) => wanted.iter().for_each(|item| args.extend(wanted_args(item))),
                Items::Unreserve(claims) => claims.iter().for_each(|claim| args.extend(claim_args(claim))),
            }
        }
        let items = transactions.iter().map(|transaction| transaction.items.len()).sum();
        let reply = self.ask_at_cost(cost(items), &scripts::TRANSACTIONS, caller, &args).await?;
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
                                    .map(|item| Some((item, read_reserve_item(reader)?)))
                                    .collect::<Option<_>>()?,
                            ),
                            Items::Unreserve(claims) => Results::Unreserve(
                                claims
                                    .iter()
                                    .map(|claim| Some((claim, read_release_item(reader)?)))
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
