//! Keeps master keys young: reads what other nodes did to them, and makes new versions by age and before the wrap limit.

use std::future::pending;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tracing::{info, warn};

use crate::admin::{Administrator, Command, CommandError, perform_for};
use crate::administrators::Roles;
use crate::audit::Who;
use crate::keyring::{AliasRow, MasterKeyRow};
use crate::life::{self, LifeError};
use crate::store::Store;

/// How often the keyring is read: what another node did is known here that long after, or when a call fails for it.
const REST: Duration = Duration::from_secs(15);

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Runs until the task is aborted.
pub async fn run(store: Weak<Store>) {
    loop {
        tokio::time::sleep(REST).await;
        let Some(store) = store.upgrade() else { return };
        if let Err(error) = round(&store).await {
            warn!(%error, "master keys are looked at again later");
        }
    }
}

async fn round(store: &Arc<Store>) -> Result<(), CommandError> {
    store.keys.refresh().await.map_err(LifeError::from)?;
    let settings = store.keyring.aliases().await.map_err(LifeError::from)?;
    let now_ms = store.clock.now_ms();
    for row in store.keyring.master_keys().await.map_err(LifeError::from)?.into_iter().filter(|row| row.current) {
        let Some(why) = due(&row, &settings, now_ms) else { continue };
        info!(alias = %row.alias, version = %row.version, why, "rotating");
        // The command that an administrator would give: it leaves the same event.
        let command = Command::RotateKey { alias: row.alias };
        let server = Administrator { who: Who::server(), roles: Roles::KEYS };
        match perform_for(store, server, command, &|_| {}, pending()).await {
            // Another node was quicker, which is as good.
            Ok(_) | Err(CommandError::Life(LifeError::Conflict(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn due(row: &MasterKeyRow, settings: &[AliasRow], now_ms: u64) -> Option<&'static str> {
    let days = settings.iter().find(|own| own.alias == row.alias).and_then(|own| own.rotation_days);
    let is_old = |days: u32| now_ms >= row.created_ms.saturating_add(u64::from(days) * DAY_MS);
    match days {
        _ if row.wraps >= life::WRAPS_MAX => Some("it has wrapped enough"),
        Some(days) if is_old(days) => Some("it is old enough"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use strongroom_hsm::{Alias, MasterKeyId, Rung, Version, WrappedKey};

    use super::*;
    use crate::keyring::MasterKeyState;

    #[test]
    fn a_version_is_due_by_age_where_an_age_is_set_and_by_its_wraps_always() {
        let id = MasterKeyId::new([1; 16]);
        let mut row = MasterKeyRow {
            alias: Alias::default_alias(),
            version: Version(1),
            id,
            current: true,
            canary: WrappedKey { master: id, rung: Rung::AesGcm, ciphertext: vec![] },
            state: MasterKeyState::Enabled,
            created_ms: 1_000,
            wraps: 0,
            begun: Version(1),
        };
        let settings = [AliasRow { alias: Alias::default_alias(), rotation_days: Some(30) }];
        assert_eq!(due(&row, &settings, 1_000 + 30 * DAY_MS - 1), None);
        assert!(due(&row, &settings, 1_000 + 30 * DAY_MS).is_some());
        assert_eq!(due(&row, &[], u64::MAX), None);
        row.wraps = life::WRAPS_MAX;
        assert!(due(&row, &[], 0).is_some());
    }
}
