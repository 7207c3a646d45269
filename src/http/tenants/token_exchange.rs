//! The token exchange: a token of ours for a JWT of the tenant's own issuer, or for an API key.

use std::sync::Arc;

use futures_util::future::try_join_all;
use poem::Request;
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        access::{Scopes, Token},
        names::TenantId,
    },
    http::{
        App,
        app_state::Tag,
        auth::{admit, authorize, check_lookups, count_failure, count_lookups},
        pipeline::context::app,
        wire::{
            error::{ApiError, Code},
            outcome::answer,
            request::MaybeBody,
            response::Answer,
        },
    },
    store::{Bearer, Caller, Secret, Stamped},
    trust::{IssuerKeys, Registration, TOKEN_LIFE_S, claimed_pairs},
};

/// Longest JWT that is looked at, in bytes.
const MAX_JWT_BYTES: usize = 16 << 10;

pub(in crate::http) struct Exchange;

#[OpenApi(tag = "Tag::Tokens")]
impl Exchange {
    /// Exchange a JWT of the tenant's own issuer, or an API key, for a token that lives 900 s.
    ///
    /// With `jwt` in the body: it must be signed by the issuer that the tenant registered, with an `exp` in the future, taken strictly,
    /// an `nbf` in the past, and the registered `iss` and `aud`. Its `sub` (1 to 256 bytes) becomes the end user: events show it as
    /// `apiKeyLabel`, and what it reserves gives its release tokens to no other end user. Without a body: the API key in the header is
    /// exchanged, so that the key itself need not travel; the token has no end user and no scope that the key does not have.
    ///
    /// Tokens have the scopes read and write, end with the key or the registration that they came from, open no session, and are not
    /// exchanged again. Every error of a JWT is answered with the same 401.
    #[oai(path = "/auth/token", method = "post", operation_id = "exchangeToken")]
    async fn exchange(
        &self,
        request: &Request,
        body: MaybeBody<ExchangeRequest>,
    ) -> Result<Answer<Exchanged>, ApiError> {
        let app = app(request)?;
        match body.0.unwrap_or_default() {
            ExchangeRequest { jwt: Some(jwt), tenant_id } => for_jwt(request, app, &jwt, tenant_id.as_deref()).await,
            ExchangeRequest { jwt: None, tenant_id: None } => for_key(request, app).await,
            ExchangeRequest { jwt: None, .. } => Err(ApiError::field("jwt", "is required beside tenantId")),
        }
    }
}

async fn for_key(request: &Request, app: &App) -> Result<Answer<Exchanged>, ApiError> {
    let caller = authorize(request, None, None).await?;
    let (Bearer::Key(_), Some(credential)) = (caller.bearer(), caller.credential()) else {
        return Err(ApiError::new(
            Code::Forbidden,
            "Only an API key, or a JWT of the tenant's issuer, is exchanged for a token.",
        ));
    };
    let scopes = Scopes::READ_WRITE.and(caller.scopes());
    if scopes == Scopes::NONE {
        return Err(ApiError::new(Code::Forbidden, "A token has the scopes read and write; this key has neither."));
    }
    let stamped = app.store.position(&caller).await?;
    let caller = app.store.present_caller(caller);
    let ends_ms = end_of(stamped.now_us);
    let token = Token { tenant: caller.tenant().id.clone(), credential, end_user: None, scopes, ends_ms };
    sign(app, &caller, &token, stamped)
}

