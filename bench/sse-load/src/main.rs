//! sse-load: N readers of event streams on one epoll thread, and a publisher at a fixed rate beside them.
//!
//! Deliveries carry the moment at which they should have been published, in nanoseconds of the monotonic clock: `{"ts":"<19 digits>"`.
//! So both ends must run on one machine, and a publisher that is held up counts as latency. One line of JSON per rate.

use std::{
    collections::HashMap,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

mod hist;
mod publisher;
mod readers;
mod system;

use hist::Histogram;
use publisher::{Plan, Publisher};
use readers::{Deaf, Readers};
use system::{cpu_s, now_ns, own_cpu_s, resident_kb};

const USAGE: &str = "sse-load --addr HOST:PORT [--n 100] [--rates 200,...] [--secs 10] [--size 350]
  --sub PATH --pub PATH --pub-addr HOST:PORT   where to read, and where to publish
  --key KEY | --keys FILE                      Holdfast's keys, one per line: they take turns over the readers and the events
  --pids PID,...                               whose processor time and memory are measured
  --pubs N                                     connections to publish over
  --rare K --expect-rare yes                   each K-th event is of the type score; the readers get only those
  --ids yes                                    tell events apart by their ids, and prove that each reader got each once
  --settle SECONDS                             wait so long before the first event, and measure what idle streams cost
  --deaf N                                     so many more readers, which never read
  --storm yes                                  after a third of the time cut all readers and let them all come back at once";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options: HashMap<&str, &str> = words.chunks(2).filter_map(|pair| Some((pair.first()?.strip_prefix("--")?, pair.get(1)?.as_str()))).collect();
    let option = |name: &str, default: &'static str| options.get(name).copied().unwrap_or(default);
    let number = |name: &str, default: &'static str| option(name, default).parse::<f64>().unwrap_or_else(|_| panic!("--{name} is a number\n{USAGE}"));
    let Some(address) = options.get("addr").copied() else { panic!("{USAGE}") };
    let seconds = Duration::from_secs_f64(number("secs", "10"));
    let rates: Vec<f64> = option("rates", "200").split(',').map(|rate| rate.parse().expect("--rates are numbers")).collect();
    let pids: Vec<u32> = option("pids", "").split(',').filter_map(|pid| pid.parse().ok()).collect();
    let keys: Vec<String> = match options.get("keys") {
        Some(file) => std::fs::read_to_string(file).expect("--keys is a file").lines().map(str::to_owned).collect(),
        None => options.get("key").map(|key| (*key).to_owned()).into_iter().collect(),
    };
    let head = |credential: &str| format!("GET {} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n{credential}", option("sub", "/sub"));
    let heads: Vec<_> = if keys.is_empty() { vec![head("")] } else { keys.iter().map(|key| head(&format!("X-Api-Key: {key}\r\n"))).collect() };
    let (tenants, by_ids, expects_rare) = (keys.len().max(1) as u64, option("ids", "no") == "yes", option("expect-rare", "no") == "yes");
    let plan = Plan {
        address: options.get("pub-addr").copied().unwrap_or(address).into(),
        path: option("pub", "/pub").into(),
        keys,
        connections: number("pubs", "1") as usize,
        size: number("size", "350") as usize,
        rare: number("rare", "1000000000") as u64,
    };
    let (count, deaf) = (number("n", "100") as usize, number("deaf", "0") as usize);

    system::prepare();
    let resident_before = resident_kb(&pids);
    let mut readers = Readers::new(address, heads.clone(), by_ids, count);
    readers.open();
    let mut nothing = Histogram::new();
    let (settling, cpu_before) = (Instant::now(), cpu_s(&pids));
    while settling.elapsed() < Duration::from_secs_f64(number("settle", "1.5")) {
        readers.round(50, u64::MAX, &mut nothing);
    }
    let idle_cpu = (cpu_s(&pids) - cpu_before) / settling.elapsed().as_secs_f64() * 100.0;
    let resident_idle = resident_kb(&pids);
    let deaf_readers = Deaf::open(address, &heads[0], deaf);

    for rate in rates {
        readers.clear();
        let mut latencies = Histogram::new();
        let (begun, since) = (Instant::now(), now_ns());
        let (cpu, own) = (cpu_s(&pids), own_cpu_s());
        let publisher = Publisher::start(&plan, rate);
        let mut storm = None;
        while begun.elapsed() < seconds {
            readers.round(50, since, &mut latencies);
            if option("storm", "no") == "yes" && storm.is_none() && begun.elapsed() > seconds / 3 {
                storm = Some(storm_of(&mut readers, since, &mut latencies));
            }
        }
        let elapsed = begun.elapsed().as_secs_f64();
        let (cpu, own) = (cpu_s(&pids) - cpu, own_cpu_s() - own);
        let (in_time, reads, sent_in_time) = (readers.count.deliveries, readers.count.reads, publisher.sent.load(Relaxed));
        let resident_loaded = resident_kb(&pids);
        // What is on its way may arrive, for as long as something does.
        let finishing = std::thread::spawn(move || publisher.finish());
        let (stopped, mut quiet) = (Instant::now(), Instant::now());
        while !(finishing.is_finished() && quiet.elapsed() > Duration::from_millis(700)) && stopped.elapsed() < Duration::from_secs(12) {
            if readers.round(50, since, &mut latencies) > 0 {
                quiet = Instant::now();
            }
        }
        let (sent, answered) = finishing.join().expect("the publisher has not panicked");
        let for_each = |events: u64| if expects_rare { events / plan.rare } else { events };
        // Only what the server has accepted can be lost. With many tenants each reader expects its own tenant's turns.
        let accepted = if answered.accepted > 0 { answered.accepted.min(sent) } else { sent };
        let expected = for_each(accepted) * count as u64 / tenants;
        let exactly = (by_ids && tenants == 1 && !expects_rare).then_some(&answered.ids);
        let (lost, unequal) = if tenants == 1 { readers.missing(for_each(accepted), exactly) } else { (expected.saturating_sub(readers.count.deliveries), 0) };
        let result = [
            ("n", count as f64),
            ("rate", rate),
            ("sent_per_s", sent_in_time as f64 / elapsed),
            ("sent", sent as f64),
            ("refused", answered.refused as f64),
            ("deliveries_per_s", in_time as f64 / elapsed),
            ("wanted_per_s", for_each((rate * 1e6) as u64) as f64 / 1e6 * count as f64 / tenants as f64),
            ("deliveries", readers.count.deliveries as f64),
            ("lost", lost as f64),
            ("doubled", readers.count.doubled as f64),
            ("resets", readers.count.resets as f64),
            ("unequal_readers", unequal as f64),
            ("closed", readers.count.closed as f64),
            ("refused_readers", readers.count.refused as f64),
            ("p50_us", latencies.quantile(0.5) as f64),
            ("p99_us", latencies.quantile(0.99) as f64),
            ("max_us", latencies.max as f64),
            ("cpu_s", cpu),
            ("cpu_us_per_delivery", cpu * 1e6 / in_time.max(1) as f64),
            ("cpu_us_per_event", cpu * 1e6 / sent_in_time.max(1) as f64),
            ("own_cpu_pct", own / elapsed * 100.0),
            ("messages_per_read", in_time as f64 / reads.max(1) as f64),
            ("idle_cpu_pct", idle_cpu),
            ("idle_kb_per_stream", (resident_idle as f64 - resident_before as f64) / count as f64),
            ("resident_idle_kb", resident_idle as f64),
            ("resident_loaded_kb", resident_loaded as f64),
            ("storm_ms", storm.map_or(0.0, |storm: Duration| storm.as_secs_f64() * 1e3)),
        ];
        let fields: Vec<_> = result.iter().map(|(name, value)| format!("\"{name}\":{}", (value * 1000.0).round() / 1000.0)).collect();
        println!("{{{}}}", fields.join(","));
    }
    drop(deaf_readers);
}

/// Cuts all readers and lets them come back; how long until each has got an event that was due after that.
fn storm_of(readers: &mut Readers, since: u64, latencies: &mut Histogram) -> Duration {
    let (begun, cut) = (Instant::now(), now_ns());
    readers.storm();
    let all = readers.len();
    while begun.elapsed() < Duration::from_secs(60) {
        readers.round(20, since, latencies);
        if readers.live(cut) == all {
            break;
        }
    }
    begun.elapsed()
}
