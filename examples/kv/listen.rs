//! Connections of clients: so many at a time, and none that waits for a request for ever.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

/// How long a connection may say nothing, or take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest head of a request.
const MOST_HEAD: usize = 64 << 10;

/// How long requests under way are waited for at the end.
const GRACE: Duration = Duration::from_secs(2);

/// Serves until `stop` is dropped, and then answers what was asked before.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    max_connections: u32,
    mut stop: oneshot::Receiver<()>,
) {
    let room = Arc::new(Semaphore::new(max_connections as usize));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MOST_HEAD);
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            _ = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Most likely it is out of file descriptors.
                tracing::warn!("cannot accept (trying again after a pause): {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Without it an answer can wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection of a client: {error}");
            }
            drop(place);
        });
    }
    drop(listener);
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were not answered before the end");
    }
}
