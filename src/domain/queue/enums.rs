//! Closed sets of the queue monitor. Some have a number under which the store keeps them: the index of the value.

use crate::domain::closed_set::{ClosedSet, closed_set};

closed_set! {
    /// The library that runs the jobs.
    pub enum Framework as "Framework" {
        /// Celery, over kombu's Redis transport.
        Celery = "celery",
        /// BullMQ.
        BullMq = "bullmq",
        /// Sidekiq: its events are pushed.
        Sidekiq = "sidekiq",
    }
}

closed_set! {
    /// State of a job, the same for every framework.
    pub enum JobState as "JobState" {
        /// The job exists; nobody has reported its state.
        Unknown = "unknown",
        /// Waits for its due time.
        Scheduled = "scheduled",
        /// Waits for a worker.
        Queued = "queued",
        /// A worker runs it.
        Active = "active",
        /// The attempt failed, and another one follows.
        Retrying = "retrying",
        /// Revoked or removed before it ended.
        Cancelled = "cancelled",
        /// Failed for good.
        Failed = "failed",
        /// Ended with success.
        Completed = "completed",
    }
}

closed_set! {
    /// State of a worker. Watchers report `online` and `offline`, pushing clients all four.
    pub enum WorkerState as "WorkerState" {
        /// Alive: its last heartbeat is at most 6 s old.
        Online = "online",
        /// Alive, and runs jobs.
        Busy = "busy",
        /// Alive, and runs no job.
        Idle = "idle",
        /// Shut down, or without a heartbeat for 6 s.
        Offline = "offline",
    }
}

closed_set! {
    /// Where the number of a queue's consumers comes from.
    pub enum ConsumersSource as "ConsumersSource" {
        /// Live workers that took a job from the queue; one that only waits is not seen. Nothing is written to the broker.
        Inferred = "inferred",
        /// Workers that named the queue when they were asked.
        Exact = "exact",
        /// Workers whose connections the broker lists under the queue's name.
        Connected = "connected",
        /// A client pushed the number.
        Pushed = "pushed",
    }
}

closed_set! {
    /// Why events of a watcher are missing.
    pub enum GapReason as "GapReason" {
        /// The watcher before released its lease, and this one began later.
        Handover = "handover",
        /// The watcher before lost its lease: killed, or cut off from Redis.
        Takeover = "takeover",
        /// The connection to the broker was lost.
        Disconnected = "disconnected",
        /// The event buffer was full, so events were dropped.
        Overflow = "overflow",
        /// The broker trimmed its stream before it was read.
        Trimmed = "trimmed",
    }
}

closed_set! {
    /// Time range over which ended jobs are counted.
    pub enum TimeRange as "TimeRange" {
        /// An hour, in buckets of 5 minutes.
        Hour = "1h",
        /// Six hours, in buckets of 30 minutes.
        SixHours = "6h",
        /// A day, in buckets of an hour.
        Day = "24h",
        /// A week, in buckets of 6 hours.
        Week = "7d",
    }
}

macro_rules! codes {
    ($($kind:ident),*) => {$(
        impl $kind {
            /// The number under which the store keeps it.
            #[must_use]
            pub fn code(self) -> i64 {
                self as i64
            }

            /// The variant of that number.
            #[must_use]
            pub fn from_code(code: i64) -> Option<Self> {
                usize::try_from(code).ok().and_then(|index| Self::VALUES.get(index).copied())
            }
        }
    )*};
}

codes!(Framework, JobState, WorkerState, ConsumersSource);

impl JobState {
    /// Progress within one attempt: a job only moves to a higher rank, unless a new attempt begins.
    #[must_use]
    pub fn rank(self) -> u8 {
        match self {
            Self::Unknown | Self::Retrying => 0,
            Self::Scheduled => 1,
            Self::Queued => 2,
            Self::Active => 3,
            Self::Cancelled => 4,
            Self::Failed => 5,
            Self::Completed => 6,
        }
    }
}

impl TimeRange {
    /// Length of one bucket, in milliseconds.
    #[must_use]
    pub fn bucket_ms(self) -> i64 {
        const MINUTE_MS: i64 = 60_000;
        match self {
            Self::Hour => 5 * MINUTE_MS,
            Self::SixHours => 30 * MINUTE_MS,
            Self::Day => 60 * MINUTE_MS,
            Self::Week => 360 * MINUTE_MS,
        }
    }

    /// Number of buckets.
    #[must_use]
    pub fn buckets(self) -> i64 {
        match self {
            Self::Hour | Self::SixHours => 12,
            Self::Day => 24,
            Self::Week => 28,
        }
    }

    /// Length of the range, in milliseconds.
    #[must_use]
    pub fn length_ms(self) -> i64 {
        self.bucket_ms() * self.buckets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for state in JobState::VALUES {
            assert_eq!(JobState::from_code(state.code()), Some(*state));
        }
        assert_eq!((JobState::from_code(-1), JobState::from_code(8)), (None, None));
    }

    #[test]
    fn buckets_fill_their_range() {
        const HOUR_MS: i64 = 3_600_000;
        assert_eq!(
            TimeRange::VALUES.iter().map(|range| range.length_ms() / HOUR_MS).collect::<Vec<_>>(),
            [1, 6, 24, 168]
        );
    }
}
