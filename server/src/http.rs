//! Connections: accepts them, bounds them, serves HTTP/1 and HTTP/2 on them, and lets them finish at the end.
//!
//! `/-/` belongs to the server itself (no bucket can be named `-`); everything else goes to the guarded S3 service.
//! What a peer that is slow, silent or gone can hold is bounded: connections by number, a request's head by time and
//! size, waiting by `patient`.

mod health;
mod patient;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::s3::guard::Logged;
use patient::Patient;

pub use health::{Readiness, Trouble};

/// Bounds on what peers may hold. The default is for production.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// For the head of a request, and so for an idle connection.
    pub head: Duration,
    /// For a peer that neither sends nor takes a byte that is waited for.
    pub silence: Duration,
    /// For requests in flight when the server stops.
    pub finish: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            head: Duration::from_secs(30),
            silence: Duration::from_secs(180),
            finish: Duration::from_secs(30),
        }
    }
}

/// HTTP/2 headers of one request, in bytes, as HTTP/2 counts them; the guard has the finer limit.
const HTTP2_HEAD_LEN_MAX: u32 = 32 << 10;
/// HTTP/2 requests at a time on one connection.
const HTTP2_STREAMS_MAX: u32 = 128;
/// How far an HTTP/2 client may send ahead on one stream: enough for 10 Gbit/s at a millisecond.
const HTTP2_WINDOW: u32 = 1 << 20;

/// Serves `s3` on `listener` until `stop` ends, then lets what is in flight finish.
///
/// Gives whether all of it did; what did not within [`Limits::finish`] was cut off.
pub async fn serve<S>(
    listener: TcpListener,
    s3: S,
    readiness: Arc<dyn Readiness>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> bool
where
    S: Service<Request<Incoming>, Response = Response<Logged>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let front = Front { s3, readiness };
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some((stream, place)) = accept(&listener, &places) => {
                connections.spawn(attend(stream, front.clone(), limits.clone(), graceful.watcher(), place));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let finished = tokio::time::timeout(limits.finish, graceful.shutdown()).await.is_ok();
    connections.shutdown().await;
    finished
}

/// The next connection, once there is a place for it. `None` after an accept that failed: try again.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            // Out of file descriptors, most likely: it passes when connections end, and must not spin meanwhile.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// One connection, from its first byte to its last.
async fn attend<S>(stream: TcpStream, front: Front<S>, limits: Limits, watcher: Watcher, place: OwnedSemaphorePermit)
where
    S: Service<Request<Incoming>, Response = Response<Logged>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    // Else Nagle's algorithm and delayed acknowledgements add 40 ms to small answers.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HTTP2_HEAD_LEN_MAX)
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .initial_stream_window_size(HTTP2_WINDOW)
        .initial_connection_window_size(4 * HTTP2_WINDOW)
        .keep_alive_interval(limits.head)
        .keep_alive_timeout(limits.head);
    let connection = builder.serve_connection(TokioIo::new(Patient::new(stream, limits.silence)), front);
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        // The peer went away, or spoke no HTTP: its affair. Damage found in mid-answer has its own line.
        tracing::debug!(%error, "connection ended early");
    }
    drop(place);
}

/// What answers on a connection: the server's own pages, and S3.
#[derive(Clone)]
struct Front<S> {
    s3: S,
    readiness: Arc<dyn Readiness>,
}

impl<S> Service<Request<Incoming>> for Front<S>
where
    S: Service<Request<Incoming>, Response = Response<Logged>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Logged>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        if path == "/-" || path.starts_with("/-/") {
            let (readiness, method, path) = (Arc::clone(&self.readiness), request.method().clone(), path.to_owned());
            return Box::pin(async move { Ok(health::answer(&*readiness, &method, &path).await) });
        }
        Box::pin(self.s3.call(request))
    }
}
