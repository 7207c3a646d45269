//! Values that more than one setting has: lists, origins, networks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use ipnet::IpNet;

/// Parses a list separated by commas; empty parts are left out.
///
/// # Errors
/// The rule, when a part cannot be parsed.
pub(super) fn list<T>(list: &str, rule: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(parse).collect::<Option<_>>().ok_or_else(|| rule.to_owned())
}

/// Origin of a URL as browsers write it: scheme, host in lower case without the dot at its end, and the port unless it is the
/// scheme's own. `None` where it is no address of the web, or names a user.
#[must_use]
pub fn origin_of(url: &str) -> Option<String> {
    let url: http::Uri = url.parse().ok()?;
    let (scheme, host) = (url.scheme_str()?, url.host()?.to_lowercase());
    let host = host.strip_suffix('.').unwrap_or(&host);
    if host.is_empty() || url.authority()?.as_str().contains('@') {
        return None;
    }
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some(match url.port_u16() {
        Some(port) if port != default_port => format!("{scheme}://{host}:{port}"),
        _ => format!("{scheme}://{host}"),
    })
}

/// An address and a port; the address may be a name of this machine, or absent, which means every IPv4 address.
pub(super) fn socket_address(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    match host {
        "" => Some((Ipv4Addr::UNSPECIFIED, port).into()),
        // Loopback by definition (RFC 6761), also where no resolver answers.
        "localhost" => Some((Ipv4Addr::LOCALHOST, port).into()),
        name => (name, port).to_socket_addrs().ok()?.next(),
    }
}

/// A network, or one address.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: IpAddr| address.into()))
}
