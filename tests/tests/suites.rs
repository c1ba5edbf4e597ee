//! Every suite on every implementation that needs no server, and what only these implementations promise.

#![allow(clippy::unwrap_used, reason = "test code: clippy knows only the functions marked as tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_server::blob::{BlobStore, FolderStore};
use strongroom_server::catalog::{Catalog, SqliteCatalog};
use strongroom_server::keyring::{Keyring, KeyringAdmin, SqliteKeyring};

/// A folder that lives as long as the function that opens something in it.
fn in_new_folder<T: ?Sized>(open: impl Fn(&Path) -> Arc<T>) -> impl Fn() -> Arc<T> {
    let folder = tempfile::tempdir().unwrap();
    move || open(folder.path())
}

fn sqlite_catalog(folder: &Path) -> Arc<dyn Catalog> {
    Arc::new(SqliteCatalog::open(&folder.join("catalog.sqlite")).unwrap())
}

fn sqlite_keyring(folder: &Path) -> Arc<dyn Keyring> {
    Arc::new(SqliteKeyring::open(&folder.join("keyring.sqlite")).unwrap())
}

fn sqlite_key_life(folder: &Path) -> Arc<dyn KeyringAdmin> {
    Arc::new(SqliteKeyring::open(&folder.join("keyring.sqlite")).unwrap())
}

fn folder_store(folder: &Path) -> Arc<dyn BlobStore> {
    Arc::new(FolderStore::open(folder.join("deep/blobs")).unwrap())
}

/// What a kill leaves: the files as they are at this moment, opened by nobody.
fn killed(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        // The index of the log lives in memory that is shared while the process lives; SQLite makes it again.
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    copy
}

/// Every file in a folder whose bytes hold `pattern`.
fn files_with(folder: &Path, pattern: &[u8]) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| std::fs::read(path).unwrap().windows(pattern.len()).any(|window| window == pattern)).collect()
}

mod on_sqlite_catalog {
    use super::{in_new_folder, sqlite_catalog};

    strongroom_tests::catalog_suite!(in_new_folder(sqlite_catalog));
    strongroom_tests::listing_suite!(in_new_folder(sqlite_catalog));
    strongroom_tests::upload_suite!(in_new_folder(sqlite_catalog));
    strongroom_tests::user_suite!(in_new_folder(sqlite_catalog));
}

mod on_sqlite_keyring {
    use std::collections::HashSet;
    use std::path::PathBuf;

    use strongroom_engine::KeyId;
    use strongroom_server::keyring::{Keyring as _, KeyringAdmin as _, SqliteKeyring, Wrapped};
    use strongroom_tests::keyring_suite::{bucket_key_row, ciphertext, founded, key_id, key_row, key_row_below};

    use super::{files_with, in_new_folder, killed, sqlite_key_life, sqlite_keyring};

    strongroom_tests::keyring_suite!(in_new_folder(sqlite_keyring));
    strongroom_tests::key_life_suite!(in_new_folder(sqlite_key_life));

