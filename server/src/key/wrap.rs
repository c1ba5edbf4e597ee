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
        for _ in 1..TRIES {
            self.count_wrap(alias).await?;
            match call().await {
                Err(UseError::Key(
                    KeyError::Superseded { .. } | KeyError::UnknownMasterKey { .. } | KeyError::NoSuchAlias { .. },
                )) => {
                    self.refresh().await?;
                    tokio::time::sleep(REST).await;
                }
                Err(UseError::Key(KeyError::Disabled { .. })) => {
                    self.refresh().await?;
                    break;
                }
                outcome => return Ok(outcome?),
            }
        }
        Ok(call().await?)
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
