//! The listener and its connections.
//!
//! `axum::serve` sets no limit on how long a client takes to send its request or to read the
//! answer, so the loop is made by hand.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    admin::Reload,
    baselines::Baselines,
    connection,
    events::Streams,
    metrics::Scrapes,
    pages::Pages,
    router::router,
    shared::Shared,
    source::{ServerIdentity, Source},
    usage::Usage,
};
use crate::config::Configuration;

/// What the user decides about the listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether pages of other origins may read the endpoints in a browser.
    pub cors: bool,
    /// What clients may take.
    pub limits: Limits,
    /// The configuration in force.
    pub services: watch::Receiver<Arc<Configuration>>,
    /// The only service to be served here; `None` for all connections.
    pub scope: Option<Arc<str>>,
    /// Where `POST /-/reload` leads. Without it nothing can be changed by HTTP.
    pub reloads: Option<mpsc::Sender<Reload>>,
}

/// What clients may take of the agent.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time. Further ones wait in the kernel's queue.
    pub connections: usize,
    /// For a request's headers to arrive, and for the next request on an idle connection.
    pub header_timeout: Duration,
    /// For a request's body to arrive, which nobody wants. The connection is closed after the answer if it
    /// has not, or if it is longer than 16 KiB.
    pub body_timeout: Duration,
    /// For the client to take any more of an answer.
    pub write_timeout: Duration,
    /// For the registry to answer.
    pub source_timeout: Duration,
    /// For running requests to finish at the shutdown.
    pub shutdown_grace: Duration,
}

impl Default for Config {
    /// Any free port of this host's loopback.
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            cors: true,
            limits: Limits::default(),
            services: watch::channel(Arc::default()).1,
            scope: None,
            reloads: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Some dashboards with some connections each; at 100 kB each not worth thinking about.
            connections: 256,
            // A request is one packet; five seconds forgive several retransmissions of it.
            header_timeout: Duration::from_secs(5),
            // What clients send with a POST is the end of an empty body, in the next packet at most.
            body_timeout: Duration::from_secs(1),
            // Longer than a client pauses between two reads, unless it has forgotten about us.
            write_timeout: Duration::from_secs(10),
            // A snapshot takes milliseconds: by then something is wrong.
            source_timeout: Duration::from_secs(5),
            // Service managers give ten seconds and more, and the registry has to stop as well.
            shutdown_grace: Duration::from_secs(2),
        }
    }
}

/// The address cannot be listened on.
#[derive(Debug, Error)]
#[error("--listen {listen}: {}", cause(source))]
pub struct BindError {
    listen: SocketAddr,
    source: io::Error,
}

/// The common causes without the number of the error.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this host has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// A listener that is bound and not yet served.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Config,
}

impl Server {
    /// Takes the address; clients that connect wait until [`serve`](Self::serve).
    ///
    /// # Errors
    ///
    /// Says which address and why.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let error = |source| BindError {
            listen: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(error)?;
        let address = listener.local_addr().map_err(error)?;
        Ok(Self {
            listener,
            address,
            config,
        })
    }

    /// The address that it listens on, with the port that the kernel chose for port 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `shutdown` is ready and the running ones are finished, or have had
    /// their time.
    pub async fn serve<S: Source>(
        self,
        source: S,
        identity: ServerIdentity,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let Self {
            listener,
            address,
            config,
        } = self;
        let Config { cors, limits, .. } = config;
        let (stop, stopped) = watch::channel(());
        let shared = Arc::new(Shared {
            source,
            identity,
            address,
            pages: Pages::new(),
            baselines: Baselines::default(),
            streams: Streams::new(),
            usage: Usage::new(),
            scrapes: Scrapes::default(),
            services: config.services,
            scope: config.scope,
            stopped: stopped.clone(),
            source_timeout: limits.source_timeout,
            body_timeout: limits.body_timeout,
        });
        let service = TowerToHyperService::new(router(&shared, cors, config.reloads));
        let mut connections = JoinSet::new();
        let accept = accept(&listener, &mut connections, &service, limits, &stopped);
        tokio::select! {
            () = accept => {}
            () = shutdown => {}
        }
        drop(listener);
        drop(stop);
        let finish = async { while connections.join_next().await.is_some() {} };
        if timeout(limits.shutdown_grace, finish).await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "requests cut off at the shutdown"
            );
        }
        connections.shutdown().await;
    }
}

/// How long to wait when the process has no file descriptors left, before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections for ever, as long as there is room for them.
async fn accept(
    listener: &TcpListener,
    connections: &mut JoinSet<()>,
    service: &TowerToHyperService<Router>,
    limits: Limits,
    stopped: &watch::Receiver<()>,
) {
    let room = Arc::new(Semaphore::new(limits.connections));
    loop {
        // Never closed; and without room nothing is taken from the kernel's queue.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = next(listener).await;
        while connections.try_join_next().is_some() {}
        let (service, stopped) = (service.clone(), stopped.clone());
        connections.spawn(async move {
            connection::serve(stream, service, limits, stopped).await;
            drop(place);
        });
    }
}

/// The next connection. Errors do not end the loop: they are those of one client, or pass.
async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
