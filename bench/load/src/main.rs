//! load: many clients on one thread. Each has one connection and one request in flight; nothing is pipelined.
//!
//! The same loop drives every server, so that two figures differ by the server alone: raw Redis with the reference scripts, a bare
//! echo, Holdfast, etcd's gateway, webdis. Prints one line of JSON. `load --help` and `load KIND --help` list the settings.

mod cpu;
mod engine;
mod etcd;
mod holdfast;
mod http;
mod names;
mod redis;
mod streams;
mod webdis;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    engine::{Pace, Plan},
    names::Names,
};

#[derive(Parser)]
struct Settings {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// The reference pair on raw Redis: EVALSHA of reserve, then of release.
    Redis {
        #[command(flatten)]
        load: Load,
        /// Only the first of the pair, each on a name of its own.
        #[arg(long)]
        reserve_only: bool,
    },
    /// POST the body of a reserve request and read it back.
    Echo {
        #[command(flatten)]
        load: Load,
    },
    /// Reserve over HTTP, then release with the token that came back.
    Holdfast {
        #[command(flatten)]
        load: Load,
        /// An API key; of several, with commas between, each client has one, in turn.
        #[arg(long, value_delimiter = ',', required = true)]
        key: Vec<String>,
        /// Names per request.
        #[arg(long, default_value_t = 1)]
        batch: usize,
        /// Reserve a slot of this pool, by the pool's name.
        #[arg(long, conflicts_with_all = ["batch", "reserve_only"])]
        pool: Option<String>,
        /// Only the first of the pair, each on names of its own, for an hour.
        #[arg(long)]
        reserve_only: bool,
    },
    /// Create tenants, and call once with the key of each.
    Tenants {
        #[command(flatten)]
        load: Load,
        #[arg(long)]
        admin_key: String,
        #[arg(long, default_value = "Pro")]
        tier: String,
    },
    /// etcd's JSON gateway: reserve and release by transactions, or by its lock service.
    Etcd {
        #[command(flatten)]
        load: Load,
        /// The lock service, under this lease; else transactions.
        #[arg(long)]
        lease: Option<i64>,
    },
    /// The reference pair through webdis.
    Webdis {
        #[command(flatten)]
        load: Load,
        /// SHA-1 of the loaded scripts: reserve, release.
        #[arg(long, num_args = 2)]
        scripts: Vec<String>,
    },
    /// Open event streams, say "open" on a line, and read them until the standard input ends.
    Streams {
        #[arg(long)]
        addr: SocketAddr,
        #[arg(long)]
        key: String,
        #[arg(long)]
        number: usize,
    },
}

#[derive(Args)]
struct Load {
    /// Where to connect to.
    #[arg(long)]
    addr: SocketAddr,
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Warm-up before the window, not counted.
    #[arg(long, default_value_t = 0.5)]
    warm_s: f64,
    /// Length of the window.
    #[arg(long, default_value_t = 2.0)]
    window_s: f64,
    /// Open loop: requests per second, sent when due and not when the last was answered; latency counts from then.
    #[arg(long)]
    rate: Option<f64>,
    /// So many requests from the first to the last answer, instead of a window.
    #[arg(long, conflicts_with = "rate")]
    calls: Option<u64>,
    /// From how many names the clients choose; each has its own share of them.
    #[arg(long, default_value_t = 100_000)]
    names: u64,
    /// Processes whose CPU time in the window is reported.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
    /// Where the reference scripts are.
    #[arg(long, default_value = "bench/lua")]
    lua: PathBuf,
}

impl Load {
    fn run<C: engine::Client + 'static>(&self, client: impl FnMut(Names) -> C) {
        let pace = match (self.rate, self.calls) {
            (Some(rate), _) => Pace::Every(Duration::from_secs_f64(1.0 / rate)),
            (None, Some(calls)) => Pace::Calls(calls),
            (None, None) => Pace::Answers,
        };
        let (warm, window) = (Duration::from_secs_f64(self.warm_s), Duration::from_secs_f64(self.window_s));
        let clients = Names::shares(self.names, self.clients).map(client).map(|client| Box::new(client) as Box<dyn engine::Client>).collect();
        match engine::run(&Plan { address: self.addr, pace, warm, window, pids: &self.pids }, clients) {
            Ok(measured) => println!("{measured}"),
            Err(error) => fail(&format!("{}: {error}", self.addr)),
        }
    }
}

fn fail(why: &str) -> ! {
    eprintln!("load: {why}");
    std::process::exit(1);
}

fn main() {
    match Settings::parse().kind {
        Kind::Redis { load, reserve_only } => {
            let pair = redis::Scripts::load(load.addr, &load.lua).unwrap_or_else(|error| fail(&error.to_string()));
            load.run(|names| redis::Client::new(&pair, names, reserve_only));
        }
        Kind::Echo { load } => load.run(|names| holdfast::Echo::new(load.addr, names)),
        Kind::Holdfast { load, key: keys, batch, pool, reserve_only } => {
            let mut keys = keys.iter().cycle().map(String::as_str);
            let mut key = || keys.next().unwrap_or_default();
            if reserve_only {
                let next = holdfast::Counter::default();
                load.run(|_| holdfast::Fill::new(load.addr, key(), batch, next.clone()));
            } else {
                load.run(|names| holdfast::Pairs::new(load.addr, key(), batch, pool.as_deref(), names));
            }
        }
        Kind::Tenants { load, admin_key, tier } => load.run(|_| holdfast::Tenants::new(load.addr, &admin_key, &tier)),
        Kind::Etcd { load, lease } => load.run(|names| etcd::Client::new(load.addr, lease, names)),
        Kind::Webdis { load, scripts } => load.run(|names| webdis::Client::new(load.addr, &scripts, names)),
        Kind::Streams { addr, key, number } => streams::hold(addr, &key, number).unwrap_or_else(|error| fail(&format!("{addr}: {error}"))),
    }
}
