//! What every catalog promises, whatever database it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use strongroom_engine::KeyId;
use strongroom_server::blob::BlobName;
use strongroom_server::catalog::{
    BucketRow, Catalog, Condemnation, Condemned, Expect, PartRow, SessionState, UploadRow, VersionRow,
};
use strongroom_server::error::CatalogError;
use strongroom_server::id::{BucketId, Id, SessionId, StoreId, StreamId};

use crate::user_suite::{access_key, user};

/// Opens the catalog; each time the same one.
pub type Open<'a> = &'a (dyn Fn() -> Arc<dyn Catalog> + Sync);

/// One test for each promise of a catalog.
#[macro_export]
macro_rules! catalog_suite {
    ($open:expr) => {
        $crate::each_promise! { $open;
            $crate::catalog_suite::a_catalog_belongs_to_one_store as a_catalog_belongs_to_one_store,
            $crate::catalog_suite::a_session_that_is_not_open_changes_nothing as a_session_that_is_not_open_changes_nothing,
            $crate::catalog_suite::a_session_moves_on_and_never_back as a_session_moves_on_and_never_back,
            $crate::catalog_suite::a_bucket_name_is_taken_once as a_bucket_name_is_taken_once,
            $crate::catalog_suite::a_configuration_read_before_another_change_is_not_written as a_configuration_read_before_another_change_is_not_written,
            $crate::catalog_suite::a_bucket_goes_when_it_is_empty_and_takes_its_uploads as a_bucket_goes_when_it_is_empty_and_takes_its_uploads,
            $crate::catalog_suite::an_overwrite_condemns_what_it_displaces_and_nothing_else as an_overwrite_condemns_what_it_displaces_and_nothing_else,
            $crate::catalog_suite::a_change_of_the_same_version_keeps_what_it_still_names as a_change_of_the_same_version_keeps_what_it_still_names,
            $crate::catalog_suite::what_was_condemned_is_never_named_again as what_was_condemned_is_never_named_again,
            $crate::catalog_suite::a_commit_that_expects_something_else_is_a_conflict as a_commit_that_expects_something_else_is_a_conflict,
            $crate::catalog_suite::a_version_needs_its_bucket as a_version_needs_its_bucket,
            $crate::catalog_suite::of_many_that_create_one_key_exactly_one_wins as of_many_that_create_one_key_exactly_one_wins,
            $crate::catalog_suite::many_at_once_are_all_there_when_opened_again as many_at_once_are_all_there_when_opened_again,
            $crate::catalog_suite::the_condemned_list_is_worked_off_by_place as the_condemned_list_is_worked_off_by_place,
            $crate::catalog_suite::a_key_that_was_destroyed_stays_destroyed as a_key_that_was_destroyed_stays_destroyed,
        }
    };
}

pub(crate) const SESSION: SessionId = SessionId::from_bytes([0x5e; 16]);

/// A name that no other number has.
pub(crate) fn id<T>(number: u64) -> Id<T> {
    Id::from_bytes(u128::from(number).to_be_bytes())
}

pub fn key_id(number: u64) -> KeyId {
    KeyId::from_bytes(u128::from(number).to_be_bytes())
}

pub fn blob(number: u64) -> BlobName {
    BlobName { session: SESSION, stream: StreamId::from_bytes(u128::from(number).to_be_bytes()) }
}

pub fn bucket(name: &str, number: u64) -> BucketRow {
    BucketRow {
        name: name.to_owned(),
        id: id(number),
        created_ms: 1_700_000_000_000,
        catalog_key: key_id(1_000_000 + number),
        config: vec![1, 2, 3],
        generation: 0,
    }
}

/// Write id, data key and blob all have this number.
pub fn version(bucket: BucketId, key: &str, number: u64) -> VersionRow {
    VersionRow {
        bucket,
        key: key.to_owned(),
        write_id: id(number),
        created_ms: number,
        data_keys: vec![key_id(number)],
        blob: Some(blob(number)),
        record: vec![7; 200],
        generation: 0,
    }
}

pub fn upload(bucket: BucketId, key: &str, number: u64) -> UploadRow {
    UploadRow {
        bucket,
        key: key.to_owned(),
        write_id: id(number),
        created_ms: number,
        data_keys: vec![key_id(number)],
        record: vec![8; 50],
    }
}

