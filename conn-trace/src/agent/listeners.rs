//! The listeners of single services. They come and go with the configuration.

use std::{net::SocketAddr, sync::Arc};

use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    api::{BindError, Config, Server, ServerIdentity},
    config::{Configuration, ServiceSection},
    registry::Handle,
};

/// A service and the address that it is to be served at.
type Place = (Arc<str>, SocketAddr);

/// A listener that is served.
struct Running {
    place: Place,
    port: u16,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// A listener that is not served yet.
pub(super) struct Bound {
    place: Place,
    server: Server,
}

/// All that are served.
pub(super) struct Listeners {
    config: Config,
    identity: ServerIdentity,
    running: Vec<Running>,
}

impl Listeners {
    /// None yet. They differ from `config` in address and service.
    pub(super) fn new(config: Config, identity: ServerIdentity) -> Self {
        Self {
            config,
            identity,
            running: Vec::new(),
        }
    }

    /// Takes the addresses that are new in the configuration.
    ///
    /// # Errors
    /// If one cannot be had; none is taken then.
    pub(super) async fn bind(
        &self,
        configuration: &Configuration,
    ) -> Result<Vec<Bound>, BindError> {
        let mut bound = Vec::new();
        for place in configuration.services.iter().filter_map(place) {
            if self.running.iter().any(|running| running.place == place) {
                continue;
            }
            let server = Server::bind(Config {
                listen: place.1,
                scope: Some(Arc::clone(&place.0)),
                ..self.config.clone()
            });
            bound.push(Bound {
                server: server.await?,
                place,
            });
        }
        Ok(bound)
    }

    /// The ports of all listeners, new ones among them, after that of the agent itself.
    pub(super) fn ports(&self, main: u16, bound: &[Bound]) -> Vec<u16> {
        let running = self.running.iter().map(|running| running.port);
        let bound = bound.iter().map(|bound| bound.server.local_addr().port());
        [main].into_iter().chain(running).chain(bound).collect()
    }

    /// Answers at these from now on.
    pub(super) fn serve(&mut self, bound: Vec<Bound>, handle: &Handle) {
        for Bound { place, server } in bound {
            let address = server.local_addr();
            tracing::info!(service = %place.0, listen = %address, "serving");
            let (stop, stopped) = oneshot::channel();
            let stopped = async {
                // Without its sender there is nothing left to serve for.
                let _ = stopped.await;
            };
            let task = tokio::spawn(server.serve(handle.clone(), self.identity.clone(), stopped));
            self.running.push(Running {
                place,
                port: address.port(),
                stop,
                task,
            });
        }
    }

    /// Ends those that the configuration no longer has.
    pub(super) async fn keep(&mut self, configuration: &Configuration) {
        let places: Vec<_> = configuration.services.iter().filter_map(place).collect();
        let (kept, gone) = self
            .running
            .drain(..)
            .partition(|running| places.contains(&running.place));
        self.running = kept;
        end(gone).await;
    }

    /// Ends all.
    pub(super) async fn stop(&mut self) {
        end(self.running.drain(..).collect()).await;
    }
}

fn place(service: &ServiceSection) -> Option<Place> {
    Some((Arc::clone(&service.name), service.listen?))
}

async fn end(running: Vec<Running>) {
    let tasks: Vec<_> = running
        .into_iter()
        .map(|Running { stop, task, .. }| {
            // It may have ended by itself.
            let _ = stop.send(());
            task
        })
        .collect();
    for task in tasks {
        if let Err(error) = task.await {
            tracing::error!(%error, "a listener has failed");
        }
    }
}
