//! A tenant whose connection the test itself watches, and observations of it.

use std::time::Duration;

use super::super::core::{Answer, Core, Item, Packed, VEHICLES, Vehicle, key, unpacked};
use crate::support::redis_server::Redis;

/// Id of a connection as text, and its 16 bytes.
pub(super) const CONNECTION: &str = "00000000-0000-4000-8000-0000000000c1";
pub(super) const BYTES: [u8; 16] = [0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 0xc1];
pub(super) const CELERY: &str = "0";
pub(super) const BULLMQ: &str = "1";
/// Time of these observations, 2026-05-13T12:00:00Z, in microseconds since the Unix epoch.
pub(super) const NOON_US: i64 = 1_778_673_600_000_000;
/// States of jobs.
pub(super) const QUEUED: i64 = 2;
pub(super) const ACTIVE: i64 = 3;
pub(super) const COMPLETED: i64 = 7;
/// States of workers.
pub(super) const ONLINE: i64 = 0;
pub(super) const OFFLINE: i64 = 3;
/// Places of a packed job.
pub(super) const STATE: usize = 6;
pub(super) const CREATED_MS: usize = 9;
pub(super) const STARTED_MS: usize = 10;
pub(super) const COMPLETED_MS: usize = 11;
pub(super) const ERROR: usize = 15;
pub(super) const STEPS: usize = 18;

/// A job's 16 bytes.
pub(super) fn job_id(name: &str) -> [u8; 16] {
    let mut id = [b'.'; 16];
    id[..name.len()].copy_from_slice(name.as_bytes());
    id
}

/// An observation of a job; what is not set is not said.
#[derive(Clone, Copy, Default)]
pub(super) struct JobSeen<'a> {
    pub(super) name: &'a str,
    pub(super) at_us: i64,
    pub(super) state: Option<i64>,
    pub(super) queue: Option<&'a str>,
    pub(super) worker: Option<&'a str>,
    pub(super) error: Option<&'a str>,
    pub(super) runtime_ms: Option<i64>,
    pub(super) extensions: Option<&'a [(String, String)]>,
}

impl JobSeen<'_> {
    pub(super) fn packed(&self) -> Vec<u8> {
        let text = |packed: Packed, text: Option<&str>| match text {
            Some(text) => packed.text(text),
            None => packed.absent(),
        };
        let head =
            Packed::default().array(19).text("J").bytes(&job_id(self.name)).text(self.name).int(self.at_us).int(0);
        let head = match self.state {
            Some(state) => head.int(state),
            None => head.absent(),
        };
        let packed = text(text(text(text(head.absent().int(0), None), self.queue), self.worker), self.error);
        let packed = packed.absent().absent().absent().absent();
        let packed = match self.runtime_ms {
            Some(runtime_ms) => packed.int(runtime_ms),
            None => packed.absent(),
        };
        let packed = packed.absent();
        let Some(extensions) = self.extensions else { return packed.absent().0 };
        let mut details = packed.array(9);
        for _ in 0..8 {
            details = details.absent();
        }
        let array = details.array(2 * extensions.len() as u32);
        extensions.iter().fold(array, |packed, (name, value)| packed.text(name).text(value)).0
    }
}

pub(super) fn job(name: &str, at_us: i64, state: i64) -> Vec<u8> {
    JobSeen { name, at_us, state: Some(state), ..JobSeen::default() }.packed()
}

/// An observation of a worker, with its pid and how often its heartbeats come.
pub(super) fn worker(name: &str, at_us: i64, state: i64, pid: i64, interval_s: Option<&str>) -> Vec<u8> {
    let packed = Packed::default().array(12).text("W").bytes(&job_id(name)).text(name).int(at_us).int(state).text(name);
    let packed = packed.int(pid).absent().absent().absent().absent();
    match interval_s {
        Some(interval_s) => packed.array(2).text("heartbeatFreq").text(interval_s).0,
        None => packed.absent().0,
    }
}

/// What a watcher found of a worker: its state, and the one queue that it named.
pub(super) fn found(name: &str, at_us: i64, state: i64, queue: Option<&str>) -> Vec<u8> {
    let packed = Packed::default().array(13).text("W").bytes(&job_id(name)).text(name).int(at_us).int(state).text(name);
    let packed = packed.absent().absent().absent().absent();
    let packed = match queue {
        Some(queue) => packed.array(1).text(queue),
        None => packed.absent(),
    };
    packed.absent().present().0
}

/// An observation of a queue whose consumers are not known: `exact` is the source that was asked.
pub(super) fn unknown_consumers(name: &str, at_us: i64) -> Vec<u8> {
    Packed::default().array(7).text("Q").absent().text(name).int(at_us).absent().absent().int(1).0
}

/// An observation of a queue's consumers, and how they are known.
pub(super) fn consumers(name: &str, at_us: i64, count: i64, source: i64) -> Vec<u8> {
    Packed::default().array(7).text("Q").absent().text(name).int(at_us).absent().int(count).int(source).0
}

pub(super) fn queue(name: &str, at_us: i64, depth: i64) -> Vec<u8> {
    Packed::default().array(7).text("Q").absent().text(name).int(at_us).int(depth).absent().absent().0
}

/// How observations are sent.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) framework: &'a str,
    /// Of the watcher; empty: they are pushed.
    pub(super) fence: &'a str,
    pub(super) jobs: &'a str,
    pub(super) day: &'a str,
}

