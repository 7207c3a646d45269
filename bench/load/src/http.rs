//! As much of HTTP/1.1 as a client that waits for each answer needs.

use std::{io::Write, net::SocketAddr};

use memchr::memmem;

/// Appends a request. `headers` are whole lines, or nothing.
pub fn request(out: &mut Vec<u8>, method: &str, to: SocketAddr, path: &str, headers: &str, body: &str) {
    request_after(out, &head(method, to, path, headers), body);
}

/// How a request begins: all but the length of its body and the body. Who sends many of a kind makes it once.
pub fn head(method: &str, to: SocketAddr, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\n{headers}Content-Type: application/json\r\nContent-Length: ")
}

/// Appends a request that begins so.
pub fn request_after(out: &mut Vec<u8>, head: &str, body: &str) {
    out.extend_from_slice(head.as_bytes());
    // Writing to memory cannot fail.
    let _ = write!(out, "{}\r\n\r\n", body.len());
    out.extend_from_slice(body.as_bytes());
}

/// The body of an answer with this status; `None` if it has not come whole.
///
/// # Errors
/// Another status, with the body, or what is no HTTP.
pub fn body(answer: &[u8], status: u16) -> Result<Option<&[u8]>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(answer).map_err(|error| error.to_string())? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let code = response.code;
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok()).ok_or("an answer without a length")?;
    let Some(body) = answer[head..].get(..length) else { return Ok(None) };
    if code == Some(status) { Ok(Some(body)) } else { Err(format!("{}: {}", code.unwrap_or(0), String::from_utf8_lossy(body))) }
}

/// The text after each occurrence of `before`, up to the next quotation mark.
pub fn texts_after<'a>(body: &'a [u8], before: &'a str) -> impl Iterator<Item = &'a str> {
    memmem::find_iter(body, before).filter_map(|at| {
        let rest = &body[at + before.len()..];
        std::str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_only_when_it_is_whole() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        for most in 0..whole.len() {
            assert_eq!(body(&whole[..most], 200), Ok(None), "{most} bytes");
        }
        assert_eq!(body(whole, 200), Ok(Some(&b"{}"[..])));
    }

    #[test]
    fn another_status_is_a_fault_that_says_why() {
        let refused = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nslow";
        assert_eq!(body(refused, 200), Err("429: slow".into()));
    }
}
