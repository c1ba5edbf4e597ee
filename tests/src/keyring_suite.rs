//! What every keyring promises, whatever database it is.

use std::sync::Arc;

use futures::future::join_all;
use strongroom_engine::{ContextDigest, KeyId, Kind};
use strongroom_hsm::{Alias, MasterKeyId, Rung, Version, WrappedKey};
use strongroom_server::error::KeyringError;
use strongroom_server::id::{SessionId, StoreId};
use strongroom_server::keyring::{KeyRow, Keyring, KeyringIdentity, MasterKeyRow, MasterKeyState, Wrapped};

/// Opens the keyring; each time the same one.
pub type Open<'a> = &'a (dyn Fn() -> Arc<dyn Keyring> + Sync);

/// One test for each promise of a keyring.
#[macro_export]
macro_rules! keyring_suite {
    ($open:expr) => {
        $crate::each_promise! { $open;
            $crate::keyring_suite::a_keyring_is_founded_once as a_keyring_is_founded_once,
            $crate::keyring_suite::a_kept_key_reads_back_as_it_was as a_kept_key_reads_back_as_it_was,
            $crate::keyring_suite::a_row_is_never_replaced as a_row_is_never_replaced,
            $crate::keyring_suite::a_key_under_a_master_key_of_nobody_is_refused as a_key_under_a_master_key_of_nobody_is_refused,
            $crate::keyring_suite::a_key_under_a_bucket_key_that_is_gone_is_refused as a_key_under_a_bucket_key_that_is_gone_is_refused,
            $crate::keyring_suite::an_erased_key_is_gone_and_may_be_erased_again as an_erased_key_is_gone_and_may_be_erased_again,
            $crate::keyring_suite::the_keys_of_a_session_are_found_page_by_page as the_keys_of_a_session_are_found_page_by_page,
            $crate::keyring_suite::keys_kept_and_erased_at_once_are_right_when_opened_again as keys_kept_and_erased_at_once_are_right_when_opened_again,
        }
    };
}

pub const MASTER: [u8; 16] = [0xc7; 16];

pub fn key_id(number: u64) -> KeyId {
    KeyId::from_bytes(u128::from(number).to_be_bytes())
}

