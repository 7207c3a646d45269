//! Where a request comes from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use poem::{Addr, Request, http::HeaderMap};

const FORWARDED_FOR: &str = "X-Forwarded-For";

/// The client's address: the connection's, or, through proxies that are trusted, the last one that none of them has.
pub(in crate::http) fn client(request: &Request, trusted: &[IpNet]) -> IpAddr {
    let peer = match &request.remote_addr().0 {
        Addr::SocketAddr(address) => SocketAddr::ip(address),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    behind(peer, request.headers(), trusted)
}

fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address.to_canonical()));
    let mut client = peer.to_canonical();
    let claims: Vec<_> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    // Each proxy adds at the end whom it heard from, so only what a trusted one said counts, from the end on.
    for claim in claims.iter().rev() {
        if !is_trusted(client) {
            break;
        }
        let Ok(address) = claim.trim().parse::<IpAddr>() else { break };
        client = address.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let of = |peer: &str, claims: &str| {
            let headers = HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), claims.parse().unwrap())]);
            behind(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(of("192.0.2.1", "203.0.113.9"), "192.0.2.1", "a stranger says what it likes");
        assert_eq!(of("10.0.0.1", "203.0.113.9"), "203.0.113.9");
        assert_eq!(
            of("10.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.2"),
            "203.0.113.9",
            "what the client claimed before does not count"
        );
        assert_eq!(of("10.0.0.1", "nonsense"), "10.0.0.1");
    }
}
