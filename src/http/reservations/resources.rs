//! Registered resources over HTTP.

use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        field_errors::FieldErrors,
        reservation::{MAX_BATCH, batch},
        resource::{Definition, MAX_BLOCKS},
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Admin, Authorized, Read, Write},
        wire::{
            error::{ApiError, Code},
            outcome::answer,
            pagination::{ListQuery, PageSizes},
            request::{Items, List, whole_number},
            response::{Answer, Nothing},
        },
    },
    store::{Caller, PageCursor, RegisterOutcome, Stamped},
};

const PAGE_SIZES: PageSizes = PageSizes { default: 100, max: MAX_BATCH };

pub(in crate::http) struct Resources;

#[OpenApi(tag = "Tag::Resources")]
impl Resources {
    /// Register resources: pools, blockers, trees. All of a call, or none.
    ///
    /// Idempotent: the same name overwrites, without `treePath` at a root. Ancestors are registered on the way with capacity 1 and never
    /// overwrite. What is held cannot get another place in the tree (409). A pool's slots are named `Name_0`, `Name_1` ..., and no other
    /// resource can be registered under such a name.
    #[oai(path = "/Resource/register", method = "post", operation_id = "register")]
    async fn register(
        &self,
        caller: Authorized<Write>,
        app_state: AppState,
        body: Items<ResourceDefinition>,
    ) -> Result<Answer<Vec<Resource>>, ApiError> {
        let parse = |errors: &mut _, at, raw: ResourceDefinition| {
            Definition::parse(errors, at, raw.name, raw.capacity, raw.blocks.map(|blocks| blocks.0), raw.tree_path)
        };
        let definitions = batch(body.0.0, parse).map_err(ApiError::validation)?;
        let stamped = changed(app_state.store().register(&caller.0, &definitions).await?, &caller.0)?;
        Ok(Answer(stamped.map(|()| definitions.into_iter().map(Into::into).collect())))
    }

    /// List the registered resources, in no order; follow `nextCursor` until it is null.
    #[oai(path = "/Resource", method = "get", operation_id = "listResources")]
    async fn list(
        &self,
        caller: Authorized<Read>,
        app_state: AppState,
        /// Most rows of a page, 1 to 1,000; 100 without it. A small page may have a few more.
        limit: Query<Option<i64>>,
        /// `nextCursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Answer<ResourceList>, ApiError> {
        let mut errors = FieldErrors::default();
        let query = ListQuery::parse(&mut errors, PAGE_SIZES, limit.0, cursor.0.as_deref(), PageCursor::decode);
        let query = errors.finish(|| query).map_err(ApiError::validation)?;
        let start = query.cursor.unwrap_or_else(PageCursor::start);
        let stamped = app_state.store().resources(&caller.0, &start, query.limit).await?;
        Ok(Answer(stamped.map(|page| ResourceList {
            resources: page.resources.into_iter().map(Into::into).collect(),
            next_cursor: page.next.as_ref().map(PageCursor::encode),
        })))
    }

    /// Show a registered resource. Its name is the whole rest of the path.
    #[oai(path = "/Resource/:name", method = "get", operation_id = "getResource")]
    async fn show(
        &self,
        caller: Authorized<Read>,
        app_state: AppState,
        name: Path<String>,
    ) -> Result<Answer<Resource>, ApiError> {
        let stamped = app_state.store().resource(&caller.0, &name.0).await?;
        let definition = answer(stamped, |definition| definition.ok_or_else(|| ApiError::not_found("resource")))?;
        Ok(Answer(definition.map(Into::into)))
    }

    /// Forget a resource. Not while it is held, has children, or is named in another's `blocks` (409).
    #[oai(path = "/Resource/:name", method = "delete", operation_id = "deleteResource")]
    async fn delete(
        &self,
        caller: Authorized<Admin>,
        app_state: AppState,
        name: Path<String>,
    ) -> Result<Nothing, ApiError> {
        changed(app_state.store().delete_resource(&caller.0, &name.0).await?, &caller.0)?;
        Ok(Nothing)
    }
}

/// The answer of a change of the registry that was done.
fn changed(stamped: Stamped<RegisterOutcome>, caller: &Caller) -> Result<Stamped<()>, ApiError> {
    let now_us = stamped.now_us;
    answer(stamped, |outcome| match outcome {
        RegisterOutcome::Done => Ok(()),
        RegisterOutcome::NotFound => Err(ApiError::not_found("resource")),
        RegisterOutcome::Limit(reached) => Err(ApiError::limit(&reached, caller.tenant().tier, now_us)),
        RegisterOutcome::Conflict { item, why, name } => {
            let item = item.map(|item| format!("[{item}] ")).unwrap_or_default();
            Err(ApiError::new(Code::Conflict, format!("Nothing was changed: {item}{why}: \"{name}\".")))
        }
    })
}

/// A resource to register.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[oai(rename_all = "camelCase")]
struct ResourceDefinition {
    /// 1 to 1,024 bytes without `>`; the names of a pool's slots have at most 1,024 bytes, too.
    name: Option<String>,
    /// Capacity: how many can hold it at once, 1 to 100,000; 1 without it. More than 1 makes it a pool.
    #[serde(default, deserialize_with = "whole_number")]
    capacity: Option<i64>,
    /// Blockers: names that are taken and freed with it, one level deep; at most 64, not itself. With `treePath` at most 8 KiB.
    blocks: Option<List<String, MAX_BLOCKS>>,
    /// Names above it in the tree, from the root on: `Equipment>IT`. At most 32 levels with its own.
    tree_path: Option<String>,
}

/// A registered resource.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct Resource {
    name: String,
    capacity: i64,
    /// Names of its slots: empty where it is no pool, null above 1,000.
    slots: Option<Vec<String>>,
    blocks: Vec<String>,
    tree_path: Option<String>,
    /// Names above it in the tree, from the root on.
    ancestors: Vec<String>,
}

impl From<Definition> for Resource {
    fn from(definition: Definition) -> Self {
        Self {
            slots: definition.slots(),
            tree_path: definition.tree_path(),
            name: definition.name,
            capacity: definition.capacity,
            blocks: definition.blocks,
            ancestors: definition.ancestors,
        }
    }
}

/// Registered resources.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct ResourceList {
    resources: Vec<Resource>,
    /// Cursor of the next page; null at the end.
    next_cursor: Option<String>,
}

/// Parses a body of `POST /Resource/register`, as far as that needs no Redis.
#[cfg(any(test, fuzzing))]
pub(in crate::http) fn parse_register(bytes: &[u8]) -> Result<(), ApiError> {
    use crate::{domain::reservation::MAX_BATCH, http::wire::request};

    let items: request::List<ResourceDefinition, MAX_BATCH> = request::parse(bytes)?;
    let parse = |errors: &mut _, at, raw: ResourceDefinition| {
        Definition::parse(errors, at, raw.name, raw.capacity, raw.blocks.map(|blocks| blocks.0), raw.tree_path)
    };
    batch(items.0, parse).map(drop).map_err(ApiError::validation)
}
