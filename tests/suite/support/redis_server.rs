//! A real redis-server, for one test.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use crate::support::{
    tenant_state::TenantState,
    world::{bound_to_test, eventually, signal_to},
};

/// At the end of a test, the counts of at most this many tenants are checked.
const TENANTS_CHECKED: usize = 500;

/// The only option of a server that has no DEBUG to enable.
const NO_DEBUG_COMMAND: &str = "no debug command";

/// A redis-server process over a directory of its own, on a Unix socket.
pub struct Redis {
    program: PathBuf,
    child: Child,
    dir: PathBuf,
    options: Vec<String>,
}

impl Redis {
    pub fn start(dir: &Path, options: &[&str]) -> Self {
        Self::start_program(Path::new("redis-server"), dir, options)
    }

    /// Starts a server before version 7, which does not know every option that the others are given.
    pub fn start_old(program: &Path, dir: &Path) -> Self {
        let options = [NO_DEBUG_COMMAND.to_owned()];
        let child = Self::spawn(program, dir, &options);
        Self { program: program.to_owned(), child, dir: dir.to_owned(), options: options.to_vec() }
    }

    /// Starts a server of another version, or a Valkey.
    pub fn start_program(program: &Path, dir: &Path, options: &[&str]) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let child = Self::spawn(program, dir, &options);
        Self { program: program.to_owned(), child, dir: dir.to_owned(), options }
    }

    fn spawn(program: &Path, dir: &Path, options: &[String]) -> Child {
        let socket = dir.join("redis.sock");
        let _ = std::fs::remove_file(&socket);
        let mut command = bound_to_test(program.to_str().expect("a path in UTF-8"));
        command.args(["--port", "0", "--save", "", "--unixsocketperm", "700"]);
        let options = match options {
            [only] if only == NO_DEBUG_COMMAND => &[],
            options => {
                command.args(["--enable-debug-command", "yes"]);
                options
            }
        };
        let child = command
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(dir)
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        eventually("redis answers", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        child
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.dir.join("redis.sock").display())
    }

    /// The directory of its files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts again over the files of the killed one.
    pub fn restart(&mut self) {
        self.child = Self::spawn(&self.program, &self.dir, &self.options);
    }

    /// The same, with a delay per loaded key in microseconds.
    pub fn restart_slowly(&mut self, key_us: u32) {
        let mut options = self.options.clone();
        options.extend(["--key-load-delay".to_owned(), key_us.to_string()]);
        self.child = Self::spawn(&self.program, &self.dir, &options);
    }

    pub fn signal(&self, signal: &str) {
        signal_to(self.child.id(), signal);
    }

    pub fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// Sends a command, its words separated by spaces; returns the reply.
    pub fn ask<T: redis::FromRedisValue>(&self, words: &str) -> T {
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        command.query(&mut self.connection()).unwrap()
    }

    /// Each key's serialised value, and whether it expires; without what every call may change: the rate's state, when API keys were
    /// last used, when a limit was last published.
    pub fn snapshot(&self) -> BTreeMap<String, (Vec<u8>, bool)> {
        let mut connection = self.connection();
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
        keys.into_iter()
            .filter(|key| !key.ends_with(":used"))
            .map(|key| {
                if key.ends_with(":meta") {
                    let mut fields: BTreeMap<String, Vec<u8>> =
                        redis::cmd("HGETALL").arg(&key).query(&mut connection).unwrap();
                    fields.retain(|field, _| !field.starts_with("reached:"));
                    let state = fields.remove("state").map(|packed| TenantState::read(&packed).without_rate());
                    return (key, (format!("{state:?} {fields:?}").into_bytes(), false));
                }
                let value: Vec<u8> = redis::cmd("DUMP").arg(&key).query(&mut connection).unwrap();
                let ttl: i64 = redis::cmd("PTTL").arg(&key).query(&mut connection).unwrap();
                (key, (value, ttl >= 0))
            })
            .collect()
    }

    /// A tenant's packed state, by the key of its `meta`.
    pub fn tenant_state(&self, meta: &str) -> TenantState {
        TenantState::read(&redis::cmd("HGET").arg(meta).arg("state").query::<Vec<u8>>(&mut self.connection()).unwrap())
    }

    /// Asserts, whatever a test did, that the count of reservations in each tenant's state is right. Skips a Redis that does not answer.
    fn check_counts(&self) {
        let Ok(mut connection) = redis::Client::open(self.url())
            .and_then(|client| client.get_connection_with_timeout(Duration::from_secs(1)))
        else {
            return;
        };
        let _ = connection.set_read_timeout(Some(Duration::from_secs(1)));
        let Ok(metas) = redis::cmd("KEYS").arg("hf:*:meta").query::<Vec<String>>(&mut connection) else { return };
        for meta in metas.iter().take(TENANTS_CHECKED) {
            let held = meta.replace(":meta", ":held");
            let both = redis::pipe().atomic().cmd("HGET").arg(meta).arg("state").cmd("HKEYS").arg(&held).query::<(
                Option<Vec<u8>>,
                Vec<Vec<u8>>,
            )>(
                &mut connection,
            );
            if let Ok((Some(state), fields)) = both {
                // Fields with a NUL say something of pools.
                let present = fields.iter().filter(|field| !field.contains(&0)).count();
                assert_eq!(TenantState::read(&state).held, present as i64, "the count in {meta} is right");
            }
        }
    }

    /// Overwrites a tenant's packed state.
    pub fn set_tenant_state(&self, meta: &str, state: &TenantState) {
        redis::cmd("HSET").arg(meta).arg("state").arg(state.packed()).exec(&mut self.connection()).unwrap();
    }

    /// One field of one section of INFO; `None` also while it does not answer, as just after a promotion.
    pub fn info(&self, section: &str, field: &str) -> Option<String> {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().ok()?;
        let text: String = redis::cmd("INFO").arg(section).query(&mut connection).ok()?;
        text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(|value| value.trim().to_owned()))
    }

    /// How many calls of functions it has run, failed ones too.
    pub fn function_calls(&self) -> u64 {
        self.function_count("calls")
    }

    /// How many of them succeeded.
    pub fn function_successes(&self) -> u64 {
        self.function_count("calls") - self.function_count("failed_calls")
    }

    fn function_count(&self, name: &str) -> u64 {
        let stats = self.info("commandstats", "cmdstat_fcall").unwrap_or_default();
        let count = stats.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_counts();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