pub(crate) fn part(number: u16, blob_number: u64) -> PartRow {
    PartRow { number, created_ms: blob_number, blob: blob(blob_number), record: vec![9; 80] }
}

/// The version that an upload becomes.
pub(crate) fn completed(upload: &UploadRow) -> VersionRow {
    VersionRow {
        bucket: upload.bucket,
        key: upload.key.clone(),
        write_id: upload.write_id,
        created_ms: 9,
        data_keys: upload.data_keys.clone(),
        blob: None,
        record: vec![6; 90],
        generation: 0,
    }
}

pub(crate) fn what(condemned: &[Condemned]) -> Vec<Condemnation> {
    condemned.iter().map(|one| one.what).collect()
}

/// As [`what`], for comparing where the order is nobody's business.
pub(crate) fn names(condemned: &[Condemned]) -> BTreeSet<Vec<u8>> {
    what(condemned).iter().map(name).collect()
}

fn name(what: &Condemnation) -> Vec<u8> {
    match what {
        Condemnation::Blob(name) => name.to_bytes().to_vec(),
        Condemnation::Key(id) => id.as_bytes().to_vec(),
    }
}

pub(crate) fn expected(blobs: &[u64], keys: &[u64]) -> BTreeSet<Vec<u8>> {
    let blobs = blobs.iter().map(|number| name(&Condemnation::Blob(blob(*number))));
    blobs.chain(keys.iter().map(|number| name(&Condemnation::Key(key_id(*number))))).collect()
}

/// An open session and one bucket.
pub async fn with_bucket(catalog: &dyn Catalog) -> (SessionId, BucketId) {
    catalog.open_session(SESSION).await.unwrap();
    let row = bucket("bucket", 1);
    catalog.create_bucket(SESSION, row.clone()).await.unwrap();
    (SESSION, row.id)
}

pub(crate) fn check_conflict<T: std::fmt::Debug>(result: Result<T, CatalogError>) {
    assert!(matches!(result, Err(CatalogError::Conflict)), "{result:?}");
}

pub async fn a_catalog_belongs_to_one_store(open: Open<'_>) {
    let catalog = open();
    assert_eq!(catalog.store().await.unwrap(), None);
    let store: StoreId = id(7);
    catalog.found(store).await.unwrap();
    check_conflict(catalog.found(id(8)).await);
    assert_eq!(open().store().await.unwrap(), Some(store));
}

pub async fn a_session_that_is_not_open_changes_nothing(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    catalog.put_version(session, version(bucket_id, "kept", 10), Expect::Anything).await.unwrap();
    let pending = upload(bucket_id, "pending", 11);
    catalog.create_upload(session, pending.clone()).await.unwrap();
    catalog.advance_session(session, SessionState::Closed).await.unwrap();
    for refused in [session, id(404)] {
        let new = version(bucket_id, "new", 12);
        let closed = [
            catalog.renew_session(refused).await.err(),
            catalog.create_user(refused, user("other", 1)).await.err(),
            catalog.change_user(refused, user("alice", 1)).await.err(),
            catalog.delete_user(refused, "alice").await.err(),
            catalog.add_access_key(refused, access_key("AK", "alice", 1)).await.err(),
            catalog.change_access_key(refused, access_key("AK", "alice", 1)).await.err(),
            catalog.delete_access_key(refused, "AK").await.err(),
            catalog.create_bucket(refused, bucket("other", 2)).await.err(),
            catalog.configure_bucket(refused, bucket_id, 0, vec![]).await.err(),
            catalog.delete_bucket(refused, bucket_id).await.err(),
            catalog.put_version(refused, new, Expect::Anything).await.err(),
            catalog.delete_version(refused, bucket_id, "kept", Expect::Anything).await.err(),
            catalog.create_upload(refused, upload(bucket_id, "other", 13)).await.err(),
            catalog.put_part(refused, pending.write_id, part(1, 14)).await.err(),
            catalog.complete_upload(refused, completed(&pending), vec![], Expect::Anything).await.err(),
            catalog.abort_upload(refused, bucket_id, "pending", pending.write_id).await.err(),
            catalog.removed(refused, vec![1]).await.err(),
        ];
        for (index, error) in closed.into_iter().enumerate() {
            assert!(matches!(error, Some(CatalogError::SessionClosed)), "call {index}: {error:?}");
        }
    }
    assert!(catalog.version(bucket_id, "kept").await.unwrap().is_some());
    assert!(catalog.upload(bucket_id, "pending", pending.write_id).await.unwrap().is_some());
}

