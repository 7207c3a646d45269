//! Versions of the protocol: with a handshake (`initialize`), and since [`MODERN_VERSION`] without, each request
//! saying for itself what it speaks.

use base64::{Engine, engine::general_purpose::STANDARD};
use poem::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    domain::nearest::nearest,
    http::{mcp::message::Fault, wire::request::parse},
};

/// Versions with a handshake, the oldest first.
pub(super) const LEGACY_VERSIONS: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];
/// The version without one.
pub(super) const MODERN_VERSION: &str = "2026-07-28";
/// All of them, the newest first.
pub(super) const SUPPORTED: [&str; 4] = [MODERN_VERSION, LEGACY_VERSIONS[2], LEGACY_VERSIONS[1], LEGACY_VERSIONS[0]];

const VERSION_HEADER: &str = "MCP-Protocol-Version";
const METHOD_HEADER: &str = "Mcp-Method";
const NAME_HEADER: &str = "Mcp-Name";
/// What a header's value that is no plain text is wrapped in.
const BASE64_WRAP: (&str, &str) = ("=?base64?", "?=");
const SERVER_INFO_KEY: &str = "io.modelcontextprotocol/serverInfo";
/// The methods that clients may ask for.
const METHODS: [&str; 5] = ["initialize", "ping", "server/discover", "tools/call", "tools/list"];

/// How a message is to be answered: by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    Legacy,
    Modern,
}

/// What a message says of itself. Its parts may be of any size and shape, so they are looked at where they stand.
#[derive(Deserialize, Default)]
struct Params<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: Option<&'a RawValue>,
}

/// Most bytes of a version, and of a tool's name, as JSON.
const MAX_WORD_BYTES: usize = 512;

/// A short text; `None`: it is something else.
fn word(json: Option<&RawValue>) -> Option<String> {
    json.filter(|json| json.get().len() <= MAX_WORD_BYTES).and_then(|json| serde_json::from_str(json.get()).ok())
}

impl Era {
    /// Reads headers and `_meta` of a request, and holds them against each other: what is in front routes by the
    /// headers.
    ///
    /// # Errors
    /// A version that is not supported; headers that are missing or differ; parameters of the protocol that are
    /// missing.
    pub(super) fn of(headers: &HeaderMap, method: &str, params: Option<&RawValue>) -> Result<Self, Fault> {
        if method == "initialize" {
            return Ok(Self::Legacy); // the handshake itself says which version
        }
        let header = single(headers, VERSION_HEADER)?;
        let params: Params = params.and_then(|params| serde_json::from_str(params.get()).ok()).unwrap_or_default();
        let meta = params.meta.unwrap_or_default();
        let version = word(meta.version);
        let version = version.as_deref();
        if version.is_none() && method != "server/discover" {
            match header {
                None => return Ok(Self::Legacy), // the oldest version has no header
                Some(header) if LEGACY_VERSIONS.contains(&header) => return Ok(Self::Legacy),
                Some(header) if header != MODERN_VERSION => return Err(Fault::unsupported_version(header, &SUPPORTED)),
                Some(_) => {}
            }
        }
        let missing: Vec<_> = [
            ("io.modelcontextprotocol/protocolVersion", version.is_some()),
            (
                "io.modelcontextprotocol/clientCapabilities",
                meta.capabilities.is_some_and(|json| json.get().starts_with('{')),
            ),
        ]
        .into_iter()
        .filter_map(|(key, is_there)| (!is_there).then_some(key))
        .collect();
        let Some(version) = version else {
            return Err(Fault::invalid_params(format!("_meta has no {}", missing.join(" and no "))));
        };
        match header {
            Some(header) if header == version => {}
            Some(header) => {
                let message = format!("{VERSION_HEADER} is {header:?}, but the message's version is {version:?}");
                return Err(Fault::header_mismatch(message));
            }
            None => return Err(Fault::header_mismatch(format!("the header {VERSION_HEADER} is required"))),
        }
        if LEGACY_VERSIONS.contains(&version) {
            return Ok(Self::Legacy);
        }
        if version != MODERN_VERSION {
            return Err(Fault::unsupported_version(version, &SUPPORTED));
        }
        if !missing.is_empty() {
            return Err(Fault::invalid_params(format!("_meta has no {}", missing.join(" and no "))));
        }
        check_header(headers, METHOD_HEADER, method)?;
        if method == "tools/call" {
            check_header(headers, NAME_HEADER, &word(params.name).unwrap_or_default())?;
        }
        Ok(Self::Modern)
    }

    pub(super) fn is_modern(self) -> bool {
        self == Self::Modern
    }

    /// A result with what its version adds.
    pub(super) fn completed(self, mut result: Value) -> Value {
        if self.is_modern() {
            result["resultType"] = "complete".into();
            result["_meta"] = json!({SERVER_INFO_KEY: server_info()});
        }
        result
    }

    /// An error with the status that its version gives it: before the modern one, a message that was understood is
    /// answered with 200.
    pub(super) fn with_status(self, fault: Fault) -> Fault {
        match self {
            Self::Legacy => fault.with_status(StatusCode::OK),
            Self::Modern => fault,
        }
    }

    pub(super) fn unknown_method(self, method: &str) -> Fault {
        let named = match nearest(method, &METHODS) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", METHODS.join(", ")),
        };
        let shown: String = method.chars().take(64).collect();
        Fault::method_not_found(format!("There is no method {shown:?}; {named}"))
    }
}