    #[tokio::test]
    async fn no_byte_of_an_erased_key_is_in_any_file() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = sqlite_keyring(folder.path());
        founded(&*keyring).await;
        for number in 10..40 {
            keyring.keep(key_row(number, 3)).await.unwrap();
        }
        assert!(!files_with(folder.path(), &ciphertext(20)).is_empty(), "the search finds a key that is there");
        keyring.erase(vec![key_id(20), key_id(39)]).await.unwrap();
        for number in [20, 39] {
            for piece in ciphertext(number).chunks(8) {
                assert_eq!(files_with(folder.path(), piece), Vec::<PathBuf>::new(), "of key {number}");
            }
        }
    }

    #[tokio::test]
    async fn no_byte_of_an_erased_key_is_left_where_the_database_moved_it() {
        // Far more rows than a page holds, of several lengths, coming and going out of order: that splits and joins
        // pages, which copies rows within and between them.
        let folder = tempfile::tempdir().unwrap();
        let keyring = sqlite_keyring(folder.path());
        founded(&*keyring).await;
        let (mut left, mut gone) = (Vec::new(), Vec::new());
        for round in 0..40_u64 {
            for index in round * 100..round * 100 + 100 {
                let number = 10 + index * 7919 % 4003;
                keyring.keep(key_row(number, 3)).await.unwrap();
                left.push(number);
            }
            let (erased, kept): (Vec<u64>, Vec<u64>) =
                left.into_iter().partition(|number| (number.wrapping_mul(0x9e37_79b9) >> 7) % 40 < round);
            keyring.erase(erased.iter().copied().map(key_id).collect()).await.unwrap();
            (left, gone) = (kept, [gone, erased].concat());
            if round % 4 != 3 {
                continue;
            }

            let bytes = std::fs::read(folder.path().join("keyring.sqlite")).unwrap();
            let windows: HashSet<&[u8]> = bytes.windows(8).collect();
            let found = |number: &&u64| ciphertext(**number).chunks(8).any(|piece| windows.contains(piece));
            assert_eq!(left.iter().filter(found).count(), left.len(), "the search finds keys that are there");
            let stale = gone.iter().filter(found).count();
            assert_eq!(stale, 0, "of {} erased keys are still in the file", gone.len());
            assert_eq!(std::fs::metadata(folder.path().join("keyring.sqlite-wal")).unwrap().len(), 0);
        }
    }

    #[tokio::test]
    async fn no_byte_of_an_erased_key_under_a_bucket_key_is_left_either() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = sqlite_keyring(folder.path());
        founded(&*keyring).await;
        keyring.keep(bucket_key_row(5, 3)).await.unwrap();
        let sealed = |number| match key_row_below(number, 5).wrapped {
            Wrapped::ByBucketKey { sealed, .. } => sealed,
            Wrapped::ByMaster(_) | Wrapped::ByCustomerKey { .. } => vec![],
        };
        let (mut left, mut gone) = (Vec::new(), Vec::new());
        for round in 0..12_u64 {
            for index in round * 100..round * 100 + 100 {
                let number = 10 + index * 7919 % 4003;
                keyring.keep(key_row_below(number, 5)).await.unwrap();
                left.push(number);
            }
            let (erased, kept): (Vec<u64>, Vec<u64>) =
                left.into_iter().partition(|number| (number.wrapping_mul(0x9e37_79b9) >> 7) % 12 < round);
            keyring.erase(erased.iter().copied().map(key_id).collect()).await.unwrap();
            (left, gone) = (kept, [gone, erased].concat());
        }
        let bytes = std::fs::read(folder.path().join("keyring.sqlite")).unwrap();
        let windows: HashSet<&[u8]> = bytes.windows(8).collect();
        let found = |number: &&u64| sealed(**number).chunks(8).any(|piece| windows.contains(piece));
        assert_eq!(left.iter().filter(found).count(), left.len(), "the search finds keys that are there");
        assert_eq!(gone.iter().filter(found).count(), 0, "of {} erased keys", gone.len());
    }

    #[tokio::test]
    async fn a_bucket_key_goes_when_nothing_lies_under_it_and_it_has_its_age() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = SqliteKeyring::open(&folder.path().join("keyring.sqlite")).unwrap();
        founded(&keyring).await;
        for number in [10, 11, 12] {
            keyring.keep(bucket_key_row(number, 3)).await.unwrap();
        }
        keyring.keep(key_row_below(20, 10)).await.unwrap();
        assert_eq!(keyring.erase_unused_bucket_keys(key_id(12)).await.unwrap(), 1);
        assert!(keyring.row(key_id(10)).await.unwrap().is_some(), "something lies under it");
        assert!(keyring.row(key_id(11)).await.unwrap().is_none());
        assert!(keyring.row(key_id(12)).await.unwrap().is_some(), "it is too young");
        keyring.erase(vec![key_id(20)]).await.unwrap();
        assert_eq!(keyring.erase_unused_bucket_keys(KeyId::from_bytes([0xff; 16])).await.unwrap(), 2);
        assert_eq!(keyring.tally().await.unwrap().iter().map(|tally| tally.count).sum::<u64>(), 1, "the store key");
    }

    #[tokio::test]
    async fn a_kill_loses_no_key_that_was_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = sqlite_keyring(folder.path());
        founded(&*keyring).await;
        for number in 10..30 {
            keyring.keep(key_row(number, 3)).await.unwrap();
            let after = killed(folder.path());
            let reopened = sqlite_keyring(after.path());
            assert!(reopened.row(key_id(number)).await.unwrap().is_some(), "key {number}");
        }
    }
}

