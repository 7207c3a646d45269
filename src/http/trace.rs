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
use uuid::Uuid;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A client's own request id is taken over up to this length.
const REQUEST_ID_BYTES: usize = 64;
/// The most bytes of all headers together, and the most of them. Beyond 100, hyper refuses by itself, with a bare 431.
const HEADER_BYTES: usize = 32 << 10;
const HEADERS: usize = 80;
/// A request that took longer is worth a line at level `info` even if it went well.
const SLOW: Duration = Duration::from_millis(500);

/// A request that is being served.
pub(super) struct Trace {
    begun: Instant,
    id: String,
    pub(super) method: Method,
    pub(super) path: String,
}

impl Trace {
    pub(super) fn begin(request: &Request) -> Self {
        Self { begun: Instant::now(), id: request_id(request.headers()), method: request.method().clone(), path: request.uri().path().to_owned() }
    }

    /// The answer to a request whose head is too large to be served.
    pub(super) fn refusal(&self, request: &Request) -> Option<Response> {
        too_large(request.headers()).then(headers_too_large)
    }

    /// Counts and logs the request, and dresses its answer.
    pub(super) fn end(self, mut answer: Response) -> Response {
        let Self { begun, id, method, path } = self;
        let (status, took) = (answer.status(), begun.elapsed());
        // The pattern, not the path: names in paths would make as many time series.
        count(answer.data::<PathPattern>().map_or("unknown", |pattern| &pattern.0), &method, status, took);
        let (status_code, took_us) = (status.as_u16(), took.as_micros() as u64);
        if status.is_server_error() {
            tracing::warn!(%id, %method, path, status = status_code, took_us, "request");
        } else if took > SLOW {
            tracing::info!(%id, %method, path, status = status_code, took_us, "slow request");
        } else {
            tracing::debug!(%id, %method, path, status = status_code, took_us, "request");
        }
        dress(answer.headers_mut(), &id);
        answer
    }
}

/// The instruments of one route, looked up once per thread: by name and labels that costs a registry's lock and five texts each time.
struct Instruments {
    total: HashMap<(Method, StatusCode), Counter>,
    seconds: Histogram,
}

thread_local! {
    static INSTRUMENTS: RefCell<HashMap<String, Instruments>> = RefCell::default();
}

fn count(route: &str, method: &Method, status: StatusCode, took: Duration) {
    INSTRUMENTS.with_borrow_mut(|known| {
        if !known.contains_key(route) {
            let seconds = metrics::histogram!("holdfast_request_seconds", "route" => route.to_owned());
            known.insert(route.to_owned(), Instruments { total: HashMap::new(), seconds });
        }
        let Some(instruments) = known.get_mut(route) else { return };
        instruments.seconds.record(took.as_secs_f64());
        let total = instruments.total.entry((method.clone(), status)).or_insert_with(|| {
            let (method, status) = (method.to_string(), status.as_u16().to_string());
            metrics::counter!("holdfast_requests_total", "route" => route.to_owned(), "method" => method, "status" => status)
        });
        total.increment(1);
    });
}

/// The headers that every answer has.
fn dress(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID.clone(), id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Answers hold release tokens and keys: nobody on the way keeps them.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
}

/// The client's own id where it is plain, so that its log and ours can be laid beside each other; else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |text: &&str| (1..=REQUEST_ID_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok()).filter(plain).map_or_else(|| Uuid::new_v4().to_string(), Into::into)
}

fn too_large(headers: &HeaderMap) -> bool {
    headers.len() > HEADERS || headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() > HEADER_BYTES
}

fn headers_too_large() -> Response {
    use poem::error::ResponseError;
    super::error::ApiError::new(super::error::Code::HeadersTooLarge, format!("The headers are larger than {HEADER_BYTES} bytes, or more than {HEADERS}."))
        .as_response()
}
