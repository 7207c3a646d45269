//! What handlers share: the runtime that they run on, and the groups that the document puts them in.

use std::sync::Arc;

use poem::{Request, RequestBody};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, Tags};

use crate::{
    http::{App, pipeline::context::app, wire::error::ApiError},
    store::Store,
};

/// How the document groups its operations.
#[derive(Tags)]
pub(super) enum Tag {
    /// Claim named things, hold them, renew them, give them back.
    Reservations,
    /// Pools, blockers, trees: what is registered.
    Resources,
    /// See it happen: server-sent events.
    Events,
    /// The queue monitor: Celery's and BullMQ's jobs, workers and queues, seen live.
    Queues,
    /// The tenant's API keys.
    Keys,
    /// Short-lived tokens in exchange for a JWT or a key.
    Tokens,
    /// Browsers sign in.
    Sessions,
    /// Tenants, for the service's administrator.
    Administration,
}

/// This runtime's store, for a handler; no parameter of the API.
pub(super) struct AppState(Arc<App>);

impl AppState {
    pub(super) fn app(&self) -> &App {
        &self.0
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }
}

impl<'a> ApiExtractor<'a> for AppState {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::PoemExtractor];

    type ParamType = ();
    type ParamRawType = ();

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        app(request).cloned().map(Self).map_err(|error: ApiError| error.into())
    }
}
