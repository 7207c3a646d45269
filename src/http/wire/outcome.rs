//! Outcomes of the store as answers: what was done is an answer, what was refused an [`ApiError`].

use serde::Serialize;

use crate::{
    domain::reservation::TokenStatus,
    http::wire::error::{ApiError, Code},
    store::{Caller, Limited, Outcome, Stamped},
};

/// The answer of a call that was done; an error gets the clock of the script that refused it.
pub(in crate::http) fn answer<T, U>(
    stamped: Stamped<T>,
    change: impl FnOnce(T) -> Result<U, ApiError>,
) -> Result<Stamped<U>, ApiError> {
    let now_us = stamped.now_us;
    stamped.try_map(change).map_err(|error| error.at(now_us))
}

/// The answer of a call that a limit of the tier can refuse.
pub(in crate::http) fn within_limit<T>(stamped: Stamped<Limited<T>>, caller: &Caller) -> Result<Stamped<T>, ApiError> {
    let now_us = stamped.now_us;
    stamped.try_map(|outcome| match outcome {
        Limited::Done(answer) => Ok(answer),
        Limited::Limit(reached) => Err(ApiError::limit(&reached, caller.tenant().tier, now_us)),
    })
}

/// The answer of a call whose items carry release tokens: one wrong token refuses it whole, with a result for every item.
///
/// `names` gives requester and resource of each item, in order.
pub(in crate::http) fn with_tokens<'a, T>(
    stamped: Stamped<Outcome<T>>,
    caller: &Caller,
    names: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Stamped<T>, ApiError> {
    let now_us = stamped.now_us;
    stamped.try_map(|outcome| match outcome {
        Outcome::Done(answer) => Ok(answer),
        Outcome::Limit(reached) => Err(ApiError::limit(&reached, caller.tenant().tier, now_us)),
        Outcome::WrongToken(wrong) => {
            let results: Vec<_> = names
                .zip(wrong)
                .map(|((requester, resource), is_wrong)| {
                    let status = if is_wrong { TokenStatus::InvalidReleaseToken } else { TokenStatus::Unchanged };
                    TokenResult { resource, requester, status }
                })
                .collect();
            let message =
                "A release token is wrong or missing; nothing was changed. Send the token that reserve answered with.";
            Err(ApiError::new(Code::InvalidReleaseToken, message).beside("results", results).at(now_us))
        }
    })
}

/// Result of one item of a call that was refused for a wrong release token.
#[derive(Serialize)]
struct TokenResult<'a> {
    resource: &'a str,
    requester: &'a str,
    status: TokenStatus,
}
