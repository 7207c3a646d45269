//! `RateLimit-Policy` and `RateLimit` headers, as in the IETF's draft draft-ietf-httpapi-ratelimit-headers: structured
//! fields, with quotas in requests and times in seconds.
//!
//! The quota is the burst, and its window the time in which an unused rate refills it. A tenant without a limit gets
//! neither header.

use std::cell::RefCell;

use poem::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    domain::rate::{Rate, retry_after_s},
    store::Caller,
};

static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static REMAINING: HeaderName = HeaderName::from_static("ratelimit");

/// Adds the rate that is left to a caller, as Redis last reported it.
pub(super) fn add(headers: &mut HeaderMap, caller: &Caller) {
    let rate_state = caller.tenant_handle().rate_state().now();
    let Some(rate) = rate_state.map(|state| state.rate).or(caller.limits().rate) else { return };
    let backlog_us = rate_state.map_or(0, |state| state.backlog_us);
    let left = rate.left(backlog_us);
    let refill_s = if backlog_us == 0 { 0 } else { retry_after_s(backlog_us) };
    // Never later than Retry-After, which a refused caller gets beside it.
    let retry_after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<i64>().ok());
    let reset_s = retry_after.map_or(refill_s, |retry_after_s| refill_s.min(retry_after_s));
    let remaining = HeaderValue::try_from(format!("\"requests\";r={left};t={reset_s}")).ok();
    for (name, value) in [(&POLICY, policy(rate)), (&REMAINING, remaining)] {
        if let Some(value) = value {
            headers.insert(name.clone(), value);
        }
    }
}

/// Value of `RateLimit-Policy`, formatted once per thread for each of the few rates that there are.
fn policy(rate: Rate) -> Option<HeaderValue> {
    thread_local! {
        static POLICIES: RefCell<Vec<(Rate, HeaderValue)>> = RefCell::default();
    }
    POLICIES.with_borrow_mut(|policies| {
        if let Some((_, policy)) = policies.iter().find(|(known, _)| *known == rate) {
            return Some(policy.clone());
        }
        let policy = HeaderValue::try_from(format!("\"requests\";q={};w={}", rate.burst, rate.window_s())).ok()?;
        policies.push((rate, policy.clone()));
        Some(policy)
    })
}
