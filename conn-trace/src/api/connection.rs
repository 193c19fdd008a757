//! One client's connection.

use std::pin::pin;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpStream, sync::watch};
use tokio_io_timeout::TimeoutStream;

use super::server::Limits;

/// Browsers send about twenty.
const MAX_HEADERS: usize = 64;

/// Request line and headers together: the usual limit of servers and proxies. hyper also writes
/// no further ahead than this, so it bounds both directions of a connection.
const MAX_BUFFER_BYTES: usize = 16 * 1024;

/// Answers the connection's requests until the client has no more, takes too long, or `stopped`
/// loses its sender; in the latter case the running request is finished.
pub(super) async fn serve(
    stream: TcpStream,
    service: TowerToHyperService<Router>,
    limits: Limits,
    mut stopped: watch::Receiver<()>,
) {
    // Answers are written whole; waiting for more to send with them would only delay them. A
    // failure costs nothing but that delay.
    let _ = stream.set_nodelay(true);
    // There is no read timeout: hyper also reads while it answers, to notice a client that goes
    // away, and a client that only listens must not be taken for one that stalls.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_timeout));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // It also runs between two requests of a connection, and so bounds idleness.
        .header_read_timeout(limits.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "client");
    }
}
