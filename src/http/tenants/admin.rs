//! Tenants, for the service's administrator.

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
        access,
        fault::FieldErrors,
        names::{self, TenantId},
        tier::Tier,
        time::{instant, wire},
    },
    http::{
        app_state::{AppState, Tag},
        auth::Administrator,
        wire::{
            error::{ApiError, Code},
            request::Body,
            response::{Nothing, Plain},
        },
    },
    store::Registration as Registered,
    trust::{self, Registration},
};

/// How many tenants a page has unless the caller says otherwise, and at most.
const PAGE: i64 = 100;
const PAGE_MOST: i64 = 1_000;

pub(in crate::http) struct Tenants;

#[OpenApi(tag = "Tag::Administration")]
impl Tenants {
    /// Make a tenant. Its default key, which may do everything, is shown this once.
    #[oai(path = "/admin/tenants", method = "post", operation_id = "createTenant")]
    async fn create(
        &self,
        _admin: Administrator,
        here: AppState,
        body: Body<NewTenantRequest>,
    ) -> Result<Plain<NewTenant, 201>, ApiError> {
        let mut faults = FieldErrors::default();
        let name = faults.keep(|| "name".into(), names::label(body.0.name));
        let tier = faults.keep(
            || "tier".into(),
            body.0.tier.ok_or_else(|| "is required".to_owned()).and_then(|tier| Tier::parse(&tier)),
        );
        let (name, tier) =
            faults.or((name.unwrap_or_default(), tier.unwrap_or(Tier::Free))).map_err(ApiError::validation)?;
        let made = here.store().create_tenant(TenantId::random(), &name, tier).await?;
        let (tenant, key) =
            made.ok_or_else(|| ApiError::new(Code::Conflict, "A tenant of that id exists; try again."))?;
        Ok(Plain(NewTenant {
            tenant_id: tenant.id.to_string(),
            name: tenant.name,
            tier: tier.name().into(),
            api_key: key.text,
        }))
    }

    /// List the tenants, in the order of their ids.
    #[oai(path = "/admin/tenants", method = "get", operation_id = "listTenants")]
    async fn list(
        &self,
        _admin: Administrator,
        here: AppState,
        /// At most so many, 1 to 1,000; 100 without it.
        limit: Query<Option<i64>>,
        /// Where the last page said that the next begins.
        cursor: Query<Option<String>>,
    ) -> Result<Plain<TenantList>, ApiError> {
        let mut faults = FieldErrors::default();
        let limit = limit.0.unwrap_or(PAGE);
        if !(1..=PAGE_MOST).contains(&limit) {
            faults.add("limit", format!("must be from 1 to {PAGE_MOST}"));
        }
        if cursor.0.as_deref().is_some_and(|cursor| TenantId::parse(cursor).is_none()) {
            faults.add("cursor", "is none that this service gave; begin again without it");
        }
        let limit = faults.or(limit).map_err(ApiError::validation)?;
        let page = here.store().tenants(cursor.0.as_deref(), limit as usize).await?;
        Ok(Plain(TenantList {
            tenants: page.tenants.into_iter().map(|tenant| (tenant, None).into()).collect(),
            next_cursor: page.next,
        }))
    }

    /// Show a tenant.
    #[oai(path = "/admin/tenants/:id", method = "get", operation_id = "getTenant")]
    async fn show(&self, _admin: Administrator, here: AppState, id: Path<String>) -> Result<Plain<Tenant>, ApiError> {
        let tenant =
            here.store().tenant_with_issuer(&known(&id.0)?).await?.ok_or_else(|| ApiError::not_found("tenant"))?;
        Ok(Plain(tenant.answer.into()))
    }

    /// Change a tenant's settings. Every replica knows at its next call.
    #[oai(path = "/admin/tenants/:id", method = "patch", operation_id = "updateTenant")]
    async fn update(
        &self,
        _admin: Administrator,
        here: AppState,
        id: Path<String>,
        body: Body<TenantChange>,
    ) -> Result<Plain<Tenant>, ApiError> {
        let id = known(&id.0)?;
        let mut faults = FieldErrors::default();
        let tier = body.0.tier.and_then(|tier| faults.keep(|| "tier".into(), Tier::parse(&tier)));
        let issuer = body.0.jwt.map(|change| change.parse(&mut faults));
        let (tier, issuer) = faults.or((tier, issuer)).map_err(ApiError::validation)?;
        // The issuer first: it is what can be refused.
        match issuer.flatten() {
            Some(IssuerWish::Trust { registration, issuer, audience }) => {
                let sealed = here
                    .app()
                    .vault
                    .seal(id.as_str(), &registration.text())
                    .ok_or_else(|| ApiError::new(Code::Internal, "Nothing can be encrypted."))?;
                let kind = registration.kind().unwrap_or_default().into();
                let issuer = access::Issuer { id: Uuid::new_v4().to_string(), kind, issuer, audience, sealed };
                match here.store().register_issuer(&id, &issuer).await? {
                    Registered::Done => {}
                    Registered::NotFound => return Err(ApiError::not_found("tenant")),
                    Registered::Taken => {
                        return Err(ApiError::new(
                            Code::Conflict,
                            "Another tenant registered this pair of issuer and audience.",
                        ));
                    }
                }
            }
            Some(IssuerWish::TrustNone) => {
                here.store().remove_issuer(&id).await?;
            }
            None => {}
        }
        if !here.store().update_tenant(&id, tier, body.0.require_registration).await? {
            return Err(ApiError::not_found("tenant"));
        }
        let tenant = here.store().tenant_with_issuer(&id).await?.ok_or_else(|| ApiError::not_found("tenant"))?;
        Ok(Plain(tenant.answer.into()))
    }

