//! `strongroom serve`: settings from arguments, a store from settings, requests until a signal.
//!
//! The first SIGTERM or SIGINT lets requests in flight finish; the second ends the process at once.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::key_use_args::KeyUseArgs;
use super::store_args::StoreArgs;
use crate::admin::AdminSocket;
use crate::administrators::Administrators;
use crate::config::{MastersConfig, ServeConfig};
use crate::http::{self, Limits, Proxy, Tls, TlsFiles, Ways};
use crate::log;
use crate::readiness::StoreReadiness;
use crate::s3::guard::{Forms, Guard};
use crate::start::{self, Opened};

/// Serve a store over S3.
///
/// With --dev everything is made on the first start: a SoftHSM token, a master key in it, and an access key in
/// DIR/credentials. Without, the master keys lie where --config says, in the token that --pkcs11-module and
/// --token-label, --token-serial or --token-slot name, or in a --keyfile.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    use_of_keys: KeyUseArgs,
    /// Address and port to listen on [default: 127.0.0.1:9000].
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Serve over TLS, and only so, with this certificate: PEM, the server's own first. It and its key are read again
    /// when they change, and upon SIGHUP.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key: PEM, readable by its owner only.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Address or network of a proxy before this server, whose X-Forwarded-For and X-Forwarded-Proto are believed; may be
    /// given several times. From anybody else they mean nothing.
    #[arg(long, value_name = "ADDR")]
    trusted_proxy: Vec<Proxy>,
    /// Let one person administer both keys and data; where nobody is named in the configuration, the user that the
    /// server runs as. The owner then may use every master key. --dev implies it.
    #[arg(long)]
    one_administrator: bool,
    /// What to log: error, warn, info, debug, trace, or directives for parts of the program [default: info].
    #[arg(long, value_name = "LEVEL", env = "STRONGROOM_LOG")]
    log: Option<log::Directives>,
}

const EXAMPLES: &str = "\
Examples:
  strongroom serve --dev
  strongroom serve --dev --data /var/tmp/store --listen 127.0.0.1:9100
  strongroom serve --dev --tls-cert cert.pem --tls-key key.pem
  strongroom serve --config /etc/strongroom/strongroom.toml
  strongroom serve --data ~/store --init --keyfile ~/store/keys --passphrase-file ~/store/passphrase
  strongroom serve --data /srv/strongroom --listen 10.0.0.5:9000 --init \\
      --pkcs11-module /usr/lib/libvendor-pkcs11.so --token-label store --pin-file /etc/strongroom/pin";

impl Serve {
    /// Serves until a signal.
    pub(super) fn run(self) -> Result<(), Failure> {
        let (mut config, log) = self.store.config()?;
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        if !self.trusted_proxy.is_empty() {
            config.trusted_proxies = self.trusted_proxy;
        }
        config.administrators.one_administrator |= self.one_administrator;
        self.use_of_keys.apply(&mut config.use_of_keys)?;
        if let (Some(cert), Some(key)) = (self.tls_cert, self.tls_key) {
            config.tls = Some(TlsFiles { cert: std::path::absolute(cert)?, key: std::path::absolute(key)? });
        }
        log::start(&self.log.or(log).unwrap_or_default())?;
        // A path that this processor lacks is told now, and not by the first request.
        let path = strongroom_engine::CpuPath::chosen()?;
        tracing::info!(path = path.name(), "ciphers");
        let administrators = Administrators::find(&config, rustix::process::geteuid().as_raw())?;
        administrators.tell();
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(config, administrators))
    }
}

async fn serve(config: ServeConfig, administrators: Administrators) -> Result<(), Failure> {
    let stop = stop_signal()?;
    let tls = config.tls.clone().map(Tls::open).transpose()?.map(Arc::new);
    // The port before the store: a second server is told so before it touches anything.
    let listener = TcpListener::bind(&config.listen)
        .await
        .map_err(|error| Failure { line: format!("cannot listen on {}: {error}", config.listen), code: 1 })?;
    let address = listener.local_addr()?;
    let Opened { store, credentials, .. } = &start::open(&config).await?;
    match AdminSocket::listen(&config.places.admin_socket, administrators) {
        Ok(socket) => store.run_beside(socket.serve(Arc::downgrade(store))),
        Err(error) => {
            let socket = config.places.admin_socket.display();
            tracing::warn!(%error, %socket, "no administration while this server runs: its socket cannot be made");
        }
    }
    if let Some(tls) = &tls {
        store.run_beside(Arc::clone(tls).follow(signal(SignalKind::hangup())?));
    }
    let guard = Guard::new(crate::s3::service(store.clone()), store.clock.clone());
    let guard = Forms::new(guard, store.clone());
    let readiness = Arc::new(StoreReadiness::new(store.clone(), config.places.blobs.clone()));
    tracing::info!(%address, tls = tls.is_some(), data = %config.places.data.display(), "serving");
    if matches!(config.masters, MastersConfig::Dev) {
        show_how_to_use(address, tls.is_some(), &credentials.path());
    }
    let ways = Ways { tls, proxies: config.trusted_proxies.into() };
    if !http::serve(listener, ways, guard, readiness, Limits::default(), stop).await {
        tracing::warn!("requests that had not finished were cut off");
    }
    store.close().await?;
    tracing::info!("stopped");
    Ok(())
}

/// Ends with the first signal to stop. The second ends the process.
fn stop_signal() -> Result<impl Future<Output = ()>, std::io::Error> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopped) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping: requests in flight finish first");
        let _ = stop.send(());
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(1);
    });
    Ok(async move { drop(stopped.await) })
}

/// Lines to paste into a shell that upload and download a file with the AWS CLI.
fn show_how_to_use(address: SocketAddr, has_tls: bool, credentials: &Path) {
    let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { address.ip().to_string() };
    let host = if address.is_ipv6() && !address.ip().is_unspecified() { format!("[{host}]") } else { host };
    let scheme = if has_tls { "https" } else { "http" };
    let (url, file) = (format!("{scheme}://{host}:{}", address.port()), quoted(&credentials.display().to_string()));
    let text = format!(
        "Strongroom serves {url}. To store a file and fetch it again, paste:\n\n\
         export AWS_SHARED_CREDENTIALS_FILE={file} AWS_PROFILE=default AWS_DEFAULT_REGION=us-east-1\n\
         echo hello > hello.txt\n\
         aws --endpoint-url {url} s3 mb s3://first-bucket\n\
         aws --endpoint-url {url} s3 cp hello.txt s3://first-bucket/hello.txt\n\
         aws --endpoint-url {url} s3 cp s3://first-bucket/hello.txt -\n\n"
    );
    // Whoever closed standard output does not want to read it.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// A word for a shell, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
