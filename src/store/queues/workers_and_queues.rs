//! Lists of workers and queues. Both are small, so each is read whole.

use std::collections::HashMap;

use tokio::sync::SemaphorePermit;
use uuid::Uuid;

use crate::{
    domain::queue::{Queue, Worker, WorkerState},
    store::{
        Arg, Caller, Stamped, Store, StoreError, TenantHandle,
        call::turn,
        functions::{self, Function},
        queues::decode::{decode_queue, decode_worker},
    },
};

/// `COUNT` of the scan of a hash: about as many rows does one call of the function read.
const SCAN_COUNT: i64 = 1_000;

impl Store {
    /// Waits for a turn to read one of the tenant's lists whole, of which two go on at the same time on this replica; what is returned keeps it.
    ///
    /// # Errors
    /// [`StoreError::Crowded`] where none came in time; nothing was asked.
    pub async fn whole_read<'a>(&self, caller: &'a Caller) -> Result<SemaphorePermit<'a>, StoreError> {
        turn(caller.tenant_handle().whole_reads(), 1, false).await
    }

    /// Reads all workers of the tenant, without counts, in no order.
    ///
    /// # Errors
    /// As [`StoreError`] says; reading changes nothing.
    pub async fn workers(&self, caller: &Caller) -> Result<Stamped<Vec<Worker>>, StoreError> {
        self.read_all(&functions::WORKER_LIST, caller, decode_worker, |worker| worker.id).await
    }

    /// Reads all queues of the tenant, without counts, in no order.
    ///
    /// # Errors
    /// As [`StoreError`] says; reading changes nothing.
    pub async fn queues(&self, caller: &Caller) -> Result<Stamped<Vec<Queue>>, StoreError> {
        self.read_all(&functions::QUEUE_LIST, caller, decode_queue, |queue| queue.id).await
    }

    /// Scans a hash to its end. A row that the scan returns twice counts once.
    async fn read_all<T>(
        &self,
        function: &'static Function,
        caller: &Caller,
        decode: fn(&[u8]) -> Option<T>,
        id: fn(&T) -> Uuid,
    ) -> Result<Stamped<Vec<T>>, StoreError> {
        let (mut rows, mut cursor, mut cost) = (HashMap::new(), "0".to_owned(), 1);
        loop {
            let args = [Arg::Text(&cursor), Arg::Number(SCAN_COUNT)];
            let reply = self.ask_at_cost(cost, function, caller, &args).await?;
            // Further pages of the scan belong to the same call, which is paid.
            cost = 0;
            cursor = reply.whole(|reader| {
                let next = reader.text()?.to_owned();
                while reader.left() > 0 {
                    let row = decode(reader.bytes()?)?;
                    rows.insert(id(&row), row);
                }
                Some(next)
            })?;
            if cursor == "0" {
                return Ok(reply.stamped(rows.into_values().collect()));
            }
        }
    }

    /// Reads the queues of a connection by name, and its workers that are not offline by hostname: the snapshot that a stream sends first.
    ///
    /// # Errors
    /// As [`StoreError`] says; reading changes nothing.
    pub async fn connection_snapshot(
        &self,
        tenant_handle: &TenantHandle,
        connection: Uuid,
    ) -> Result<(Vec<Queue>, Vec<Worker>), StoreError> {
        let system = &self.system_caller(tenant_handle.tenant()).await?.ok_or(StoreError::Unauthorized)?;
        let mut queues = self.queues(system).await?.answer;
        queues.retain(|queue| queue.connection == connection);
        queues.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut workers = self.workers(system).await?.answer;
        workers.retain(|worker| worker.connection == connection && worker.state != WorkerState::Offline);
        workers.sort_unstable_by(|a, b| a.hostname.cmp(&b.hostname));
        Ok((queues, workers))
    }
}
