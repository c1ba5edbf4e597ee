//! Moves wrapped keys under the current version of their alias: online, without touching data.
//!
//! The wrapped keys themselves are the state, so a run that was killed is simply run again. A key is replaced only
//! where its old bytes still stand: one that a DELETE erased meanwhile does not come back.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use strongroom_engine::KeyId;
use strongroom_hsm::{Alias, KeyError, MasterKeyId, WrappedKey};
use tokio::sync::Mutex;
use tokio::time::Interval;

use super::{LifeError, OnProgress, Progress, Walk, kind_name, total};
use crate::audit::Subject;
use crate::error::KeyringError;
use crate::keyring::{KeyRow, MasterKeyState, Wrapped};
use crate::store::Store;

/// Wraps under way at a time: more is slower on every token that was measured.
const AT_ONCE: usize = 4;
/// Failures that are named; beyond, they are only counted.
const NAMED: usize = 100;

/// How a rewrap runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RewrapOptions {
    /// At most so many keys a second; as many as the token does where nothing is said.
    pub per_second: Option<NonZeroU32>,
}

/// What a rewrap did: the three numbers make up what the keyring held.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rewrapped {
    /// Now under the current version.
    pub moved: u64,
    /// Of another alias, under the current version already, or erased meanwhile.
    pub skipped: u64,
    /// Still where they were.
    pub failed: u64,
    /// The first of those that failed, and why.
    pub failures: Vec<String>,
}

enum Outcome {
    Moved,
    Skipped,
    Failed(String),
}

/// Moves every wrapped key of `alias` to its current version.
///
/// # Errors
/// [`LifeError::NoSuchKey`]; the keyring's. A key that cannot be moved is counted, and the run goes on; it ends where
/// the HSM is away.
pub async fn rewrap(
    store: &Arc<Store>,
    alias: &Alias,
    options: RewrapOptions,
    on_progress: OnProgress<'_>,
) -> Result<Rewrapped, LifeError> {
    let rows = store.keyring.master_keys().await?;
    let current = rows.iter().find(|row| row.alias == *alias && row.current);
    let current = current.ok_or_else(|| LifeError::NoSuchKey(alias.to_string()))?.id;
    let is_old = |row: &&crate::keyring::MasterKeyRow| {
        row.alias == *alias && !row.current && row.state != MasterKeyState::Destroyed
    };
    let old = rows.iter().filter(is_old).map(|row| row.id).collect();
    let pace = options.per_second.map(|rate| Mutex::new(tokio::time::interval(Duration::from_secs(1) / rate.get())));
    let job = Job { store, alias, current, old, pace };
    let total = total(store).await?;
    let mut sum = Rewrapped::default();
    let mut walk = Walk::new(store);
    loop {
        let ids = walk.next().await?;
        if ids.is_empty() {
            break;
        }
        let mut outcomes = stream::iter(ids).map(|id| job.one(id)).buffer_unordered(AT_ONCE);
        while let Some(outcome) = outcomes.next().await {
            sum.add(outcome?);
        }
        let done = sum.moved + sum.skipped + sum.failed;
        on_progress(Progress { done, total: total.max(done) });
    }
    if sum.moved > 0 {
        store.keyring.forget_replaced().await?;
    }
    tracing::info!(%alias, moved = sum.moved, skipped = sum.skipped, failed = sum.failed, "rewrapped");
    Ok(sum)
}

impl Rewrapped {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Moved => self.moved += 1,
            Outcome::Skipped => self.skipped += 1,
            Outcome::Failed(why) => {
                self.failed += 1;
                if self.failures.len() < NAMED {
                    self.failures.push(why);
                }
            }
        }
    }
}

struct Job<'a> {
    store: &'a Store,
    alias: &'a Alias,
    current: MasterKeyId,
    old: Vec<MasterKeyId>,
    pace: Option<Mutex<Interval>>,
}

impl Job<'_> {
    async fn one(&self, id: KeyId) -> Result<Outcome, LifeError> {
        let row = match self.store.keyring.row(id).await {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(Outcome::Skipped),
            Err(KeyringError::Damaged(why)) => return Ok(Outcome::Failed(format!("key {id}: {why}"))),
            Err(error) => return Err(error.into()),
        };
        // A data key under a bucket key stays where it is: the bucket key moves.
        let Wrapped::ByMaster(old) = &row.wrapped else { return Ok(Outcome::Skipped) };
        if old.master == self.current || !self.old.contains(&old.master) {
            return Ok(Outcome::Skipped);
        }
        match self.moved(&row, old).await {
            Ok(true) => Ok(Outcome::Moved),
            Ok(false) => Ok(Outcome::Skipped),
            // Nothing further would work either: the run is taken up again when it does.
            Err(error @ LifeError::Key(KeyError::Away { .. })) => Err(error),
            Err(error @ LifeError::Keyring(KeyringError::Unavailable(_) | KeyringError::OutcomeUnknown(_))) => {
                Err(error)
            }
            Err(error) => Ok(Outcome::Failed(format!("{} key {id}: {error}", kind_name(&row)))),
        }
    }

    /// Whether the key's old bytes still stood when the new ones came.
    async fn moved(&self, row: &KeyRow, old: &WrappedKey) -> Result<bool, LifeError> {
        if let Some(pace) = &self.pace {
            pace.lock().await.tick().await;
        }
        // The keyring knows no names.
        let subject = Subject::default();
        let key = self.store.keys.unwrap(row, subject).await?;
        let new = self.store.keys.wrap_again(self.alias, &key, row, subject).await?;
        Ok(self.store.keyring.replace(row.id, old.clone(), new).await?)
    }
}
