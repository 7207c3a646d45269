//! Registered resources over HTTP.

use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        reservation::{BATCH, batch},
        resource::Definition,
    },
    http::{
        app_state::{AppState, Tag},
        auth::{Admin, Authorized, Read, Write},
        wire::{
            error::{ApiError, Code},
            request::Body,
            response::{Answer, Nothing},
        },
    },
    store::{PageCursor, Registered, Stamped},
};

/// How many resources a page has unless the caller says otherwise.
const PAGE: i64 = 100;

pub(in crate::http) struct Resources;

#[OpenApi(tag = "Tag::Resources")]
impl Resources {
    /// Register resources: pools, what takes what along, places in the tree. All of a call, or none.
    ///
    /// Idempotent: the same name overwrites, without `treePath` at a root. Ancestors are registered on the way with capacity 1 and never
    /// overwrite. What is held cannot get another place in the tree (409). A pool's slots are named `Name_0`, `Name_1` ..., and no other
    /// resource can be registered under such a name.
    #[oai(path = "/Resource/register", method = "post", operation_id = "register")]
    async fn register(
        &self,
        caller: Authorized<Write>,
        here: AppState,
        body: Body<Vec<ResourceDefinition>>,
    ) -> Result<Answer<Vec<Resource>>, ApiError> {
        let parse = |faults: &mut _, at, raw: ResourceDefinition| {
            Definition::parse(faults, at, raw.name, raw.capacity, raw.blocks, raw.tree_path)
        };
        let definitions = batch(body.0, parse).map_err(ApiError::validation)?;
        let Stamped { now_us, position, answer } = here.store().register(&caller.0, &definitions).await?;
        done(answer, &caller.0, now_us)?;
        Ok(Answer(Stamped { now_us, position, answer: definitions.into_iter().map(Into::into).collect() }))
    }

    /// List the registered resources, in no order; follow `nextCursor` until it is null.
    #[oai(path = "/Resource", method = "get", operation_id = "listResources")]
    async fn list(
        &self,
        caller: Authorized<Read>,
        here: AppState,
        /// At most so many per page, 1 to 1,000; 100 without it.
        limit: Query<Option<i64>>,
        /// Where the last page said that the next begins.
        cursor: Query<Option<String>>,
    ) -> Result<Answer<ResourceList>, ApiError> {
        let limit = limit.0.unwrap_or(PAGE);
        if !(1..=BATCH as i64).contains(&limit) {
            return Err(ApiError::fault("limit", format!("must be from 1 to {BATCH}")));
        }
        let start = cursor.0.as_deref().map_or(Some(PageCursor::start()), PageCursor::decode);
        let start =
            start.ok_or_else(|| ApiError::fault("cursor", "is none that this service gave; begin again without it"))?;
        let told = here.store().resources(&caller.0, &start, limit as usize).await?;
        Ok(Answer(told.map(|page| ResourceList {
            resources: page.found.into_iter().map(Into::into).collect(),
            next_cursor: page.next.as_ref().map(PageCursor::encode),
        })))
    }

    /// Show what is registered under a name, which is the whole rest of the path.
    #[oai(path = "/Resource/:name", method = "get", operation_id = "getResource")]
    async fn show(
        &self,
        caller: Authorized<Read>,
        here: AppState,
        name: Path<String>,
    ) -> Result<Answer<Resource>, ApiError> {
        let Stamped { now_us, position, answer } = here.store().resource(&caller.0, &name.0).await?;
        let definition = answer.ok_or_else(|| ApiError::not_found("resource").at(now_us))?;
        Ok(Answer(Stamped { now_us, position, answer: definition.into() }))
    }

    /// Forget a resource. Not while it is held, has children, or is named in another's `blocks` (409).
    #[oai(path = "/Resource/:name", method = "delete", operation_id = "deleteResource")]
    async fn delete(&self, caller: Authorized<Admin>, here: AppState, name: Path<String>) -> Result<Nothing, ApiError> {
        let told = here.store().delete_resource(&caller.0, &name.0).await?;
        done(told.answer, &caller.0, told.now_us)?;
        Ok(Nothing)
    }
}

fn done(registered: Registered, caller: &crate::store::Caller, now_us: i64) -> Result<(), ApiError> {
    match registered {
        Registered::Done => Ok(()),
        Registered::NotFound => Err(ApiError::not_found("resource").at(now_us)),
        Registered::Limit(reached) => Err(ApiError::limit(&reached, caller.tenant().tier, now_us)),
        Registered::Conflict { item, why, name } => {
            let place = item.map(|item| format!("[{item}] ")).unwrap_or_default();
            Err(ApiError::new(Code::Conflict, format!("Nothing was changed: {place}{why}: \"{name}\".")).at(now_us))
        }
    }
}

/// What is to be registered.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct ResourceDefinition {
    /// 1 to 1,024 bytes without `>`.
    name: Option<String>,
    /// How many can have it at once, 1 to 100,000; 1 without it. More than one makes it a pool.
    capacity: Option<i64>,
    /// What is taken along with it and freed with it, one level deep; at most 64 names.
    blocks: Option<Vec<String>>,
    /// What stands above it in the tree, from the root on: `Equipment>IT`. At most 32 levels with its own.
    tree_path: Option<String>,
}

/// A registered resource.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct Resource {
    name: String,
    capacity: i64,
    /// The names of its slots: none of what is no pool, null above 1,000.
    slots: Option<Vec<String>>,
    blocks: Vec<String>,
    tree_path: Option<String>,
    /// What stands above it, from the root on.
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
    /// Where the next page begins; null at the end.
    next_cursor: Option<String>,
}
