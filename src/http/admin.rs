//! Tenants, for the service's administrator.

use chrono::{DateTime, Utc};
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        access,
        fault::Faults,
        names::{self, TenantId},
        tier::Tier,
        time::{instant, wire},
    },
    http::{
        answer::{Nothing, Plain},
        body::Body,
        credentials::Administrator,
        document::{Here, Tag},
        error::{ApiError, Code},
    },
};

/// How many tenants a page has unless the caller says otherwise, and at most.
const PAGE: i64 = 100;
const PAGE_MOST: i64 = 1_000;

pub(super) struct Admin;

#[OpenApi(tag = "Tag::Administration")]
impl Admin {
    /// Make a tenant. Its default key, which may do everything, is shown this once.
    #[oai(path = "/admin/tenants", method = "post", operation_id = "createTenant")]
    async fn create(&self, _admin: Administrator, here: Here, body: Body<NewTenantRequest>) -> Result<Plain<NewTenant, 201>, ApiError> {
        let mut faults = Faults::default();
        let name = faults.keep(|| "name".into(), names::label(body.0.name));
        let tier = faults.keep(|| "tier".into(), body.0.tier.ok_or_else(|| "is required".to_owned()).and_then(|tier| Tier::parse(&tier)));
        let (name, tier) = faults.or((name.unwrap_or_default(), tier.unwrap_or(Tier::Free))).map_err(ApiError::validation)?;
        let made = here.store().create_tenant(TenantId::random(), &name, tier).await?;
        let (tenant, key) = made.ok_or_else(|| ApiError::new(Code::Conflict, "A tenant of that id exists; try again."))?;
        Ok(Plain(NewTenant { tenant_id: tenant.id.to_string(), name: tenant.name, tier: tier.name().into(), api_key: key.text }))
    }

    /// List the tenants, in the order of their ids.
    #[oai(path = "/admin/tenants", method = "get", operation_id = "listTenants")]
    async fn list(
        &self,
        _admin: Administrator,
        here: Here,
        /// At most so many, 1 to 1,000; 100 without it.
        limit: Query<Option<i64>>,
        /// Where the last page said that the next begins.
        cursor: Query<Option<String>>,
    ) -> Result<Plain<TenantList>, ApiError> {
        let mut faults = Faults::default();
        let limit = limit.0.unwrap_or(PAGE);
        if !(1..=PAGE_MOST).contains(&limit) {
            faults.add("limit", format!("must be from 1 to {PAGE_MOST}"));
        }
        if cursor.0.as_deref().is_some_and(|cursor| TenantId::parse(cursor).is_none()) {
            faults.add("cursor", "is none that this service gave; begin again without it");
        }
        let limit = faults.or(limit).map_err(ApiError::validation)?;
        let page = here.store().tenants(cursor.0.as_deref(), limit as usize).await?;
        Ok(Plain(TenantList { tenants: page.tenants.into_iter().map(Into::into).collect(), next_cursor: page.next }))
    }

    /// Show a tenant.
    #[oai(path = "/admin/tenants/:id", method = "get", operation_id = "getTenant")]
    async fn show(&self, _admin: Administrator, here: Here, id: Path<String>) -> Result<Plain<Tenant>, ApiError> {
        let tenant = here.store().tenant(&known(&id.0)?).await?.ok_or_else(|| ApiError::not_found("tenant"))?;
        Ok(Plain(tenant.answer.into()))
    }

    /// Change a tenant's settings. Every replica knows at its next call.
    #[oai(path = "/admin/tenants/:id", method = "patch", operation_id = "updateTenant")]
    async fn update(&self, _admin: Administrator, here: Here, id: Path<String>, body: Body<TenantChange>) -> Result<Plain<Tenant>, ApiError> {
        let id = known(&id.0)?;
        let mut faults = Faults::default();
        let tier = body.0.tier.and_then(|tier| faults.keep(|| "tier".into(), Tier::parse(&tier)));
        let tier = faults.or(tier).map_err(ApiError::validation)?;
        if !here.store().update_tenant(&id, tier, body.0.require_registration).await? {
            return Err(ApiError::not_found("tenant"));
        }
        let tenant = here.store().tenant(&id).await?.ok_or_else(|| ApiError::not_found("tenant"))?;
        Ok(Plain(tenant.answer.into()))
    }

    /// End a tenant with all that it has. Its keys are refused at once and its streams end.
    #[oai(path = "/admin/tenants/:id", method = "delete", operation_id = "deleteTenant")]
    async fn delete(&self, _admin: Administrator, here: Here, id: Path<String>) -> Result<Nothing, ApiError> {
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
}

impl From<access::Tenant> for Tenant {
    fn from(tenant: access::Tenant) -> Self {
        Self {
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
