//! The command line as a client: real processes, real terminals.

mod admin;
mod commands;
mod exclusion;
mod help;
mod lost;
mod messages;
mod pipes;
mod recipes;
mod run;
mod terminal;
mod waiting;

use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::support::world::{Replica, Tenant, bound_to_test, eventually, without_settings};

/// The binary with a service and a key.
#[derive(Clone)]
pub struct Cli {
    url: String,
    key: String,
}

impl Cli {
    pub fn new(replica: &Replica, tenant: &Tenant) -> Self {
        Self { url: replica.url.clone(), key: tenant.key.clone() }
    }

    /// The same with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.into(), ..self.clone() }
    }

    /// The binary with arguments; everything of it ends with this test's thread.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = with_default_signals(env!("CARGO_BIN_EXE_holdfast"));
        self.environment(&mut command);
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Any program, for which `holdfast` is on the path and knows the service.
    pub fn environment(&self, command: &mut Command) {
        without_settings(command);
        let binaries = std::path::Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().unwrap();
        let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("HOLDFAST_URL", &self.url).env("HOLDFAST_KEY", &self.key);
        // No profile of whoever runs the tests.
        command.env("XDG_CONFIG_HOME", "/nonexistent");
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// The one JSON document that a command prints.
    pub fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(&[args, &["--json"]].concat());
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// Starts a command that goes on; its output is collected.
    pub fn start(&self, args: &[&str]) -> Started {
        Started(self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// A shell script, `holdfast` on its path.
    pub fn script(&self, text: &str) -> Ran {
        let mut command = with_default_signals("bash");
        self.environment(&mut command);
        Ran::of(command.args(["-c", text]).stdin(Stdio::null()).output().unwrap())
    }

    /// The names that are held.
    pub fn held(&self) -> Vec<String> {
        let rows = self.json(&["list"])["reservations"].take();
        let mut names: Vec<_> =
            rows.as_array().unwrap().iter().map(|row| row["resource"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }
}

/// A program that ends with this test, and ignores no signal, whatever whoever runs the tests ignores (`nohup`, a job of the background).
fn with_default_signals(program: &str) -> Command {
    let mut command = bound_to_test("env");
    command.args(["--default-signal", program]);
    command
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// 128 + signal where one ended it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap());
        Self { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Asserts the exit code, and that standard error says this.
    #[track_caller]
    pub fn fails(&self, code: i32, says: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(says), "{says:?} in {self:?}");
    }

    #[track_caller]
    pub fn succeeds(&self) {
        assert_eq!(self.code, 0, "{self:?}");
    }
}

/// A command that runs.
pub struct Started(Child);

impl Started {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, signal: &str) {
        crate::support::world::signal_to(self.0.id(), signal);
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Ran {
        eventually("the command ends", || self.0.try_wait().unwrap().is_some());
        Ran::of(self.0.wait_with_output().unwrap())
    }
}

/// Children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Whether a process runs: it is there, and no zombie.
pub fn runs(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat[stat.rfind(')').unwrap()..].starts_with(") Z")
}

/// A number that a script writes into a file, as soon as it is there.
pub fn number_in(file: &std::path::Path) -> u32 {
    let mut number = None;
    eventually(&format!("a number is in {}", file.display()), || {
        number = std::fs::read_to_string(file)
            .ok()
            .filter(|text| text.ends_with('\n'))
            .and_then(|text| text.trim().parse().ok());
        number.is_some()
    });
    number.unwrap()
}
