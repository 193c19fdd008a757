//! Who a request is addressed to.
//!
//! A page on the web can point a name of its own at 127.0.0.1 and then read what listens there as
//! if it were its own server (DNS rebinding). Its requests still carry that name.

use std::net::IpAddr;

use hyper::{Request, Version, header::HOST};

use super::error::ApiError;
use crate::query::Quoted;

/// Lets pass what is addressed to this host's loopback, by address or by a name that can only
/// mean it.
pub(super) fn check_loopback<B>(request: &Request<B>) -> Result<(), ApiError> {
    let mut hosts = request.headers().get_all(HOST).iter().peekable();
    // Only the old protocol may go without, and no browser speaks it.
    if hosts.peek().is_none() && request.version() >= Version::HTTP_11 {
        return Err(ApiError::NoHost);
    }
    // `GET http://name/path` names a host as well.
    let target = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    for host in hosts
        .map(hyper::header::HeaderValue::as_bytes)
        .chain(target)
    {
        let host = String::from_utf8_lossy(host);
        if !is_loopback(&host) {
            return Err(ApiError::ForeignHost(Quoted::new(&host)));
        }
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    // An IPv6 address is in brackets and keeps its colons; elsewhere a colon begins the port.
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address, port),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
    if !(port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
        return false;
    }
    if let Ok(address) = name.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    // RFC 6761: `localhost` and all names below it are loopback.
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn loopback() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8322",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:8322",
            "[::ffff:127.0.0.1]:1",
            "localhost",
            "LOCALHOST:8322",
            "localhost.:8322",
            "agent.localhost:80",
        ] {
            assert!(is_loopback(host), "{host}");
        }
    }

    #[test]
    fn foreign() {
        for host in [
            "",
            ":8322",
            "example.com",
            "example.com:8322",
            "localhost.example.com",
            "notlocalhost",
            "127.0.0.1.example.com",
            "127.0.0.1:80@example.com",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "[2001:db8::1]:8322",
            "[::1].example.com",
            "[::1",
            "localhost:80:80",
            "user@localhost",
            "2130706433",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
