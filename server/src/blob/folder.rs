//! Blobs in a folder, one file each: `<session>/<last byte of the stream's name>/<stream>`, all in hexadecimal.
//!
//! A blob is written under its final name from the first byte. A rename would gain nothing: the name is never used
//! twice (O_EXCL proves it), and nothing refers to it before the catalog commit, which needs [`Durable`]. So there is
//! one state less, and what a killed process leaves is found by its session like any other orphan. A write that
//! fails, or that nobody waits for any more, takes its file away again. A failed fsync is never retried: the kernel
//! has dropped the pages, so the blob is dropped too.
//!
//! Files and directories are the owner's alone, and no symbolic link below the root is followed. All work on them
//! runs on the blocking pool; a small blob crosses to it once.

mod tree;
mod unfinished;

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use rustix::io::ReadWriteFlags;

use self::tree::Tree;
use self::unfinished::Unfinished;
use super::{BlobName, BlobReader, BlobStore, Durable, SealedStream};
use crate::error::{BlobError, OpError};
use crate::id::SessionId;

/// Up to here a blob is gathered first and written in one go. Measured: a crossing costs 20 to 25 us of processor,
/// a fsync beside it 100 to 200.
const SMALL_LEN_MAX: usize = 64 * 1024;

/// A blob store in a folder of a local file system.
pub struct FolderStore {
    tree: Arc<Tree>,
}

impl FolderStore {
    /// Opens the folder, or makes it. Blocks: for the start of a process.
    ///
    /// # Errors
    /// [`BlobError::Write`] if it can be neither opened nor made.
    pub fn open(root: PathBuf) -> Result<Self, BlobError> {
        match Tree::open(root.clone()) {
            Ok(tree) => Ok(Self { tree: Arc::new(tree) }),
            Err(source) => Err(BlobError::Write { path: root, source }),
        }
    }

    /// Writes batches while the next ones are made: one write is in flight at any time, never two.
    async fn stream(&self, blob: &mut Unfinished, head: Vec<Bytes>, mut rest: SealedStream<'_>) -> Result<(), OpError> {
        let mut writing = blob.append(head);
        while let Some(batch) = rest.next().await {
            let batch = batch?;
            joined(writing.await).map_err(|source| self.write_error(blob.name(), source))?;
            writing = blob.append(vec![batch]);
        }
        let written = joined(writing.await);
        let durable = match written {
            Ok(()) => joined(blob.sync().await),
            Err(error) => Err(error),
        };
        Ok(durable.map_err(|source| self.write_error(blob.name(), source))?)
    }

    fn write_error(&self, name: BlobName, source: io::Error) -> BlobError {
        BlobError::Write { path: self.tree.path(name), source }
    }

    fn read_error(&self, what: &impl ToString, source: io::Error) -> BlobError {
        BlobError::Read { what: what.to_string(), source }
    }
}

#[async_trait]
impl BlobStore for FolderStore {
    async fn write(&self, name: BlobName, mut sealed: SealedStream<'_>) -> Result<Durable, OpError> {
        let mut head = Vec::new();
        let mut head_len = 0;
        let mut whole = true;
        while let Some(batch) = sealed.next().await {
            let batch = batch?;
            head_len += batch.len();
            head.push(batch);
            if head_len > SMALL_LEN_MAX {
                whole = false;
                break;
            }
        }
        let tree = Arc::clone(&self.tree);
        if whole {
            let blob = off_thread(move || Unfinished::write_whole(tree, name, &head)).await;
            blob.map_err(|source| self.write_error(name, source))?.keep();
            return Ok(Durable { name });
        }
        let blob = off_thread(move || Unfinished::create(tree, name)).await;
        let mut blob = blob.map_err(|source| self.write_error(name, source))?;
        match self.stream(&mut blob, head, sealed).await {
            Ok(()) => {
                blob.keep();
                Ok(Durable { name })
            }
            Err(error) => {
                // The reason to report is the first one; what cannot be removed now is the sweeper's.
                let _ = off_thread(move || blob.discard()).await;
                Err(error)
            }
        }
    }

    async fn open(&self, name: BlobName) -> Result<Box<dyn BlobReader>, BlobError> {
        let tree = Arc::clone(&self.tree);
        match off_thread(move || tree.open_file(name)).await {
            Ok(file) => Ok(Box::new(FileReader { name, file: Arc::new(file) })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BlobError::Missing(name)),
            Err(source) => Err(self.read_error(&format!("blob {name}"), source)),
        }
    }

    /// Needs no fsync of the directory: a blob that a power cut brings back is one that nothing names, under a key
    /// that was erased before. It costs space until somebody looks for orphans, and opens for nobody.
    async fn remove(&self, name: BlobName) -> Result<(), BlobError> {
        let tree = Arc::clone(&self.tree);
        match off_thread(move || tree.unlink(name)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(BlobError::Remove { path: self.tree.path(name), source: error })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn sessions(&self) -> Result<Vec<SessionId>, BlobError> {
        let tree = Arc::clone(&self.tree);
        let root = self.tree.root().display();
        off_thread(move || tree.sessions()).await.map_err(|source| self.read_error(&root, source))
    }

    async fn written_by(&self, session: SessionId) -> Result<Vec<BlobName>, BlobError> {
        let tree = Arc::clone(&self.tree);
        let what = format!("the blobs of session {session}");
        off_thread(move || tree.written_by(session)).await.map_err(|source| self.read_error(&what, source))
    }
}

struct FileReader {
    name: BlobName,
    file: Arc<File>,
}

impl FileReader {
    fn error(&self, source: io::Error) -> BlobError {
        BlobError::Read { what: format!("blob {}", self.name), source }
    }
}

#[async_trait]
impl BlobReader for FileReader {
    /// Asks the open file, which the kernel answers from memory.
    async fn len(&self) -> Result<u64, BlobError> {
        Ok(self.file.metadata().map_err(|source| self.error(source))?.len())
    }

    async fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, BlobError> {
        // Asked first, so that no length makes us allocate more than there is.
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.file.metadata().map_or(0, |metadata| metadata.len())) {
            return Err(self.error(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut buffer = vec![0; len];
        if read_at_once(&self.file, offset, &mut buffer) {
            return Ok(buffer);
        }
        let file = Arc::clone(&self.file);
        let read = move || file.read_exact_at(&mut buffer, offset).map(|()| buffer);
        off_thread(read).await.map_err(|source| self.error(source))
    }
}

/// Whether a small read could be served from the page cache, without waiting for a disk: that is cheaper than a
/// crossing to the blocking pool. False also where the file system does not know such reads.
fn read_at_once(file: &File, offset: u64, buffer: &mut [u8]) -> bool {
    let len = buffer.len();
    len <= SMALL_LEN_MAX
        && rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) == Ok(len)
}

/// Runs what blocks on the blocking pool. It runs to its end even if nobody waits for it any more.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    joined(tokio::task::spawn_blocking(work).await)
}

fn joined<T>(result: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    result.unwrap_or_else(|error| Err(io::Error::other(error)))
}
