//! The reference: the pair of scripts in `bench/lua` on raw Redis, one command per round trip.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
};

use crate::{engine, names::Names};

/// Pads the event to the 350 bytes or so that it has elsewhere.
const PAD: usize = 150;

/// The two scripts, as loaded.
pub struct Scripts {
    pub reserve: String,
    pub release: String,
}

impl Scripts {
    /// Loads the scripts of a directory into Redis.
    ///
    /// # Errors
    /// A file that cannot be read, or a Redis that does not take it.
    pub fn load(redis: SocketAddr, lua: &Path) -> io::Result<Self> {
        let mut socket = TcpStream::connect(redis)?;
        let mut load = |file: &str| -> io::Result<String> {
            let path = lua.join(file);
            let text = std::fs::read_to_string(&path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
            let mut out = Vec::new();
            command(&mut out, &["SCRIPT", "LOAD", &text]);
            socket.write_all(&out)?;
            // "$40", a line's end, the forty digits, a line's end.
            let mut answer = [0; 47];
            socket.read_exact(&mut answer)?;
            String::from_utf8(answer[5..45].to_vec()).map_err(io::Error::other)
        };
        Ok(Self { reserve: load("reserve.lua")?, release: load("release.lua")? })
    }
}

/// Keys and arguments of both scripts.
pub fn arguments(number: u64) -> [String; 10] {
    let name = format!("r{number:08}");
    let token = format!("tok-{number:08}-0123456789abcdef01234567");
    let fixed = |text: &str| text.to_owned();
    [format!("res:{name}"), fixed("exp"), fixed("events"), fixed("ev"), name, fixed("holder-0001"), token, fixed("30000"), fixed("1000000"), "x".repeat(PAD)]
}

fn command(out: &mut Vec<u8>, parts: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.extend_from_slice(format!("${}\r\n{part}\r\n", part.len()).as_bytes());
    }
}

pub struct Client {
    /// Both commands for the name 0; only the name changes, in places that are known.
    templates: [(Vec<u8>, Vec<usize>); 2],
    names: Names,
    reserve_only: bool,
    held: Option<u64>,
}

impl Client {
    pub fn new(scripts: &Scripts, names: Names, reserve_only: bool) -> Self {
        // Encoding each command anew would be measured too, and Redis is what is to be measured.
        const MARK: u64 = 87_654_321;
        let templates = [&scripts.reserve, &scripts.release].map(|script| {
            let arguments = arguments(MARK);
            let mut parts = vec!["EVALSHA", script, "4"];
            parts.extend(arguments.iter().map(String::as_str));
            let mut out = Vec::new();
            command(&mut out, &parts);
            let places = memchr::memmem::find_iter(&out, MARK.to_string().as_bytes()).collect();
            (out, places)
        });
        Self { templates, names, reserve_only, held: None }
    }
}

impl engine::Client for Client {
    fn ask(&mut self, out: &mut Vec<u8>) {
        let (number, (template, places)) = match self.held {
            None => (self.names.next(), &self.templates[0]),
            Some(number) => (number, &self.templates[1]),
        };
        let digits = format!("{number:08}");
        out.extend_from_slice(template);
        for &place in places {
            out[place..place + digits.len()].copy_from_slice(digits.as_bytes());
        }
        self.held = if self.held.is_some() || self.reserve_only { None } else { Some(number) };
    }

    fn hear(&mut self, answer: &[u8]) -> Result<bool, String> {
        if !answer.ends_with(b"\r\n") {
            return Ok(false);
        }
        // Both answer a number: the deadline, or 1; neither when refused.
        if answer[0] == b':' && answer[1].is_ascii_digit() && answer[1] != b'0' { Ok(true) } else { Err(String::from_utf8_lossy(answer).into_owned()) }
    }

    fn at_rest(&self) -> bool {
        self.held.is_none()
    }
}
