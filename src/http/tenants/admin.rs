//! Routes of the service's administrator: tenants and the issuers that they trust.

use chrono::{DateTime, Utc};
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    types::Any,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    domain::{
        access::{self, IssuerKind, TenantSettings},
        field_errors::FieldErrors,
        names::{self, TenantId},
        reservation::ttl_ms,
        tier::Tier,
        time::{instant, wire},
    },
    http::{
        App,
        app_state::{AppState, Tag},
        auth::Administrator,
        wire::{
            error::{ApiError, Code},
            pagination::{ListQuery, PageSizes},
            request::{Body, whole_number},
            response::{Nothing, Plain},
            word::{UncheckedWord, Word},
        },
    },
    store::Registration as IssuerOutcome,
    trust::{self, Registration},
};

const PAGE_SIZES: PageSizes = PageSizes { default: 100, max: 1_000 };

pub(in crate::http) struct Tenants;

#[OpenApi(tag = "Tag::Administration")]
impl Tenants {
    /// Create a tenant. Its default key, which has every scope, is shown this once.
    #[oai(path = "/admin/tenants", method = "post", operation_id = "createTenant")]
    async fn create(
        &self,
        _admin: Administrator,
        app_state: AppState,
        body: Body<NewTenantRequest>,
    ) -> Result<Plain<NewTenant, 201>, ApiError> {
        let mut errors = FieldErrors::default();
        let name = errors.check(|| "name".into(), names::label(body.0.name));
        let tier = body.0.tier.map_or(Ok(Tier::DEFAULT), |tier| Tier::parse(tier.as_str()));
        let tier = errors.check(|| "tier".into(), tier);
        let (name, tier) = errors.finish(|| Some((name?, tier?))).map_err(ApiError::validation)?;
        let made = app_state.store().create_tenant(TenantId::random(), &name, tier).await?;
        let (tenant, key) =
            made.ok_or_else(|| ApiError::new(Code::Conflict, "A tenant of that id exists; try again."))?;
        Ok(Plain(NewTenant {
            tenant_id: tenant.id.to_string(),
            name: tenant.name,
            tier: Word(tier),
            api_key: key.text,
        }))
    }

    /// List the tenants, in the order of their ids.
    #[oai(path = "/admin/tenants", method = "get", operation_id = "listTenants")]
    async fn list(
        &self,
        _admin: Administrator,
        app_state: AppState,
        /// Most rows of a page, 1 to 1,000; 100 without it.
        limit: Query<Option<i64>>,
        /// `nextCursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Plain<TenantList>, ApiError> {
        let mut errors = FieldErrors::default();
        let query = ListQuery::parse(&mut errors, PAGE_SIZES, limit.0, cursor.0.as_deref(), TenantId::parse);
        let query = errors.finish(|| query).map_err(ApiError::validation)?;
        let page = app_state.store().tenants(query.cursor.as_ref().map(TenantId::as_str), query.limit).await?;
        Ok(Plain(TenantList {
            tenants: page.tenants.into_iter().map(|tenant| (tenant, None).into()).collect(),
            next_cursor: page.next,
        }))
    }

    /// Show a tenant.
    #[oai(path = "/admin/tenants/:id", method = "get", operation_id = "getTenant")]
    async fn show(
        &self,
        _admin: Administrator,
        app_state: AppState,
        id: Path<String>,
    ) -> Result<Plain<Tenant>, ApiError> {
        let tenant = app_state
            .store()
            .tenant_with_issuer(&tenant_id(&id.0)?)
            .await?
            .ok_or_else(|| ApiError::not_found("tenant"))?;
        Ok(Plain(tenant.answer.into()))
    }

