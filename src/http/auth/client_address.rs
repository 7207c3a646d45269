//! Address of the client: of the connection, or, behind trusted proxies, of what these report.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use poem::{Addr, Request, http::HeaderMap};

const FORWARDED_FOR: &str = "X-Forwarded-For";

/// Address of a request's client.
pub(super) fn client_address(request: &Request, trusted_proxies: &[IpNet]) -> IpAddr {
    let peer = match &request.remote_addr().0 {
        Addr::SocketAddr(address) => SocketAddr::ip(address),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    behind_proxies(peer, request.headers(), trusted_proxies)
}

/// The last address that no trusted proxy has. Each proxy appends the address that it was called from, so a reported
/// address counts only if every one after it is trusted.
fn behind_proxies(peer: IpAddr, headers: &HeaderMap, trusted_proxies: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted_proxies.iter().any(|network| network.contains(&address.to_canonical()));
    let mut client = peer.to_canonical();
    let reported: Vec<_> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for address in reported.iter().rev() {
        if !is_trusted(client) {
            break;
        }
        let Some(address) = parse_reported(address) else { break };
        client = address.to_canonical();
    }
    client
}

/// An address as proxies write it: alone, with a port, in brackets, or with the zone of its interface.
fn parse_reported(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    if let Ok(with_port) = text.parse::<SocketAddr>() {
        return Some(with_port.ip());
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_port_brackets_or_a_zone() {
        for (text, address) in [
            ("203.0.113.9", "203.0.113.9"),
            (" 203.0.113.9:51544", "203.0.113.9"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("\"[2001:db8::1]:443\"", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
        ] {
            assert_eq!(parse_reported(text).map(|found| found.to_string()).as_deref(), Some(address), "{text}");
        }
        for wrong in ["", "unknown", "_hidden", "203.0.113.9:", "[2001:db8::1", "%eth0"] {
            assert_eq!(parse_reported(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let address = |peer: &str, reported: &str| {
            let headers = HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), reported.parse().unwrap())]);
            behind_proxies(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(address("192.0.2.1", "203.0.113.9"), "192.0.2.1", "a client reports what it likes");
        assert_eq!(address("10.0.0.1", "203.0.113.9"), "203.0.113.9");
        assert_eq!(
            address("10.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.2"),
            "203.0.113.9",
            "addresses before the first untrusted one do not count"
        );
        assert_eq!(address("10.0.0.1", "nonsense"), "10.0.0.1");
    }
}
