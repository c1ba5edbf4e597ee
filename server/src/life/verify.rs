//! Unwraps wrapped keys, all or a sample of them, and says which cannot be, and how many are not there.

use futures::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use strongroom_hsm::KeyError;

use super::missing::missing;
use super::{LifeError, OnProgress, Progress, Walk, kind_name};
use crate::audit::{Subject, UseError};
use crate::keyring::{Entry, Wrapped};
use crate::store::Store;

/// Unwraps under way at a time.
const AT_ONCE: usize = 4;

/// What is verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VerifyOptions {
    /// Only every so many-th key, and the store key; every one where nothing is said.
    pub sample: Option<std::num::NonZeroU32>,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Verified {
    /// Unwrapped.
    pub readable: u64,
    /// Left out of the sample, erased meanwhile, or under a customer's key.
    pub skipped: u64,
    /// Those that cannot be unwrapped.
    pub unreadable: Vec<Unreadable>,
    /// Those that the catalog names and the keyring does not have.
    pub missing: u64,
}

/// A wrapped key that cannot be unwrapped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unreadable {
    /// Its id, in hexadecimal.
    pub key_id: String,
    /// `data`, `bucket`, `catalog` or `store`; `unknown` where the row itself cannot be read.
    pub kind: String,
    /// Why.
    pub why: String,
}

/// Unwraps every wrapped key, or every so many-th.
///
/// # Errors
/// The keyring's; [`KeyError::Away`] where the HSM is away and [`LifeError::Audit`], since nothing can be said then.
pub async fn verify(store: &Store, options: VerifyOptions, on_progress: OnProgress<'_>) -> Result<Verified, LifeError> {
    let step = options.sample.map_or(1, std::num::NonZeroU32::get);
    let (total, mut found, mut number) = (store.keyring.count().await?, Verified::default(), 0_u32);
    let mut walk = Walk::new(store);
    loop {
        let page = walk.next().await?;
        if page.is_empty() {
            found.missing = missing(store.catalog.as_ref(), store.keyring.as_ref()).await?;
            return Ok(found);
        }
        let page_len = page.len();
        let is_wanted = |_: &Entry| {
            number = (number + 1) % step;
            step == 1 || number == 1
        };
        let wanted: Vec<Entry> = page.into_iter().filter(is_wanted).collect();
        found.skipped += (page_len - wanted.len()) as u64;
        let mut outcomes = stream::iter(wanted).map(|entry| one(store, entry)).buffer_unordered(AT_ONCE);
        while let Some(outcome) = outcomes.next().await {
            match outcome? {
                Outcome::Readable => found.readable += 1,
                Outcome::Skipped => found.skipped += 1,
                Outcome::Unreadable(unreadable) => found.unreadable.push(unreadable),
            }
        }
        let done = found.readable + found.skipped + found.unreadable.len() as u64;
        on_progress(Progress { done, total: total.max(done) });
    }
}

enum Outcome {
    Readable,
    Skipped,
    Unreadable(Unreadable),
}

async fn one(store: &Store, Entry { id, row }: Entry) -> Result<Outcome, LifeError> {
    let unreadable = |kind: &str, why: String| {
        Outcome::Unreadable(Unreadable { key_id: id.to_string(), kind: kind.to_owned(), why })
    };
    let mut row = match row {
        Ok(row) => row,
        Err(error) => return Ok(unreadable("unknown", error.to_string())),
    };
    loop {
        // Only its customer can.
        if matches!(row.wrapped, Wrapped::ByCustomerKey { .. }) {
            return Ok(Outcome::Skipped);
        }
        let why = match store.keys.unwrap(&row, Subject::default()).await {
            Ok(_) => return Ok(Outcome::Readable),
            Err(error @ (UseError::Audit(_) | UseError::Key(KeyError::Away { .. }))) => return Err(error.into()),
            Err(error) => error.to_string(),
        };
        match store.keyring.row(id).await? {
            // Erased since the page was read.
            None => return Ok(Outcome::Skipped),
            // Moved since, and what wrapped it may be gone.
            Some(now) if now != row => row = now,
            Some(_) => return Ok(unreadable(kind_name(&row), why)),
        }
    }
}
