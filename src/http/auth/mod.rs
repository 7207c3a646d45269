//! Who is calling: the first credential present decides, and a bad one is refused even if a later one is good.

pub(super) mod client_address;
pub(super) mod origin;

use std::{marker::PhantomData, num::NonZeroU32, sync::Arc};

use poem::{
    Request, RequestBody,
    http::{HeaderMap, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};
use subtle::ConstantTimeEq;

use crate::{
    config::Auth,
    domain::access::Scope,
    http::{
        App,
        pipeline::{RequestContext, rate_limit_headers::AdmittedCaller},
        wire::{
            error::{ApiError, Code},
            request,
        },
    },
    limits::{AddressLimiter, TenantLimiter},
    store::{Bearer, Caller, KEY_PREFIX, SESSION_PREFIX, Secret, StoreError},
};

const API_KEY: &str = "X-Api-Key";
const ADMIN_KEY: &str = "X-Admin-Key";
/// No credential of ours is longer; longer ones are not even hashed.
const CREDENTIAL_BYTES: usize = 4096;

/// The session's cookie.
pub(in crate::http) const COOKIE: &str = "holdfast_session";
/// Wrong credentials from one address: so many at once, then so many per minute. A client with an old key is told so often enough to be
/// noticed; who guesses learns nothing from a few hundred of 2^192.
const FAILURES_AT_ONCE: NonZeroU32 = NonZeroU32::new(100).unwrap();
const FAILURES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(120).unwrap();
/// Attempts to sign in from one address, good or bad.
const LOGINS_AT_ONCE: NonZeroU32 = NonZeroU32::new(20).unwrap();
const LOGINS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// What one replica refuses before it asks Redis. One for all its runtimes.
#[derive(Debug)]
pub struct Limiters {
    front: TenantLimiter,
    failures: AddressLimiter,
    logins: AddressLimiter,
}

impl Default for Limiters {
    fn default() -> Self {
        Self {
            front: TenantLimiter::default(),
            failures: AddressLimiter::new(FAILURES_AT_ONCE, FAILURES_PER_MINUTE),
            logins: AddressLimiter::new(LOGINS_AT_ONCE, LOGINS_PER_MINUTE),
        }
    }
}

impl Limiters {
    /// Counts an attempt to sign in.
    pub(in crate::http) fn count_login(&self, request: &Request, app: &App) -> Result<(), ApiError> {
        let address = client_address::client(request, &app.config.trusted_proxies);
        self.logins.count(address).map_err(|wait| ApiError::too_many_attempts(wait, LOGINS_PER_MINUTE.get()))
    }
}

/// What a handler asks of its caller.
pub(in crate::http) trait Needs: Send + Sync {
    /// `None`: whoever is let in.
    const SCOPE: Option<Scope>;
}

/// Nothing but to be somebody.
pub(in crate::http) struct AnyScope;

/// Looking.
pub(in crate::http) struct Read;
/// Changing.
pub(in crate::http) struct Write;
/// Governing.
pub(in crate::http) struct Govern;

impl Needs for AnyScope {
    const SCOPE: Option<Scope> = None;
}
impl Needs for Read {
    const SCOPE: Option<Scope> = Some(Scope::Read);
}
impl Needs for Write {
    const SCOPE: Option<Scope> = Some(Scope::Write);
}
impl Needs for Govern {
    const SCOPE: Option<Scope> = Some(Scope::Admin);
}

/// A caller who was let in and may do what `N` asks.
pub(in crate::http) struct Authorized<N>(pub(in crate::http) Caller, PhantomData<N>);

impl<'a, N: Needs> ApiExtractor<'a> for Authorized<N> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme("apiKey", in_header(API_KEY, "An API key of the tenant: `hf_live_...`."));
        registry.create_security_scheme(
            "bearer",
            MetaSecurityScheme {
                ty: "http",
                scheme: Some("bearer"),
                ..in_header("", "The same API key, or a token had in exchange.")
            }
            .without_place(),
        );
        registry.create_security_scheme(
            "session",
            MetaSecurityScheme { key_in: Some("cookie"), ..in_header(COOKIE, "A session: see `POST /session`.") },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["apiKey", "bearer", "session"]
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        match enter(request, N::SCOPE, None).await {
            Ok(caller) => Ok(Self(caller, PhantomData)),
            Err(error) => Err(Box::pin(refuse(body, error)).await),
        }
    }
}

