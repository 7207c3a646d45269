//! Counts of ended jobs per queue and per worker, over time ranges.
//!
//! The store keeps the counts of each queue and worker in rings: a ring has one slot per interval of its length, and a slot is reused when its
//! time comes round again. A slot therefore carries the number of its interval.

use uuid::Uuid;

use crate::{
    domain::queue::{Queue, TimeBucket, TimeRange, Worker},
    store::{
        Arg, Caller, Store, StoreError, functions,
        queues::decode::{SlotCounts, decode_counts},
    },
};

/// Slots that one call of the function reads.
const MAX_SLOTS: usize = 2_000;
const MINUTE_MS: i64 = 60_000;

/// A ring of counts. The part `retention` of the functions has the same lengths.
struct Ring {
    letter: char,
    slot_ms: i64,
    slots: i64,
}

/// The finest ring that covers a range.
fn ring_of(range: TimeRange) -> Ring {
    match range {
        TimeRange::Hour => Ring { letter: 'm', slot_ms: 5 * MINUTE_MS, slots: 13 },
        TimeRange::SixHours => Ring { letter: 'h', slot_ms: 30 * MINUTE_MS, slots: 13 },
        TimeRange::Day | TimeRange::Week => Ring { letter: 'd', slot_ms: 60 * MINUTE_MS, slots: 169 },
    }
}

impl Store {
    /// Fills the buckets of queues: counts of the jobs that ended in them within `range`.
    ///
    /// # Errors
    /// As [`StoreError`] says; reading changes nothing.
    pub async fn count_queues(
        &self,
        caller: &Caller,
        queues: &mut [Queue],
        range: TimeRange,
        now_us: i64,
    ) -> Result<(), StoreError> {
        let counters: Vec<_> = queues.iter().map(|queue| counter(queue.connection, b'q', &queue.name)).collect();
        let buckets = self.read_buckets(caller, &counters, range, now_us).await?;
        queues.iter_mut().zip(buckets).for_each(|(queue, buckets)| queue.buckets = buckets);
        Ok(())
    }

    /// Fills the numbers of jobs that ended on workers within the last hour.
    ///
    /// # Errors
    /// As [`StoreError`] says; reading changes nothing.
    pub async fn count_workers(&self, caller: &Caller, workers: &mut [Worker], now_us: i64) -> Result<(), StoreError> {
        let counters: Vec<_> =
            workers.iter().map(|worker| counter(worker.connection, b'w', &worker.external_id)).collect();
        let buckets = self.read_buckets(caller, &counters, TimeRange::Hour, now_us).await?;
        for (worker, buckets) in workers.iter_mut().zip(buckets) {
            worker.finished_last_hour = buckets.iter().map(|bucket| bucket.succeeded + bucket.failed).sum();
        }
        Ok(())
    }

    /// Buckets of each counter, the oldest first; the last one holds the present moment.
    async fn read_buckets(
        &self,
        caller: &Caller,
        counters: &[Vec<u8>],
        range: TimeRange,
        now_us: i64,
    ) -> Result<Vec<Vec<TimeBucket>>, StoreError> {
        let ring = ring_of(range);
        let last_slot = now_us / 1000 / ring.slot_ms;
        let slots: Vec<_> = (last_slot - range.length_ms() / ring.slot_ms + 1..=last_slot).collect();
        let field = |counter: &Vec<u8>, slot: i64| {
            let slot_name = format!("\0{}{}", ring.letter, slot % ring.slots);
            [counter.as_slice(), slot_name.as_bytes()].concat()
        };
        let slots_per_bucket = (range.bucket_ms() / ring.slot_ms) as usize;
        let mut all = Vec::with_capacity(counters.len());
        // In pieces, so that a list of thousands neither keeps this thread from other requests nor stands in memory slot by slot.
        for counters in counters.chunks((MAX_SLOTS / slots.len()).max(1)) {
            let fields: Vec<_> =
                counters.iter().flat_map(|counter| slots.iter().map(move |slot| field(counter, *slot))).collect();
            let counts = self.read_slots(caller, &fields).await?;
            let per_slot: Vec<_> = counts
                .into_iter()
                .zip(slots.iter().cycle())
                .map(|(counts, slot)| bucket_of_slot(counts, *slot, ring.slot_ms))
                .collect();
            let buckets = |slots: &[TimeBucket]| slots.chunks(slots_per_bucket).map(merge).collect();
            all.extend(per_slot.chunks(slots.len()).map(buckets));
        }
        Ok(all)
    }

    async fn read_slots(&self, caller: &Caller, fields: &[Vec<u8>]) -> Result<Vec<Option<SlotCounts>>, StoreError> {
        let args: Vec<_> = fields.iter().map(|field| Arg::Bytes(field)).collect();
        let reply = self.ask_at_cost(0, &functions::COUNTS_READ, caller, &args).await?;
        reply.each(|reader| if reader.absent() { Some(None) } else { Some(Some(decode_counts(reader.bytes()?)?)) })
    }
}

/// Prefix of the fields of a queue's or worker's counts.
fn counter(connection: Uuid, kind: u8, name: &str) -> Vec<u8> {
    [connection.as_bytes(), &[kind][..], name.as_bytes()].concat()
}

/// Bucket of one slot; empty where the slot still holds an interval of an earlier round.
fn bucket_of_slot(counts: Option<SlotCounts>, slot: i64, slot_ms: i64) -> TimeBucket {
    let start_ms = slot * slot_ms;
    let empty = TimeBucket { start_ms, end_ms: start_ms + slot_ms, ..TimeBucket::default() };
    match counts {
        Some(SlotCounts { slot: counted, succeeded, failed, wait_sum_ms, wait_count }) if counted == slot => {
            TimeBucket { succeeded, failed, wait_sum_ms, wait_count, ..empty }
        }
        _ => empty,
    }
}

/// One bucket of several consecutive ones.
fn merge(buckets: &[TimeBucket]) -> TimeBucket {
    let first = buckets.first().copied().unwrap_or_default();
    buckets.iter().skip(1).fold(first, |sum, next| TimeBucket {
        start_ms: sum.start_ms,
        end_ms: next.end_ms,
        succeeded: sum.succeeded + next.succeeded,
        failed: sum.failed + next.failed,
        wait_sum_ms: sum.wait_sum_ms + next.wait_sum_ms,
        wait_count: sum.wait_count + next.wait_count,
    })
}
