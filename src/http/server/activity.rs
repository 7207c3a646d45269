//! What a connection is doing, and how long it may: requests that are open, a head that has begun, or nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Time for a request's head once it has begun, 30 s, for the first head of a connection, and for the TLS handshake.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time without a request, 75 s: longer than the 60 s after which common proxies close their side, so that none of them
/// sends a request on a connection that is being closed here.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Activity of one connection, shared by what reads its bytes, serves its requests and times it out.
#[derive(Debug)]
pub(super) struct Activity {
    begun: Instant,
    /// Requests whose responses are not written yet; on HTTP/1 at most one.
    open_requests: AtomicU32,
    /// Whether a head has begun: bytes arrived while no request was open.
    in_head: AtomicBool,
    /// When the present state began, in milliseconds since `begun`.
    since_ms: AtomicU64,
    is_http2: AtomicBool,
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimedOut {
    /// No request came.
    Idle,
    /// A head was not complete in time.
    Head,
}

impl Activity {
    /// Of a connection that has just been accepted: its first head has begun.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            open_requests: AtomicU32::new(0),
            in_head: AtomicBool::new(true),
            since_ms: AtomicU64::new(0),
            is_http2: AtomicBool::new(false),
        })
    }

    fn enter(&self, in_head: bool) {
        self.in_head.store(in_head, Ordering::Relaxed);
        self.since_ms.store(self.begun.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether no request is open.
    pub(super) fn is_between_requests(&self) -> bool {
        self.open_requests.load(Ordering::Relaxed) == 0
    }

    /// Records that bytes arrived; returns whether a request's head begins with them.
    pub(super) fn record_read(&self) -> bool {
        let begins = self.is_between_requests()
            && !self.is_http2.load(Ordering::Relaxed)
            && !self.in_head.load(Ordering::Relaxed);
        if begins {
            self.enter(true);
        }
        begins
    }

    /// Records that the client speaks HTTP/2: its frames between requests are no heads.
    pub(super) fn record_http2(&self) {
        self.is_http2.store(true, Ordering::Relaxed);
        self.enter(false);
    }

    /// Records that a request's head is complete; the request is open until the guard is dropped.
    pub(super) fn open_request(self: &Arc<Self>) -> OpenRequest {
        self.open_requests.fetch_add(1, Ordering::Relaxed);
        OpenRequest(self.clone())
    }

    /// When the present state times out; `None`: while a request is open, others watch over it.
    fn deadline(&self) -> Option<(Instant, TimedOut)> {
        if !self.is_between_requests() {
            return None;
        }
        let since = self.begun + Duration::from_millis(self.since_ms.load(Ordering::Relaxed));
        Some(match self.in_head.load(Ordering::Relaxed) {
            true => (since + HEAD_TIMEOUT, TimedOut::Head),
            false => (since + IDLE_TIMEOUT, TimedOut::Idle),
        })
    }

    /// Waits until the connection has done nothing for too long.
    ///
    /// It looks at least every [`HEAD_TIMEOUT`], the shortest of the times, so it is never late.
    pub(super) async fn timed_out(&self) -> TimedOut {
        loop {
            let now = Instant::now();
            let next = match self.deadline() {
                Some((deadline, timed_out)) if deadline <= now => return timed_out,
                Some((deadline, _)) => deadline.min(now + HEAD_TIMEOUT),
                None => now + HEAD_TIMEOUT,
            };
            sleep_until(next).await;
        }
    }
}

/// A request that is open. Held by its response's body, or by what makes the response.
#[derive(Debug)]
pub(super) struct OpenRequest(Arc<Activity>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.enter(false);
        self.0.open_requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Of a connection that was accepted so many seconds ago.
    fn accepted(seconds_ago: u32) -> Arc<Activity> {
        let activity = Activity::new();
        Arc::new(Activity { begun: activity.begun - seconds_ago * SECOND, ..Arc::into_inner(activity).unwrap() })
    }

    /// Seconds from now until it times out, and why.
    fn left(activity: &Activity) -> Option<(u64, TimedOut)> {
        let (deadline, timed_out) = activity.deadline()?;
        Some(((deadline + SECOND / 2 - Instant::now()).as_secs(), timed_out))
    }

    #[test]
    fn a_head_has_half_a_minute_and_the_next_one_may_begin_later() {
        let activity = accepted(10);
        assert_eq!(left(&activity), Some((20, TimedOut::Head)), "the first head");
        drop(activity.open_request());
        assert_eq!(left(&activity), Some((75, TimedOut::Idle)), "the next head");
        assert!(activity.record_read() && !activity.record_read());
        assert_eq!(left(&activity), Some((30, TimedOut::Head)), "it has begun");
    }

    #[test]
    fn an_open_request_has_its_own_timeouts() {
        let activity = accepted(100);
        let (one, two) = (activity.open_request(), activity.open_request());
        drop(one);
        assert_eq!(left(&activity), None);
        assert!(!activity.record_read(), "what comes is its body");
        drop(two);
        assert_eq!(left(&activity), Some((75, TimedOut::Idle)));
    }

    #[test]
    fn frames_of_http2_are_no_heads() {
        let activity = accepted(10);
        activity.record_http2();
        assert!(!activity.record_read());
        assert_eq!(left(&activity), Some((75, TimedOut::Idle)));
    }

    #[tokio::test]
    async fn the_wait_ends_when_the_time_is_over() {
        assert_eq!(accepted(30).timed_out().await, TimedOut::Head);
        let activity = accepted(29);
        let waiting = tokio::time::timeout(SECOND / 20, activity.timed_out());
        assert!(waiting.await.is_err());
    }
}