async fn for_jwt(request: &Request, app: &App, jwt: &str, tenant: Option<&str>) -> Result<Answer<Exchanged>, ApiError> {
    check_lookups(request, app)?;
    let pairs = if tenant.is_none() { claimed_pairs(jwt) } else { Vec::new() };
    let refused = || {
        // The look-up of the tenant, and the verification of a signature.
        count_lookups(request, app, pairs.len().max(1));
        count_failure(request, app, ApiError::unauthorized())
    };
    if jwt.len() > MAX_JWT_BYTES {
        return Err(refused());
    }
    let tenant = match tenant {
        Some(id) => TenantId::parse(id),
        None => tenant_of(app, &pairs).await?,
    };
    let Some(tenant) = tenant else { return Err(refused()) };
    let Some(Stamped { now_us, answer: (tenant, Some(issuer)), .. }) = app.store.tenant_with_issuer(&tenant).await?
    else {
        return Err(refused());
    };
    let Some(keys) = app.vault.unseal(tenant.id.as_str(), &issuer.sealed) else {
        tracing::error!(tenant = %tenant.id, "the keys of an issuer cannot be opened: was HOLDFAST_SECRET_KEY changed without keeping the old one in its list?");
        return Err(ApiError::new(
            Code::Internal,
            "The keys of the tenant's issuer cannot be opened here; the administrator must register it again.",
        ));
    };
    let registration: Registration = serde_json::from_str(&keys).unwrap_or_default();
    let end_user = IssuerKeys::registered(&registration).and_then(|keys| keys.end_user(&issuer, jwt, now_us));
    let Some(end_user) = end_user else { return Err(refused()) };

    let credential = format!("i:{}", issuer.id);
    let token = Token {
        tenant: tenant.id,
        credential,
        end_user: Some(end_user),
        scopes: Scopes::READ_WRITE,
        ends_ms: end_of(now_us),
    };
    // The first call with the token counts against the tenant's rate and proves that its registration still holds.
    let text = app.vault.sign(&token, now_us).unwrap_or_default();
    let caller = app
        .store
        .caller(&Bearer::Token(Secret::of(&text), Arc::new(token.clone())))
        .await?
        .ok_or_else(ApiError::unauthorized)?;
    admit(request, app, &caller)?;
    let stamped = app.store.position(&caller).await?;
    let caller = app.store.present_caller(caller);
    sign(app, &caller, &token, stamped)
}

/// The tenant that registered one of these pairs of issuer and audience, which a JWT claims.
async fn tenant_of(app: &App, pairs: &[(String, String)]) -> Result<Option<TenantId>, ApiError> {
    // At once, so that many audiences take no longer than one.
    let looked_up = pairs.iter().map(|(issuer, audience)| app.store.tenant_of_issuer(issuer, audience));
    let tenants: Vec<_> = try_join_all(looked_up).await?;
    Ok(tenants.into_iter().flatten().next())
}

/// End of a token that is made now, in milliseconds since the Unix epoch: a whole second, as JWTs have it.
fn end_of(now_us: i64) -> i64 {
    (now_us / 1_000_000 + TOKEN_LIFE_S) * 1000
}

/// Signs a token, if the tenant's tier includes the exchange.
fn sign(app: &App, caller: &Caller, token: &Token, stamped: Stamped<()>) -> Result<Answer<Exchanged>, ApiError> {
    let now_us = stamped.now_us;
    let exchanged = answer(stamped, |()| {
        if !caller.limits().exchange {
            return Err(ApiError::tier_too_low(caller.tenant().tier, "tokens in exchange"));
        }
        let access_token = app
            .vault
            .sign(token, now_us)
            .ok_or_else(|| ApiError::new(Code::Internal, "The token could not be signed."))?;
        Ok(Exchanged { access_token, token_type: "Bearer".into(), expires_in: TOKEN_LIFE_S })
    })?;
    Ok(Answer(exchanged))
}

/// A JWT to exchange; without a body, the API key in the header is exchanged.
#[derive(Debug, Default, Deserialize, Object)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[oai(rename_all = "camelCase")]
struct ExchangeRequest {
    /// A JWT that the tenant's registered issuer signed.
    jwt: Option<String>,
    /// The tenant; needed only where its issuer was registered without issuer and audience.
    tenant_id: Option<String>,
}

/// A token of ours.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "TokenGrant", rename_all = "camelCase")]
struct Exchanged {
    /// To send as `Authorization: Bearer`, or, on streams, as `?api_key=`.
    access_token: String,
    /// `Bearer`.
    token_type: String,
    /// Life of the token, in seconds.
    expires_in: i64,
}