/// Whether messages of a request may come as a batch.
pub(super) fn has_batches(headers: &HeaderMap) -> bool {
    headers.get(VERSION_HEADER).is_none_or(|version| version.as_bytes() == LEGACY_VERSIONS[0].as_bytes())
}

/// The version of a handshake: the client's own where it is supported, else the newest.
///
/// # Errors
/// Where the client names none.
pub(super) fn negotiate(params: Option<&RawValue>) -> Result<&'static str, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Initialize {
        protocol_version: String,
    }
    let text = params.map_or("{}", RawValue::get);
    let asked: Initialize = parse(text.as_bytes()).map_err(|error| Fault::wrong_params(&error))?;
    let known = LEGACY_VERSIONS.into_iter().find(|known| *known == asked.protocol_version);
    Ok(known.unwrap_or(LEGACY_VERSIONS[LEGACY_VERSIONS.len() - 1]))
}

/// Name and version of this server.
pub(super) fn server_info() -> Value {
    json!({"name": "holdfast", "title": "Holdfast", "version": env!("CARGO_PKG_VERSION")})
}

/// The value of a header that may come once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Fault> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value)),
        _ => Err(Fault::header_mismatch(format!("the header {name} must come once, as plain text"))),
    }
}

/// Checks that a header says what the message does.
fn check_header(headers: &HeaderMap, name: &str, expected: &str) -> Result<(), Fault> {
    let Some(value) = single(headers, name)? else {
        return Err(Fault::header_mismatch(format!("the header {name} is required")));
    };
    let wrapped = value.strip_prefix(BASE64_WRAP.0).and_then(|rest| rest.strip_suffix(BASE64_WRAP.1));
    let is_same = match wrapped {
        Some(text) => STANDARD.decode(text).is_ok_and(|bytes| bytes == expected.as_bytes()),
        None => value == expected,
    };
    if is_same { Ok(()) } else { Err(Fault::header_mismatch(format!("{name} does not say what the message does"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn era(headers: &[(&str, &str)], method: &str, params: Value) -> Result<Era, Value> {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<poem::http::HeaderName>().unwrap(), value.parse::<poem::http::HeaderValue>().unwrap())
        };
        let params = serde_json::value::to_raw_value(&params).unwrap();
        let found = Era::of(&headers.iter().map(pair).collect(), method, Some(&params));
        found.map_err(|fault| json!(fault)["code"].clone())
    }

    fn meta(version: &str) -> Value {
        json!({"_meta": {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        }, "name": "reserve"})
    }

    #[test]
    fn an_older_client_is_known_by_its_header_or_by_having_none() {
        for version in LEGACY_VERSIONS {
            assert_eq!(era(&[("mcp-protocol-version", version)], "tools/list", json!({})), Ok(Era::Legacy));
        }
        assert_eq!(era(&[], "tools/list", json!({})), Ok(Era::Legacy));
        assert_eq!(era(&[("mcp-protocol-version", "1999-01-01")], "tools/list", json!({})), Err(json!(-32_022)));
        assert_eq!(era(&[("mcp-protocol-version", MODERN_VERSION)], "initialize", json!({})), Ok(Era::Legacy));
    }

    #[test]
    fn a_modern_request_says_the_same_in_its_headers() {
        let version = ("mcp-protocol-version", MODERN_VERSION);
        let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "reserve"));
        let called = |headers: &[(&str, &str)]| era(headers, "tools/call", meta(MODERN_VERSION));
        assert_eq!(called(&[version, method, name]), Ok(Era::Modern));
        assert_eq!(called(&[version, method, ("mcp-name", "=?base64?cmVzZXJ2ZQ==?=")]), Ok(Era::Modern));
        for headers in [
            &[version, method][..],
            &[version, name],
            &[method, name],
            &[version, version, method, name],
            &[("mcp-protocol-version", "2025-11-25"), method, name],
            &[version, ("mcp-method", "tools/list"), name],
            &[version, method, ("mcp-name", "release")],
            &[version, method, ("mcp-name", "=?base64?!?=")],
        ] {
            assert_eq!(called(headers), Err(json!(-32_020)), "{headers:?}");
        }
    }

    #[test]
    fn a_modern_request_names_its_version_and_what_its_client_can_do() {
        let headers = [("mcp-protocol-version", MODERN_VERSION), ("mcp-method", "tools/list")];
        assert_eq!(era(&headers, "tools/list", json!({})), Err(json!(-32_602)));
        let without = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": MODERN_VERSION}});
        assert_eq!(era(&headers, "tools/list", without), Err(json!(-32_602)));
        let future = [("mcp-protocol-version", "2099-01-01"), ("mcp-method", "tools/list")];
        assert_eq!(era(&future, "tools/list", meta("2099-01-01")), Err(json!(-32_022)));
        assert_eq!(era(&[], "server/discover", json!({})), Err(json!(-32_602)));
    }

    #[test]
    fn a_handshake_agrees_on_the_clients_version_or_the_newest() {
        let agreed = |params: Value| negotiate(Some(&serde_json::value::to_raw_value(&params).unwrap())).ok();
        for version in LEGACY_VERSIONS {
            assert_eq!(agreed(json!({"protocolVersion": version})), Some(version));
        }
        assert_eq!(agreed(json!({"protocolVersion": "2024-11-05"})), Some("2025-11-25"));
        assert_eq!(agreed(json!({"protocolVersion": 7})), None);
    }
}
