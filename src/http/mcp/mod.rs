//! Agents: the Model Context Protocol over streamable HTTP, at `POST /mcp`.
//!
//! A tool is an operation of the HTTP API: its schema comes from the OpenAPI document, and a call of it is served by
//! the operation's own route, with the credential of the request that carries it. So scopes, limits, errors, logs and
//! metrics are those of the API, and nothing is decided here.
//!
//! Every request stands for itself: there is no session, and any replica can answer. The official SDK's server
//! (`rmcp`) is not used: it parses a body before it knows what it is, at five to thirteen times the cost of the JSON
//! alone, in the thread that serves other tenants.

mod call;
mod message;
mod schema;
mod tools;
mod version;

use poem::{Endpoint, Request, Response, endpoint::BoxEndpoint, http::StatusCode};
use serde_json::{Value, json, value::RawValue};

use crate::{
    http::{
        App,
        auth::{admit, identify, origin},
        mcp::{
            call::call_tool,
            message::{Fault, Message, Posted, Reply},
            version::{Era, LEGACY_VERSIONS},
        },
        pipeline::context::{app, set_admitted},
        wire::{
            error::{ApiError, Code},
            request::{MAX_BODY_BYTES, drain, json_body},
        },
    },
    store::Caller,
};

/// Path of the endpoint.
pub(in crate::http) const PATH: &str = "/mcp";

/// What a client's model is shown about all tools together.
const INSTRUCTIONS: &str = "\
Holdfast reserves named things (files, directories, machines, deployments), so that agents and people who share \
them do not get in each other's way. Reserve a thing before you change it, under one `requester` name of your own \
that nobody else uses, with `ttlSeconds`; keep each `releaseToken`; renew at a third of the time to live while you \
work; release when you are done. `ALREADY_HELD` means that somebody else has it: do not touch the thing. With \
`waitSeconds` you wait in a fair queue instead: `WAITING` means to repeat the very same `reserve` call until it \
says `ACQUIRED`. `NOT_RESERVED` from `renew` means that you have lost it: stop working on it.";

/// Time for which clients may keep the list of tools and what the server supports, in milliseconds: 5 minutes. Both
/// change only with the version.
const CACHE_MS: u64 = 300_000;

/// The endpoint. One per runtime.
pub(in crate::http) struct Mcp {
    routes: BoxEndpoint<'static>,
}

impl Mcp {
    /// The endpoint over the routes of the operations that its tools stand for.
    pub(in crate::http) fn new(routes: BoxEndpoint<'static>) -> Self {
        Self { routes }
    }
}

impl Endpoint for Mcp {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let (request, mut body) = request.split();
        let caller = match identify_caller(&request).await {
            Ok(caller) => caller,
            Err(error) => {
                drain(body.take()?).await;
                return Ok(Reply::refusal(None, &error));
            }
        };
        set_admitted(&request, &caller);
        let posted = match json_body::<Posted>(&request, body.take()?, MAX_BODY_BYTES).await {
            Ok(posted) => posted,
            Err(error) => return Ok(refuse_body(&error)),
        };
        let exchange = Exchange { routes: &self.routes, request: &request, app: app(&request)?, caller: &caller };
        Ok(exchange.answer(posted).await)
    }
}

/// The caller, whatever its scopes: each tool asks for its own.
async fn identify_caller(request: &Request) -> Result<Caller, ApiError> {
    origin::check_agents_page(request, app(request)?)?;
    identify(request, None).await
}

/// The answer to a body that cannot be read, or that is no message.
fn refuse_body(error: &ApiError) -> Response {
    match error.code() {
        Code::ValidationError => Reply::failed(None, Fault::parse_error(error)).into_response(),
        _ => Reply::refusal(None, error),
    }
}

/// One request to the endpoint: all that its messages share.
struct Exchange<'a> {
    routes: &'a BoxEndpoint<'static>,
    request: &'a Request,
    app: &'a App,
    caller: &'a Caller,
}

