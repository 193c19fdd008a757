//! `/metrics`: the same figures for Prometheus and what reads its formats.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::response::{IntoResponse, Response};
use hyper::header::{CONTENT_TYPE, VARY};
use nix::ifaddrs::getifaddrs;
use tokio::task::spawn_blocking;

use super::{accept::negotiate, asked::Asked, error::ApiError, source::Source, usage};
use crate::{
    config::Configuration,
    metrics::{Exposition, Form, Process},
    registry::services::Report,
};

/// The discard protocol's (RFC 863); nothing is sent there.
const ANY_PORT: u16 = 9;

/// What is remembered from one answer to the next.
#[derive(Debug, Default)]
pub(super) struct Scrapes(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    /// How long the answer took.
    took: Option<Duration>,
    /// This host's address as the first connections of services had it: a label, which is not to
    /// change with every connection.
    addresses: HashMap<Arc<str>, IpAddr>,
}

impl Scrapes {
    fn took(&self) -> Option<Duration> {
        self.last(|last| last.took)
    }

    /// This host's address, by the service that has a prefix of its own.
    fn addresses(
        &self,
        report: &Report,
        configuration: &Configuration,
    ) -> HashMap<Arc<str>, IpAddr> {
        let services = report.services.iter().filter_map(|one| {
            let section = configuration.service(&one.service.name)?;
            section.metric_prefix.is_some().then_some((one, section))
        });
        services
            .map(|(one, section)| {
                let name = Arc::clone(&one.service.name);
                let seen = one.oldest.first().map(|facts| facts.local.ip);
                let known = self.last(|last| match (last.addresses.get(&name), seen) {
                    (Some(known), _) => Some(*known),
                    (None, Some(seen)) => {
                        last.addresses.insert(Arc::clone(&name), seen);
                        Some(seen)
                    }
                    (None, None) => None,
                });
                let address = known.unwrap_or_else(|| own_address(section.first_peer()));
                (name, address)
            })
            .collect()
    }

    fn last<T>(&self, use_it: impl FnOnce(&mut Last) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Answers with all figures, or with those of the one service that is served here.
pub(super) async fn metrics<S: Source>(asked: Asked<S>) -> Result<Response, ApiError> {
    let start = Instant::now();
    let form = negotiate(asked.headers(), &Form::MEDIA_TYPES).unwrap_or(Form::Text);
    let shared = asked.shared();
    let report = shared.report().await?;
    let configuration = shared.services.borrow().clone();
    let exposition = Arc::new(Exposition {
        addresses: shared.scrapes.addresses(&report, &configuration),
        report,
        configuration,
        only: shared.scope.clone(),
        version: shared.identity.version.clone(),
        host: shared.identity.server_name.clone(),
        process: Process {
            resident_bytes: usage::resident_bytes(),
            cpu_time: usage::cpu_time(),
            open_fds: usage::open_fds(),
            start: shared.identity.start,
        },
        last_scrape: shared.scrapes.took(),
    });
    // Of a thousand services it takes some time.
    let text = spawn_blocking(move || exposition.text(form)).await;
    let text = text
        .map_err(ApiError::internal)?
        .map_err(ApiError::internal)?;
    shared
        .scrapes
        .last(|last| last.took = Some(start.elapsed()));
    let headers = [(CONTENT_TYPE, form.content_type()), (VARY, "accept")];
    Ok((headers, text).into_response())
}

/// The address that this host would use towards `peer`, or its first one.
fn own_address(peer: Option<IpAddr>) -> IpAddr {
    peer.and_then(address_towards)
        .or_else(first_address)
        .unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// What routing says. A datagram socket is connected without a word to the peer.
fn address_towards(peer: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match peer {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((peer, ANY_PORT)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// That of the first interface that leads out of the host.
fn first_address() -> Option<IpAddr> {
    let addresses = getifaddrs().ok()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
    });
    addresses
        .filter(|address: &IpAddr| !address.is_loopback())
        .min_by_key(IpAddr::is_ipv6)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::own_address;

    #[test]
    fn a_peer_on_this_host_is_reached_from_it() {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(own_address(Some(loopback)), loopback);
        assert!(!own_address(None).is_unspecified());
    }
}
