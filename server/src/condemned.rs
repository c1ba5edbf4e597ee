//! What is to be removed: blobs and wrapped keys that no catalog row names any more.
//!
//! Wrapped keys are erased before the request that condemned them is answered. A blob goes only when every GET that
//! could be reading it has ended; until then, and across restarts, it stands on the catalog's condemned list.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc};
use tracing::warn;

use crate::blob::{BlobName, BlobStore};
use crate::catalog::{Catalog, Condemnation, Condemned};
use crate::error::OpError;
use crate::id::SessionId;
use crate::keyring::Keyring;

/// Entries of the condemned list read or taken off at once.
const PAGE: usize = 1000;

/// Removes what is condemned.
pub struct Remover {
    catalog: Arc<dyn Catalog>,
    keyring: Arc<dyn Keyring>,
    blobs: Arc<dyn BlobStore>,
    session: SessionId,
    readers: Readers,
    queue: mpsc::UnboundedSender<Batch>,
}

/// What one commit condemned, its keys erased already, waiting for the readers of its blobs.
struct Batch {
    condemned: Vec<Condemned>,
    after: u64,
}

impl Remover {
    /// A remover, and the task that works off its queue; the task ends with the remover.
    pub fn start(
        catalog: Arc<dyn Catalog>,
        keyring: Arc<dyn Keyring>,
        blobs: Arc<dyn BlobStore>,
        session: SessionId,
    ) -> Arc<Self> {
        let (queue, batches) = mpsc::unbounded_channel();
        let readers = Readers::default();
        let remover = Arc::new(Self { catalog, keyring, blobs, session, readers: readers.clone(), queue });
        tokio::spawn(work_off(Arc::downgrade(&remover), readers, batches));
        remover
    }

    /// Marks the start of a read: no blob that is condemned from now on is removed before the mark is dropped.
    pub fn reading(&self) -> Reading {
        self.readers.enter()
    }

    /// Erases the keys among `condemned`, at once, and queues the blobs.
    ///
    /// # Errors
    /// The keyring's. The entries stay on the condemned list and are worked off later.
    pub async fn remove(&self, condemned: Vec<Condemned>) -> Result<(), OpError> {
        if condemned.is_empty() {
            return Ok(());
        }
        let keys = condemned.iter().filter_map(|entry| match entry.what {
            Condemnation::Key(id) => Some(id),
            Condemnation::Blob(_) => None,
        });
        let keys: Vec<_> = keys.collect();
        let erased = if keys.is_empty() { Ok(()) } else { self.keyring.erase(keys).await };
        if erased.is_ok() {
            let after = self.readers.now();
            // The task ends only with this remover.
            let _ = self.queue.send(Batch { condemned, after });
        }
        erased.map_err(OpError::from)
    }

    /// Works off everything that is on the condemned list now, left by this process or by others.
    ///
    /// # Errors
    /// The catalog's or the keyring's.
    pub async fn remove_all(&self) -> Result<(), OpError> {
        let mut after = 0;
        loop {
            let page = self.catalog.condemned(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.place;
            self.remove(page).await?;
        }
    }

    /// Removes what a failed request made and nothing names: its own leavings, so there is nobody to wait for.
    pub async fn discard(&self, blobs: &[BlobName], keys: &[strongroom_engine::KeyId]) {
        for blob in blobs {
            if let Err(error) = self.blobs.remove(*blob).await {
                warn!(%error, "left for the sweeper");
            }
        }
        if !keys.is_empty()
            && let Err(error) = self.keyring.erase(keys.to_vec()).await
        {
            warn!(%error, "a wrapped key is left for the sweeper");
        }
    }

    async fn remove_blobs(&self, condemned: Vec<Condemned>) {
        let mut removed = Vec::with_capacity(condemned.len());
        for entry in condemned {
            match entry.what {
                Condemnation::Key(_) => removed.push(entry.place),
                Condemnation::Blob(name) => match self.blobs.remove(name).await {
                    Ok(()) => removed.push(entry.place),
                    Err(error) => warn!(%error, "stays condemned"),
                },
            }
        }
        if let Err(error) = self.catalog.removed(self.session, removed).await {
            warn!(%error, "removed, but still on the condemned list");
        }
    }
}

async fn work_off(remover: std::sync::Weak<Remover>, readers: Readers, mut batches: mpsc::UnboundedReceiver<Batch>) {
    while let Some(mut batch) = batches.recv().await {
        // What waits already joins: one catalog commit for all.
        while batch.condemned.len() < PAGE
            && let Ok(more) = batches.try_recv()
        {
            batch.condemned.extend(more.condemned);
            batch.after = batch.after.max(more.after);
        }
        readers.left_before(batch.after).await;
        let Some(remover) = remover.upgrade() else { return };
        remover.remove_blobs(batch.condemned).await;
    }
}

/// Who reads at the moment, by when they came.
#[derive(Clone, Default)]
struct Readers {
    inside: Arc<Inside>,
}

#[derive(Default)]
struct Inside {
    tickets: Mutex<Tickets>,
    left: Notify,
}

#[derive(Default)]
struct Tickets {
    next: u64,
    inside: BTreeSet<u64>,
}

/// A read under way; it ends when this is dropped.
pub struct Reading {
    inside: Arc<Inside>,
    ticket: u64,
}

impl Readers {
    fn enter(&self) -> Reading {
        let mut tickets = self.inside.tickets();
        let ticket = tickets.next;
        tickets.next += 1;
        tickets.inside.insert(ticket);
        Reading { inside: self.inside.clone(), ticket }
    }

    /// A moment: readers that are inside came before it.
    fn now(&self) -> u64 {
        self.inside.tickets().next
    }

    async fn left_before(&self, moment: u64) {
        loop {
            let left = self.inside.left.notified();
            tokio::pin!(left);
            // Registered before the look, so that who leaves in between is not missed.
            left.as_mut().enable();
            if self.inside.tickets().inside.first().is_none_or(|oldest| *oldest >= moment) {
                return;
            }
            left.await;
        }
    }
}

impl Inside {
    fn tickets(&self) -> std::sync::MutexGuard<'_, Tickets> {
        // Each change of the tickets is one call that cannot panic halfway.
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.inside.tickets().inside.remove(&self.ticket);
        self.inside.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_blob_waits_for_readers_that_came_before_it_was_condemned_and_for_no_others() {
        let readers = Readers::default();
        let before = readers.enter();
        let condemned = readers.now();
        let _after = readers.enter();
        assert!(readers.left_before(condemned).now_or_never().is_none());
        drop(before);
        assert!(readers.left_before(condemned).now_or_never().is_some());
    }
}
