//! A blob that is being written: it is removed when dropped, unless it was kept.
//!
//! So a request that is cancelled at any point leaves no file: the value goes with the future, or, where that was
//! dropped during a crossing, with the result that nobody fetched.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::tree::Tree;
use crate::blob::BlobName;

pub(super) struct Unfinished {
    tree: Arc<Tree>,
    folder: Arc<OwnedFd>,
    name: BlobName,
    file: Arc<File>,
    len: u64,
    remove_on_drop: bool,
}

impl Unfinished {
    /// Makes the file. Blocks.
    pub(super) fn create(tree: Arc<Tree>, name: BlobName) -> io::Result<Self> {
        let folder = tree.folder_to_write(name)?;
        let file = Arc::new(tree.create_file(&folder, name)?);
        Ok(Self { tree, folder, name, file, len: 0, remove_on_drop: true })
    }

    /// Makes the file, writes all of it, makes it durable. Blocks; nothing is left if it fails.
    pub(super) fn write_whole(tree: Arc<Tree>, name: BlobName, batches: &[Bytes]) -> io::Result<Self> {
        let mut blob = Self::create(tree, name)?;
        let written = write_at(&blob.file, batches, 0).and_then(|()| sync(&blob.tree, &blob.file, &blob.folder));
        match written {
            Ok(()) => Ok(blob),
            Err(error) => {
                // The first error is the one to report; what cannot be removed now is the sweeper's.
                let _ = blob.remove();
                Err(error)
            }
        }
    }

    pub(super) fn name(&self) -> BlobName {
        self.name
    }

    /// Starts to write behind what was written.
    pub(super) fn append(&mut self, batches: Vec<Bytes>) -> JoinHandle<io::Result<()>> {
        let file = Arc::clone(&self.file);
        let offset = self.len;
        self.len += batches.iter().map(|batch| batch.len() as u64).sum::<u64>();
        spawn_blocking(move || write_at(&file, &batches, offset))
    }

    /// Starts to make it durable: the file, then the directory that names it.
    pub(super) fn sync(&self) -> JoinHandle<io::Result<()>> {
        let (tree, file, folder) = (Arc::clone(&self.tree), Arc::clone(&self.file), Arc::clone(&self.folder));
        spawn_blocking(move || sync(&tree, &file, &folder))
    }

    /// It is whole and durable, and stays.
    pub(super) fn keep(mut self) {
        self.remove_on_drop = false;
    }

    /// Removes it now. Blocks.
    pub(super) fn discard(mut self) -> io::Result<()> {
        self.remove()
    }

    fn remove(&mut self) -> io::Result<()> {
        self.remove_on_drop = false;
        self.tree.unlink(self.name)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.remove_on_drop {
            return;
        }
        let (tree, name) = (Arc::clone(&self.tree), self.name);
        let remove = move || {
            if let Err(error) = tree.unlink(name) {
                tracing::warn!(blob = %name, %error, "cannot remove an unfinished blob: left to the sweeper");
            }
        };
        // Dropped on an async thread as a rule, which must not wait for a disk.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

fn write_at(file: &File, batches: &[Bytes], mut offset: u64) -> io::Result<()> {
    for batch in batches {
        file.write_all_at(batch, offset)?;
        offset += batch.len() as u64;
    }
    Ok(())
}

fn sync(tree: &Tree, file: &File, folder: &OwnedFd) -> io::Result<()> {
    file.sync_all()?;
    tree.sync(folder)
}
