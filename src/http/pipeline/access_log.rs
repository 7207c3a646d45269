//! One log line and one count per request, and the headers that every answer has.
//!
//! Neither says anything of keys, tokens, bodies or query strings: the path alone names what was asked.

use std::{
    cell::RefCell,
    collections::HashMap,
    time::{Duration, Instant},
};

use metrics::{Counter, Histogram};
use poem::{
    PathPattern, Request, Response,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
};
use uuid::{Uuid, fmt::Hyphenated};

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A client's own request id is taken over up to this length.
const REQUEST_ID_BYTES: usize = 64;
/// The most bytes of all headers together, and the most of them. Beyond 100, hyper refuses by itself, with a bare 431.
const HEADER_BYTES: usize = 32 << 10;
const HEADERS: usize = 80;
/// A request that took longer is worth a line at level `info` even if it went well.
const SLOW: Duration = Duration::from_millis(500);

/// A request that is being served.
pub(in crate::http) struct Trace {
    begun: Instant,
    id: HeaderValue,
    pub(in crate::http) method: Method,
    pub(in crate::http) path: String,
}

impl Trace {
    pub(in crate::http) fn begin(request: &Request) -> Self {
        Self {
            begun: Instant::now(),
            id: request_id(request.headers()),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
        }
    }

    /// The answer to a request whose head is too large to be served.
    pub(in crate::http) fn refusal(&self, request: &Request) -> Option<Response> {
        too_large(request.headers()).then(headers_too_large)
    }

    /// Counts and logs the request, and dresses its answer.
    pub(in crate::http) fn end(self, mut answer: Response) -> Response {
        let Self { begun, id, method, path } = self;
        let (status, took) = (answer.status(), begun.elapsed());
        // The pattern, not the path: names in paths would make as many time series.
        count(answer.data::<PathPattern>().map_or("unknown", |pattern| &pattern.0), &method, status, took);
        let (status_code, took_us) = (status.as_u16(), took.as_micros() as u64);
        if status.is_server_error() {
            tracing::warn!(id = %text(&id), %method, path, status = status_code, took_us, "request");
        } else if took > SLOW {
            tracing::info!(id = %text(&id), %method, path, status = status_code, took_us, "slow request");
        } else {
            tracing::debug!(id = %text(&id), %method, path, status = status_code, took_us, "request");
        }
        dress(answer.headers_mut(), id);
        answer
    }
}

/// The instruments of one route, looked up once per thread: by name and labels that costs a registry's lock and five texts each time.
struct Instruments {
    /// By method and status: a few, so that looking through them is quicker than any map.
    totals: Vec<(&'static str, StatusCode, Counter)>,
    seconds: Histogram,
}

impl Instruments {
    fn of(route: &str) -> Self {
        Self {
            totals: Vec::new(),
            seconds: metrics::histogram!("holdfast_request_seconds", "route" => route.to_owned()),
        }
    }

    fn count(&mut self, route: &str, method: &'static str, status: StatusCode, took: Duration) {
        self.seconds.record(took.as_secs_f64());
        match self.totals.iter().find(|known| (known.0, known.1) == (method, status)) {
            Some((.., total)) => total.increment(1),
            None => {
                let total = metrics::counter!("holdfast_requests_total", "route" => route.to_owned(), "method" => method, "status" => status.as_u16().to_string());
                total.increment(1);
                self.totals.push((method, status, total));
            }
        }
    }
}

thread_local! {
    static INSTRUMENTS: RefCell<HashMap<String, Instruments>> = RefCell::default();
}

fn count(route: &str, method: &Method, status: StatusCode, took: Duration) {
    let method = known_name(method);
    INSTRUMENTS.with_borrow_mut(|known| match known.get_mut(route) {
        Some(instruments) => instruments.count(route, method, status, took),
        None => known.entry(route.to_owned()).or_insert(Instruments::of(route)).count(route, method, status, took),
    });
}

/// A method as it is counted: whoever makes up others makes no time series of them.
fn known_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The headers that every answer has.
fn dress(headers: &mut HeaderMap, id: HeaderValue) {
    headers.insert(REQUEST_ID.clone(), id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Answers hold release tokens and keys: nobody on the way keeps them.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
}

/// The client's own id where it is plain, so that its log and ours can be laid beside each other; else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |id: &&HeaderValue| {
        (1..=REQUEST_ID_BYTES).contains(&id.len())
            && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    };
    let new = || {
        let mut text = [0; Hyphenated::LENGTH];
        // Digits, letters and hyphens are always a header's value.
        HeaderValue::from_str(Uuid::new_v4().hyphenated().encode_lower(&mut text))
            .unwrap_or(HeaderValue::from_static("none"))
    };
    headers.get(&REQUEST_ID).filter(plain).cloned().unwrap_or_else(new)
}

/// An id as the log shows it.
fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

fn too_large(headers: &HeaderMap) -> bool {
    headers.len() > HEADERS
        || headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() > HEADER_BYTES
}

fn headers_too_large() -> Response {
    use poem::error::ResponseError;
    crate::http::wire::error::ApiError::new(
        crate::http::wire::error::Code::HeadersTooLarge,
        format!("The headers are larger than {HEADER_BYTES} bytes, or more than {HEADERS}."),
    )
    .as_response()
}
