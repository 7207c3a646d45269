//! Reading of bodies: bounded in size, in time, and in memory over the whole replica.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use poem::Request;
use tokio::time::{Instant, timeout_at};

use crate::{
    http::{
        auth::body_share,
        pipeline::context::keep_body_share,
        wire::error::{ApiError, Code},
    },
    limits::{BodyShare, FREE_BODY_BYTES},
};

/// Timeout between two parts of a body, 30 s.
const PART_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a whole body, 30 s, and one second more for every [`MIN_BYTES_PER_SECOND`] that arrived.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Slowest rate of a long body, 16 KiB/s: a client that sends less holds memory for nothing.
const MIN_BYTES_PER_SECOND: usize = 16 << 10;
/// Most bytes of a refused body that are still read, 4 MiB, so that the answer reaches a client that writes all before
/// it reads. Otherwise a proxy in front would see a broken connection instead of the answer.
const MAX_DRAINED_BYTES: usize = 4 << 20;
/// Longest wait for the next part of a refused body, 1 s, and for all of them, 5 s.
const DRAIN_PART_TIMEOUT: Duration = Duration::from_secs(1);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads and drops what a client still sends, up to [`MAX_DRAINED_BYTES`], as long as it sends something every second.
pub(in crate::http) async fn drain(body: poem::Body) {
    let end = Instant::now() + DRAIN_TIMEOUT;
    let mut chunks = body.into_bytes_stream();
    let mut read = 0;
    while let Ok(Some(Ok(chunk))) = timeout_at(end.min(Instant::now() + DRAIN_PART_TIMEOUT), chunks.next()).await {
        read += chunk.len();
        if read > MAX_DRAINED_BYTES {
            return;
        }
    }
}

/// Reads a body of at most `limit` bytes, with a length or chunked.
///
/// Its bytes count against the replica's budget until the request is answered: what is parsed and sent on is as large.
///
/// # Errors
/// 408 for a slow body, 413 for a large one, 503 where too many large ones are being read, 400 for one that broke off.
pub(super) async fn read(request: &Request, body: poem::Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let begun = Instant::now();
    let mut chunks = body.into_bytes_stream();
    let mut bytes = Vec::new();
    let mut share: Option<BodyShare> = None;
    let refused = loop {
        // What has arrived already needs no timer.
        let chunk = match chunks.next().now_or_never() {
            Some(chunk) => Ok(chunk),
            None => timeout_at(deadline(begun, bytes.len()), chunks.next()).await,
        };
        match chunk {
            Err(_) => {
                let message =
                    "The body came too slowly: it stalled for 30 s, or was slower than 16 KiB/s. Send it again.";
                return Err(ApiError::new(Code::RequestTimeout, message));
            }
            Ok(None) => {
                share.into_iter().for_each(|share| keep_body_share(request, share));
                return Ok(bytes);
            }
            Ok(Some(Err(error))) => return Err(ApiError::field("", format!("the body broke off: {error}"))),
            Ok(Some(Ok(chunk))) if bytes.len() + chunk.len() > limit => break too_large(limit),
            Ok(Some(Ok(chunk))) => {
                let total = bytes.len() + chunk.len();
                if total > FREE_BODY_BYTES {
                    let share = match &mut share {
                        Some(share) => share,
                        none => none.insert(body_share(request)?),
                    };
                    if !share.grow_to(total) {
                        break too_many_bodies();
                    }
                }
                bytes.extend_from_slice(&chunk);
            }
        }
    };
    drain(poem::Body::from_bytes_stream(chunks)).await;
    Err(refused)
}

fn deadline(begun: Instant, read: usize) -> Instant {
    let allowed = BODY_TIMEOUT + Duration::from_secs((read / MIN_BYTES_PER_SECOND) as u64);
    (begun + allowed).min(Instant::now() + PART_TIMEOUT)
}

pub(super) fn too_large(limit: usize) -> ApiError {
    let message = format!("The body is larger than the {limit} bytes that this route takes; send it in parts.");
    ApiError::new(Code::PayloadTooLarge, message)
}

fn too_many_bodies() -> ApiError {
    metrics::counter!("holdfast_bodies_refused_total").increment(1);
    let message =
        "Too many large bodies are being read at this moment; nothing was changed. Try again, or send less at once.";
    ApiError::unavailable(message)
}
