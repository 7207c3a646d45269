//! Routes of companies, which a tenant's platform events are about.

use chrono::{DateTime, Utc};
use poem_openapi::{Object, OpenApi, param::Path};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        fault::FieldErrors,
        names,
        platform::Registered,
        time::{instant, wire},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Admin, Authorized, Read},
        wire::{
            error::{ApiError, Code},
            request::Body,
            response::{Answer, Nothing},
        },
    },
    store::{CompanyRemoval, Outcome, Registering, Stamped},
};

pub(in crate::http) struct Companies;

#[OpenApi(tag = "Tag::Events")]
impl Companies {
    /// Register a company under a slug, or change it. Without an `id` it keeps the one that it has, or gets a random one.
    #[oai(path = "/companies/:slug", method = "put", operation_id = "putCompany")]
    async fn put(
        &self,
        caller: Authorized<Admin>,
        here: AppState,
        slug: Path<String>,
        body: Body<CompanyRequest>,
    ) -> Result<Answer<CompanyRow>, ApiError> {
        let mut faults = FieldErrors::default();
        let slug = faults.keep(|| "slug".into(), names::label(Some(slug.0)));
        let id = body.0.id.map(|id| faults.keep(|| "id".into(), names::label(Some(id))));
        let name = faults.keep(|| "name".into(), names::label(body.0.name));
        let (slug, id, name) = faults
            .or((slug.unwrap_or_default(), id.flatten(), name.unwrap_or_default()))
            .map_err(ApiError::validation)?;
        let Stamped { now_us, position, answer } =
            here.store().put_company(&caller.0, &slug, id.as_deref(), &name).await?;
        match answer {
            Outcome::Done(Registering::Done(company)) => {
                Ok(Answer(Stamped { now_us, position, answer: company.into() }))
            }
            Outcome::Done(Registering::Taken(owner)) => Err(ApiError::new(
                Code::Conflict,
                format!("That id belongs to the company \"{owner}\"; give another, or none."),
            )
            .at(now_us)),
            Outcome::Limit(reached) => Err(ApiError::limit(&reached, caller.0.tenant().tier, now_us)),
            Outcome::WrongToken(_) | Outcome::TooMany => {
                Err(ApiError::new(Code::Internal, "A company has no release token."))
            }
        }
    }

    /// Show a company.
    #[oai(path = "/companies/:slug", method = "get", operation_id = "getCompany")]
    async fn show(
        &self,
        caller: Authorized<Read>,
        here: AppState,
        slug: Path<String>,
    ) -> Result<Answer<CompanyRow>, ApiError> {
        let Stamped { now_us, position, answer } = here.store().companies(&caller.0, Some(&slug.0)).await?;
        let company = answer.into_iter().next().ok_or_else(|| ApiError::not_found("company").at(now_us))?;
        Ok(Answer(Stamped { now_us, position, answer: company.into() }))
    }

    /// List the companies, in the order of their slugs.
    #[oai(path = "/companies", method = "get", operation_id = "listCompanies")]
    async fn list(&self, caller: Authorized<Read>, here: AppState) -> Result<Answer<CompanyList>, ApiError> {
        let stamped = here.store().companies(&caller.0, None).await?;
        Ok(Answer(stamped.map(|companies| CompanyList {
            companies: companies.into_iter().map(Into::into).collect(),
            next_cursor: None,
        })))
    }

    /// Remove a company. Events about it stay as they are.
    #[oai(path = "/companies/:slug", method = "delete", operation_id = "deleteCompany")]
    async fn delete(&self, caller: Authorized<Admin>, here: AppState, slug: Path<String>) -> Result<Nothing, ApiError> {
        let stamped = here.store().delete_company(&caller.0, &slug.0).await?;
        match stamped.answer {
            CompanyRemoval::Removed => Ok(Nothing),
            CompanyRemoval::NotFound => Err(ApiError::not_found("company").at(stamped.now_us)),
        }
    }
}

/// A company to register.
#[derive(Debug, Deserialize, Object)]
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

impl From<Registered> for CompanyRow {
    fn from(company: Registered) -> Self {
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