pub async fn a_session_moves_on_and_never_back(open: Open<'_>) {
    let catalog = open();
    catalog.open_session(SESSION).await.unwrap();
    check_conflict(catalog.open_session(SESSION).await);
    catalog.renew_session(SESSION).await.unwrap();
    let rows = catalog.sessions().await.unwrap();
    assert_eq!(
        rows.iter().map(|row| (row.id, row.beat, row.state)).collect::<Vec<_>>(),
        [(SESSION, 1, SessionState::Open)]
    );
    catalog.advance_session(SESSION, SessionState::Closed).await.unwrap();
    catalog.advance_session(SESSION, SessionState::Closed).await.unwrap();
    check_conflict(catalog.advance_session(SESSION, SessionState::Open).await);
    catalog.advance_session(SESSION, SessionState::Swept).await.unwrap();
    check_conflict(catalog.advance_session(SESSION, SessionState::Closed).await);
    assert_eq!(catalog.sessions().await.unwrap(), []);
    assert_eq!(catalog.unknown_sessions(vec![SESSION, id(404)]).await.unwrap(), [id(404)]);
}

pub async fn a_bucket_name_is_taken_once(open: Open<'_>) {
    let catalog = open();
    let (session, _) = with_bucket(&*catalog).await;
    check_conflict(catalog.create_bucket(session, bucket("bucket", 2)).await);
    catalog.create_bucket(session, bucket("a", 3)).await.unwrap();
    assert_eq!(catalog.buckets().await.unwrap(), [bucket("a", 3), bucket("bucket", 1)]);
    assert_eq!(catalog.bucket("bucket").await.unwrap(), Some(bucket("bucket", 1)));
    assert_eq!(catalog.bucket("Bucket").await.unwrap(), None);
}

pub async fn a_configuration_read_before_another_change_is_not_written(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    catalog.configure_bucket(session, bucket_id, 0, vec![4]).await.unwrap();
    check_conflict(catalog.configure_bucket(session, bucket_id, 0, vec![5]).await);
    let row = catalog.bucket("bucket").await.unwrap().unwrap();
    assert_eq!((row.config, row.generation), (vec![4], 1));
    let gone = catalog.configure_bucket(session, id(404), 0, vec![]).await;
    assert!(matches!(gone, Err(CatalogError::NoSuchBucket)));
}

pub async fn a_bucket_goes_when_it_is_empty_and_takes_its_uploads(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    catalog.put_version(session, version(bucket_id, "k", 10), Expect::Anything).await.unwrap();
    let pending = upload(bucket_id, "u", 11);
    catalog.create_upload(session, pending.clone()).await.unwrap();
    catalog.put_part(session, pending.write_id, part(1, 12)).await.unwrap();
    catalog.put_part(session, pending.write_id, part(3, 13)).await.unwrap();
    assert!(matches!(catalog.delete_bucket(session, bucket_id).await, Err(CatalogError::NotEmpty)));
    catalog.delete_version(session, bucket_id, "k", Expect::Anything).await.unwrap();
    let condemned = catalog.delete_bucket(session, bucket_id).await.unwrap();
    assert_eq!(names(&condemned), expected(&[12, 13], &[11, 1_000_001]));
    assert_eq!(catalog.bucket("bucket").await.unwrap(), None);
    assert_eq!(catalog.parts(pending.write_id, 0, 9).await.unwrap(), []);
    let late = catalog.put_part(session, pending.write_id, part(2, 14)).await;
    assert!(matches!(late, Err(CatalogError::NoSuchUpload)));
    assert!(matches!(catalog.delete_bucket(session, bucket_id).await, Err(CatalogError::NoSuchBucket)));
}