    /// Change a tenant's settings. Every replica follows at its next call.
    #[oai(path = "/admin/tenants/:id", method = "patch", operation_id = "updateTenant")]
    async fn update(
        &self,
        _admin: Administrator,
        app_state: AppState,
        id: Path<String>,
        body: Body<TenantChange>,
    ) -> Result<Plain<Tenant>, ApiError> {
        let id = tenant_id(&id.0)?;
        let mut errors = FieldErrors::default();
        let tier = body.0.tier.and_then(|tier| errors.check(|| "tier".into(), Tier::parse(tier.as_str())));
        let issuer = body.0.jwt.map(|change| change.parse(&mut errors));
        let default_ttl_ms =
            body.0.default_ttl_seconds.map(|s| errors.check(|| "defaultTtlSeconds".into(), ttl_or_none(s)));
        let max_ttl_ms = body.0.max_ttl_seconds.map(|s| errors.check(|| "maxTtlSeconds".into(), ttl_or_none(s)));
        let settings = errors
            .finish(|| {
                Some(TenantSettings {
                    tier,
                    require_registration: body.0.require_registration,
                    default_ttl_ms: default_ttl_ms.flatten(),
                    max_ttl_ms: max_ttl_ms.flatten(),
                })
            })
            .map_err(ApiError::validation)?;
        let present = app_state.store().tenant(&id).await?.ok_or_else(|| ApiError::not_found("tenant"))?.answer;
        check_ttls(&present, &settings)?;
        // The issuer comes first, since it can be refused.
        if let Some(action) = issuer.flatten() {
            change_issuer(app_state.app(), &id, action).await?;
        }
        if !app_state.store().update_tenant(&id, settings).await? {
            return Err(ApiError::not_found("tenant"));
        }
        let tenant = app_state.store().tenant_with_issuer(&id).await?.ok_or_else(|| ApiError::not_found("tenant"))?;
        Ok(Plain(tenant.answer.into()))
    }

    /// Delete a tenant with everything that it has. Its keys are refused at once, and its streams end.
    #[oai(path = "/admin/tenants/:id", method = "delete", operation_id = "deleteTenant")]
    async fn delete(&self, _admin: Administrator, app_state: AppState, id: Path<String>) -> Result<Nothing, ApiError> {
        if app_state.store().delete_tenant(&tenant_id(&id.0)?).await? {
            Ok(Nothing)
        } else {
            Err(ApiError::not_found("tenant"))
        }
    }
}

/// The id of a tenant in a path. What cannot be one is no tenant's.
fn tenant_id(id: &str) -> Result<TenantId, ApiError> {
    TenantId::parse(id).ok_or_else(|| ApiError::not_found("tenant"))
}

/// Carries out a change of the tenant's issuer.
async fn change_issuer(app: &App, tenant: &TenantId, action: IssuerAction) -> Result<(), ApiError> {
    let IssuerAction::Trust { registration, kind, issuer, audience } = action else {
        app.store.remove_issuer(tenant).await?;
        return Ok(());
    };
    let sealed = app
        .vault
        .seal(tenant.as_str(), &registration.text())
        .ok_or_else(|| ApiError::new(Code::Internal, "Nothing can be encrypted."))?;
    let issuer = access::Issuer { id: Uuid::new_v4().to_string(), kind, issuer, audience, sealed };
    match app.store.register_issuer(tenant, &issuer).await? {
        IssuerOutcome::Done => Ok(()),
        IssuerOutcome::NotFound => Err(ApiError::not_found("tenant")),
        IssuerOutcome::Taken => {
            Err(ApiError::new(Code::Conflict, "Another tenant registered this pair of issuer and audience."))
        }
    }
}

/// A tenant to create.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
struct NewTenantRequest {
    /// Display name. 1 to 256 bytes.
    name: Option<String>,
    /// Its limits; `Pro` without it.
    tier: Option<UncheckedWord<Tier>>,
}

/// A new tenant.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct NewTenant {
    tenant_id: String,
    name: String,
    tier: Word<Tier>,
    /// Its default key, shown this once.
    api_key: String,
}

/// Changes of a tenant's settings; what is absent stays.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[oai(rename_all = "camelCase")]
struct TenantChange {
    tier: Option<UncheckedWord<Tier>>,
    /// Whether only registered names can be reserved.
    require_registration: Option<bool>,
    /// Time to live of a reservation whose request names none, in seconds, 1 to 2,147,483,647; 0: it has no end.
    #[serde(default, deserialize_with = "whole_number")]
    default_ttl_seconds: Option<i64>,
    /// Longest time to live of a reservation, in seconds, 1 to 2,147,483,647; 0: there is no bound. Above it, or without an end, a reserve is
    /// refused.
    #[serde(default, deserialize_with = "whole_number")]
    max_ttl_seconds: Option<i64>,
    /// Issuer whose tokens the tenant trusts, in place of any before; `{}`: none. Tokens exchanged under the one before are refused at once.
    jwt: Option<IssuerChange>,
}

/// A time to live in whole seconds, as milliseconds; 0: none.
fn ttl_or_none(seconds: i64) -> Result<i64, String> {
    if seconds == 0 { Ok(0) } else { ttl_ms(seconds) }
}

