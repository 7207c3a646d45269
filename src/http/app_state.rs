//! The extractor of the application's state, and the groups of operations in the document.

use std::sync::Arc;

use poem::{Request, RequestBody};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, Tags};

use crate::{
    http::{App, pipeline::context::app, wire::error::ApiError},
    store::Store,
};

/// Groups of operations in the document.
#[derive(Tags)]
pub(super) enum Tag {
    /// Claim named things, hold them, renew them, give them back.
    Reservations,
    /// Pools, blockers, trees: what is registered.
    Resources,
    /// Server-sent events: of reservations and of the tenant's own platform.
    Events,
    /// The queue monitor: jobs, workers and queues of Celery and BullMQ, live.
    Queues,
    /// The tenant's API keys.
    Keys,
    /// Exchange of a JWT or a key for a short-lived token.
    Tokens,
    /// Sign-in of browsers.
    Sessions,
    /// Tenants, for the service's administrator.
    Administration,
}

/// Extractor of the application's state; not a parameter of the API.
pub(super) struct AppState(Arc<App>);

impl AppState {
    /// The application of this runtime.
    pub(super) fn app(&self) -> &App {
        &self.0
    }

    /// The store of this runtime.
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
