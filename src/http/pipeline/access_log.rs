//! Access log and request metrics: one log line and one count per request.
//!
//! Neither holds keys, tokens, bodies or query strings; a request is named by its path alone.

use std::{
    cell::RefCell,
    collections::HashMap,
    time::{Duration, Instant},
};

use metrics::{Counter, Histogram};
use poem::{
    PathPattern, Request, Response,
    http::{HeaderValue, Method, StatusCode},
};

use crate::{
    http::pipeline::request_head::{add_common_headers, request_id},
    redis::outage_is_logged,
};

/// A request that took longer is logged at level `info` even if it succeeded.
const SLOW: Duration = Duration::from_millis(500);

/// The log entry of a request that is being served.
pub(super) struct AccessLog {
    begun: Instant,
    id: HeaderValue,
    method: Method,
    path: String,
    /// How long its answer was held back because its caller asked for that.
    held: Duration,
}

impl AccessLog {
    pub(super) fn begin(request: &Request) -> Self {
        Self::begin_as(request_id(request.headers()), request)
    }

    /// The entry of a request that has the id of another.
    pub(super) fn begin_as(id: HeaderValue, request: &Request) -> Self {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        Self { begun: Instant::now(), id, method, path, held: Duration::ZERO }
    }

    /// Waits for what is answered late. That time is not the service's own.
    pub(super) async fn hold<T>(&mut self, late: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let answer = late.await;
        self.held += begun.elapsed();
        answer
    }

    pub(super) fn id(&self) -> &HeaderValue {
        &self.id
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// The path as it came, before it is rewritten.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Counts and logs the request, and adds the headers that every response has.
    pub(super) fn end(self, mut response: Response) -> Response {
        let Self { begun, id, method, path, held } = self;
        let (status, took) = (response.status(), begun.elapsed().saturating_sub(held));
        // Labelled by the route's pattern, not by the path, in which every name would make a time series of its own.
        count(response.data::<PathPattern>().map_or("unknown", |pattern| &pattern.0), &method, status, took);
        let (id_text, status_code, took_us) =
            (id.to_str().unwrap_or_default(), status.as_u16(), took.as_micros() as u64);
        if status.is_server_error() && !outage_is_logged() {
            tracing::warn!(id = %id_text, %method, path, status = status_code, took_us, "request");
        } else if took > SLOW {
            tracing::info!(id = %id_text, %method, path, status = status_code, took_us, "slow request");
        } else {
            tracing::debug!(id = %id_text, %method, path, status = status_code, took_us, "request");
        }
        add_common_headers(response.headers_mut(), id);
        response
    }
}

/// The metrics of one route, kept per thread: looking them up by name and labels takes a lock and five strings each
/// time.
struct RouteMetrics {
    /// By method and status: so few that a linear search is faster than a map.
    totals: Vec<(&'static str, StatusCode, Counter)>,
    seconds: Histogram,
}

impl RouteMetrics {
    fn new(route: &str) -> Self {
        let seconds = metrics::histogram!("holdfast_request_seconds", "route" => route.to_owned());
        Self { totals: Vec::new(), seconds }
    }

    fn count(&mut self, route: &str, method: &'static str, status: StatusCode, took: Duration) {
        self.seconds.record(took.as_secs_f64());
        match self.totals.iter().find(|known| (known.0, known.1) == (method, status)) {
            Some((.., total)) => total.increment(1),
            None => {
                let (route, code) = (route.to_owned(), status.as_u16().to_string());
                let total = metrics::counter!("holdfast_requests_total", "route" => route, "method" => method, "status" => code);
                total.increment(1);
                self.totals.push((method, status, total));
            }
        }
    }
}

thread_local! {
    static ROUTES: RefCell<HashMap<String, RouteMetrics>> = RefCell::default();
}

fn count(route: &str, method: &Method, status: StatusCode, took: Duration) {
    count_labelled(route, method_label(method), status, took);
}

fn count_labelled(route: &str, method: &'static str, status: StatusCode, took: Duration) {
    ROUTES.with_borrow_mut(|routes| match routes.get_mut(route) {
        Some(metrics) => metrics.count(route, method, status, took),
        None => {
            routes.entry(route.to_owned()).or_insert(RouteMetrics::new(route)).count(route, method, status, took);
        }
    });
}

/// Counts a request that could not be read.
pub(super) fn count_unread(status: StatusCode) {
    count_labelled("unknown", "other", status, Duration::ZERO);
}

/// Label of a method. Invented methods share one, so that they make no time series of their own.
fn method_label(method: &Method) -> &'static str {
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