pub async fn an_overwrite_condemns_what_it_displaces_and_nothing_else(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    let first = version(bucket_id, "k", 10);
    assert_eq!(catalog.put_version(session, first.clone(), Expect::Anything).await.unwrap(), []);
    assert_eq!(catalog.version(bucket_id, "k").await.unwrap(), Some(first));
    catalog.put_version(session, version(bucket_id, "beside", 11), Expect::Anything).await.unwrap();
    let second = version(bucket_id, "k", 12);
    let condemned = catalog.put_version(session, second.clone(), Expect::Anything).await.unwrap();
    assert_eq!(names(&condemned), expected(&[10], &[10]));
    assert_eq!(catalog.version(bucket_id, "k").await.unwrap(), Some(second));
    let condemned = catalog.delete_version(session, bucket_id, "k", Expect::Anything).await.unwrap();
    assert_eq!(names(&condemned), expected(&[12], &[12]));
    assert_eq!(catalog.delete_version(session, bucket_id, "k", Expect::Anything).await.unwrap(), []);
    assert_eq!(names(&catalog.condemned(0, 99).await.unwrap()), expected(&[10, 12], &[10, 12]));
}

pub async fn a_change_of_the_same_version_keeps_what_it_still_names(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    let first = version(bucket_id, "k", 10);
    catalog.put_version(session, first.clone(), Expect::Absent).await.unwrap();
    let changed = VersionRow { record: vec![1], ..first.clone() };
    let unchanged = Expect::Unchanged(first.write_id, 0);
    assert_eq!(catalog.put_version(session, changed.clone(), unchanged).await.unwrap(), []);
    check_conflict(catalog.put_version(session, changed.clone(), unchanged).await);
    let row = catalog.version(bucket_id, "k").await.unwrap().unwrap();
    assert_eq!(row, VersionRow { generation: 1, ..changed });
    // Sealed anew: another key and blob under the same write id.
    let resealed = VersionRow { data_keys: vec![key_id(20)], blob: Some(blob(20)), ..row };
    let condemned = catalog.put_version(session, resealed, Expect::Anything).await.unwrap();
    assert_eq!(names(&condemned), expected(&[10], &[10]));

    let multipart = upload(bucket_id, "m", 30);
    catalog.create_upload(session, multipart.clone()).await.unwrap();
    catalog.put_part(session, multipart.write_id, part(1, 31)).await.unwrap();
    let done = completed(&multipart);
    catalog.complete_upload(session, done.clone(), vec![part(1, 31)], Expect::Absent).await.unwrap();
    assert_eq!(catalog.put_version(session, done, Expect::Anything).await.unwrap(), []);
    assert_eq!(catalog.parts(multipart.write_id, 0, 9).await.unwrap(), [part(1, 31)]);
}

pub async fn what_was_condemned_is_never_named_again(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    catalog.put_version(session, version(bucket_id, "k", 10), Expect::Anything).await.unwrap();
    catalog.delete_version(session, bucket_id, "k", Expect::Anything).await.unwrap();
    check_conflict(catalog.put_version(session, version(bucket_id, "k", 10), Expect::Anything).await);
    check_conflict(catalog.create_upload(session, upload(bucket_id, "k", 10)).await);
    catalog.create_upload(session, upload(bucket_id, "k", 11)).await.unwrap();
    check_conflict(catalog.put_part(session, id(11), part(1, 10)).await);
    // Nor may two rows name one thing.
    catalog.put_version(session, version(bucket_id, "one", 20), Expect::Anything).await.unwrap();
    check_conflict(catalog.put_version(session, version(bucket_id, "other", 20), Expect::Anything).await);
    let asked: Vec<Condemnation> =
        [10, 11, 20, 404].iter().flat_map(|n| [Condemnation::Blob(blob(*n)), Condemnation::Key(key_id(*n))]).collect();
    let named = catalog.named(asked).await.unwrap();
    let expected = [
        Condemnation::Blob(blob(10)),
        Condemnation::Key(key_id(10)),
        Condemnation::Key(key_id(11)),
        Condemnation::Blob(blob(20)),
        Condemnation::Key(key_id(20)),
    ];
    assert_eq!(named, expected);
}

pub async fn a_commit_that_expects_something_else_is_a_conflict(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    let read = Expect::Unchanged(id(10), 0);
    let put = |number, expect| catalog.put_version(session, version(bucket_id, "k", number), expect);
    check_conflict(put(10, read).await);
    check_conflict(catalog.delete_version(session, bucket_id, "k", read).await);
    put(10, Expect::Absent).await.unwrap();
    check_conflict(put(11, Expect::Absent).await);
    check_conflict(put(12, Expect::Unchanged(id(10), 1)).await);
    check_conflict(put(13, Expect::Unchanged(id(99), 0)).await);
    check_conflict(catalog.delete_version(session, bucket_id, "k", Expect::Absent).await);
    assert_eq!(catalog.version(bucket_id, "k").await.unwrap().unwrap().write_id, id(10));
    assert_eq!(catalog.condemned(0, 9).await.unwrap(), []);
    put(14, read).await.unwrap();
    check_conflict(catalog.delete_version(session, bucket_id, "k", read).await);
}