/// Lets a caller in to a stream, where the key may also stand in the query: EventSource cannot set headers.
pub(in crate::http) async fn enter_stream(request: &Request, api_key: Option<&str>) -> Result<Caller, ApiError> {
    enter(request, Some(Scope::Read), api_key).await
}

/// The administrator of the whole service.
pub(in crate::http) struct Administrator;

impl<'a> ApiExtractor<'a> for Administrator {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            "adminKey",
            in_header(ADMIN_KEY, "The service's admin key: the setting `HOLDFAST_ADMIN_KEY`."),
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["adminKey"]
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let given = request.headers().get(ADMIN_KEY).map(|key| key.as_bytes());
        let known = app(request)?.config.admin_key.as_ref().map(|key| key.expose().as_bytes());
        match (given, known) {
            (Some(given), Some(known)) if bool::from(given.ct_eq(known)) => Ok(Self),
            (given, _) => {
                let error =
                    ApiError::new(Code::Unauthorized, "The admin key is needed: send it in the header X-Admin-Key.");
                let error = if given.is_some() { failed(request, app(request)?, error) } else { error };
                Err(refuse(body, error).await)
            }
        }
    }
}

/// Refuses, after the client has had its say: see [`request::drain`].
async fn refuse(body: &mut RequestBody, error: ApiError) -> poem::Error {
    if let Ok(body) = body.take() {
        request::drain(body).await;
    }
    error.into()
}

pub(in crate::http) fn app(request: &Request) -> Result<&App, ApiError> {
    shared_app(request).map(AsRef::as_ref)
}

pub(in crate::http) fn shared_app(request: &Request) -> Result<&Arc<App>, ApiError> {
    request
        .data::<RequestContext>()
        .map(|luggage| &luggage.app)
        .ok_or_else(|| ApiError::new(Code::Internal, "The application is not there."))
}

