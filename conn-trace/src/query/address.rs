//! `ip` and `local_ip`: an address or a CIDR prefix.

use std::{
    fmt::{self, Display, Formatter},
    net::IpAddr,
};

use ipnet::{IpNet, Ipv4Net};

use crate::registry::connection::Endpoint;

/// Length of the prefix `::ffff:0:0/96` under which IPv6 has IPv4's addresses.
const MAPPED_PREFIX_LEN: u8 = 96;

/// A set of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    net: IpNet,
    /// Interface index of one link-local address, written as `fe80::1%2`.
    scope: Option<u32>,
}

impl Network {
    /// From `10.0.0.1`, `10.0.0.0/8`, `fe80::1%2`, `2001:db8::/32` and the like. Bits after the
    /// prefix do not matter; IPv4-mapped IPv6 counts as IPv4, as it does in rows.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((address, scope)) = text.split_once('%') {
            let net = IpNet::from(IpAddr::V6(address.parse().ok()?));
            return Some(Self {
                net,
                scope: Some(scope.parse().ok()?),
            });
        }
        let net: IpNet = match text.parse::<IpAddr>() {
            Ok(address) => address.into(),
            Err(_) => text.parse().ok()?,
        };
        Some(Self {
            net: unmapped(net),
            scope: None,
        })
    }

    /// Its first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.net.network()
    }

    /// The prefix, unless an interface is part of the address.
    #[must_use]
    pub fn prefix(&self) -> Option<IpNet> {
        self.scope.is_none().then_some(self.net)
    }

    /// Whether the endpoint's address is in the set.
    #[must_use]
    pub fn contains(&self, endpoint: &Endpoint) -> bool {
        self.net.contains(&endpoint.ip) && self.scope.is_none_or(|scope| scope == endpoint.scope)
    }
}

/// How people write it: a prefix without its length where that is the whole address.
#[must_use]
pub fn address_or_prefix(net: &IpNet) -> String {
    match net.prefix_len() == net.max_prefix_len() {
        true => net.addr().to_string(),
        false => net.to_string(),
    }
}

impl Display for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { net, scope } = self;
        f.write_str(&address_or_prefix(net))?;
        match scope {
            Some(scope) => write!(f, "%{scope}"),
            None => Ok(()),
        }
    }
}

/// IPv4 where the whole prefix is IPv4-mapped.
fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let v4 = v6.addr().to_ipv4_mapped().and_then(|address| {
        Ipv4Net::new(address, v6.prefix_len().checked_sub(MAPPED_PREFIX_LEN)?).ok()
    });
    v4.map_or(net, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Network};

    fn contains(network: &str, ip: &str, scope: u32) -> bool {
        let endpoint = Endpoint {
            ip: ip.parse().unwrap(),
            scope,
            port: 1,
        };
        Network::parse(network).unwrap().contains(&endpoint)
    }

    #[test]
    fn addresses_and_prefixes() {
        assert!(contains("10.1.2.3", "10.1.2.3", 0));
        assert!(!contains("10.1.2.3", "10.1.2.4", 0));
        assert!(contains("10.1.2.3/8", "10.255.0.1", 0));
        assert!(contains("0.0.0.0/0", "1.2.3.4", 0));
        assert!(!contains("0.0.0.0/0", "::1", 0));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1", 0));
        assert!(!contains("::/0", "1.2.3.4", 0));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert!(contains("::ffff:10.1.2.3", "10.1.2.3", 0));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3", 0));
        assert!(!contains("::ffff:10.0.0.0/104", "11.1.2.3", 0));
    }

    #[test]
    fn scopes() {
        assert!(contains("fe80::1", "fe80::1", 7));
        assert!(contains("fe80::1%7", "fe80::1", 7));
        assert!(!contains("fe80::1%8", "fe80::1", 7));
    }

    #[test]
    fn what_is_no_network() {
        for text in [
            "",
            "10",
            "10.1.2",
            "10.0.0.0/33",
            "::/129",
            "10.1.2.3%1",
            "fe80::1%eth0",
            "[::1]",
            "a/8",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
