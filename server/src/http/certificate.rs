//! A certificate and its private key, from two PEM files to what a handshake needs.
//!
//! A pair that no client should accept is not taken up: one that does not belong together, one outside its time, a key
//! that others can read. Blocks: for the start, and for a thread of its own. No error repeats what stands in a file.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, RootCertStore, ServerConfig};
use zeroize::Zeroizing;

/// Longer than any chain.
const FILE_LEN_MAX: u64 = 1 << 20;

/// Where a certificate and its key lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's certificate, then those that lead from it to a root.
    pub cert: PathBuf,
    /// PEM: its private key, readable by the server's user only.
    pub key: PathBuf,
}

/// Why a pair is not taken up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Correct path or permissions.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Shut the others out.
    #[error(
        "the private key {path} has mode {mode:04o}: others may read it; run chmod 600 on it, and think of a new one"
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Put the right file there.
    #[error("{path} holds no {what} in PEM")]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Get another certificate.
    #[error("the certificate {path} {why}")]
    OutOfTime {
        /// The file.
        path: PathBuf,
        /// What is wrong with its time.
        why: &'static str,
    },
    /// Put the two that belong together there.
    #[error("{cert} and {key} cannot be used together: {source}")]
    Refused {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
}

/// The settings of a handshake with this pair: TLS 1.2 and 1.3; HTTP/2 and HTTP/1.1, whichever the client prefers of
/// what it offers.
pub(super) fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = chain(&files.cert)?;
    let key = private_key(&files.key)?;
    check_time(&files.cert, &chain)?;
    let refused = |source| TlsError::Refused { cert: files.cert.clone(), key: files.key.clone(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(refused)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path, open(path)?)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    chain.ok_or_else(|| TlsError::Nothing { path: path.to_owned(), what: "certificate" })
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let file = open(path)?;
    let mode = file.metadata().map_err(unreadable(path))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TlsError::OpenToOthers { path: path.to_owned(), mode });
    }
    let text = read(path, file)?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| TlsError::Nothing { path: path.to_owned(), what: "private key that needs no passphrase" })
}

/// Asks the verifier of certificates, with no root to end at: it looks at the time first, and then misses the root.
fn check_time(path: &Path, chain: &[CertificateDer<'_>]) -> Result<(), TlsError> {
    let out_of_time = |why| Err(TlsError::OutOfTime { path: path.to_owned(), why });
    let Some((own, rest)) = chain.split_first() else { return Ok(()) };
    let Ok(own) = ParsedCertificate::try_from(own) else {
        return Err(TlsError::Nothing { path: path.to_owned(), what: "X.509 certificate" });
    };
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let (no_root, now) = (RootCertStore::empty(), UnixTime::now());
    match verify_server_cert_signed_by_trust_anchor(&own, &no_root, rest, now, algorithms) {
        Err(rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            out_of_time("has expired: get a new one")
        }
        Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => out_of_time("is not valid yet: see the clock of this machine, or wait"),
        _ => Ok(()),
    }
}

fn open(path: &Path) -> Result<File, TlsError> {
    File::open(path).map_err(unreadable(path))
}

fn read(path: &Path, file: File) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let len = file.metadata().map_err(unreadable(path))?.len().min(FILE_LEN_MAX);
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 64));
    file.take(FILE_LEN_MAX).read_to_end(&mut bytes).map_err(unreadable(path))?;
    Ok(bytes)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Read { path, source }
}
