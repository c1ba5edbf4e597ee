//! The sweeper: removes what dead sessions made and no row names.
//!
//! It first closes a session, so that its process can commit nothing any more, and only then looks at what it left.
//! Age alone cannot tell an orphan from a slow upload, so no date is looked at: a session is dead when its process was
//! known to have ended at our start, or when its beat stood still for a whole lease of our monotonic clock. What bears
//! the id of a session that the catalog does not know (after a restore) is reported and never removed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use strongroom_engine::KeyId;
use tracing::{info, warn};

use crate::catalog::{Condemnation, SessionRow, SessionState};
use crate::error::OpError;
use crate::id::SessionId;
use crate::keyring::FOUNDING;
use crate::session::LEASE;
use crate::store::Store;

/// How long the sweeper rests between two rounds.
const REST: Duration = Duration::from_secs(30);
/// From this age on, a bucket key under which nothing lies is removed.
const BUCKET_KEY_AGE_MS: u64 = 60 * 60 * 1_000;
/// Names looked up at once.
const PAGE: usize = 1000;

/// Sweeps until the task is aborted.
pub async fn run(store: std::sync::Weak<Store>, ended: Vec<SessionId>) {
    let mut sweeper = Sweeper::new(ended);
    if let Some(store) = store.upgrade() {
        sweeper.report_unknown(&store).await;
    }
    loop {
        let Some(store) = store.upgrade() else { return };
        if let Err(error) = sweeper.round(&store).await {
            warn!(%error, "the sweeper will try again");
        }
        drop(store);
        tokio::time::sleep(REST).await;
    }
}

/// What the sweeper remembers between rounds.
pub struct Sweeper {
    ended: Vec<SessionId>,
    seen: HashMap<SessionId, (u64, Instant)>,
}

impl Sweeper {
    /// A sweeper; `ended` are sessions whose processes are known to have ended.
    pub fn new(ended: Vec<SessionId>) -> Self {
        Self { ended, seen: HashMap::new() }
    }

    /// Works off the condemned list, closes dead sessions and removes what closed ones left.
    ///
    /// # Errors
    /// The first that stopped the round; the next round takes up what is left.
    pub async fn round(&mut self, store: &Store) -> Result<(), OpError> {
        store.remover.remove_all().await?;
        // Those of this age serve no longer. A clock that is wrong costs no more than a wrap: a data key that is being
        // made under one is refused.
        let before = store.clock.now_ms().saturating_sub(BUCKET_KEY_AGE_MS);
        store.keyring.erase_unused_bucket_keys(first_key_id(before)).await?;
        for session in store.catalog.sessions().await? {
            if session.id == store.session {
                continue;
            }
            if session.state == SessionState::Open {
                if !self.is_dead(session) {
                    continue;
                }
                store.catalog.advance_session(session.id, SessionState::Closed).await?;
                info!(session = %session.id, "closed the session of a process that ended");
            }
            sweep(store, session.id).await?;
            store.catalog.advance_session(session.id, SessionState::Swept).await?;
        }
        Ok(())
    }

    fn is_dead(&mut self, session: SessionRow) -> bool {
        if self.ended.contains(&session.id) {
            return true;
        }
        let (beat, since) = self.seen.entry(session.id).or_insert((session.beat, Instant::now()));
        if *beat != session.beat {
            (*beat, *since) = (session.beat, Instant::now());
        }
        since.elapsed() > LEASE
    }

    async fn report_unknown(&self, store: &Store) {
        let unknown = async {
            let mut there = store.blobs.sessions().await?;
            there.extend(store.keyring.sessions().await?);
            there.retain(|session| *session != FOUNDING);
            Ok::<_, OpError>(store.catalog.unknown_sessions(there).await?)
        };
        match unknown.await {
            Ok(unknown) => {
                for session in unknown {
                    warn!(%session, "blobs or wrapped keys of a session that the catalog does not know: left alone");
                }
            }
            Err(error) => warn!(%error, "cannot look for leavings of unknown sessions"),
        }
    }
}

/// The first id of a key that is made at `ms`: ids rise with time.
fn first_key_id(ms: u64) -> KeyId {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    KeyId::from_bytes(id)
}

async fn sweep(store: &Store, session: SessionId) -> Result<(), OpError> {
    let mut removed = 0;
    for blobs in store.blobs.written_by(session).await?.chunks(PAGE) {
        let unnamed = unnamed(store, blobs.iter().map(|blob| Condemnation::Blob(*blob)).collect()).await?;
        removed += unnamed.len();
        for blob in unnamed {
            if let Condemnation::Blob(name) = blob {
                store.blobs.remove(name).await?;
            }
        }
    }
    let mut after = None;
    loop {
        let keys = store.keyring.kept_by(session, after, PAGE).await?;
        let Some(last) = keys.last() else { break };
        after = Some(*last);
        let unnamed = unnamed(store, keys.iter().map(|key| Condemnation::Key(*key)).collect()).await?;
        removed += unnamed.len();
        let keys = unnamed.into_iter().filter_map(|what| match what {
            Condemnation::Key(id) => Some(id),
            Condemnation::Blob(_) => None,
        });
        store.keyring.erase(keys.collect()).await?;
    }
    info!(%session, removed, "swept");
    Ok(())
}

async fn unnamed(store: &Store, what: Vec<Condemnation>) -> Result<Vec<Condemnation>, OpError> {
    let named = store.catalog.named(what.clone()).await?;
    Ok(what.into_iter().filter(|what| !named.contains(what)).collect())
}
