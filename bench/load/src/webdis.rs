//! The reference pair through webdis, which turns HTTP into Redis commands and does nothing else.

use std::net::SocketAddr;

use crate::{
    engine,
    http::{body, request},
    names::Names,
    redis::arguments,
};

pub struct Client {
    to: SocketAddr,
    scripts: [String; 2],
    names: Names,
    held: Option<u64>,
}

impl Client {
    pub fn new(to: SocketAddr, scripts: &[String], names: Names) -> Self {
        Self { to, scripts: [scripts[0].clone(), scripts[1].clone()], names, held: None }
    }
}

impl engine::Client for Client {
    fn ask(&mut self, out: &mut Vec<u8>) {
        let (script, number) = match self.held {
            None => (&self.scripts[0], self.names.next()),
            Some(number) => (&self.scripts[1], number),
        };
        self.held = if self.held.is_none() { Some(number) } else { None };
        request(out, "POST", self.to, "/", "", &format!("EVALSHA/{script}/4/{}", arguments(number).join("/")));
    }

    fn hear(&mut self, answer: &[u8]) -> Result<bool, String> {
        let Some(body) = body(answer, 200)? else { return Ok(false) };
        let text = String::from_utf8_lossy(body);
        let number = text.strip_prefix(r#"{"EVALSHA":"#).and_then(|rest| rest.strip_suffix('}')).and_then(|digits| digits.parse::<i64>().ok());
        if number.is_some_and(|number| number > 0) { Ok(true) } else { Err(text.into_owned()) }
    }

    fn at_rest(&self) -> bool {
        self.held.is_none()
    }
}
