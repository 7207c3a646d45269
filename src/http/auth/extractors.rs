//! Extractors by which a handler names who may call it: [`Authorized`] with a scope, or [`Administrator`].

use std::marker::PhantomData;

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};
use subtle::ConstantTimeEq;

use crate::{
    domain::access::Scope,
    http::{
        auth::{
            authorize::authorize,
            credential::{API_KEY, COOKIE},
            limiters::{check_admin_tries, count_admin_failure},
        },
        pipeline::context::app,
        wire::{
            error::{ApiError, Code},
            request,
        },
    },
    store::Caller,
};

/// Description of sessions as a scheme of authentication.
const SESSION_SCHEME: &str =
    "A session: see `POST /api/v1/session`. Where browsers come by https the cookie is `__Host-holdfast_session`.";
/// Header of the service's admin key.
const ADMIN_KEY: &str = "X-Admin-Key";

/// A scope as a type, for [`Authorized`].
pub(in crate::http) trait RequiredScope: Send + Sync {
    /// `None`: any valid credential.
    const SCOPE: Option<Scope>;
}

/// Any valid credential.
pub(in crate::http) struct AnyScope;
/// Scope `read`.
pub(in crate::http) struct Read;
/// Scope `write`.
pub(in crate::http) struct Write;
/// Scope `admin`.
pub(in crate::http) struct Admin;

impl RequiredScope for AnyScope {
    const SCOPE: Option<Scope> = None;
}
impl RequiredScope for Read {
    const SCOPE: Option<Scope> = Some(Scope::Read);
}
impl RequiredScope for Write {
    const SCOPE: Option<Scope> = Some(Scope::Write);
}
impl RequiredScope for Admin {
    const SCOPE: Option<Scope> = Some(Scope::Admin);
}

/// A caller whose credential is valid and has the scope `S`.
pub(in crate::http) struct Authorized<S>(pub(in crate::http) Caller, PhantomData<S>);

impl<'a, S: RequiredScope> ApiExtractor<'a> for Authorized<S> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let api_key = header_scheme(API_KEY, "An API key of the tenant: `hf_live_...`.");
        registry.create_security_scheme("apiKey", api_key);
        let bearer = MetaSecurityScheme {
            ty: "http",
            scheme: Some("bearer"),
            name: None,
            key_in: None,
            ..header_scheme("", "The same API key, or a token had in exchange.")
        };
        registry.create_security_scheme("bearer", bearer);
        let session = MetaSecurityScheme { key_in: Some("cookie"), ..header_scheme(COOKIE, SESSION_SCHEME) };
        registry.create_security_scheme("session", session);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["apiKey", "bearer", "session"]
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        match authorize(request, S::SCOPE, None).await {
            Ok(caller) => Ok(Self(caller, PhantomData)),
            Err(error) => Err(Box::pin(refuse(body, error)).await),
        }
    }
}

/// The administrator of the whole service, by its admin key.
pub(in crate::http) struct Administrator;

impl<'a> ApiExtractor<'a> for Administrator {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = header_scheme(ADMIN_KEY, "The service's admin key: the setting `HOLDFAST_ADMIN_KEY`.");
        registry.create_security_scheme("adminKey", scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["adminKey"]
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let app = app(request)?;
        let given = request.headers().get(ADMIN_KEY).map(|key| key.as_bytes());
        let expected = app.config.admin_key.as_ref().map(|key| key.expose().as_bytes());
        let checked = match given {
            Some(_) => check_admin_tries(request, app),
            None => Ok(()),
        };
        // In constant time, so that the time of the comparison tells nothing of the key.
        if checked.is_ok()
            && let (Some(given), Some(expected)) = (given, expected)
            && bool::from(given.ct_eq(expected))
        {
            return Ok(Self);
        }
        let error = ApiError::new(Code::Unauthorized, "The admin key is needed: send it in the header X-Admin-Key.");
        let error = match checked {
            Ok(()) if given.is_some() => count_admin_failure(request, app, error),
            Ok(()) => error,
            Err(too_many) => too_many,
        };
        Err(refuse(body, error).await)
    }
}

/// Reads what the client still sends, then refuses: see [`request::drain`].
async fn refuse(body: &mut RequestBody, error: ApiError) -> poem::Error {
    if let Ok(body) = body.take() {
        request::drain(body).await;
    }
    error.into()
}

fn header_scheme(name: &'static str, description: &'static str) -> MetaSecurityScheme {
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
