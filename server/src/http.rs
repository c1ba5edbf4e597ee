//! Connections: accepts them, bounds them, serves HTTP/1 and HTTP/2 on them, and lets them finish at the end.
//!
//! With a certificate all of them speak TLS; each shakes hands in a task of its own, so that none waits for another.
//! `/-/` belongs to the server itself (no bucket can be named `-`); everything else goes to the guarded S3 service.
//! What a peer that is slow, silent or gone can hold is bounded: connections by number, a request's head by time and
//! size, waiting by `patient`.

mod certificate;
mod facts;
mod health;
mod patient;
mod proxy;
mod tls;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::s3::guard::Logged;
use patient::Patient;

pub use certificate::{TlsError, TlsFiles};
pub use facts::{ConnectionFacts, TlsVersion};
pub use health::{Readiness, Trouble};
pub use proxy::{InvalidProxy, Proxy};
pub use tls::Tls;

/// Bounds on what peers may hold. The default is for production.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// For a TLS handshake; for the head of a request, and so for an idle connection.
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

/// How clients come.
#[derive(Clone, Default)]
pub struct Ways {
    /// With it, nobody is served without TLS.
    pub tls: Option<Arc<Tls>>,
    /// Whose word on their clients is believed.
    pub proxies: Arc<[Proxy]>,
}

/// Serves `s3` on `listener` until `stop` ends, then lets what is in flight finish.
///
/// Gives whether all of it did; what did not within [`Limits::finish`] was cut off.
pub async fn serve<S>(
    listener: TcpListener,
    ways: Ways,
    s3: S,
    readiness: Arc<dyn Readiness>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> bool
where
    S: Service<Request<Incoming>, Response = Response<Logged>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    // Its end tells handshakes to end, which nothing in flight waits for.
    let (serving, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some((stream, peer, place)) = accept(&listener, &places) => {
                let facts = ConnectionFacts::plain(peer);
                let proxies = Arc::clone(&ways.proxies);
                let front = Front { s3: s3.clone(), readiness: Arc::clone(&readiness), proxies, facts };
                let host = Host { limits: limits.clone(), watcher: graceful.watcher() };
                let (tls, stopping) = (ways.tls.clone(), stopping.clone());
                connections.spawn(async move {
                    attend(stream, tls, stopping, front, host).await;
                    drop(place);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop((listener, serving));
    let finished = tokio::time::timeout(limits.finish, graceful.shutdown()).await.is_ok();
    connections.shutdown().await;
    finished
}

/// The next connection, once there is a place for it. `None` after an accept that failed: try again.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            // Out of file descriptors, most likely: it passes when connections end, and must not spin meanwhile.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// What one connection has of the server.
struct Host {
    limits: Limits,
    watcher: Watcher,
}

/// One connection, from its first byte to its last.
async fn attend<S>(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    mut stopping: watch::Receiver<()>,
    mut front: Front<S>,
    host: Host,
) where
    S: Service<Request<Incoming>, Response = Response<Logged>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    // Else Nagle's algorithm and delayed acknowledgements add 40 ms to small answers.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let stream = Patient::new(stream, host.limits.silence);
    let Some(tls) = tls else { return converse(stream, front, host).await };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(host.limits.head, tls.accept(stream)) => shaken,
        _ = stopping.changed() => return,
    };
    match shaken {
        Ok(Ok((stream, version))) => {
            front.facts.tls = Some(version);
            converse(stream, front, host).await;
        }
        // Plain HTTP, most likely, or a client that does not trust the certificate.
        Ok(Err(error)) => tracing::debug!(%error, "no TLS handshake"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// HTTP, whichever version the client speaks.
async fn converse<S, I>(stream: I, front: Front<S>, host: Host)
where
    S: Service<Request<Incoming>, Response = Response<Logged>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Host { limits, watcher } = host;
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
    let connection = builder.serve_connection(TokioIo::new(stream), front);
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        // The peer went away, or spoke no HTTP: its affair. Damage found in mid-answer has its own line.
        tracing::debug!(%error, "connection ended early");
    }
}

/// What answers on a connection: the server's own pages, and S3.
#[derive(Clone)]
struct Front<S> {
    s3: S,
    readiness: Arc<dyn Readiness>,
    proxies: Arc<[Proxy]>,
    facts: ConnectionFacts,
}

impl<S> Service<Request<Incoming>> for Front<S>
where
    S: Service<Request<Incoming>, Response = Response<Logged>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Logged>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let path = request.uri().path();
        if path == "/-" || path.starts_with("/-/") {
            let (readiness, method, path) = (Arc::clone(&self.readiness), request.method().clone(), path.to_owned());
            return Box::pin(async move { Ok(health::answer(&*readiness, &method, &path).await) });
        }
        let facts = proxy::seen_through(&self.proxies, self.facts, request.headers());
        request.extensions_mut().insert(facts);
        Box::pin(self.s3.call(request))
    }
}
