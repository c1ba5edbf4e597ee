//! Wraps under the current version of an alias, whichever that is at the moment, each counted before it is made.

use std::time::Duration;

use strongroom_engine::{ContextDigest, DataKey, KeyId, Kind};
use strongroom_hsm::{Alias, KeyError, MasterKeyId, WrappedKey};

use super::{Keys, locked};
use crate::audit::{Subject, UseError};
use crate::error::{KeyringError, OpError};
use crate::keyring::KeyRow;

/// Wraps that this process sets aside at once under a master key; at most so many are counted and never made.
const WRAPS_AT_ONCE: u64 = 1 << 20;

/// A call that fails because another node changed a master key is tried so often again, with a rest between: a rotation
/// has its new version on the token a moment before the keyring names it.
const TRIES: usize = 6;
const REST: Duration = Duration::from_millis(250);

impl Keys {
    /// Moves a wrapped key under the current version of `alias`. Its key stays where the HSM is, if that can.
    ///
    /// # Errors
    /// [`OpError::Unavailable`], [`OpError::KeyDisabled`], [`OpError::Damaged`].
    pub async fn rewrap(
        &self,
        alias: &Alias,
        row: &KeyRow,
        old: &WrappedKey,
        subject: Subject<'_>,
    ) -> Result<WrappedKey, OpError> {
        let what = (row.kind, row.id);
        self.under_current(alias, || self.audited.rewrap(alias, old, &row.context, what, subject)).await
    }

    /// Wraps a key under the current version of `alias`.
    pub(super) async fn wrap(
        &self,
        alias: &Alias,
        key: &DataKey,
        context: &ContextDigest,
        what: (Kind, KeyId),
        subject: Subject<'_>,
    ) -> Result<WrappedKey, OpError> {
        self.under_current(alias, || self.audited.wrap(alias, key, context, what, subject)).await
    }

    async fn under_current<F>(&self, alias: &Alias, call: impl Fn() -> F) -> Result<WrappedKey, OpError>
    where
        F: Future<Output = Result<WrappedKey, UseError>>,
    {
        let mut tries = if self.is_stuck(alias) { 1 } else { TRIES };
        loop {
            self.count_wrap(alias).await?;
            tries -= 1;
            let outcome = call().await;
            match &outcome {
                Err(UseError::Key(
                    KeyError::Superseded { .. } | KeyError::UnknownMasterKey { .. } | KeyError::NoSuchAlias { .. },
                )) => {
                    self.refresh().await?;
                    if tries > 0 {
                        tokio::time::sleep(REST).await;
                    }
                }
                Err(UseError::Key(KeyError::Disabled { .. })) => {
                    self.refresh().await?;
                    tries = tries.min(1);
                }
                _ => tries = 0,
            }
            if tries == 0 {
                self.note_stuck(alias, outcome.as_ref().err());
                return Ok(outcome?);
            }
        }
    }

    /// Whether all tries were in vain lately, and nothing has changed since: then nobody waits for them again.
    fn is_stuck(&self, alias: &Alias) -> bool {
        let current = self.masters.current(alias).map(|(id, _)| id);
        current.is_some() && locked(&self.stuck).get(alias).copied() == current
    }

    fn note_stuck(&self, alias: &Alias, error: Option<&UseError>) {
        let current = self.masters.current(alias).map(|(id, _)| id);
        let mut stuck = locked(&self.stuck);
        match (error, current) {
            (Some(UseError::Key(KeyError::Superseded { .. })), Some(id)) => {
                if stuck.insert(alias.clone(), id) != Some(id) {
                    tracing::error!(
                        %alias, current = %id,
                        "nothing is wrapped under this alias: its token holds a version that the keyring does not know; \
                         see strongroom keys list, then adopt it, or rotate if it is not this store's"
                    );
                }
            }
            _ => drop(stuck.remove(alias)),
        }
    }

    /// One wrap of those that were set aside in the keyring; more are set aside when none is left.
    async fn count_wrap(&self, alias: &Alias) -> Result<(), KeyringError> {
        let Some((id, _)) = self.masters.current(alias) else { return Ok(()) };
        if self.has_wrap_left(&id) {
            return Ok(());
        }
        // Many find a new version's count empty at once, and one setting aside is enough for all.
        let _only = self.setting_aside.lock().await;
        if !self.has_wrap_left(&id) {
            self.keyring.take_wraps(id, WRAPS_AT_ONCE).await?;
            *locked(&self.wraps_left).entry(id).or_default() += WRAPS_AT_ONCE - 1;
        }
        Ok(())
    }

    fn has_wrap_left(&self, id: &MasterKeyId) -> bool {
        let take = |left: &mut u64| left.checked_sub(1).map(|fewer| *left = fewer).is_some();
        locked(&self.wraps_left).get_mut(id).is_some_and(take)
    }
}
