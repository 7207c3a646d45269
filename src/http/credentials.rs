//! Who is calling: the first credential present decides, and a bad one is refused even if a later one is good.

use std::marker::PhantomData;

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
    domain::access::Scope,
    http::{
        App, body,
        error::{ApiError, Code},
    },
    store::{Caller, Secret},
};

const API_KEY: &str = "X-Api-Key";
const ADMIN_KEY: &str = "X-Admin-Key";
/// No credential of ours is longer; longer ones are not even hashed.
const CREDENTIAL_BYTES: usize = 4096;

/// What a handler asks of its caller.
pub(super) trait Needs: Send + Sync {
    const SCOPE: Scope;
}

/// Looking.
pub(super) struct Reading;
/// Changing.
pub(super) struct Writing;
/// Governing.
pub(super) struct Governing;

impl Needs for Reading {
    const SCOPE: Scope = Scope::Read;
}
impl Needs for Writing {
    const SCOPE: Scope = Scope::Write;
}
impl Needs for Governing {
    const SCOPE: Scope = Scope::Admin;
}

/// A caller who was let in and may do what `N` asks.
pub(super) struct Let<N>(pub(super) Caller, PhantomData<N>);

impl<'a, N: Needs> ApiExtractor<'a> for Let<N> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme("apiKey", in_header(API_KEY, "An API key of the tenant: `hf_live_...`."));
        registry.create_security_scheme(
            "bearer",
            MetaSecurityScheme { ty: "http", scheme: Some("bearer"), ..in_header("", "The same API key as `Authorization: Bearer`.") }.without_place(),
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["apiKey", "bearer"]
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        match enter(request, N::SCOPE, None).await {
            Ok(caller) => Ok(Self(caller, PhantomData)),
            Err(error) => Err(refuse(body, error).await),
        }
    }
}

/// Lets a caller in to a stream, where the key may also stand in the query: EventSource cannot set headers.
pub(super) async fn enter_stream(request: &Request, api_key: Option<&str>) -> Result<Caller, ApiError> {
    enter(request, Scope::Read, api_key).await
}

/// The administrator of the whole service.
pub(super) struct Administrator;

impl<'a> ApiExtractor<'a> for Administrator {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme("adminKey", in_header(ADMIN_KEY, "The service's admin key: the setting `HOLDFAST_ADMIN_KEY`."));
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["adminKey"]
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let given = request.headers().get(ADMIN_KEY).map(|key| key.as_bytes());
        let known = app(request)?.config.admin_key.as_ref().map(|key| key.expose().as_bytes());
        match (given, known) {
            (Some(given), Some(known)) if bool::from(given.ct_eq(known)) => Ok(Self),
            _ => Err(refuse(body, ApiError::new(Code::Unauthorized, "The admin key is needed: send it in the header X-Admin-Key.")).await),
        }
    }
}

/// Refuses, after the client has had its say: see [`body::drain`].
async fn refuse(body: &mut RequestBody, error: ApiError) -> poem::Error {
    if let Ok(body) = body.take() {
        body::drain(body).await;
    }
    error.into()
}

pub(super) fn app(request: &Request) -> Result<&App, ApiError> {
    request.data::<App>().ok_or_else(|| ApiError::new(Code::Internal, "The application is not there."))
}

async fn enter(request: &Request, scope: Scope, in_query: Option<&str>) -> Result<Caller, ApiError> {
    let credential = presented(request.headers()).or(in_query.map(Some)).flatten();
    let credential = credential.filter(|text| !text.is_empty() && text.len() <= CREDENTIAL_BYTES).ok_or_else(ApiError::unauthorized)?;
    let caller = app(request)?.store.caller(&Secret::of(credential)).await?.ok_or_else(ApiError::unauthorized)?;
    if !caller.scopes().allow(scope) {
        let message = format!("This key does not have the scope \"{}\"; use one that has.", scope.name());
        return Err(ApiError::new(Code::Forbidden, message));
    }
    Ok(caller)
}

/// The credential of the first header that is there: `Some(None)` when it cannot be one.
fn presented(headers: &HeaderMap) -> Option<Option<&str>> {
    if let Some(key) = headers.get(API_KEY) {
        return Some(key.to_str().ok());
    }
    let authorization = headers.get(header::AUTHORIZATION)?;
    let bearer = authorization.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    Some(bearer)
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
    fn the_first_header_decides() {
        let headers = |pairs: &[(&'static str, &str)]| {
            pairs.iter().map(|(name, value)| (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
        };
        assert_eq!(presented(&headers(&[("x-api-key", "a"), ("authorization", "Bearer b")])), Some(Some("a")));
        assert_eq!(presented(&headers(&[("authorization", "bearer b")])), Some(Some("b")));
        assert_eq!(presented(&headers(&[("authorization", "Basic b")])), Some(None));
        assert_eq!(presented(&headers(&[])), None);
    }
}
