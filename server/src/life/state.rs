//! Versions that are disabled, enabled again, and destroyed.
//!
//! Destroying takes three steps, and no clock alone takes the last: the alias is rewrapped until nothing is under the
//! version; its destruction is scheduled, from when on nothing can be wrapped under it; and after the waiting period an
//! administrator destroys it. Until that last step everything can be taken back.

use strongroom_hsm::KeyError;
use tracing::{info, warn};

use super::{LifeError, MasterKeyName, state_name};
use crate::error::KeyringError;
use crate::keyring::{MasterKeyRow, MasterKeyState};
use crate::store::Store;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// From now on a version neither wraps nor unwraps, on every node.
///
/// # Errors
/// [`LifeError::NoSuchKey`], [`LifeError::Conflict`].
pub async fn disable(store: &Store, name: &MasterKeyName) -> Result<MasterKeyRow, LifeError> {
    change(store, name, MasterKeyState::Enabled, MasterKeyState::Disabled).await
}

/// Takes [`disable`] back.
///
/// # Errors
/// [`LifeError::NoSuchKey`], [`LifeError::Conflict`].
pub async fn enable(store: &Store, name: &MasterKeyName) -> Result<MasterKeyRow, LifeError> {
    change(store, name, MasterKeyState::Disabled, MasterKeyState::Enabled).await
}

/// Starts the waiting period of an old version under which nothing lies.
///
/// # Errors
/// [`LifeError::NotNow`] if it is current, something is wrapped under it, or it waits already: nothing shortens that.
pub async fn schedule_destruction(store: &Store, name: &MasterKeyName, days: u32) -> Result<MasterKeyRow, LifeError> {
    let row = name.one(&store.keyring.master_keys().await?)?;
    if row.current {
        return Err(LifeError::NotNow(format!("{name} is current: rotate {} first", row.alias)));
    }
    if matches!(row.state, MasterKeyState::PendingDestruction { .. }) {
        return Err(LifeError::NotNow(format!("{name} is scheduled already: cancel-destruction first")));
    }
    let after_ms = store.clock.now_ms().saturating_add(u64::from(days) * DAY_MS);
    change(store, name, row.state, MasterKeyState::PendingDestruction { after_ms }).await
}

/// Takes [`schedule_destruction`] back: the version unwraps again.
///
/// # Errors
/// [`LifeError::NoSuchKey`], [`LifeError::Conflict`].
pub async fn cancel_destruction(store: &Store, name: &MasterKeyName) -> Result<MasterKeyRow, LifeError> {
    let row = name.one(&store.keyring.master_keys().await?)?;
    match row.state {
        MasterKeyState::PendingDestruction { .. } => change(store, name, row.state, MasterKeyState::Enabled).await,
        _ => Err(in_state(name, row.state)),
    }
}

/// Destroys a version whose waiting period is over, on the token, for good.
///
/// # Errors
/// [`LifeError::NotNow`] before the end of the waiting period; the HSM's.
pub async fn destroy(store: &Store, name: &MasterKeyName) -> Result<MasterKeyRow, LifeError> {
    let row = name.one(&store.keyring.master_keys().await?)?;
    let after_ms = match row.state {
        MasterKeyState::PendingDestruction { after_ms } => after_ms,
        // The token did not answer last time.
        MasterKeyState::Destroyed => 0,
        state => {
            return Err(LifeError::NotNow(format!("{name} is {}: schedule its destruction first", state_name(state))));
        }
    };
    let left_ms = after_ms.saturating_sub(store.clock.now_ms());
    if left_ms > 0 {
        let days = left_ms.div_ceil(DAY_MS);
        return Err(LifeError::NotNow(format!("the waiting period of {name} ends in {days} days")));
    }
    // The keyring first: a key that is gone from the token and not from the keyring would look like a loss.
    let row = match row.state {
        MasterKeyState::Destroyed => row,
        state => change(store, name, state, MasterKeyState::Destroyed).await?,
    };
    match store.masters.destroy_master_key(&row.alias, row.version, &row.id).await {
        Ok(()) | Err(KeyError::UnknownMasterKey { .. }) => {}
        Err(error) => {
            warn!(%name, %error, "no node uses it any more, but it still lies on the token: destroy it again");
            return Err(error.into());
        }
    }
    store.masters.forget(&row.id);
    store.sync_token().await?;
    Ok(row)
}

async fn change(
    store: &Store,
    name: &MasterKeyName,
    from: MasterKeyState,
    to: MasterKeyState,
) -> Result<MasterKeyRow, LifeError> {
    let row = name.one(&store.keyring.master_keys().await?)?;
    if row.state != from {
        return Err(in_state(name, row.state));
    }
    match store.keyring.set_state(row.id, from, to).await {
        Ok(()) => {}
        Err(KeyringError::Conflict) => {
            return Err(LifeError::Conflict(format!("another node changed {name} at the same moment")));
        }
        Err(KeyringError::InUse(count)) => {
            return Err(LifeError::NotNow(format!(
                "{count} wrapped keys are under {name}: rewrap {} first",
                row.alias
            )));
        }
        Err(error) => return Err(error.into()),
    }
    store.keys.refresh().await?;
    info!(alias = %row.alias, version = %row.version, id = %row.id, state = state_name(to), "master key changed");
    Ok(MasterKeyRow { state: to, ..row })
}

fn in_state(name: &MasterKeyName, state: MasterKeyState) -> LifeError {
    LifeError::Conflict(format!("{name} is {}", state_name(state)))
}
