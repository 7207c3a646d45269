//! Sessions: a browser signs in with an API key once, and a cookie that no script can read stands for it.

use poem::{IntoResponse, Request, Response, http::header};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    registry::{MetaResponses, Registry},
};
use serde::{Deserialize, Serialize};

use crate::{
    http::{
        App,
        app_state::{AppState, Tag},
        auth::{
            AnyScope, Authorized, COOKIE, admit, api_key, authenticate, authenticate_sign_out, count_sign_in,
            origin::Page,
        },
        pipeline::context::app,
        wire::{
            error::{ApiError, Code},
            request::Body,
            response::{Answer, Nothing},
        },
    },
    store::{Caller, SESSION_LONGEST, Usage},
};

pub(in crate::http) struct Sessions;

#[OpenApi(tag = "Tag::Sessions")]
impl Sessions {
    /// Sign in with an API key: a cookie stands for it from then on, with exactly the key's scopes.
    ///
    /// The session ends after 8 h without use, after 7 days in any case, with its key, or with a sign-out. A tenant has at most 1,000;
    /// beyond it the one that would end first ends. What changes something with the cookie must come from a page of this service.
    #[oai(path = "/session", method = "post", operation_id = "signIn")]
    async fn sign_in(&self, request: &Request, body: Body<SignInRequest>) -> Result<SignedIn, ApiError> {
        let app = app(request)?;
        if Page::of(request, app) == Page::Foreign {
            return Err(ApiError::new(Code::Forbidden, "Sign in from a page of this service."));
        }
        count_sign_in(request, app)?;
        let key = body.0.api_key.ok_or_else(|| ApiError::fault("apiKey", "is required"))?;
        let caller = authenticate(request, app, api_key(&key)).await?;
        admit(request, app, &caller)?;
        let session = app.store.open_session(&caller).await?;
        let usage = app.store.usage(&caller).await?;
        Ok(SignedIn {
            answer: Answer(usage.map(|usage| Session::of(&caller, usage))),
            cookie: cookie(app, &session.answer, SESSION_LONGEST.as_secs()),
        })
    }

    /// Show whose session, key or token this is, and how much of what the tier limits is in use.
    #[oai(path = "/session", method = "get", operation_id = "session")]
    async fn show(&self, caller: Authorized<AnyScope>, here: AppState) -> Result<Answer<Session>, ApiError> {
        let told = here.store().usage(&caller.0).await?;
        Ok(Answer(told.map(|usage| Session::of(&caller.0, usage))))
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

/// The cookie of a session: for no script, for no other site's requests that change something, and for TLS alone where there is TLS.
fn cookie(app: &App, text: &str, seconds: u64) -> String {
    let https = app.config.tls.is_some()
        || app.config.public_origin.as_deref().is_some_and(|origin| origin.starts_with("https://"));
    let secure = if https { "; Secure" } else { "" };
    format!("{COOKIE}={text}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// What to sign in with.
#[derive(Debug, Deserialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct SignInRequest {
    /// An API key of the tenant. Tokens open no session.
    api_key: Option<String>,
}

/// Who is signed in.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct Session {
    tenant_id: String,
    name: String,
    tier: String,
    scopes: Vec<String>,
    /// What the tier limits.
    usage: Vec<Used>,
}

/// One limit of the tier, and how much of it is in use.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename_all = "camelCase")]
struct Used {
    /// `RequestRate` (of the burst, in requests), `ConcurrentReservations`, `ApiKeys`, ...
    limit_type: String,
    /// Null: unlimited.
    limit: Option<i64>,
    used: i64,
}

impl Session {
    fn of(caller: &Caller, usage: Usage) -> Self {
        let (tenant, limits) = (caller.tenant(), caller.limits());
        let rate = limits.rate.map(|rate| {
            let left = caller.place().pace().now().map_or(rate.burst.into(), |pace| pace.rate.left(pace.backlog_us));
            (i64::from(rate.burst), i64::from(rate.burst) - left)
        });
        let used = |limit_type: &str, limit: Option<i64>, used| Used { limit_type: limit_type.into(), limit, used };
        Self {
            tenant_id: tenant.id.to_string(),
            name: tenant.name.clone(),
            tier: tenant.tier.name().into(),
            scopes: caller.scopes().names().into_iter().map(Into::into).collect(),
            usage: vec![
                used("RequestRate", rate.map(|(burst, _)| burst), rate.map_or(0, |(_, used)| used)),
                used("ConcurrentReservations", limits.held.map(|held| held as i64), usage.held),
                used("SseConnections", limits.streams.map(|streams| streams as i64), usage.streams),
                used("ApiKeys", limits.keys.map(|keys| keys as i64), usage.keys),
                used("Resources", limits.resources.map(|resources| resources as i64), usage.resources),
                used("Companies", limits.companies.map(|companies| companies as i64), usage.companies),
                used("Connections", limits.connections.map(|connections| connections as i64), usage.connections),
                used("EventsPerDay", limits.queue_events_per_day.map(|events| events as i64), usage.queue_events),
            ],
        }
    }
}

/// Signed in: who it is, and the cookie.
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

/// Signed out: the cookie goes.
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
