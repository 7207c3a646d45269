//! Agents: the Model Context Protocol at `POST /mcp`, by raw messages and by the official SDK of another language.

mod protocol;
mod sdk;
mod tools;

use reqwest::{Client as Http, RequestBuilder};
use serde_json::{Value, json};

use crate::support::world::{Answer, Client, Replica, answer};

const MODERN: &str = "2026-07-28";

/// A message of an agent whose version has a handshake.
fn message(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
}

fn post(replica: &Replica, key: &str) -> RequestBuilder {
    let request = Http::new().post(format!("{}/mcp", replica.url)).header("x-api-key", key);
    request.header("accept", "application/json, text/event-stream")
}

impl Client<'_> {
    async fn mcp(&self, message: Value) -> Answer {
        answer(post(self.replica, self.key).json(&message).send().await.unwrap()).await
    }

    /// Calls a tool; whether it is an error, and the JSON of its text.
    async fn tool(&self, name: &str, arguments: Value) -> (bool, Value) {
        let called = self.mcp(message("tools/call", json!({"name": name, "arguments": arguments}))).await;
        assert_eq!((called.status.as_u16(), &called.body["id"]), (200, &json!(7)), "{called:?}");
        let result = &called.body["result"];
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        let is_error = result["isError"].as_bool().unwrap();
        assert_eq!(result.get("structuredContent"), (!is_error).then_some(&text), "{called:?}");
        (is_error, text)
    }

    /// The only result of a tool that takes items.
    async fn one(&self, name: &str, arguments: Value) -> Value {
        let (is_error, text) = self.tool(name, arguments).await;
        assert!(!is_error, "{text}");
        assert!(text["asOf"].is_i64(), "{text}");
        text["results"][0].clone()
    }

    /// The error of a tool that must fail with this code.
    async fn refused(&self, name: &str, arguments: Value, code: &str) -> Value {
        let (is_error, text) = self.tool(name, arguments).await;
        assert_eq!((is_error, &text["error"]["code"]), (true, &json!(code)), "{text}");
        text
    }
}

/// Asserts the status and the API's code of a request that was refused as a whole.
fn refuses(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), &answer.body["jsonrpc"]), (status, &json!("2.0")), "{answer:?}");
    let error = &answer.body["error"];
    assert_eq!((&error["code"], &error["data"]["error"]["code"]), (&json!(status), &json!(code)), "{answer:?}");
    assert_eq!(error["message"], error["data"]["error"]["message"]);
}

fn item(requester: &str, resource: &str) -> Value {
    json!({"requester": requester, "resource": resource, "ttlSeconds": 60})
}

fn waiting_item(requester: &str, resource: &str) -> Value {
    json!({"requester": requester, "resource": resource, "ttlSeconds": 60, "waitSeconds": 300})
}