    /// End a tenant with all that it has. Its keys are refused at once and its streams end.
    #[oai(path = "/admin/tenants/:id", method = "delete", operation_id = "deleteTenant")]
    async fn delete(&self, _admin: Administrator, here: AppState, id: Path<String>) -> Result<Nothing, ApiError> {
        if here.store().delete_tenant(&known(&id.0)?).await? { Ok(Nothing) } else { Err(ApiError::not_found("tenant")) }
    }
}

fn known(id: &str) -> Result<TenantId, ApiError> {
    TenantId::parse(id).ok_or_else(|| ApiError::not_found("tenant"))
}

/// A tenant to make.
#[derive(Debug, Deserialize, Object)]
struct NewTenantRequest {
    /// What people call it. 1 to 256 bytes.
    name: Option<String>,
    /// `Free`, `Starter`, `Pro` or `Enterprise`.
    tier: Option<String>,
}

/// A tenant that was made.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct NewTenant {
    tenant_id: String,
    name: String,
    tier: String,
    /// Its default key, shown this once.
    api_key: String,
}

/// What to change; what is absent stays.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct TenantChange {
    /// `Free`, `Starter`, `Pro` or `Enterprise`.
    tier: Option<String>,
    /// Whether only registered names can be reserved.
    require_registration: Option<bool>,
    /// Whose tokens the tenant trusts, instead of any before; `{}`: nobody's. What came from the one before is refused at once.
    jwt: Option<IssuerChange>,
}

/// An issuer of tokens, with exactly one of `jwks`, `publicKeyPem` and `hs256Secret`.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct IssuerChange {
    /// A set of public keys: RSA of 2,048 bits or more, P-256, P-384, Ed25519. Needs `issuer` and `audience`.
    jwks: Option<Any<serde_json::Value>>,
    /// One such public key in PEM.
    public_key_pem: Option<String>,
    /// A secret of 16 bytes or more, for HS256. It is stored encrypted and never shown.
    hs256_secret: Option<String>,
    /// What tokens must say in `iss`. With `audience` it is how the tenant is found, so no other tenant may have the same pair.
    issuer: Option<String>,
    /// What tokens must say in `aud`.
    audience: Option<String>,
}

/// What is to become of the tenant's issuer.
enum IssuerWish {
    TrustNone,
    Trust { registration: Registration, issuer: Option<String>, audience: Option<String> },
}

impl IssuerChange {
    /// Reads it; every fault is named under `jwt`.
    fn parse(self, faults: &mut FieldErrors) -> Option<IssuerWish> {
        let mut named = |name: &str, text: Option<String>| {
            text.and_then(|text| faults.keep(|| format!("jwt.{name}"), names::label(Some(text))))
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
            return Some(IssuerWish::TrustNone);
        }
        if registration.jwks.is_some() && (issuer.is_none() || audience.is_none()) {
            faults.add("jwt", "needs issuer and audience beside jwks");
        }
        trust::Keys::parse(&registration, faults)?;
        Some(IssuerWish::Trust { registration, issuer, audience })
    }
}

/// An issuer of tokens as it may be shown.
#[derive(Debug, Serialize, Object)]
struct Issuer {
    /// `jwks`, `publicKeyPem` or `hs256Secret`.
    kind: String,
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
    tier: String,
    require_registration: bool,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
    /// Whose tokens it trusts; never the keys. Null in the list of tenants.
    jwt: Option<Issuer>,
}

impl From<(access::Tenant, Option<access::Issuer>)> for Tenant {
    fn from((tenant, issuer): (access::Tenant, Option<access::Issuer>)) -> Self {
        Self {
            jwt: issuer.map(|issuer| Issuer { kind: issuer.kind, issuer: issuer.issuer, audience: issuer.audience }),
            tenant_id: tenant.id.to_string(),
            name: tenant.name,
            tier: tenant.tier.name().into(),
            require_registration: tenant.require_registration,
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
    /// Where the next page begins; null at the end.
    next_cursor: Option<String>,
}
