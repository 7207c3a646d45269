//! From a request to a caller: authentication of its credential, admission, and the check of its scope.

use poem::{Request, http::header};

use crate::{
    config,
    domain::access::Scope,
    http::{
        App,
        auth::{
            credential::{self, Credential},
            limiters::{admit, check_lookups, count_failure, count_lookups},
            origin,
        },
        pipeline::context::app,
        wire::error::{ApiError, Code},
    },
    store::{Bearer, Caller, StoreError},
    trust::TOKEN_LIFE_S,
};

/// Authenticates a request, admits the call, and checks its scope; `None`: any scope. `api_key_parameter` is the key in
/// the query, where the route takes one.
///
/// # Errors
/// 401 without a valid credential, 403 without the scope or from a wrong page, 429 when the address or the tenant is
/// too fast.
pub(in crate::http) async fn authorize(
    request: &Request,
    scope: Option<Scope>,
    api_key_parameter: Option<&str>,
) -> Result<Caller, ApiError> {
    let caller = identify(request, api_key_parameter).await?;
    admit(request, app(request)?, &caller)?;
    if let Some(scope) = scope.filter(|scope| !caller.scopes().allow(*scope)) {
        let message = format!("This credential does not have the scope \"{}\"; use one that has.", scope.name());
        return Err(ApiError::new(Code::Forbidden, message));
    }
    Ok(caller)
}

/// Authenticates a request, without counting it against the tenant's rate.
///
/// # Errors
/// 401 without a valid credential, 403 from a wrong page, 429 when the address tries too many.
pub(in crate::http) async fn identify(request: &Request, api_key_parameter: Option<&str>) -> Result<Caller, ApiError> {
    let app = app(request)?;
    match Credential::find(request.headers(), api_key_parameter) {
        // Whoever sends credentials of another kind means somebody, who is not known here.
        Credential::None
            if app.config.auth == config::Auth::Open && !request.headers().contains_key(header::AUTHORIZATION) =>
        {
            origin::check_open_call(request, app)?;
            app.store.caller(&Bearer::Anonymous).await.map_err(look_up_failed)?.ok_or_else(ApiError::unauthorized)
        }
        Credential::None => Err(ApiError::unauthorized()),
        Credential::Unreadable => Err(count_failure(request, app, ApiError::unauthorized())),
        Credential::KeyOrToken(text) => authenticate(request, app, credential::key_or_token(&app.vault, text)).await,
        Credential::Session(text) => authenticate_session(request, app, text).await,
    }
}

/// Authorizes a stream, with the scope `read`. Its key may stand in the query, since a browser's `EventSource` cannot
/// set headers.
///
/// # Errors
/// As [`authorize`].
pub(in crate::http) async fn authorize_stream(
    request: &Request,
    api_key_parameter: Option<&str>,
) -> Result<Caller, ApiError> {
    authorize(request, Some(Scope::Read), api_key_parameter).await
}

/// Authenticates a sign-out by the session's cookie. It counts against no rate, so that a user can always sign out.
///
/// # Errors
/// 401 without a session, 403 from a page of another origin.
pub(in crate::http) async fn authenticate_sign_out(request: &Request) -> Result<Caller, ApiError> {
    match Credential::find(request.headers(), None) {
        Credential::Session(text) => authenticate_session(request, app(request)?, text).await,
        _ => Err(ApiError::unauthorized()),
    }
}

async fn authenticate_session(request: &Request, app: &App, text: &str) -> Result<Caller, ApiError> {
    let caller = authenticate(request, app, credential::session(text)).await?;
    origin::check_cookie_call(request, app)?;
    Ok(caller)
}

/// The caller with this credential; `None`: the credential was malformed. A failure is counted against the address.
///
/// # Errors
/// 401 for a wrong credential, 429 after too many of them.
pub(in crate::http) async fn authenticate(
    request: &Request,
    app: &App,
    bearer: Option<Bearer>,
) -> Result<Caller, ApiError> {
    let Some(bearer) = bearer else { return Err(count_failure(request, app, ApiError::unauthorized())) };
    if let Some(caller) = app.store.cached_caller(&bearer) {
        return Ok(caller);
    }
    check_lookups(request, app)?;
    // Boxed because it is rare: every request's future would be larger by it.
    match Box::pin(look_up(app, &bearer)).await? {
        Some(caller) => Ok(caller),
        None => {
            count_lookups(request, app, 1);
            Err(count_failure(request, app, ApiError::unauthorized()))
        }
    }
}

/// Furthest that a token's end may lie ahead of Redis' clock: its life, and a minute for a clock that was set back.
const MAX_TOKEN_END_MS: i64 = (TOKEN_LIFE_S + 60) * 1_000;

/// The caller as Redis knows it. A token whose life has not begun yet is nobody's: whoever stole a secret key once could
/// else sign tokens for all time.
async fn look_up(app: &App, bearer: &Bearer) -> Result<Option<Caller>, ApiError> {
    if let Bearer::Token(_, token) = bearer
        && token.ends_ms > app.store.clock().await.map_err(look_up_failed)?.now_ms + MAX_TOKEN_END_MS
    {
        return Ok(None);
    }
    app.store.caller(bearer).await.map_err(look_up_failed)
}

/// A look-up changes nothing, whatever the call is that it precedes.
fn look_up_failed(error: StoreError) -> ApiError {
    match error {
        StoreError::OutcomeUnknown { .. } => ApiError::unanswered_read(),
        error => error.into(),
    }
}
