//! Clients of Holdfast, and of the echo that is its floor.

use std::{cell::Cell, fmt::Write, net::SocketAddr, rc::Rc};

use memchr::memmem;

use crate::{
    engine::Client,
    http::{body, request, texts_after},
    names::Names,
};

const RESERVE: &str = "/api/v1/Reservation/reserve";
const UNRESERVE: &str = "/api/v1/Reservation/unreserve";
const REQUESTER: &str = "holder-0001";
/// Of a pair: long enough that nothing lapses within a run.
const PAIR_TTL_S: u64 = 30;
const FILL_TTL_S: u64 = 3_600;

fn wanted(names: &[String], ttl_s: u64) -> String {
    let mut text = String::from("[");
    for name in names {
        let comma = if text.len() > 1 { "," } else { "" };
        let _ = write!(text, r#"{comma}{{"requester":"{REQUESTER}","resource":"{name}","ttlSeconds":{ttl_s}}}"#);
    }
    text + "]"
}

fn name(number: u64) -> String {
    format!("r{number:08}")
}

fn short(what: &str, got: usize, of: usize, body: &[u8]) -> String {
    format!("{what} {got} of {of}: {}", String::from_utf8_lossy(&body[..body.len().min(400)]))
}

/// Reserves, and releases with the tokens that it was given.
pub struct Pairs {
    to: SocketAddr,
    credential: String,
    batch: usize,
    names: Names,
    held: Vec<String>,
    tokens: Vec<String>,
}

impl Pairs {
    pub fn new(to: SocketAddr, key: &str, batch: usize, names: Names) -> Self {
        Self { to, credential: format!("X-Api-Key: {key}\r\n"), batch, names, held: Vec::new(), tokens: Vec::new() }
    }
}

impl Client for Pairs {
    fn ask(&mut self, out: &mut Vec<u8>) {
        if self.tokens.is_empty() {
            self.held = self.names.batch(self.batch).map(name).collect();
            request(out, "POST", self.to, RESERVE, &self.credential, &wanted(&self.held, PAIR_TTL_S));
            return;
        }
        let mut text = String::from("[");
        for (name, token) in self.held.iter().zip(&self.tokens) {
            let comma = if text.len() > 1 { "," } else { "" };
            let _ = write!(text, r#"{comma}{{"requester":"{REQUESTER}","resource":"{name}","releaseToken":"{token}"}}"#);
        }
        text.push(']');
        request(out, "POST", self.to, UNRESERVE, &self.credential, &text);
    }

    fn hear(&mut self, answer: &[u8]) -> Result<bool, String> {
        let Some(body) = body(answer, 200)? else { return Ok(false) };
        if self.tokens.is_empty() {
            let acquired = memmem::find_iter(body, r#""status":"ACQUIRED""#).count();
            self.tokens.extend(texts_after(body, r#""releaseToken":""#).map(str::to_owned));
            if acquired != self.batch || self.tokens.len() != self.batch {
                return Err(short("acquired", acquired, self.batch, body));
            }
        } else {
            let released = memmem::find_iter(body, r#""status":"RELINQUISHED""#).count();
            if released != self.batch {
                return Err(short("released", released, self.batch, body));
            }
            self.tokens.clear();
        }
        Ok(true)
    }

    fn at_rest(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// What clients that never take the same name share.
pub type Counter = Rc<Cell<u64>>;

/// Reserves names that nobody had, and keeps them.
pub struct Fill {
    to: SocketAddr,
    credential: String,
    batch: usize,
    next: Counter,
}

impl Fill {
    pub fn new(to: SocketAddr, key: &str, batch: usize, next: Counter) -> Self {
        Self { to, credential: format!("X-Api-Key: {key}\r\n"), batch, next }
    }
}

impl Client for Fill {
    fn ask(&mut self, out: &mut Vec<u8>) {
        let first = self.next.get();
        self.next.set(first + self.batch as u64);
        let names: Vec<_> = (first..self.next.get()).map(|number| format!("held-{number:08}")).collect();
        request(out, "POST", self.to, RESERVE, &self.credential, &wanted(&names, FILL_TTL_S));
    }

    fn hear(&mut self, answer: &[u8]) -> Result<bool, String> {
        let Some(body) = body(answer, 200)? else { return Ok(false) };
        let acquired = memmem::find_iter(body, r#""status":"ACQUIRED""#).count();
        if acquired == self.batch { Ok(true) } else { Err(short("acquired", acquired, self.batch, body)) }
    }
}

/// Makes tenants, and calls once with the key of each, so that the replica knows them all.
pub struct Tenants {
    to: SocketAddr,
    credential: String,
    body: String,
    key: Option<String>,
}

impl Tenants {
    pub fn new(to: SocketAddr, admin_key: &str, tier: &str) -> Self {
        Self { to, credential: format!("X-Admin-Key: {admin_key}\r\n"), body: format!(r#"{{"name":"known","tier":"{tier}"}}"#), key: None }
    }
}

impl Client for Tenants {
    fn ask(&mut self, out: &mut Vec<u8>) {
        match &self.key {
            None => request(out, "POST", self.to, "/api/v1/admin/tenants", &self.credential, &self.body),
            Some(key) => request(out, "GET", self.to, "/api/v1/Reservation/check/anything", &format!("X-Api-Key: {key}\r\n"), ""),
        }
    }

    fn hear(&mut self, answer: &[u8]) -> Result<bool, String> {
        let Some(body) = body(answer, if self.key.is_none() { 201 } else { 200 })? else { return Ok(false) };
        self.key = match self.key {
            None => Some(texts_after(body, r#""apiKey":""#).next().ok_or("a tenant without a key")?.to_owned()),
            Some(_) => None,
        };
        Ok(true)
    }

    fn at_rest(&self) -> bool {
        self.key.is_none()
    }
}

/// Says what a reserve request says, and hears it back.
pub struct Echo {
    pub to: SocketAddr,
    pub names: Names,
}

impl Client for Echo {
    fn ask(&mut self, out: &mut Vec<u8>) {
        request(out, "POST", self.to, "/echo", "", &wanted(&[name(self.names.next())], PAIR_TTL_S));
    }

    fn hear(&mut self, answer: &[u8]) -> Result<bool, String> {
        let Some(body) = body(answer, 200)? else { return Ok(false) };
        if memmem::find(body, REQUESTER.as_bytes()).is_some() { Ok(true) } else { Err(short("echoed", 0, 1, body)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    fn pairs(batch: usize) -> Pairs {
        let names = Names::shares(100, 1).next().unwrap();
        Pairs::new("127.0.0.1:1".parse().unwrap(), "key", batch, names)
    }

    fn asked(client: &mut Pairs) -> String {
        let mut out = Vec::new();
        client.ask(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_was_acquired_is_given_back_with_its_own_token() {
        let mut client = pairs(2);
        assert!(asked(&mut client).starts_with("POST /api/v1/Reservation/reserve "));
        let both = r#"[{"status":"ACQUIRED","releaseToken":"one"},{"status":"ACQUIRED","releaseToken":"two"}]"#;
        assert_eq!(client.hear(&answer(both)), Ok(true));
        assert!(!client.at_rest());
        let back = asked(&mut client);
        assert!(
            back.starts_with("POST /api/v1/Reservation/unreserve ") && back.contains(r#""releaseToken":"one"},"#) && back.contains(r#""releaseToken":"two"}]"#)
        );
        assert_eq!(client.hear(&answer(r#"[{"status":"RELINQUISHED"},{"status":"RELINQUISHED"}]"#)), Ok(true));
        assert!(client.at_rest());
    }

    #[test]
    fn one_that_was_not_acquired_fails_the_run() {
        let mut client = pairs(2);
        asked(&mut client);
        let one = r#"[{"status":"ACQUIRED","releaseToken":"one"},{"status":"ALREADY_HELD","releaseToken":null}]"#;
        assert!(client.hear(&answer(one)).unwrap_err().starts_with("acquired 1 of 2"));
    }
}