mod on_folder_store {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use strongroom_server::blob::BlobStore as _;
    use strongroom_server::error::BlobError;
    use strongroom_tests::blob_suite::{batches, blob, painted};

    use super::{FolderStore, folder_store, in_new_folder};

    strongroom_tests::blob_suite!(in_new_folder(folder_store));

    #[tokio::test]
    async fn files_and_directories_are_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("blobs");
        let store = FolderStore::open(root.clone()).unwrap();
        store.write(blob(1, 0xab), batches(&painted(10), 10)).await.unwrap();
        let session = root.join("01".repeat(16));
        let file = session.join("ab").join(format!("{:032x}", 0xab));
        for (path, mode) in [(&root, 0o700), (&session, 0o700), (&session.join("ab"), 0o700), (&file, 0o600)] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
        }
    }

    #[tokio::test]
    async fn what_is_none_of_ours_is_left_alone_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("blobs");
        let store = FolderStore::open(root.clone()).unwrap();
        store.write(blob(1, 1), batches(&painted(10), 10)).await.unwrap();
        let outside = folder.path().join("outside");
        std::fs::write(&outside, "secret").unwrap();
        let shard = root.join("01".repeat(16)).join("01");
        let link = shard.join(format!("{:032x}", 0x101));
        symlink(&outside, &link).unwrap();
        std::fs::write(shard.join("notes.txt"), "mine").unwrap();
        std::fs::write(root.join("lost+found"), "").unwrap();
        symlink(folder.path(), root.join("02".repeat(16))).unwrap();

        assert_eq!(store.written_by(blob(1, 1).session).await.unwrap(), [blob(1, 1)]);
        assert_eq!(store.sessions().await.unwrap(), [blob(1, 1).session]);
        assert!(matches!(store.open(blob(1, 0x101)).await.map(drop), Err(BlobError::Read { .. })));
        assert!(store.write(blob(1, 0x101), batches(&painted(10), 10)).await.is_err());
        assert!(store.write(blob(2, 1), batches(&painted(10), 10)).await.is_err());
        assert_eq!(std::fs::read(&outside).unwrap(), b"secret");
        assert!(link.is_symlink() && shard.join("notes.txt").exists());
    }
}

mod as_a_whole {
    use strongroom_server::catalog::Expect;

    use super::{killed, sqlite_catalog};

    #[tokio::test]
    async fn a_catalog_or_keyring_taken_for_the_other_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(sqlite_catalog(folder.path()));
        let path = folder.path().join("catalog.sqlite");
        let opened = strongroom_server::keyring::SqliteKeyring::open(&path).map(drop);
        assert!(matches!(opened, Err(strongroom_server::error::KeyringError::Damaged(_))));
    }

    #[tokio::test]
    async fn a_kill_loses_no_version_that_was_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = sqlite_catalog(folder.path());
        let (session, bucket) = strongroom_tests::catalog_suite::with_bucket(&*catalog).await;
        for number in 10..30 {
            let row = strongroom_tests::catalog_suite::version(bucket, &format!("k{number}"), number);
            catalog.put_version(session, row.clone(), Expect::Absent).await.unwrap();
            let after = killed(folder.path());
            assert_eq!(sqlite_catalog(after.path()).version(bucket, &row.key).await.unwrap(), Some(row));
        }
    }
}