fn session(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

/// Bytes that look like no other number's, so that a search finds exactly them. Lengths differ, as those of different
/// rungs do.
pub fn ciphertext(number: u64) -> Vec<u8> {
    let word_count = match number % 5 {
        0..=2 => 8,
        3 => 10,
        _ => 32,
    };
    (0..word_count).flat_map(|word| mixed(number * 64 + word).to_be_bytes()).collect()
}

/// A data key, wrapped by the master key.
pub fn key_row(number: u64, session_number: u8) -> KeyRow {
    KeyRow {
        id: key_id(number),
        kind: Kind::DataKey,
        wrapped: Wrapped::ByMaster(wrapped(number)),
        context: ContextDigest::from_bytes([number as u8; 32]),
        session: session(session_number),
    }
}

/// A bucket key.
pub fn bucket_key_row(number: u64, session_number: u8) -> KeyRow {
    KeyRow { kind: Kind::BucketKey, ..key_row(number, session_number) }
}

/// A data key, wrapped by bucket key `above`.
pub fn key_row_below(number: u64, above: u64) -> KeyRow {
    let sealed = (0..10).flat_map(|word| mixed(number * 64 + word).to_be_bytes()).collect();
    KeyRow { wrapped: Wrapped::ByBucketKey { bucket_key: key_id(above), sealed }, ..key_row(number, 3) }
}

pub fn wrapped(number: u64) -> WrappedKey {
    WrappedKey { master: MasterKeyId::new(MASTER), rung: Rung::AesGcm, ciphertext: ciphertext(number) }
}

/// SplitMix64: every input gives another word, and none that resembles its neighbours'.
fn mixed(number: u64) -> u64 {
    let number = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn master(alias: &str) -> MasterKeyRow {
    MasterKeyRow {
        alias: Alias::new(alias).unwrap(),
        version: Version(1),
        id: MasterKeyId::new(MASTER),
        current: true,
        canary: wrapped(0),
        state: MasterKeyState::Enabled,
        created_ms: 5,
        wraps: 0,
        begun: Version(1),
    }
}

/// A keyring with one master key and the store key, number 1.
pub async fn founded(keyring: &dyn Keyring) -> KeyringIdentity {
    let identity = KeyringIdentity { store: StoreId::from_bytes([1; 16]), store_key: key_id(1) };
    let store_key = KeyRow { kind: Kind::StoreKey, ..key_row(1, 0) };
    keyring.found(identity, master("default"), store_key).await.unwrap();
    identity
}

/// `assert_eq!` would need Debug, which a row has not.
fn check_row(found: Option<KeyRow>, expected: &KeyRow) {
    assert!(found.is_some_and(|row| row == *expected), "another row than the one that was kept");
}

pub async fn a_keyring_is_founded_once(open: Open<'_>) {
    let keyring = open();
    assert_eq!(keyring.identity().await.unwrap(), None);
    let identity = founded(&*keyring).await;
    let other = KeyringIdentity { store: StoreId::from_bytes([2; 16]), store_key: key_id(2) };
    let again = keyring.found(other, master("other"), key_row(2, 0)).await;
    assert!(matches!(again, Err(KeyringError::Conflict)));
    let reopened = open();
    assert_eq!(reopened.identity().await.unwrap(), Some(identity));
    let masters = reopened.master_keys().await.unwrap();
    assert!(masters.len() == 1 && masters[0] == master("default"));
    assert!(reopened.row(key_id(2)).await.unwrap().is_none(), "a refused founding leaves nothing");
    check_row(reopened.row(key_id(1)).await.unwrap(), &KeyRow { kind: Kind::StoreKey, ..key_row(1, 0) });
}

pub async fn a_kept_key_reads_back_as_it_was(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    for (number, kind) in [(10, Kind::DataKey), (11, Kind::CatalogKey)] {
        let row = KeyRow { kind, ..key_row(number, 3) };
        assert_eq!(keyring.keep(row.clone()).await.unwrap().id(), row.id);
        check_row(open().row(row.id).await.unwrap(), &row);
    }
    assert!(keyring.row(key_id(404)).await.unwrap().is_none());
}

pub async fn a_row_is_never_replaced(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    keyring.keep(key_row(10, 3)).await.unwrap();
    let other = KeyRow { id: key_id(10), ..key_row(11, 3) };
    assert!(matches!(keyring.keep(other).await, Err(KeyringError::Conflict)));
    check_row(keyring.row(key_id(10)).await.unwrap(), &key_row(10, 3));
}

pub async fn a_key_under_a_master_key_of_nobody_is_refused(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    let mut row = key_row(10, 3);
    row.wrapped = Wrapped::ByMaster(WrappedKey { master: MasterKeyId::new([0; 16]), ..wrapped(10) });
    assert!(matches!(keyring.keep(row).await, Err(KeyringError::UnknownParent)));
    assert!(keyring.row(key_id(10)).await.unwrap().is_none());
}

pub async fn a_key_under_a_bucket_key_that_is_gone_is_refused(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    keyring.keep(bucket_key_row(20, 3)).await.unwrap();
    keyring.keep(key_row(21, 3)).await.unwrap();
    keyring.keep(key_row_below(30, 20)).await.unwrap();
    check_row(open().row(key_id(30)).await.unwrap(), &key_row_below(30, 20));
    assert!(matches!(keyring.keep(key_row_below(31, 21)).await, Err(KeyringError::UnknownParent)), "no bucket key");
    keyring.erase(vec![key_id(20)]).await.unwrap();
    assert!(matches!(keyring.keep(key_row_below(31, 20)).await, Err(KeyringError::UnknownParent)));
}

pub async fn an_erased_key_is_gone_and_may_be_erased_again(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    keyring.keep(key_row(10, 3)).await.unwrap();
    keyring.keep(key_row(11, 3)).await.unwrap();
    keyring.erase(vec![key_id(10), key_id(404)]).await.unwrap();
    keyring.erase(vec![key_id(10)]).await.unwrap();
    keyring.erase(vec![]).await.unwrap();
    assert!(keyring.row(key_id(10)).await.unwrap().is_none());
    check_row(keyring.row(key_id(11)).await.unwrap(), &key_row(11, 3));
}

pub async fn the_keys_of_a_session_are_found_page_by_page(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    for number in [14, 12, 10] {
        keyring.keep(key_row(number, 3)).await.unwrap();
        keyring.keep(key_row(number + 1, 4)).await.unwrap();
    }
    assert_eq!(keyring.sessions().await.unwrap(), [session(0), session(3), session(4)]);
    let page = |after, limit| keyring.kept_by(session(3), after, limit);
    keyring.keep(bucket_key_row(11_000, 3)).await.unwrap();
    assert_eq!(page(None, 2).await.unwrap(), [key_id(10), key_id(12)]);
    assert_eq!(page(Some(key_id(12)), 2).await.unwrap(), [key_id(14)]);
    assert_eq!(page(Some(key_id(14)), 2).await.unwrap(), []);
    assert_eq!(keyring.kept_by(session(9), None, 9).await.unwrap(), []);
}

pub async fn keys_kept_and_erased_at_once_are_right_when_opened_again(open: Open<'_>) {
    let keyring = open();
    founded(&*keyring).await;
    let tasks = (100..200_u64).map(|number| {
        let keyring = Arc::clone(&keyring);
        tokio::spawn(async move {
            keyring.keep(key_row(number, 3)).await.unwrap();
            if number % 3 == 0 {
                keyring.erase(vec![key_id(number)]).await.unwrap();
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let left: Vec<KeyId> = (100..200).filter(|number| number % 3 != 0).map(key_id).collect();
    assert_eq!(open().kept_by(session(3), None, 999).await.unwrap(), left);
}
