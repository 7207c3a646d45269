//! echo: what poem-openapi costs by itself. `POST /echo` reads the items of a reserve request and writes them back; no credentials, no Redis,
//! no limits, no metrics. One thread. The address is the first argument.

use poem::{Route, Server, listener::TcpListener};
use poem_openapi::{Object, OpenApi, OpenApiService, payload::Json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Item {
    requester: String,
    resource: String,
    ttl_seconds: Option<i64>,
}

struct Api;

#[OpenApi]
impl Api {
    #[oai(path = "/echo", method = "post")]
    async fn echo(&self, items: Json<Vec<Item>>) -> Json<Vec<Item>> {
        items
    }
}

fn main() -> Result<(), std::io::Error> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8094".into());
    let api = OpenApiService::new(Api, "echo", "1");
    let serve = Server::new(TcpListener::bind(address)).run(Route::new().nest("/", api));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve)
}
