//! Ingest key of a connection, as `Authorization: Bearer`.

use poem::{Request, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use crate::{
    http::{
        auth::{admit, authenticate, count_failure},
        pipeline::context::app,
        wire::{
            error::{ApiError, Code},
            request,
        },
    },
    store::{Bearer, Caller, INGEST_KEY_PREFIX, Secret},
};

/// Maximum of an ingest key, in bytes.
const KEY_BYTES: usize = 256;

/// Extractor of a caller with a connection's ingest key. It reads the body of a refused request, so that the connection stays usable.
pub(super) struct IngestCaller(pub(super) Caller);

impl<'a> ApiExtractor<'a> for IngestCaller {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = MetaSecurityScheme {
            ty: "http",
            description: Some("The ingest key of a connection: `sk_live_...`."),
            name: None,
            key_in: None,
            scheme: Some("bearer"),
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        };
        registry.create_security_scheme("ingestKey", scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec!["ingestKey"]
    }

    async fn from_request(
        request: &'a Request,
        body: &mut poem::RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        match authenticate_ingest(request).await {
            Ok(caller) => Ok(Self(caller)),
            Err(error) => {
                if let Ok(body) = body.take() {
                    request::drain(body).await;
                }
                Err(error.into())
            }
        }
    }
}

async fn authenticate_ingest(request: &Request) -> Result<Caller, ApiError> {
    let app = app(request)?;
    let Some(authorization) = request.headers().get(header::AUTHORIZATION) else { return Err(unauthorized()) };
    let key = authorization.to_str().ok().and_then(|text| {
        let (scheme, key) = text.split_once(' ')?;
        let key = key.trim();
        let is_ingest_key = key.starts_with(INGEST_KEY_PREFIX) && key.len() <= KEY_BYTES;
        (scheme.eq_ignore_ascii_case("bearer") && is_ingest_key).then_some(key)
    });
    let Some(key) = key else { return Err(count_failure(request, app, unauthorized())) };
    let caller = authenticate(request, app, Some(Bearer::Ingest(Secret::of(key)))).await.map_err(|error| {
        // The message of other routes names headers that do not count here.
        if error.status().as_u16() == 401 { unauthorized() } else { error }
    })?;
    admit(request, app, &caller)?;
    Ok(caller)
}

pub(super) fn unauthorized() -> ApiError {
    ApiError::new(
        Code::Unauthorized,
        "Invalid or missing API key. Send the connection's ingest key as Authorization: Bearer sk_live_....",
    )
}