pub(super) const WATCHED: Source<'_> = Source { framework: CELERY, fence: "1", jobs: "1000", day: "0" };
pub(super) const PUSHED: Source<'_> = Source { fence: "", ..WATCHED };

/// A tenant with a connection that is watched, and a subscription to what is published.
pub(super) struct Monitor {
    pub(super) core: Core,
    /// Messages that were published.
    published: i64,
    subscription: redis::Connection,
}

impl Monitor {
    fn start(server: &Redis, vehicle: Vehicle) -> Self {
        let mut core = Core::start(server, vehicle);
        let created = ["hash", "name", "celery", "sealed", "{}", "0"];
        assert_eq!(core.ask_as_caller("connection_create", &[&[CONNECTION][..], &created].concat()).word, "OK");
        assert_eq!(core.ask("watch_take", &[CONNECTION, "replica", "6000"]).items[0], Item::Int(1));
        let mut subscription = server.connection();
        redis::cmd("SUBSCRIBE").arg("hf:{1}:events").query::<redis::Value>(&mut subscription).unwrap();
        subscription.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { core, published: 0, subscription }
    }

    pub(super) fn observe(&mut self, source: Source<'_>, observations: &[Vec<u8>]) -> Answer {
        let Source { framework, fence, jobs, day } = source;
        let mut args: Vec<Vec<u8>> = vec![CONNECTION.into(), BYTES.into()];
        args.extend([framework, fence, jobs, day, "4096", "0", ""].map(Vec::from));
        args.extend_from_slice(observations);
        self.core.ask_as_caller("observe", &args)
    }

    /// Observes what must be stored.
    pub(super) fn store(&mut self, source: Source<'_>, observations: &[Vec<u8>]) -> (i64, i64) {
        let answer = self.observe(source, observations);
        assert_eq!(answer.word, "OK", "{answer:?}");
        (answer.items[0].int(), answer.items[1].int())
    }

    /// Changes of the connection that were published since the last time.
    pub(super) fn published(&mut self) -> Vec<Vec<Item>> {
        redis::cmd("PUBLISH").arg("hf:{1}:events").arg("end").exec(&mut self.core.redis).unwrap();
        let mut changes = Vec::new();
        loop {
            let message = self.subscription.recv_response().unwrap();
            let (_, _, payload): (String, String, Vec<u8>) = redis::from_redis_value(message).unwrap();
            if payload == b"end" {
                return changes;
            }
            let items = unpacked(&payload);
            // Behind its number, which is the next one.
            if items[0] == "N".into() && items[3] == "Q".into() {
                self.published += 1;
                assert_eq!((&items[1], items[2].int()), (&"t".into(), self.published));
                assert_eq!((&items[4], items[5].bytes()), (&"t".into(), &BYTES[..]));
                changes.extend(items[6].array().iter().map(|change| change.array().to_vec()));
            }
        }
    }

    /// Published states of jobs, each with the one before.
    pub(super) fn published_states(&mut self) -> Vec<(i64, Option<i64>)> {
        let is_job = |change: &Vec<Item>| change[0] == "j".into();
        let state = |item: &Item| if *item == Item::Absent { None } else { Some(item.int()) };
        self.published().iter().filter(|change| is_job(change)).map(|job| (job[3].int(), state(&job[4]))).collect()
    }

    /// A job as `job_read` answers it: its row and its details.
    pub(super) fn job(&mut self, name: &str) -> (Vec<Item>, Option<Vec<Item>>) {
        let answer = self.core.ask_as_caller("job_read", &[job_id(name)]);
        let array = |item: &Item| unpacked(item.bytes())[0].array().to_vec();
        let details = (answer.items[1] != Item::Absent).then(|| array(&answer.items[1]));
        (array(&answer.items[0]), details)
    }

    /// A worker's row.
    pub(super) fn worker(&mut self, name: &str) -> Vec<Item> {
        let workers = self.core.ask_as_caller("worker_list", &["0", "1000"]);
        let rows = workers.items[1..].iter().map(|row| unpacked(row.bytes())[0].array().to_vec());
        rows.into_iter().find(|row| row[2] == name.into()).unwrap_or_else(|| panic!("{name} is in no row"))
    }

    pub(super) fn maintain(&mut self) -> i64 {
        let answer = self.core.ask_as_caller("queue_upkeep", &["1000", "200"]);
        assert_eq!(answer.word, "OK");
        answer.items[0].int()
    }

    /// Puts a time that is stored for a row in the past, in every index.
    pub(super) fn age(&mut self, index: &str, by_ms: i64) {
        let rows: Vec<(Vec<u8>, i64)> =
            redis::cmd("ZRANGE").arg(key(index)).arg(0).arg(-1).arg("WITHSCORES").query(&mut self.core.redis).unwrap();
        for (row, ms) in rows {
            redis::cmd("ZADD").arg(key(index)).arg(ms - by_ms).arg(row).exec(&mut self.core.redis).unwrap();
        }
    }
}

/// The harness in both ways of calling, each on an empty server.
pub(super) fn each_way(test: impl Fn(&mut Monitor, &Redis)) {
    let dir = tempfile::tempdir().unwrap();
    let server = Redis::start(dir.path(), &[]);
    for vehicle in VEHICLES {
        let mut monitor = Monitor::start(&server, vehicle);
        test(&mut monitor, &server);
        monitor.core.clear();
    }
}
