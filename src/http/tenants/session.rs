//! Routes of sessions: a browser signs in with an API key once, and then sends a cookie that no script can read.

use poem::{IntoResponse, Request, Response, http::header};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    registry::{MetaResponses, Registry},
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        access::Scope,
        tier::{LimitType, Tier},
    },
    http::{
        App,
        app_state::{AppState, Tag},
        auth::{
            AnyScope, Authorized, COOKIE, SECURE_COOKIE, admit, api_key, authenticate, authenticate_sign_out,
            count_sign_in_failure, origin, origin::Page,
        },
        pipeline::context::app,
        wire::{
            error::ApiError,
            request::Unproved,
            response::{Answer, Nothing},
            word::Word,
        },
    },
    store::{Caller, SESSION_LONGEST, Usage},
};

pub(in crate::http) struct Sessions;

#[OpenApi(tag = "Tag::Sessions")]
impl Sessions {
    /// Sign in with an API key: from then on a cookie stands for the key, with exactly its scopes.
    ///
    /// The session ends after 8 h without use, after 7 days in any case, with its key, or with a sign-out. A tenant has at most 1,000;
    /// beyond it the one that would end first ends. Calls that change something with the cookie must come from a page of this service.
    #[oai(path = "/session", method = "post", operation_id = "signIn")]
    async fn sign_in(&self, request: &Request, body: Unproved<SignInRequest>) -> Result<SignedIn, ApiError> {
        let app = app(request)?;
        if Page::of(request, app) == Page::Foreign {
            return Err(origin::foreign(request, app, "Sign in from a page of this service."));
        }
        let key = body.0.api_key.ok_or_else(|| ApiError::field("apiKey", "is required"))?;
        let caller =
            authenticate(request, app, api_key(&key)).await.map_err(|error| match error.status().as_u16() {
                401 => count_sign_in_failure(request, app, error),
                _ => error,
            })?;
        admit(request, app, &caller)?;
        let session = app.store.open_session(&caller).await?;
        let usage = app.store.usage(&caller).await?;
        let stored = app.store.stored_bytes(&caller).await?;
        let caller = app.store.present_caller(caller);
        Ok(SignedIn {
            answer: Answer(usage.map(|usage| Session::of(&caller, usage, stored))),
            cookie: cookie(app, &session.answer, SESSION_LONGEST.as_secs()),
        })
    }

    /// Show the tenant and scopes of the credential, and how much of each limit of the tier is in use.
    #[oai(path = "/session", method = "get", operation_id = "session")]
    async fn show(&self, caller: Authorized<AnyScope>, app_state: AppState) -> Result<Answer<Session>, ApiError> {
        let stored = app_state.store().stored_bytes(&caller.0).await?;
        let stamped = app_state.store().usage(&caller.0).await?;
        let caller = app_state.store().present_caller(caller.0);
        Ok(Answer(stamped.map(|usage| Session::of(&caller, usage, stored))))
    }

    /// Sign out. The session is refused at once, on every replica, and its streams end.
    #[oai(path = "/session", method = "delete", operation_id = "signOut")]
    async fn sign_out(&self, request: &Request) -> Result<SignedOut, ApiError> {
        let app = app(request)?;
        let caller = authenticate_sign_out(request).await?;
        app.store.end_session(&caller).await?;
        Ok(SignedOut { cookie: cookie(app, "", 0) })
    }
}

/// The session's cookie: HttpOnly (no script reads it), SameSite=Lax (no other site's writes carry it), Secure and bound to
/// this host where browsers come by https.
fn cookie(app: &App, text: &str, seconds: u64) -> String {
    let (name, secure) = if app.config.is_https() { (SECURE_COOKIE, "; Secure") } else { (COOKIE, "") };
    format!("{name}={text}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// A credential to sign in with.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[oai(rename_all = "camelCase")]
struct SignInRequest {
    /// An API key of the tenant. Tokens open no session.
    api_key: Option<String>,
}

/// The caller, and how much of its tier it uses.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct Session {
    tenant_id: String,
    name: String,
    tier: Word<Tier>,
    scopes: Vec<Word<Scope>>,
    /// Use of each limit of the tier.
    usage: Vec<LimitUsage>,
}

/// One limit of the tier, and how much of it is in use.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct LimitUsage {
    /// Of `RequestRate`, limit and use are of the burst, in requests.
    limit_type: Word<LimitType>,
    /// Null: unlimited.
    limit: Option<i64>,
    used: i64,
}

impl Session {
    fn of(caller: &Caller, usage: Usage, stored: i64) -> Self {
        let (tenant, limits) = (caller.tenant(), caller.limits());
        let burst = limits.rate.map(|rate| i64::from(rate.burst));
        let burst_left =
            caller.tenant_handle().rate_state().now().map(|state| state.rate.left(state.backlog_us)).or(burst);
        let burst_used = burst.zip(burst_left).map_or(0, |(burst, left)| (burst - left).max(0)); // what is known may be of another tier
        let of = |limit_type, limit: Option<u64>, used| LimitUsage {
            limit_type: Word(limit_type),
            limit: limit.map(|limit| limit as i64),
            used,
        };
        Self {
            tenant_id: tenant.id.to_string(),
            name: tenant.name.clone(),
            tier: Word(tenant.tier),
            scopes: caller.scopes().iter().map(Word).collect(),
            usage: vec![
                LimitUsage { limit_type: Word(LimitType::RequestRate), limit: burst, used: burst_used },
                of(LimitType::ConcurrentReservations, limits.held, usage.held),
                of(LimitType::SseConnections, limits.streams, usage.streams),
                of(LimitType::ApiKeys, limits.keys, usage.keys),
                of(LimitType::Resources, limits.resources, usage.resources),
                of(LimitType::Companies, limits.companies, usage.companies),
                of(LimitType::Connections, limits.connections, usage.connections),
                of(LimitType::EventsPerDay, limits.queue_events_per_day, usage.queue_events),
                of(LimitType::StoredBytes, limits.stored_bytes, stored),
            ],
        }
    }
}

/// Answer to a sign-in, with the cookie.
struct SignedIn {
    answer: Answer<Session>,
    cookie: String,
}

impl IntoResponse for SignedIn {
    fn into_response(self) -> Response {
        self.answer.with_header(header::SET_COOKIE, self.cookie).into_response()
    }
}

impl ApiResponse for SignedIn {
    fn meta() -> MetaResponses {
        Answer::<Session>::meta()
    }

    fn register(registry: &mut Registry) {
        Answer::<Session>::register(registry);
    }
}

/// Answer to a sign-out, which removes the cookie.
struct SignedOut {
    cookie: String,
}

impl IntoResponse for SignedOut {
    fn into_response(self) -> Response {
        Nothing.with_header(header::SET_COOKIE, self.cookie).into_response()
    }
}

impl ApiResponse for SignedOut {
    fn meta() -> MetaResponses {
        Nothing::meta()
    }

    fn register(registry: &mut Registry) {
        Nothing::register(registry);
    }
}