pub async fn a_version_needs_its_bucket(open: Open<'_>) {
    let catalog = open();
    let (session, _) = with_bucket(&*catalog).await;
    let lost = catalog.put_version(session, version(id(404), "k", 10), Expect::Anything).await;
    assert!(matches!(lost, Err(CatalogError::NoSuchBucket)));
    let lost = catalog.create_upload(session, upload(id(404), "k", 10)).await;
    assert!(matches!(lost, Err(CatalogError::NoSuchBucket)));
}

pub async fn of_many_that_create_one_key_exactly_one_wins(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    let puts = (0..50).map(|number| {
        let catalog = Arc::clone(&catalog);
        tokio::spawn(async move {
            catalog.put_version(session, version(bucket_id, "k", 100 + number), Expect::Absent).await.is_ok()
        })
    });
    let won = join_all(puts).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
    assert_eq!(won, 1);
    assert_eq!(catalog.condemned(0, 9).await.unwrap(), []);
}

pub async fn many_at_once_are_all_there_when_opened_again(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    let puts = (0..200).map(|number| {
        let catalog = Arc::clone(&catalog);
        tokio::spawn(async move {
            let row = version(bucket_id, &format!("k{}", number % 50), 1000 + number);
            catalog.put_version(session, row, Expect::Anything).await.unwrap();
        })
    });
    for put in join_all(puts).await {
        put.unwrap();
    }
    // A second opening, while the first still lives: what was acknowledged is in the files.
    let again = open();
    let condemned = again.condemned(0, usize::MAX).await.unwrap();
    assert_eq!(condemned.len(), 300, "150 were displaced, each a key and a blob");
    let condemned = names(&condemned);
    for number in 0..50 {
        let row = again.version(bucket_id, &format!("k{number}")).await.unwrap().unwrap();
        assert!(!condemned.contains(row.data_keys[0].as_bytes().as_slice()));
        assert!(!condemned.contains(row.blob.unwrap().to_bytes().as_slice()));
    }
}

pub async fn the_condemned_list_is_worked_off_by_place(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    for number in 10..13 {
        catalog.put_version(session, version(bucket_id, "k", number), Expect::Anything).await.unwrap();
    }
    let all = catalog.condemned(0, 99).await.unwrap();
    assert_eq!(all.len(), 4);
    assert!(all.is_sorted_by(|one, next| one.place < next.place));
    assert_eq!(catalog.condemned(all[1].place, 1).await.unwrap(), all[2..3]);
    let places: Vec<u64> = all.iter().map(|one| one.place).collect();
    catalog.removed(session, places.clone()).await.unwrap();
    assert_eq!(catalog.condemned(0, 99).await.unwrap(), []);
    // A place is never given again: what was read before cannot take off what came later.
    catalog.delete_version(session, bucket_id, "k", Expect::Anything).await.unwrap();
    catalog.removed(session, places).await.unwrap();
    assert_eq!(catalog.condemned(0, 99).await.unwrap().len(), 2);
}

pub async fn a_key_that_was_destroyed_stays_destroyed(open: Open<'_>) {
    let catalog = open();
    let (session, _) = with_bucket(&*catalog).await;
    catalog.destroy_keys(session, vec![key_id(1), key_id(2)]).await.unwrap();
    catalog.destroy_keys(session, vec![key_id(2)]).await.unwrap();
    let asked = vec![key_id(1), key_id(2), key_id(3)];
    assert_eq!(open().destroyed(asked).await.unwrap(), [key_id(1), key_id(2)]);
    let closed = catalog.destroy_keys(SessionId::from_bytes([9; 16]), vec![key_id(3)]).await;
    assert!(matches!(closed, Err(CatalogError::SessionClosed)));
    assert_eq!(open().destroyed(vec![key_id(3)]).await.unwrap(), []);
}
