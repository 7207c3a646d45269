//! The transactions script, typed.

use crate::{
    domain::{
        rate::cost,
        transaction::{Items, Results, Transaction, TransactionOutcome},
    },
    store::{
        Arg, Caller, Outcome, Stamped, Store, StoreError,
        reservations::{claim_args, read_granted, read_released, wanted_args},
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
    pub async fn transactions(
        &self,
        caller: &Caller,
        transactions: &[Transaction],
    ) -> Result<Stamped<Outcome<Vec<TransactionOutcome>>>, StoreError> {
        let mut args = Vec::new();
        for transaction in transactions {
            let items = &transaction.items;
            args.extend([
                Arg::Text(transaction.method.name()),
                Arg::Text(items.request_type()),
                Arg::Number(items.len() as i64),
            ]);
            match items {
                Items::Reserve(wanted) => wanted.iter().for_each(|item| args.extend(wanted_args(item))),
                Items::Unreserve(claims) => claims.iter().for_each(|claim| args.extend(claim_args(claim))),
            }
        }
        let items = transactions.iter().map(|transaction| transaction.items.len()).sum();
        let reply = self.ask_at_cost(cost(items), &scripts::TRANSACTIONS, caller, &args).await?;
        reply.verdict_of(|reply| {
            reply.whole(|reader| {
                transactions
                    .iter()
                    .map(|transaction| {
                        let applied = reader.text()? == "APPLIED";
                        let results = match &transaction.items {
                            Items::Reserve(wanted) => {
                                Results::Reserve(wanted.iter().map(|_| read_granted(reader)).collect::<Option<_>>()?)
                            }
                            Items::Unreserve(claims) => Results::Unreserve(
                                claims.iter().map(|claim| read_released(reader, claim)).collect::<Option<_>>()?,
                            ),
                        };
                        Some(TransactionOutcome { applied, results })
                    })
                    .collect()
            })
        })
    }
}
