//! What every keyring promises about the life of master keys, and about walks over all wrapped keys.

use std::sync::Arc;

use strongroom_engine::{KeyId, Kind};
use strongroom_hsm::{Alias, MasterKeyId, Version, WrappedKey};
use strongroom_server::error::KeyringError;
use strongroom_server::keyring::{AliasRow, KeyringAdmin, MasterKeyRow, MasterKeyState, Tally, Wrapped};

use crate::keyring_suite::{MASTER, bucket_key_row, founded, key_id, key_row, key_row_below, wrapped};

/// Opens the keyring; each time the same one.
pub type Open<'a> = &'a (dyn Fn() -> Arc<dyn KeyringAdmin> + Sync);

/// One test for each promise of a keyring to administrators.
#[macro_export]
macro_rules! key_life_suite {
    ($open:expr) => {
        $crate::each_promise! { $open;
            $crate::key_life_suite::of_two_rotations_at_once_one_wins as of_two_rotations_at_once_one_wins,
            $crate::key_life_suite::a_version_is_never_taken_up_twice as a_version_is_never_taken_up_twice,
            $crate::key_life_suite::a_state_changes_only_from_the_one_that_was_seen as a_state_changes_only_from_the_one_that_was_seen,
            $crate::key_life_suite::nothing_is_kept_under_a_version_that_is_not_enabled as nothing_is_kept_under_a_version_that_is_not_enabled,
            $crate::key_life_suite::a_version_with_something_under_it_is_not_to_be_destroyed as a_version_with_something_under_it_is_not_to_be_destroyed,
            $crate::key_life_suite::a_key_is_replaced_only_where_its_old_bytes_stand as a_key_is_replaced_only_where_its_old_bytes_stand,
            $crate::key_life_suite::every_wrapped_key_is_walked_over_and_counted as every_wrapped_key_is_walked_over_and_counted,
            $crate::key_life_suite::wraps_that_were_set_aside_are_counted_for_ever as wraps_that_were_set_aside_are_counted_for_ever,
            $crate::key_life_suite::settings_of_an_alias_are_kept as settings_of_an_alias_are_kept,
        }
    };
}

const FIRST: MasterKeyId = MasterKeyId::new(MASTER);

fn id(number: u8) -> MasterKeyId {
    MasterKeyId::new([number; 16])
}

fn version(number: u32, id: MasterKeyId, current: bool) -> MasterKeyRow {
    MasterKeyRow {
        alias: Alias::default_alias(),
        version: Version(number),
        id,
        current,
        canary: under(id),
        state: MasterKeyState::Enabled,
        created_ms: 7,
        wraps: 0,
    }
}

fn under(master: MasterKeyId) -> WrappedKey {
    WrappedKey { master, ..wrapped(9) }
}

async fn current(keyring: &dyn KeyringAdmin) -> Vec<MasterKeyId> {
    keyring.master_keys().await.unwrap().into_iter().filter(|row| row.current).map(|row| row.id).collect()
}

pub async fn of_two_rotations_at_once_one_wins(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    keyring.add_version(version(2, id(2), true), Some(FIRST)).await.unwrap();
    let second = keyring.add_version(version(3, id(3), true), Some(FIRST)).await;
    assert!(matches!(second, Err(KeyringError::Conflict)));
    assert_eq!(current(&*open()).await, [id(2)]);
    assert_eq!(open().master_keys().await.unwrap().len(), 2, "nothing is left of the one that lost");
    keyring.add_version(version(3, id(3), true), Some(id(2))).await.unwrap();
    assert_eq!(current(&*open()).await, [id(3)]);
}

pub async fn a_version_is_never_taken_up_twice(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    for taken in [version(1, id(2), true), version(2, FIRST, true)] {
        assert!(matches!(keyring.add_version(taken, Some(FIRST)).await, Err(KeyringError::Conflict)));
    }
    assert_eq!(current(&*open()).await, [FIRST], "a refused version takes no place");
}

pub async fn a_state_changes_only_from_the_one_that_was_seen(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    keyring.set_state(FIRST, MasterKeyState::Enabled, MasterKeyState::Disabled).await.unwrap();
    let again = keyring.set_state(FIRST, MasterKeyState::Enabled, MasterKeyState::Disabled).await;
    assert!(matches!(again, Err(KeyringError::Conflict)));
    assert!(open().master_keys().await.unwrap()[0].state == MasterKeyState::Disabled);
    keyring.set_state(FIRST, MasterKeyState::Disabled, MasterKeyState::Enabled).await.unwrap();
    let unknown = keyring.set_state(id(9), MasterKeyState::Enabled, MasterKeyState::Disabled).await;
    assert!(matches!(unknown, Err(KeyringError::Conflict)));
}

