//! TLS: the pair in use, and the one that takes its place when its files change or a SIGHUP comes.
//!
//! Connections that are open keep what they began with. A new pair that cannot be used changes nothing but the log:
//! certificate and key are two files, and whoever replaces them replaces one first.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::{ProtocolVersion, ServerConfig};
use tokio::signal::unix::Signal;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::{self, TlsError, TlsFiles};
use super::facts::TlsVersion;
use super::patient::Patient;

/// How often the files are looked at. Links count as what they lead to, so that renewal by a link is seen.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The certificate and key of a server.
pub struct Tls {
    files: TlsFiles,
    /// As the files were before they were first read: what changes meanwhile is seen at the next look.
    first_look: Looks,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the pair. Blocks: for the start of a process.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let first_look = look_at(&files);
        Ok(Self { current: RwLock::new(certificate::load(&files)?), first_look, files })
    }

    /// Settings that a test has made.
    #[cfg(test)]
    pub(super) fn of(config: ServerConfig) -> Self {
        let files = TlsFiles { cert: "cert".into(), key: "key".into() };
        Self { first_look: look_at(&files), current: RwLock::new(Arc::new(config)), files }
    }

    /// Takes up a new pair whenever the files have changed, or `hangup` says so. It ends with its task.
    pub async fn follow(self: Arc<Self>, mut hangup: Signal) {
        let mut seen = self.first_look;
        loop {
            let told = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let now = self.look().await;
            if told || now != seen {
                self.reload().await;
            }
            seen = now;
        }
    }

    async fn reload(&self) {
        let files = self.files.clone();
        match tokio::task::spawn_blocking(move || certificate::load(&files)).await {
            Ok(Ok(config)) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                tracing::info!(cert = %self.files.cert.display(), "new connections get the new certificate");
            }
            Ok(Err(error)) => tracing::error!(%error, "the new certificate is not taken up: the old one stays in use"),
            Err(error) => tracing::error!(%error, "the new certificate was not read"),
        }
    }

    async fn look(&self) -> Looks {
        let files = self.files.clone();
        tokio::task::spawn_blocking(move || look_at(&files)).await.unwrap_or_default()
    }

    /// The handshake of one connection; the caller sets its deadline.
    pub(super) async fn accept(&self, stream: Patient) -> io::Result<(TlsStream<Patient>, TlsVersion)> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let version = match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
            // The settings allow no third.
            _ => TlsVersion::Tls12,
        };
        Ok((stream, version))
    }
}

/// What tells one state of a file from another: device, inode, length, and the two times in nanoseconds.
type Look = (u64, u64, u64, i64, i64, i64, i64);

/// Of the certificate and of the key.
type Looks = [Option<Look>; 2];

fn look_at(files: &TlsFiles) -> Looks {
    [&files.cert, &files.key].map(|path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()))
    })
}
