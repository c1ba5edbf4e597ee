//! Step 5, where sealed streams lie: the trait, and the proof that a stream is durable.
//!
//! A blob store holds sealed bytes under names and knows neither keys nor objects. A blob is written once, under a
//! name that is never used again, and is whole or absent: what a failed write leaves is removed by the writer or, if
//! that died, by the sweeper, which finds it by the session in its name.

mod folder;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::{BlobError, OpError};
use crate::id::{SessionId, StreamId};

pub use folder::FolderStore;

/// Name of a blob: who wrote it, and which of its streams it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName {
    /// The session that wrote it.
    pub session: SessionId,
    /// Never used again.
    pub stream: StreamId,
}

impl BlobName {
    /// The 32 bytes that the catalog keeps.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(self.session.as_bytes());
        bytes[16..].copy_from_slice(self.stream.as_bytes());
        bytes
    }

    /// The name in these bytes; `None` if they are not 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (session, stream) = bytes.split_first_chunk::<16>()?;
        Some(Self { session: SessionId::from_bytes(*session), stream: StreamId::from_bytes(stream.try_into().ok()?) })
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.session, self.stream)
    }
}

impl fmt::Debug for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Proof that a blob would survive a power cut: only a blob store makes one.
#[derive(Debug)]
pub struct Durable {
    name: BlobName,
}

impl Durable {
    /// The blob that is durable.
    pub fn name(&self) -> BlobName {
        self.name
    }
}

/// Sealed bytes as they come out of the engine. An error ends the write and leaves nothing.
pub type SealedStream<'a> = BoxStream<'a, Result<Bytes, OpError>>;

/// Where sealed streams lie.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Writes a blob and makes it durable: the file, then each directory made or changed on the way to it.
    ///
    /// # Errors
    /// The stream's own, or [`BlobError::Write`]; in both cases nothing is left under `name`.
    async fn write(&self, name: BlobName, sealed: SealedStream<'_>) -> Result<Durable, OpError>;

    /// Opens a blob for reading; it stays readable through the handle even when it is removed meanwhile.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Read`].
    async fn open(&self, name: BlobName) -> Result<Box<dyn BlobReader>, BlobError>;

    /// Removes a blob; one that is not there counts as removed.
    ///
    /// # Errors
    /// [`BlobError::Remove`].
    async fn remove(&self, name: BlobName) -> Result<(), BlobError>;

    /// Every session that has left blobs here.
    ///
    /// # Errors
    /// [`BlobError::Read`].
    async fn sessions(&self) -> Result<Vec<SessionId>, BlobError>;

    /// Every blob of one session, half-written ones included.
    ///
    /// # Errors
    /// [`BlobError::Read`].
    async fn written_by(&self, session: SessionId) -> Result<Vec<BlobName>, BlobError>;
}

/// An open blob.
#[expect(clippy::len_without_is_empty, reason = "a sealed stream is never empty: it has a header")]
#[async_trait]
pub trait BlobReader: Send + Sync {
    /// Its length in bytes now.
    ///
    /// # Errors
    /// [`BlobError::Read`].
    async fn len(&self) -> Result<u64, BlobError>;

    /// Exactly `len` bytes from `offset`.
    ///
    /// # Errors
    /// [`BlobError::Read`], also where the blob ends before.
    async fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, BlobError>;
}
