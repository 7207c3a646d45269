//! Every answer of a limited route says how much of the rate is left, in the two fields of the IETF's draft
//! (draft-ietf-httpapi-ratelimit-headers): structured fields, with the quota in requests and times in seconds.
//!
//! The quota is the burst, and its window the time in which a rest makes it whole again. A tenant without a limit is told nothing.

use std::{
    cell::RefCell,
    sync::{Arc, OnceLock},
};

use poem::{
    Request, Response,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};

use crate::{
    domain::rate::{Rate, retry_after_s},
    http::pipeline::RequestContext,
    store::Caller,
};

static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Who was let in while a request was answered.
#[derive(Clone, Default)]
pub(in crate::http) struct AdmittedCaller(Arc<OnceLock<Caller>>);

impl AdmittedCaller {
    /// Remembers who it was.
    pub(in crate::http) fn note(request: &Request, caller: &Caller) {
        if let Some(luggage) = request.data::<RequestContext>() {
            let _ = luggage.let_in.0.set(caller.clone());
        }
    }

    /// Adds to an answer how much of the rate is left to whoever was let in.
    pub(in crate::http) fn tell_rate(&self, mut answer: Response) -> Response {
        if let Some(caller) = self.0.get() {
            tell(answer.headers_mut(), caller);
        }
        answer
    }
}

fn tell(headers: &mut HeaderMap, caller: &Caller) {
    let pace = caller.place().pace().now();
    let Some(rate) = pace.map(|pace| pace.rate).or(caller.limits().rate) else { return };
    let backlog_us = pace.map_or(0, |pace| pace.backlog_us);
    let left = rate.left(backlog_us);
    let whole_in_s = if backlog_us == 0 { 0 } else { retry_after_s(backlog_us) };
    // Whoever is told when to come again is not told another time here.
    let told_s = headers.get(header::RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()?.parse::<i64>().ok());
    let seconds = told_s.map_or(whole_in_s, |told_s| whole_in_s.min(told_s));
    for (name, value) in
        [(&POLICY, policy(rate)), (&STATE, HeaderValue::try_from(format!("\"requests\";r={left};t={seconds}")).ok())]
    {
        if let Some(value) = value {
            headers.insert(name.clone(), value);
        }
    }
}

/// What the policy is, put together once per thread for each of the few rates that there are.
fn policy(rate: Rate) -> Option<HeaderValue> {
    thread_local! {
        static KNOWN: RefCell<Vec<(Rate, HeaderValue)>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        if let Some((_, policy)) = known.iter().find(|(of, _)| *of == rate) {
            return Some(policy.clone());
        }
        let policy = HeaderValue::try_from(format!("\"requests\";q={};w={}", rate.burst, rate.window_s())).ok()?;
        known.push((rate, policy.clone()));
        Some(policy)
    })
}
