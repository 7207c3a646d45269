//! Clients of Holdfast, and of the echo server that is its lower bound.

use std::{cell::Cell, net::SocketAddr, rc::Rc};

use memchr::memmem;

use crate::{
    engine::Client,
    http::{body, head, request, request_after, texts_after},
    names::Names,
};

const RESERVE: &str = "/api/v1/Reservation/reserve";
const UNRESERVE: &str = "/api/v1/Reservation/unreserve";
/// Of what is held from the start, and of the echo; of a pair each client has its own.
const REQUESTER: &str = "holder-0001";
/// Of a pair: long enough that nothing lapses within a run.
const PAIR_TTL_S: u64 = 30;
const FILL_TTL_S: u64 = 3_600;

/// Appends the name of a number, of eight digits. Called for each request, where `format` would cost a client a tenth of what it does.
fn push_name(text: &mut String, number: u64) {
    text.push('r');
    let mut unit = 10_000_000;
    while unit > 0 {
        text.push(char::from(b'0' + (number / unit % 10) as u8));
        unit /= 10;
    }
}

fn ends_after(ttl_s: u64) -> String {
    format!(r#"","ttlSeconds":{ttl_s}"#)
}

/// Appends an item: its resource is what `name` appends, and `rest` stands behind.
fn push_item(text: &mut String, requester: &str, name: impl FnOnce(&mut String), rest: &[&str]) {
    text.push(if text.is_empty() { '[' } else { ',' });
    text.push_str(r#"{"requester":""#);
    text.push_str(requester);
    text.push_str(r#"","resource":""#);
    name(text);
    rest.iter().for_each(|part| text.push_str(part));
    text.push('}');
}

fn short(what: &str, got: usize, of: usize, body: &[u8]) -> String {
    format!("{what} {got} of {of}: {}", String::from_utf8_lossy(&body[..body.len().min(400)]))
}

/// Reserves, and releases with the tokens of the answer.
pub struct Pairs {
    /// How the two requests begin.
    reserve: String,
    unreserve: String,
    requester: String,
    /// How an item of a reserve request ends.
    term: String,
    acquired: memmem::Finder<'static>,
    released: memmem::Finder<'static>,
    batch: usize,
    names: Names,
    /// By whose name slots are reserved, instead of names.
    pool: Option<String>,
    held: Vec<u64>,
    tokens: Vec<String>,
    text: String,
}

impl Pairs {
    pub fn new(to: SocketAddr, key: &str, batch: usize, pool: Option<&str>, names: Names) -> Self {
        let credential = format!("X-Api-Key: {key}\r\n");
        Self {
            reserve: head("POST", to, RESERVE, &credential),
            unreserve: head("POST", to, UNRESERVE, &credential),
            requester: format!("holder-{:04}", names.client()),
            term: ends_after(PAIR_TTL_S),
            acquired: memmem::Finder::new(r#""status":"ACQUIRED""#),
            released: memmem::Finder::new(r#""status":"RELINQUISHED""#),
            batch,
            names,
            pool: pool.map(str::to_owned),
            held: Vec::new(),
            tokens: Vec::new(),
            text: String::new(),
        }
    }
}

impl Client for Pairs {
    fn ask(&mut self, out: &mut Vec<u8>) {
        let Self { reserve, unreserve, requester, term, batch, names, pool, held, tokens, text, .. } = self;
        let pool = pool.as_deref();
        let push = |text: &mut String, number| match pool {
            Some(pool) => text.push_str(pool),
            None => push_name(text, number),
        };
        text.clear();
        if tokens.is_empty() {
            held.clear();
            held.extend(names.batch(*batch));
            held.iter().for_each(|number| push_item(text, requester, |text| push(text, *number), &[term]));
        } else {
            let given = held.iter().zip(tokens.iter());
            given.for_each(|(number, token)| push_item(text, requester, |text| push(text, *number), &[r#"","releaseToken":""#, token, r#"""#]));
        }
        text.push(']');
        request_after(out, if tokens.is_empty() { reserve } else { unreserve }, text);
    }

    fn hear(&mut self, answer: &[u8]) -> Result<bool, String> {
        let Some(body) = body(answer, 200)? else { return Ok(false) };
        if self.tokens.is_empty() {
            let acquired = self.acquired.find_iter(body).count();
            self.tokens.extend(texts_after(body, r#""releaseToken":""#).map(str::to_owned));
            if acquired != self.batch || self.tokens.len() != self.batch {
                return Err(short("acquired", acquired, self.batch, body));
            }
        } else {
            let released = self.released.find_iter(body).count();
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

/// Shared by clients that never reserve the same name twice.
pub type Counter = Rc<Cell<u64>>;

/// Reserves new names, and keeps them.
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
        let (mut text, term) = (String::new(), ends_after(FILL_TTL_S));
        for number in first..self.next.get() {
            push_item(&mut text, REQUESTER, |text| text.push_str(&format!("held-{number:08}")), &[&term]);
        }
        text.push(']');
        request(out, "POST", self.to, RESERVE, &self.credential, &text);
    }

    fn hear(&mut self, answer: &[u8]) -> Result<bool, String> {
        let Some(body) = body(answer, 200)? else { return Ok(false) };
        let acquired = memmem::find_iter(body, r#""status":"ACQUIRED""#).count();
        if acquired == self.batch { Ok(true) } else { Err(short("acquired", acquired, self.batch, body)) }
    }
}

/// Creates tenants, and calls once with the key of each, so that the replica has cached them all.
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

/// Sends the body of a reserve request to the echo server.
pub struct Echo {
    head: String,
    term: String,
    names: Names,
    text: String,
}

impl Echo {
    pub fn new(to: SocketAddr, names: Names) -> Self {
        Self { head: head("POST", to, "/echo", ""), term: ends_after(PAIR_TTL_S), names, text: String::new() }
    }
}

impl Client for Echo {
    fn ask(&mut self, out: &mut Vec<u8>) {
        self.text.clear();
        let number = self.names.next();
        push_item(&mut self.text, REQUESTER, |text| push_name(text, number), &[&self.term]);
        self.text.push(']');
        request_after(out, &self.head, &self.text);
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
        Pairs::new("127.0.0.1:1".parse().unwrap(), "key", batch, None, names)
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
    fn a_slot_is_taken_and_given_back_by_its_pools_name() {
        let names = Names::shares(100, 1).next().unwrap();
        let mut client = Pairs::new("127.0.0.1:1".parse().unwrap(), "key", 1, Some("gpu"), names);
        assert!(asked(&mut client).contains(r#""resource":"gpu","ttlSeconds""#));
        assert_eq!(client.hear(&answer(r#"[{"status":"ACQUIRED","releaseToken":"one"}]"#)), Ok(true));
        assert!(asked(&mut client).contains(r#""resource":"gpu","releaseToken":"one""#));
    }

    #[test]
    fn one_that_was_not_acquired_fails_the_run() {
        let mut client = pairs(2);
        asked(&mut client);
        let one = r#"[{"status":"ACQUIRED","releaseToken":"one"},{"status":"ALREADY_HELD","releaseToken":null}]"#;
        assert!(client.hear(&answer(one)).unwrap_err().starts_with("acquired 1 of 2"));
    }
}