pub async fn nothing_is_kept_under_a_version_that_is_not_enabled(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    keyring.keep(key_row(10, 3)).await.unwrap();
    keyring.add_version(version(2, id(2), true), Some(FIRST)).await.unwrap();
    keyring.keep(key_row(11, 3)).await.unwrap();
    keyring.set_state(FIRST, MasterKeyState::Enabled, MasterKeyState::Disabled).await.unwrap();
    assert!(matches!(keyring.keep(key_row(12, 3)).await, Err(KeyringError::UnknownParent)));
    assert!(keyring.row(key_id(10)).await.unwrap().is_some(), "what lies there stays");
    keyring.set_state(id(2), MasterKeyState::Enabled, MasterKeyState::Disabled).await.unwrap();
    let moved = keyring.replace(key_id(10), wrapped(10), under(id(2))).await;
    assert!(matches!(moved, Err(KeyringError::UnknownParent)));
}

pub async fn a_version_with_something_under_it_is_not_to_be_destroyed(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    let pending = MasterKeyState::PendingDestruction { after_ms: 99 };
    keyring.add_version(version(2, id(2), true), Some(FIRST)).await.unwrap();
    let refused = keyring.set_state(FIRST, MasterKeyState::Enabled, pending).await;
    assert!(matches!(refused, Err(KeyringError::InUse(1))), "the store key is under it");
    assert!(keyring.replace(key_id(1), wrapped(1), under(id(2))).await.unwrap());
    keyring.set_state(FIRST, MasterKeyState::Enabled, pending).await.unwrap();
    assert!(open().master_keys().await.unwrap()[0].state == pending);
    let of_current = keyring.set_state(id(2), MasterKeyState::Enabled, pending).await;
    assert!(of_current.is_err(), "the version that wraps is never to be destroyed");
}

pub async fn a_key_is_replaced_only_where_its_old_bytes_stand(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    keyring.add_version(version(2, id(2), true), Some(FIRST)).await.unwrap();
    keyring.keep(key_row(10, 3)).await.unwrap();
    let (old, new) = (wrapped(10), under(id(2)));
    assert!(!keyring.replace(key_id(10), wrapped(11), new.clone()).await.unwrap());
    assert!(keyring.replace(key_id(10), old.clone(), new.clone()).await.unwrap());
    assert!(!keyring.replace(key_id(10), old.clone(), new.clone()).await.unwrap(), "they stand no more");
    let moved = open().row(key_id(10)).await.unwrap().unwrap();
    assert!(moved.wrapped == Wrapped::ByMaster(new.clone()) && moved.context == key_row(10, 3).context);
    keyring.erase(vec![key_id(10)]).await.unwrap();
    assert!(!keyring.replace(key_id(10), new, old).await.unwrap());
    assert!(open().row(key_id(10)).await.unwrap().is_none(), "an erased key does not come back");
    keyring.forget_replaced().await.unwrap();
}

pub async fn every_wrapped_key_is_walked_over_and_counted(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    for number in [12, 10, 11] {
        keyring.keep(key_row(number, number as u8)).await.unwrap();
    }
    let page = async |after, limit| {
        let entries = keyring.page(after, limit).await.unwrap();
        assert!(entries.iter().all(|entry| entry.row.as_ref().is_ok_and(|row| row.id == entry.id)));
        entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 3).await, [1, 10, 11].map(key_id));
    assert_eq!(page(Some(key_id(11)), 3).await, [key_id(12)]);
    assert_eq!(page(Some(key_id(12)), 3).await, [] as [KeyId; 0]);
    assert_eq!(keyring.absent([9, 10, 12, 13].map(key_id).to_vec()).await.unwrap(), [9, 13].map(key_id));
    keyring.keep(bucket_key_row(20, 3)).await.unwrap();
    keyring.keep(key_row_below(21, 20)).await.unwrap();
    keyring.keep(key_row_below(22, 20)).await.unwrap();
    assert_eq!(keyring.count().await.unwrap(), 7);
    let mut tally = keyring.tally().await.unwrap();
    tally.sort_by_key(|one| (one.count, one.kind as u8));
    let counted = |kind, count| Tally { parent: FIRST, kind, count };
    let one_each = [Kind::BucketKey, Kind::StoreKey].map(|kind| counted(kind, 1));
    assert_eq!(tally, [&one_each[..], &[counted(Kind::DataKey, 5)]].concat(), "those below a bucket key included");
}

pub async fn wraps_that_were_set_aside_are_counted_for_ever(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    assert_eq!(keyring.take_wraps(FIRST, 1 << 20).await.unwrap(), 1 << 20);
    assert_eq!(open().take_wraps(FIRST, 1 << 20).await.unwrap(), 2 << 20);
    assert_eq!(open().master_keys().await.unwrap()[0].wraps, 2 << 20);
    assert!(matches!(keyring.take_wraps(id(9), 1).await, Err(KeyringError::UnknownParent)));
}

pub async fn settings_of_an_alias_are_kept(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    assert_eq!(keyring.aliases().await.unwrap(), []);
    for rotation_days in [Some(90), None] {
        let row = AliasRow { alias: Alias::default_alias(), rotation_days };
        keyring.set_alias(row.clone()).await.unwrap();
        assert_eq!(open().aliases().await.unwrap(), [row]);
    }
}