impl Exchange<'_> {
    async fn answer(&self, posted: Posted) -> Response {
        match posted {
            Posted::One(message) => {
                let id = message.id.clone();
                match self.reply(message).await {
                    Ok(reply) => reply.map_or_else(accepted, Reply::into_response),
                    Err(error) => Reply::refusal(id, &error),
                }
            }
            // Only the oldest of the versions has batches. They are answered one by one: each message counts.
            Posted::Batch(_) if !version::has_batches(self.request.headers()) => {
                let message = format!("a batch is part of version {} alone; send one message", LEGACY_VERSIONS[0]);
                Reply::failed(None, Fault::invalid_request(message)).into_response()
            }
            Posted::Batch(messages) => {
                let mut replies = Vec::new();
                for message in messages {
                    match self.reply(message).await {
                        Ok(reply) => replies.extend(reply),
                        Err(error) => return Reply::refusal(None, &error),
                    }
                }
                if replies.is_empty() { accepted() } else { Reply::batch(&replies) }
            }
        }
    }

    /// The reply to one message; `None`: it needs none.
    ///
    /// # Errors
    /// What refuses the whole request: the credential is good no longer, or, of messages other than a tool's call,
    /// the tenant's limits.
    async fn reply(&self, message: Message) -> Result<Option<Reply>, ApiError> {
        let (id, method) = match message.kind() {
            Ok(message::Kind::Request { id, method }) => (id, method),
            Ok(message::Kind::Notification) => return Ok(None),
            Err(fault) => return Ok(Some(Reply::failed(None, fault))),
        };
        let result = match Era::of(self.request.headers(), &method, message.params.as_deref()) {
            Ok(era) => self.result(era, &method, message.params.as_deref()).await?,
            Err(fault) => Err(fault),
        };
        Ok(Some(match result {
            Ok(result) => Reply::done(id, &result),
            Err(fault) => Reply::failed(Some(id), fault),
        }))
    }

    async fn result(
        &self,
        era: Era,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Result<Box<RawValue>, Fault>, ApiError> {
        if method == "tools/call" {
            return call_tool(self, &era, params).await;
        }
        // Proves the credential and counts against the rate, as every call does.
        admit(self.request, self.app, self.caller)?;
        self.app.store.usage(self.caller).await?;
        let result = match method {
            "initialize" => version::negotiate(params).map(|version| {
                json!({
                    "protocolVersion": version,
                    "capabilities": capabilities(),
                    "serverInfo": version::server_info(),
                    "instructions": INSTRUCTIONS,
                })
            }),
            "ping" => Ok(json!({})),
            "tools/list" => tools::listed(params).map(|tools| json!({"tools": tools})),
            "server/discover" if era.is_modern() => Ok(json!({
                "supportedVersions": version::SUPPORTED,
                "capabilities": capabilities(),
                "instructions": INSTRUCTIONS,
            })),
            _ => Err(era.unknown_method(method)),
        };
        Ok(result.map_err(|fault| era.with_status(fault)).and_then(|mut result| {
            if era.is_modern() && method != "ping" {
                result["ttlMs"] = CACHE_MS.into();
                result["cacheScope"] = "public".into();
            }
            to_raw(&era.completed(result))
        }))
    }
}

fn capabilities() -> Value {
    json!({"tools": {"listChanged": false}})
}

/// A result as text.
fn to_raw(result: &Value) -> Result<Box<RawValue>, Fault> {
    serde_json::value::to_raw_value(result).map_err(|_| Fault::internal())
}

/// The answer to what needs none.
fn accepted() -> Response {
    Response::builder().status(StatusCode::ACCEPTED).finish()
}

/// The errors that end the whole request: the caller is nobody's any more.
fn ends_request(error: &ApiError) -> bool {
    error.code() == Code::Unauthorized
}