/// What a request presents itself with.
#[derive(Debug, PartialEq, Eq)]
enum Presented<'a> {
    Nothing,
    /// A header that cannot hold a credential of ours.
    Unreadable,
    /// An API key or a token.
    Text(&'a str),
    /// A session.
    Cookie(&'a str),
}

/// Lets a caller in who may do what `scope` says. A stream's key may also be `in_query`.
pub(in crate::http) async fn enter(
    request: &Request,
    scope: Option<Scope>,
    in_query: Option<&str>,
) -> Result<Caller, ApiError> {
    let app = app(request)?;
    let caller = match presented(request.headers(), in_query) {
        Presented::Nothing if app.config.auth == Auth::Open => {
            origin::check_open_call(request, app)?;
            app.store.caller(&Bearer::Anonymous).await?.ok_or_else(ApiError::unauthorized)?
        }
        Presented::Nothing => return Err(ApiError::unauthorized()),
        Presented::Unreadable => return Err(failed(request, app, ApiError::unauthorized())),
        Presented::Text(text) => find(request, app, bearer_of(app, text)).await?,
        Presented::Cookie(text) => {
            let caller = find(request, app, session_of(text)).await?;
            origin::check_cookie_call(request, app)?;
            caller
        }
    };
    admit(request, app, &caller)?;
    if let Some(scope) = scope.filter(|scope| !caller.scopes().allow(*scope)) {
        let message = format!("This credential does not have the scope \"{}\"; use one that has.", scope.name());
        return Err(ApiError::new(Code::Forbidden, message));
    }
    Ok(caller)
}

/// Lets a call of this caller go on, unless it comes too fast.
pub(in crate::http) fn admit(request: &Request, app: &App, caller: &Caller) -> Result<(), ApiError> {
    AdmittedCaller::note(request, caller);
    app.limiters.front.admit(caller).map_err(|refused| {
        metrics::counter!("holdfast_refused_in_front_total").increment(1);
        StoreError::TooFast(refused).into()
    })
}

/// The session of a request, for whoever signs out: that costs nothing and is not limited.
pub(in crate::http) async fn leaving(request: &Request) -> Result<Caller, ApiError> {
    let app = app(request)?;
    match presented(request.headers(), None) {
        Presented::Cookie(text) => {
            let caller = find(request, app, session_of(text)).await?;
            origin::check_cookie_call(request, app)?;
            Ok(caller)
        }
        _ => Err(ApiError::unauthorized()),
    }
}

/// Who bears this; a failure is counted against the address.
pub(in crate::http) async fn find(request: &Request, app: &App, bearer: Option<Bearer>) -> Result<Caller, ApiError> {
    let Some(bearer) = bearer else { return Err(failed(request, app, ApiError::unauthorized())) };
    if let Some(known) = app.store.known_caller(&bearer) {
        return Ok(known);
    }
    may_fail(request, app)?;
    // In a box, for it is rare: each request would carry the room for it along.
    match Box::pin(app.store.caller(&bearer)).await? {
        Some(caller) => Ok(caller),
        None => Err(failed(request, app, ApiError::unauthorized())),
    }
}

/// An address that failed too often is not listened to for a while, unless its credential is known here.
pub(in crate::http) fn may_fail(request: &Request, app: &App) -> Result<(), ApiError> {
    let address = client_address::client(request, &app.config.trusted_proxies);
    app.limiters.failures.check(address).map_err(|wait| ApiError::too_many_attempts(wait, FAILURES_PER_MINUTE.get()))
}

/// Counts a wrong credential; the answer to it.
pub(in crate::http) fn failed(request: &Request, app: &App, error: ApiError) -> ApiError {
    let address = client_address::client(request, &app.config.trusted_proxies);
    match app.limiters.failures.count(address) {
        Ok(()) => error,
        Err(wait) => ApiError::too_many_attempts(wait, FAILURES_PER_MINUTE.get()),
    }
}

/// What a text is by its looks; a token's signature is verified here, without asking anybody.
fn bearer_of(app: &App, text: &str) -> Option<Bearer> {
    if text.len() > CREDENTIAL_BYTES {
        return None;
    }
    if text.starts_with(KEY_PREFIX) {
        return Some(Bearer::Key(Secret::of(text)));
    }
    let token = app.vault.verify(text)?;
    Some(Bearer::Token(Secret::of(text), Arc::new(token)))
}

/// The bearer of an API key.
pub(in crate::http) fn key_of(text: &str) -> Option<Bearer> {
    (text.starts_with(KEY_PREFIX) && text.len() <= CREDENTIAL_BYTES).then(|| Bearer::Key(Secret::of(text)))
}

fn session_of(text: &str) -> Option<Bearer> {
    (text.starts_with(SESSION_PREFIX) && text.len() <= CREDENTIAL_BYTES).then(|| Bearer::Session(Secret::of(text)))
}

/// The first credential that is there decides: X-Api-Key, Authorization, the query's, the cookie.
fn presented<'a>(headers: &'a HeaderMap, in_query: Option<&'a str>) -> Presented<'a> {
    if let Some(key) = headers.get(API_KEY) {
        return key.to_str().map_or(Presented::Unreadable, Presented::Text);
    }
    if let Some(authorization) = headers.get(header::AUTHORIZATION) {
        let bearer = authorization.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        return bearer.map_or(Presented::Unreadable, Presented::Text);
    }
    if let Some(key) = in_query {
        return Presented::Text(key);
    }
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'));
    cookies
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map_or(Presented::Nothing, |(_, text)| Presented::Cookie(text))
}

fn in_header(name: &'static str, description: &'static str) -> MetaSecurityScheme {
    MetaSecurityScheme {
        ty: "apiKey",
        description: Some(description),
        name: Some(name),
        key_in: Some("header"),
        scheme: None,
        bearer_format: None,
        flows: None,
        openid_connect_url: None,
    }
}

trait WithoutPlace {
    fn without_place(self) -> Self;
}

impl WithoutPlace for MetaSecurityScheme {
    fn without_place(self) -> Self {
        Self { name: None, key_in: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_there_decides() {
        let headers = |pairs: &[(&'static str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap()))
                .collect::<HeaderMap>()
        };
        let all = headers(&[("x-api-key", "a"), ("authorization", "Bearer b"), ("cookie", "holdfast_session=d")]);
        assert_eq!(presented(&all, Some("c")), Presented::Text("a"));
        let rest = headers(&[("authorization", "bearer b"), ("cookie", "holdfast_session=d")]);
        assert_eq!(presented(&rest, Some("c")), Presented::Text("b"));
        let cookies = headers(&[("cookie", "x=1; holdfast_session=d;y=2")]);
        assert_eq!(presented(&cookies, Some("c")), Presented::Text("c"));
        assert_eq!(presented(&cookies, None), Presented::Cookie("d"));
        assert_eq!(presented(&headers(&[("authorization", "Basic b")]), Some("c")), Presented::Unreadable);
        assert_eq!(presented(&headers(&[]), None), Presented::Nothing);
    }
}
