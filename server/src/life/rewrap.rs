//! Moves wrapped keys under the current version of their alias: online, without touching data.
//!
//! The wrapped keys themselves are the state, so a run that was killed is simply run again. A key is replaced only
//! where its old bytes still stand: one that a DELETE erased meanwhile does not come back.

use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use strongroom_hsm::{Alias, MasterKeyId, WrappedKey};
use tokio::sync::Mutex;
use tokio::time::Interval;

use super::{LifeError, OnProgress, Progress, Walk, kind_name};
use crate::audit::Subject;
use crate::error::{KeyringError, OpError};
use crate::keyring::{Entry, KeyRow, MasterKeyState, Wrapped};
use crate::store::Store;

/// Keys that wait for the HSM at a time: enough that each worker of a pool finds a full batch.
const WRAPS_AT_ONCE: usize = 64;
/// Keys that wait for the keyring's commit at a time: they share one.
const COMMITS_AT_ONCE: usize = 256;
/// Between two tellings of progress.
const TOLD_EVERY: u64 = 256;
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

/// What is to be done with one key.
enum Step {
    /// Nothing: this became of it.
    Over(Outcome),
    /// To be put where the old bytes stand.
    Replace(KeyRow, WrappedKey, WrappedKey),
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
    let total = store.keyring.count().await?;
    let mut sum = Rewrapped::default();
    let wrapped = Walk::new(store).stream().map(|entry| job.wrap(entry)).buffer_unordered(WRAPS_AT_ONCE);
    let mut outcomes = pin!(wrapped.map(|step| job.commit(step)).buffer_unordered(COMMITS_AT_ONCE));
    while let Some(outcome) = outcomes.next().await {
        sum.add(outcome?);
        let done = sum.moved + sum.skipped + sum.failed;
        if done.is_multiple_of(TOLD_EVERY) {
            on_progress(Progress { done, total: total.max(done) });
        }
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
    /// Has the key wrapped anew, where it is to be moved.
    async fn wrap(&self, entry: Result<Entry, KeyringError>) -> Result<Step, LifeError> {
        let Entry { id, row } = entry?;
        let row = match row {
            Ok(row) => row,
            Err(error) => return Ok(Step::Over(Outcome::Failed(format!("key {id}: {error}")))),
        };
        // A data key under a bucket key stays where it is: the bucket key moves.
        let Wrapped::ByMaster(old) = row.wrapped.clone() else { return Ok(Step::Over(Outcome::Skipped)) };
        if old.master == self.current || !self.old.contains(&old.master) {
            return Ok(Step::Over(Outcome::Skipped));
        }
        if let Some(pace) = &self.pace {
            pace.lock().await.tick().await;
        }
        // The keyring knows no names.
        match self.store.keys.rewrap(self.alias, &row, &old, Subject::default()).await {
            Ok(new) => Ok(Step::Replace(row, old, new)),
            Err(error) => failed(&row, error.into()).map(Step::Over),
        }
    }

    /// Puts the new bytes where the old ones still stand.
    async fn commit(&self, step: Result<Step, LifeError>) -> Result<Outcome, LifeError> {
        let (row, old, new) = match step? {
            Step::Over(outcome) => return Ok(outcome),
            Step::Replace(row, old, new) => (row, old, new),
        };
        match self.store.keyring.replace(row.id, old, new).await {
            Ok(true) => Ok(Outcome::Moved),
            Ok(false) => Ok(Outcome::Skipped),
            Err(error) => failed(&row, error.into()),
        }
    }
}

/// One key that cannot be moved is counted. What would keep every other from being moved, too, ends the run.
fn failed(row: &KeyRow, error: LifeError) -> Result<Outcome, LifeError> {
    match error {
        LifeError::Store(OpError::Unavailable(_))
        | LifeError::Keyring(KeyringError::Unavailable(_) | KeyringError::OutcomeUnknown(_)) => Err(error),
        error => Ok(Outcome::Failed(format!("{} key {}: {error}", kind_name(row), row.id))),
    }
}