fn check_ttls(present: &access::Tenant, change: &TenantSettings) -> Result<(), ApiError> {
    if let Some((default_ms, max_ms)) = change.default_beyond_max(Some(present)) {
        let (default_s, max_s) = (default_ms / 1_000, max_ms / 1_000);
        return Err(match change.default_ttl_ms {
            Some(_) => {
                ApiError::field("defaultTtlSeconds", format!("is {default_s}; maxTtlSeconds allows at most {max_s}"))
            }
            None => ApiError::field("maxTtlSeconds", format!("is {max_s}; defaultTtlSeconds is {default_s}")),
        });
    }
    Ok(())
}

/// An issuer of tokens, with exactly one of `jwks`, `publicKeyPem` and `hs256Secret`.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[oai(rename_all = "camelCase")]
struct IssuerChange {
    /// A set of public keys: RSA of 2,048 bits or more, P-256, P-384, Ed25519. Needs `issuer` and `audience`.
    jwks: Option<Any<serde_json::Value>>,
    /// One such public key in PEM.
    public_key_pem: Option<String>,
    /// A secret of 16 bytes or more, for HS256. It is stored encrypted and never shown.
    hs256_secret: Option<String>,
    /// Value that `iss` of its tokens must have. Issuer and audience together find the tenant, so no other tenant may have the same pair.
    issuer: Option<String>,
    /// Value that `aud` of its tokens must contain.
    audience: Option<String>,
}

/// A checked change of the tenant's issuer.
enum IssuerAction {
    /// Trust no issuer.
    TrustNone,
    /// Trust this one, and no other.
    Trust { registration: Registration, kind: IssuerKind, issuer: Option<String>, audience: Option<String> },
}

impl IssuerChange {
    /// Checks the change; every error has a path under `jwt`.
    fn parse(self, errors: &mut FieldErrors) -> Option<IssuerAction> {
        let mut named = |name: &str, text: Option<String>| {
            text.and_then(|text| errors.check(|| format!("jwt.{name}"), names::label(Some(text))))
        };
        let (issuer, audience) = (named("issuer", self.issuer), named("audience", self.audience));
        let registration = Registration {
            jwks: self.jwks.map(|set| set.0),
            public_key_pem: self.public_key_pem,
            hs256_secret: self.hs256_secret,
        };
        let none =
            registration.jwks.is_none() && registration.public_key_pem.is_none() && registration.hs256_secret.is_none();
        if none && issuer.is_none() && audience.is_none() {
            return Some(IssuerAction::TrustNone);
        }
        if registration.jwks.is_some() && (issuer.is_none() || audience.is_none()) {
            errors.add("jwt", "needs issuer and audience beside jwks");
        }
        trust::IssuerKeys::parse(&registration, errors)?;
        let kind = registration.kind()?;
        Some(IssuerAction::Trust { registration, kind, issuer, audience })
    }
}

/// An issuer of tokens as it may be shown.
// Not `Issuer` in the document: generators call a variable of it as they call its property.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "TrustedIssuer")]
struct Issuer {
    kind: Word<IssuerKind>,
    issuer: Option<String>,
    audience: Option<String>,
}

/// A tenant.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct Tenant {
    tenant_id: String,
    name: String,
    tier: Word<Tier>,
    require_registration: bool,
    /// Time to live of a reservation whose request names none, in seconds; null: it has no end.
    default_ttl_seconds: Option<i64>,
    /// Longest time to live of a reservation, in seconds; null: there is no bound.
    max_ttl_seconds: Option<i64>,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
    /// Issuer whose tokens it trusts, without the keys. Null in the list of tenants.
    jwt: Option<Issuer>,
}

impl From<(access::Tenant, Option<access::Issuer>)> for Tenant {
    fn from((tenant, issuer): (access::Tenant, Option<access::Issuer>)) -> Self {
        Self {
            jwt: issuer.map(|issuer| Issuer {
                kind: Word(issuer.kind),
                issuer: issuer.issuer,
                audience: issuer.audience,
            }),
            tenant_id: tenant.id.to_string(),
            name: tenant.name,
            tier: Word(tenant.tier),
            require_registration: tenant.require_registration,
            default_ttl_seconds: tenant.default_ttl_ms.map(|ms| ms / 1_000),
            max_ttl_seconds: tenant.max_ttl_ms.map(|ms| ms / 1_000),
            created_at: instant(tenant.created_ms),
        }
    }
}

/// Tenants.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct TenantList {
    tenants: Vec<Tenant>,
    /// Cursor of the next page; null at the end.
    next_cursor: Option<String>,
}
