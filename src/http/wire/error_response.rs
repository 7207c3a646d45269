//! The answer that an error gives: one body for every status of 400 or more, and its description in the document.

use std::borrow::Cow;

use poem::{
    Response,
    error::ResponseError,
    http::{StatusCode, header},
};
use poem_openapi::{
    ApiResponse, Object,
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::Type,
};
use serde_json::{Map, Value};

use crate::{
    domain::{
        closed_set::ClosedSet,
        field_errors::FieldError,
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
    fn meta() -> MetaResponses {
        let mut responses: Vec<MetaResponse> = Vec::new();
        for code in Code::VALUES {
            let status = code.status();
            // Of several codes with one status, the first describes it.
            if !responses.iter().any(|response| response.status == Some(status.as_u16())) {
                let content = vec![MetaMediaType { content_type: "application/json", schema: ErrorBody::schema_ref() }];
                responses.push(MetaResponse {
                    description: code.meaning(),
                    status: Some(status.as_u16()),
                    status_range: None,
                    content,
                    headers: vec![],
                });
            }
        }
        MetaResponses { responses }
    }

    fn register(registry: &mut Registry) {
        ErrorBody::register(registry);
    }
}

/// The body of every answer with a status of 400 or more.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub(in crate::http) struct ErrorBody {
    /// What went wrong.
    error: ErrorDetail,
    /// Whether a higher tier allows more.
    upgrade_required: Option<bool>,
    /// Which limit was reached.
    limit_type: Option<Word<LimitType>>,
    /// That limit.
    limit: Option<i64>,
    /// The tenant's tier.
    tier: Option<Word<Tier>>,
    /// When to try again, in seconds.
    retry_after: Option<i64>,
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
    /// Each error of the input, with its path.
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
