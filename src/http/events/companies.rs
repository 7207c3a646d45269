//! Routes of companies, which a tenant's platform events are about.

use chrono::{DateTime, Utc};
use poem_openapi::{Object, OpenApi, param::Path};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        field_errors::FieldErrors,
        names,
        platform::RegisteredCompany,
        time::{instant, wire},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Admin, Authorized, Read},
        wire::{
            error::{ApiError, Code},
            outcome::{answer, within_limit},
            request::Body,
            response::{Answer, Nothing},
        },
    },
    store::{CompanyRemoval, PutCompanyOutcome},
};

pub(in crate::http) struct Companies;

#[OpenApi(tag = "Tag::Publishing")]
impl Companies {
    /// Register a company under a slug, or change it. Without an `id` it keeps the one that it has, or gets a random one.
    #[oai(path = "/companies/:slug", method = "put", operation_id = "putCompany")]
    async fn put(
        &self,
        caller: Authorized<Admin>,
        app_state: AppState,
        slug: Path<String>,
        body: Body<CompanyRequest>,
    ) -> Result<Answer<CompanyRow>, ApiError> {
        let mut errors = FieldErrors::default();
        let slug = errors.check(|| "slug".into(), names::label(Some(slug.0)).and_then(names::addressable));
        let id = body.0.id.map(|id| errors.check(|| "id".into(), names::label(Some(id))));
        let name = errors.check(|| "name".into(), names::label(body.0.name));
        let (slug, id, name) = errors.finish(|| Some((slug?, id.flatten(), name?))).map_err(ApiError::validation)?;
        let stamped = app_state.store().put_company(&caller.0, &slug, id.as_deref(), &name).await?;
        let company = answer(within_limit(stamped, &caller.0)?, |outcome| match outcome {
            PutCompanyOutcome::Done(company) => Ok(company.into()),
            PutCompanyOutcome::Taken(owner) => Err(ApiError::new(
                Code::Conflict,
                format!("That id belongs to the company \"{owner}\"; give another, or none."),
            )),
        })?;
        Ok(Answer(company))
    }

    /// Show a company.
    #[oai(path = "/companies/:slug", method = "get", operation_id = "getCompany")]
    async fn show(
        &self,
        caller: Authorized<Read>,
        app_state: AppState,
        slug: Path<String>,
    ) -> Result<Answer<CompanyRow>, ApiError> {
        let stamped = app_state.store().companies(&caller.0, Some(&slug.0)).await?;
        let company = answer(stamped, |companies| {
            companies.into_iter().next().map(Into::into).ok_or_else(|| ApiError::not_found("company"))
        })?;
        Ok(Answer(company))
    }

    /// List the companies, in the order of their slugs.
    #[oai(path = "/companies", method = "get", operation_id = "listCompanies")]
    async fn list(&self, caller: Authorized<Read>, app_state: AppState) -> Result<Answer<CompanyList>, ApiError> {
        let stamped = app_state.store().companies(&caller.0, None).await?;
        Ok(Answer(stamped.map(|companies| CompanyList {
            companies: companies.into_iter().map(Into::into).collect(),
            next_cursor: None,
        })))
    }

    /// Remove a company. Events about it stay as they are.
    #[oai(path = "/companies/:slug", method = "delete", operation_id = "deleteCompany")]
    async fn delete(
        &self,
        caller: Authorized<Admin>,
        app_state: AppState,
        slug: Path<String>,
    ) -> Result<Nothing, ApiError> {
        let stamped = app_state.store().delete_company(&caller.0, &slug.0).await?;
        answer(stamped, |removal| match removal {
            CompanyRemoval::Removed => Ok(Nothing),
            CompanyRemoval::NotFound => Err(ApiError::not_found("company")),
        })
        .map(|stamped| stamped.answer)
    }
}

/// A company to register.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
struct CompanyRequest {
    /// 1 to 256 bytes; belongs to one slug.
    id: Option<String>,
    /// What people call it. 1 to 256 bytes.
    name: Option<String>,
}

/// A registered company.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "Company", rename_all = "camelCase")]
struct CompanyRow {
    slug: String,
    id: String,
    name: String,
    #[serde(with = "wire")]
    created_at: DateTime<Utc>,
}

impl From<RegisteredCompany> for CompanyRow {
    fn from(company: RegisteredCompany) -> Self {
        Self { slug: company.slug, id: company.id, name: company.name, created_at: instant(company.created_ms) }
    }
}

/// Companies.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct CompanyList {
    companies: Vec<CompanyRow>,
    /// Always null: the list is whole.
    next_cursor: Option<String>,
}
