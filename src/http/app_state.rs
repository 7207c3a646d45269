//! The extractor of the application's state, and the groups of operations in the document.

use poem::{Request, RequestBody};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, Tags};

use crate::{
    http::{
        App,
        pipeline::context::{LateResponse, RequestContext, context},
        server::HeldOnConnection,
        wire::error::ApiError,
    },
    store::Store,
};

/// Groups of operations in the document, in the order in which people need them.
#[derive(Tags)]
pub(super) enum Tag {
    /// Claim named things, hold them for a time to live, renew them, give them back; see who holds what.
    Reservations,
    /// Wait in a fair queue for what cannot be had now: ask for a ticket, cancel it, see who waits. A wait begins with `waitSeconds` in
    /// `reserve` or `transactions`.
    Waiting,
    /// Register what is more than a name: pools with a capacity, blockers that are taken along, trees.
    Resources,
    /// Watch everything that happens, as server-sent events that resume without a hole.
    Events,
    /// Put events of your own into the same stream, and name the companies that they are about.
    Publishing,
    /// The tenant's API keys, their scopes and their rotation.
    Keys,
    /// Sign in with a key from a browser; see the tier and how much of it is used.
    Sessions,
    /// Exchange a JWT of your own issuer, or a key, for a token of 15 minutes.
    Tokens,
    /// The queue monitor: jobs, workers and queues of Celery and BullMQ, watched or pushed.
    Queues,
    /// Tenants and the issuers that they trust, for the administrator of the service, with the admin key.
    Administration,
}

/// Extractor of the application's state; not a parameter of the API.
#[derive(Clone)]
pub(super) struct AppState(RequestContext);

impl AppState {
    /// The application of this runtime.
    pub(super) fn app(&self) -> &App {
        self.0.app()
    }

    /// The store of this runtime.
    pub(super) fn store(&self) -> &Store {
        &self.app().store
    }

    /// Has another response made once the route has answered.
    pub(super) fn respond_later(&self, response: LateResponse) {
        self.0.respond_later(response);
    }

    /// Records before its answer that this call was admitted, and is held. It matters where the answer comes late: until then the connection
    /// counts against its address as one without a credential.
    pub(super) fn hold_on_connection(&self) -> Option<HeldOnConnection> {
        self.0.hold_on_connection()
    }

    /// Moves the share of the call's body to the budget of held calls; `false`: there is no room for it.
    pub(super) fn hold_body(&self) -> bool {
        self.0.hold_body()
    }
}

impl<'a> ApiExtractor<'a> for AppState {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::PoemExtractor];

    type ParamType = ();
    type ParamRawType = ();

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        context(request).cloned().map(Self).map_err(|error: ApiError| error.into())
    }
}
