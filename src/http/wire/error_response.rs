//! The answer that an error gives: one body for every status of 400 or more, and its description in the document.

use std::borrow::Cow;

use poem::{
    Response,
    error::ResponseError,
    http::{StatusCode, header},
};
use poem_openapi::{
    ApiResponse, Object,
    registry::{MetaResponses, Registry},
};
use serde_json::{Map, Value};

use crate::{
    domain::{
        field_errors::FieldError,
        reservation::TokenStatus,
        tier::{LimitType, Tier},
    },
    http::wire::{
        error::{ApiError, Code},
        headers::HOLDFAST_TIME,
        word::Word,
    },
};

/// Where errors are explained.
const DOCS: &str = "/docs#errors";

impl ResponseError for ApiError {
    fn status(&self) -> StatusCode {
        Self::status(self)
    }

    fn as_response(&self) -> Response {
        self.respond(false)
    }
}

impl ApiError {
    /// The answer on the queue monitor's paths, whose clients read `docs_url` beside `docsUrl`.
    pub(in crate::http) fn as_monitor_response(&self) -> Response {
        self.respond(true)
    }

    fn respond(&self, with_docs_url: bool) -> Response {
        let mut answer = Response::builder().status(self.code.status()).content_type("application/json");
        if let Some(seconds) = self.retry_after_s {
            answer = answer.header(header::RETRY_AFTER, seconds);
        }
        if let Some(allow) = &self.allow {
            answer = answer.header(header::ALLOW, allow);
        }
        if let Some(now_us) = self.now_us {
            answer = answer.header(&HOLDFAST_TIME, now_us);
        }
        answer.body(self.body(with_docs_url))
    }

    /// The answer's body. Its texts are shortened, so that an error is never long, whatever was sent.
    pub(in crate::http) fn body(&self, with_docs_url: bool) -> String {
        let mut left = MAX_DETAILS_BYTES;
        let details = self.details().iter().map_while(|FieldError { path, message }| {
            let detail = serde_json::json!({"path": shortened(path), "message": shortened(message)});
            left = left.checked_sub(detail.to_string().len())?;
            Some(detail)
        });
        let details: Vec<_> = details.collect();
        let message = shortened(&self.message);
        let mut error = serde_json::json!({"code": self.code, "message": message, "docsUrl": DOCS, "details": details});
        if with_docs_url {
            error["docs_url"] = DOCS.into();
        }
        let mut body = Map::new();
        body.insert("error".into(), error);
        body.extend(self.beside.clone());
        if let Some(seconds) = self.retry_after_s {
            body.insert("retryAfter".into(), seconds.into());
        }
        Value::Object(body).to_string()
    }
}

/// Bytes of the details of one answer, as JSON, 10 KiB: with the message, the answer stays below 16 KiB.
const MAX_DETAILS_BYTES: usize = 10 << 10;
/// Characters of one text of an error, 600. As JSON, a character takes up to 6 bytes.
const MAX_TEXT_CHARS: usize = 600;

fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        None => text.into(),
        Some((end, _)) => format!("{}...", &text[..end]).into(),
    }
}

impl ApiResponse for ApiError {
    /// None: which errors an operation gives is said in `http::openapi::errors`, where all operations share their descriptions.
    fn meta() -> MetaResponses {
        MetaResponses { responses: Vec::new() }
    }

    fn register(_: &mut Registry) {}
}

/// The body of every answer with a status of 400 or more.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct ErrorBody {
    /// What went wrong.
    error: ErrorDetail,
    /// Of 429, and of a 403 that a higher tier would allow: whether a higher tier allows more.
    upgrade_required: Option<bool>,
    /// Of 429: which limit was reached.
    limit_type: Option<Word<LimitType>>,
    /// Of 429: that limit.
    limit: Option<i64>,
    /// The tenant's tier.
    tier: Option<Word<Tier>>,
    /// When to try again, in seconds: of every 429 and 503, as in the header `Retry-After`.
    retry_after: Option<i64>,
    /// Of `INVALID_RELEASE_TOKEN`: an item per request, in its order.
    results: Option<Vec<TokenFault>>,
}

/// What was wrong with one request of a call that was refused for a release token.
#[derive(Debug, Object)]
pub(in crate::http) struct TokenFault {
    resource: String,
    requester: String,
    status: Word<TokenStatus>,
}

/// What went wrong.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct ErrorDetail {
    /// For programs.
    code: Word<Code>,
    /// For people: what is wrong, and the way out.
    message: String,
    /// Where it is explained.
    docs_url: String,
    /// The same address, on the paths of the queue monitor alone.
    #[oai(rename = "docs_url")]
    docs_url_of_monitor: Option<String>,
    /// Each error of the input, with its path; at most 20.
    details: Vec<ErrorFault>,
}

/// One error of the input.
#[derive(Debug, Object)]
pub(in crate::http) struct ErrorFault {
    /// The path: `[3].ttlSeconds`.
    path: String,
    /// What is wrong, and what would be right.
    message: String,
}
