//! etcd's JSON gateway: a name is reserved by creating its key and released by deleting it, with transactions or with the lock service.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    engine,
    http::{body, request, texts_after},
    names::Names,
};

pub struct Client {
    to: SocketAddr,
    lease: Option<i64>,
    names: Names,
    /// The key that is held, as etcd writes it.
    held: Option<String>,
    asked: String,
}

impl Client {
    pub fn new(to: SocketAddr, lease: Option<i64>, names: Names) -> Self {
        Self { to, lease, names, held: None, asked: String::new() }
    }
}

impl engine::Client for Client {
    fn ask(&mut self, out: &mut Vec<u8>) {
        let mut post = |path: &str, body: String| request(out, "POST", self.to, path, "", &body);
        if let Some(key) = &self.held {
            match self.lease {
                Some(_) => post("/v3/lock/unlock", format!(r#"{{"key":"{key}"}}"#)),
                None => post("/v3/kv/deleterange", format!(r#"{{"key":"{key}"}}"#)),
            }
            return;
        }
        self.asked = STANDARD.encode(format!("res/r{:08}", self.names.next()));
        let (key, value) = (&self.asked, STANDARD.encode("holder-0001"));
        match self.lease {
            Some(lease) => post("/v3/lock/lock", format!(r#"{{"name":"{key}","lease":"{lease}"}}"#)),
            None => post(
                "/v3/kv/txn",
                format!(
                    r#"{{"compare":[{{"key":"{key}","target":"CREATE","createRevision":"0"}}],"success":[{{"requestPut":{{"key":"{key}","value":"{value}"}}}}]}}"#
                ),
            ),
        }
    }

    fn hear(&mut self, answer: &[u8]) -> Result<bool, String> {
        let Some(body) = body(answer, 200)? else { return Ok(false) };
        let contains = |word: &str| memchr::memmem::find(body, word.as_bytes()).is_some();
        let refused = || Err(String::from_utf8_lossy(body).into_owned());
        self.held = match (&self.held, self.lease) {
            (None, None) if contains(r#""succeeded":true"#) => Some(self.asked.clone()),
            (Some(_), None) if contains(r#""deleted":"1""#) => None,
            (None, Some(_)) => match texts_after(body, r#""key":""#).next() {
                Some(key) => Some(key.to_owned()),
                None => return refused(),
            },
            (Some(_), Some(_)) if contains("header") => None,
            _ => return refused(),
        };
        Ok(true)
    }

    fn at_rest(&self) -> bool {
        self.held.is_none()
    }
}
