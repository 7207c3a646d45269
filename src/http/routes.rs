//! The router: one table of whole paths.
//!
//! poem would nest the parts of the API under their prefixes. Each nesting costs every request a second look-up, a rewritten URI and three
//! boxed futures: 7 % of its instructions.

use std::collections::HashMap;

use poem::{EndpointExt, IntoEndpoint, endpoint::BoxEndpoint, http::Method};
use poem_openapi::{
    OpenApi, OpenApiService,
    registry::{MetaApi, Registry},
};

use crate::http::{
    health,
    mcp::{self, Mcp},
    openapi,
    openapi::{API, Api, MONITOR, Monitor},
    pages,
    reservations::{Reservations, tickets::Tickets},
};

/// Endpoints by path and method.
type Table = HashMap<String, HashMap<Method, BoxEndpoint<'static>>>;

/// Every route of the service.
pub(super) fn routes() -> BoxEndpoint<'static> {
    OpenApiService::new(Everything, "Holdfast", env!("CARGO_PKG_VERSION")).into_endpoint()
}

struct Everything;

impl OpenApi for Everything {
    /// For poem's check that no operation id occurs twice; the document itself is made in `openapi.rs`.
    fn meta() -> Vec<MetaApi> {
        Api::meta().into_iter().chain(Monitor::meta()).collect()
    }

    fn register(_: &mut Registry) {}

    fn add_routes(self, table: &mut Table) {
        add(table, API, openapi::api());
        add(table, MONITOR, openapi::monitor_api());
        table.insert(mcp::PATH.to_owned(), HashMap::from([(Method::POST, Mcp::new(routes_of_tools()).boxed())]));
        add_page(table, "/healthz", health::healthz);
        add_page(table, "/readyz", health::readyz);
        add_page(table, "/metrics", health::metrics_text);
        add_page(table, "/openapi.json", pages::openapi_json);
        add_page(table, "/docs", pages::docs);
        add_page(table, "/docs/*path", pages::docs);
        add_page(table, "/guide", pages::guide);
        add_page(table, "/guide/*path", pages::guide);
        add_page(table, "/", pages::index);
        add_page(table, "/dashboard/*file", pages::file);
        add_page(table, "/favicon.ico", pages::icon);
    }
}

/// The routes that tools of agents stand for: the same endpoints once more, under the same paths.
fn routes_of_tools() -> BoxEndpoint<'static> {
    OpenApiService::new(Tools, "Holdfast", env!("CARGO_PKG_VERSION")).into_endpoint()
}

struct Tools;

impl OpenApi for Tools {
    fn meta() -> Vec<MetaApi> {
        Vec::new()
    }

    fn register(_: &mut Registry) {}

    fn add_routes(self, table: &mut Table) {
        add(table, API, (Reservations, Tickets));
    }
}

fn add(table: &mut Table, prefix: &str, part: impl OpenApi) {
    let mut paths = Table::new();
    part.add_routes(&mut paths);
    table.extend(paths.into_iter().map(|(path, methods)| (format!("{prefix}{path}"), methods)));
}

fn add_page(table: &mut Table, path: &str, page: impl IntoEndpoint<Endpoint: 'static>) {
    table.insert(path.to_owned(), HashMap::from([(Method::GET, page.map_to_response().boxed())]));
}
