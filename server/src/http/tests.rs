//! Over loopback, with real sockets: what peers see of the server's own pages, its limits and its end.

use std::sync::Mutex;

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::*;

/// Answers each request after its body was read, if the path says so, and when it is let.
#[derive(Clone)]
struct Slow(Arc<tokio::sync::Notify>);
impl Service<Request<Incoming>> for Slow {
    type Response = Response<Logged>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let gate = Arc::clone(&self.0);
        Box::pin(async move {
            if request.uri().path() == "/slow" {
                gate.notified().await;
            }
            let refused = request.uri().path() == "/refused";
            let length = if refused { 0 } else { request.collect().await.map_or(0, |body| body.to_bytes().len()) };
            let mut response = Response::new(Logged::silent(s3s::Body::from(format!("got {length}"))));
            if refused {
                *response.status_mut() = StatusCode::FORBIDDEN;
                response.headers_mut().insert("connection", http::HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    }
}

struct Told(Mutex<Vec<Trouble>>);
#[async_trait::async_trait]
impl Readiness for Told {
    async fn troubles(&self) -> Vec<Trouble> {
        self.0.lock().unwrap().clone()
    }
}

struct Running {
    address: SocketAddr,
    gate: Arc<tokio::sync::Notify>,
    told: Arc<Told>,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<bool>,
}

async fn start(limits: Limits) -> Running {
    start_with(Ways::default(), limits).await
}

async fn start_with(ways: Ways, limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gate = Arc::new(tokio::sync::Notify::new());
    let told = Arc::new(Told(Mutex::default()));
    let (stop, stopped) = oneshot::channel();
    let (service, readiness) = (Slow(Arc::clone(&gate)), Arc::clone(&told));
    let served = tokio::spawn(serve(listener, ways, service, readiness, limits, async { drop(stopped.await) }));
    Running { address, gate, told, stop, served }
}

/// Sends `text` and gives all that comes until the server closes.
async fn say(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(address: SocketAddr, path: &str) -> String {
    say(address, &format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn live_answers_always_and_ready_says_what_is_wrong() {
    let running = start(Limits::default()).await;
    assert!(get(running.address, "/-/health/live").await.starts_with("HTTP/1.1 200"));
    assert!(get(running.address, "/-/health/ready").await.starts_with("HTTP/1.1 200"));
    *running.told.0.lock().unwrap() = vec![Trouble { part: "hsm", reason: "token \"a\" gone\n".into() }];
    assert!(get(running.address, "/-/health/live").await.starts_with("HTTP/1.1 200"));
    let answer = get(running.address, "/-/health/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503"));
    assert!(answer.contains(r#"{"part":"hsm","reason":"token \"a\" gone\u000a"}"#), "{answer}");
    assert!(get(running.address, "/-/other").await.starts_with("HTTP/1.1 404"));
    assert!(get(running.address, "/-other").await.ends_with("got 0"));
}

#[tokio::test]
async fn what_is_in_flight_finishes_and_nothing_new_is_accepted() {
    let running = start(Limits::default()).await;
    let in_flight = tokio::spawn(get(running.address, "/slow"));
    // The request is in once the service waits for its gate; a connection that came before it is answered.
    while Arc::strong_count(&running.gate) < 4 {
        tokio::task::yield_now().await;
    }
    running.stop.send(()).unwrap();
    while TcpStream::connect(running.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    running.gate.notify_one();
    assert!(in_flight.await.unwrap().ends_with("got 0"));
    assert!(running.served.await.unwrap());
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_off() {
    let running = start(Limits { finish: Duration::from_millis(50), ..Limits::default() }).await;
    let in_flight = tokio::spawn(get(running.address, "/slow"));
    while Arc::strong_count(&running.gate) < 4 {
        tokio::task::yield_now().await;
    }
    running.stop.send(()).unwrap();
    assert!(!running.served.await.unwrap());
    // Cut off: an end, or a reset.
    assert_eq!(in_flight.await.unwrap_or_default(), "");
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_let_go() {
    let running = start(Limits { silence: Duration::from_millis(50), ..Limits::default() }).await;
    assert_eq!(say(running.address, "").await, "");
    // Not even in the middle of what could become HTTP/2.
    assert_eq!(say(running.address, "PRI * HT").await, "");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_let_go() {
    let running = start(Limits { head: Duration::from_millis(50), ..Limits::default() }).await;
    assert_eq!(say(running.address, "GET / HTTP/1.1\r\nhost: ").await, "");
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_uploading() {
    let running = start(Limits::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = "PUT /refused HTTP/1.1\r\nhost: h\r\ncontent-length: 16777216\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // All of it goes out before the answer is looked at, as simple clients do; a reset would lose the answer.
    stream.write_all(&vec![0; 16 << 20]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[tokio::test]
async fn a_place_is_free_again_when_its_connection_ends() {
    let running = start(Limits { connections: 1, ..Limits::default() }).await;
    for _ in 0..3 {
        assert!(get(running.address, "/-/health/live").await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn continue_is_said_only_when_the_body_is_asked_for() {
    let running = start(Limits::default()).await;
    let head = |path| format!("PUT {path} HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
    assert!(say(running.address, &head("/refused")).await.starts_with("HTTP/1.1 403"));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(head("/accepted").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
}

/// TLS with no certificate: enough for a client that never says anything.
async fn start_tls(limits: Limits) -> Running {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let resolver = Arc::new(rustls::server::ResolvesServerCertUsingSni::new());
    let tls = Tls::of(builder.with_no_client_auth().with_cert_resolver(resolver));
    start_with(Ways { tls: Some(Arc::new(tls)), ..Ways::default() }, limits).await
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_hung_up_on() {
    let running = start_tls(Limits { head: Duration::from_millis(50), ..Limits::default() }).await;
    assert_eq!(say(running.address, "").await, "");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_holds_up_neither_the_next_connection_nor_the_end() {
    let running = start_tls(Limits { head: Duration::from_secs(3_600), ..Limits::default() }).await;
    let silent = TcpStream::connect(running.address).await.unwrap();
    // Answered (with an alert) while the other is still silent.
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "plain HTTP is not served");
    running.stop.send(()).unwrap();
    assert!(running.served.await.unwrap());
    drop(silent);
}
