//! What every blob store promises, wherever it keeps blobs.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use futures::{FutureExt as _, StreamExt as _, stream};
use strongroom_server::blob::{BlobName, BlobStore, SealedStream};
use strongroom_server::error::{BlobError, OpError};
use strongroom_server::id::{SessionId, StreamId};

/// Opens the blob store; each time the same one.
pub type Open<'a> = &'a (dyn Fn() -> Arc<dyn BlobStore> + Sync);

/// One test for each promise of a blob store.
#[macro_export]
macro_rules! blob_suite {
    ($open:expr) => {
        $crate::each_promise! { $open;
            $crate::blob_suite::a_blob_reads_back_as_it_was_written as a_blob_reads_back_as_it_was_written,
            $crate::blob_suite::a_range_is_read_exactly_or_not_at_all as a_range_is_read_exactly_or_not_at_all,
            $crate::blob_suite::a_name_is_written_once as a_name_is_written_once,
            $crate::blob_suite::a_stream_that_fails_leaves_nothing as a_stream_that_fails_leaves_nothing,
            $crate::blob_suite::a_write_that_nobody_waits_for_leaves_nothing as a_write_that_nobody_waits_for_leaves_nothing,
            $crate::blob_suite::a_removed_blob_is_missing_and_an_open_one_stays_readable as a_removed_blob_is_missing_and_an_open_one_stays_readable,
            $crate::blob_suite::the_blobs_of_each_session_are_found as the_blobs_of_each_session_are_found,
            $crate::blob_suite::many_written_at_once_are_all_there as many_written_at_once_are_all_there,
        }
    };
}

pub fn blob(session: u8, stream: u64) -> BlobName {
    BlobName {
        session: SessionId::from_bytes([session; 16]),
        stream: StreamId::from_bytes(u128::from(stream).to_be_bytes()),
    }
}

/// Bytes with a prime period: no two blocks look alike.
pub fn painted(len: usize) -> Vec<u8> {
    (0..251_u8).cycle().take(len).collect()
}

/// `bytes` in batches of this size.
pub fn batches(bytes: &[u8], batch_len: usize) -> SealedStream<'static> {
    let batches: Vec<_> = bytes.chunks(batch_len).map(|batch| Ok(Bytes::copy_from_slice(batch))).collect();
    stream::iter(batches).boxed()
}

async fn contents(store: &dyn BlobStore, name: BlobName) -> Vec<u8> {
    let blob = store.open(name).await.unwrap();
    let len = blob.len().await.unwrap();
    blob.read(0, usize::try_from(len).unwrap()).await.unwrap()
}

async fn check_nothing_left(store: &dyn BlobStore, name: BlobName) {
    assert!(matches!(store.open(name).await.map(drop), Err(BlobError::Missing(missing)) if missing == name));
    assert_eq!(store.written_by(name.session).await.unwrap(), []);
    assert_eq!(store.sessions().await.unwrap(), []);
}

pub async fn a_blob_reads_back_as_it_was_written(open: Open<'_>) {
    let store = open();
    // Around the length up to which a blob is gathered first, and in batches that divide nothing evenly.
    let shapes = [(0, 1), (96, 96), (65_536, 1000), (65_537, 65_536), (1_000_000, 262_144), (70_000, 7)];
    for (number, (len, batch_len)) in (0..).zip(shapes) {
        let name = blob(1, number);
        let durable = store.write(name, batches(&painted(len), batch_len)).await.unwrap();
        assert_eq!(durable.name(), name);
        assert!(contents(&*open(), name).await == painted(len), "{len} bytes in batches of {batch_len}");
    }
}

pub async fn a_range_is_read_exactly_or_not_at_all(open: Open<'_>) {
    let store = open();
    let bytes = painted(200_000);
    store.write(blob(1, 1), batches(&bytes, 50_000)).await.unwrap();
    let reader = store.open(blob(1, 1)).await.unwrap();
    for (offset, len) in [(0, 0), (0, 1), (1, 100_000), (199_999, 1), (200_000, 0), (5, 70_000)] {
        assert!(reader.read(offset as u64, len).await.unwrap() == bytes[offset..offset + len], "{offset}+{len}");
    }
    for (offset, len) in [(200_000, 1), (199_999, 2), (0, 200_001), (u64::MAX, 1), (0, usize::MAX >> 1)] {
        assert!(matches!(reader.read(offset, len).await, Err(BlobError::Read { .. })), "{offset}+{len}");
    }
}

pub async fn a_name_is_written_once(open: Open<'_>) {
    let store = open();
    store.write(blob(1, 1), batches(&painted(100), 100)).await.unwrap();
    for len in [50, 100_000] {
        assert!(store.write(blob(1, 1), batches(&painted(len), 50)).await.is_err());
    }
    assert_eq!(contents(&*store, blob(1, 1)).await, painted(100));
}

pub async fn a_stream_that_fails_leaves_nothing(open: Open<'_>) {
    let store = open();
    for good_len in [0, 100, 300_000] {
        let fails = stream::iter([Err(OpError::IncompleteBody)]);
        let sealed = batches(&painted(good_len), 50_000).chain(fails).boxed();
        let result = store.write(blob(1, 1), sealed).await;
        assert!(matches!(result, Err(OpError::IncompleteBody)), "the stream's own error comes back");
        check_nothing_left(&*store, blob(1, 1)).await;
    }
}

pub async fn a_write_that_nobody_waits_for_leaves_nothing(open: Open<'_>) {
    let store = open();
    // Dropped while the stream is quiet: before the file is made, while it is made, while it is written.
    for (number, polls) in (0..).zip([0, 1, 2, 5, 50]) {
        let name = blob(2, number);
        let sealed = batches(&painted(300_000), 50_000).chain(stream::pending()).boxed();
        let mut write = Box::pin(store.write(name, sealed));
        for _ in 0..polls {
            assert!(write.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        drop(write);
        wait_until_nothing_is_left(&*store, name.session).await;
    }
}

/// What was under way runs to its end first; then the file goes. There is no sign to wait for but the file.
async fn wait_until_nothing_is_left(store: &dyn BlobStore, session: SessionId) {
    const LOOK_COUNT_MAX: usize = 20_000;
    for _ in 0..LOOK_COUNT_MAX {
        if store.written_by(session).await.unwrap().is_empty() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("still there: {:?}", store.written_by(session).await);
}

pub async fn a_removed_blob_is_missing_and_an_open_one_stays_readable(open: Open<'_>) {
    let store = open();
    let bytes = painted(100_000);
    store.write(blob(1, 1), batches(&bytes, 50_000)).await.unwrap();
    let reader = store.open(blob(1, 1)).await.unwrap();
    store.remove(blob(1, 1)).await.unwrap();
    store.remove(blob(1, 1)).await.unwrap();
    store.remove(blob(9, 9)).await.unwrap();
    check_nothing_left(&*store, blob(1, 1)).await;
    assert!(reader.read(0, bytes.len()).await.unwrap() == bytes);
}

pub async fn the_blobs_of_each_session_are_found(open: Open<'_>) {
    let store = open();
    let (mut first, second) = ([blob(1, 1), blob(1, 257), blob(1, 2)], [blob(2, 1)]);
    for name in first.iter().chain(&second) {
        store.write(*name, batches(&painted(10), 10)).await.unwrap();
    }
    let again = open();
    let mut sessions = again.sessions().await.unwrap();
    sessions.sort();
    assert_eq!(sessions, [first[0].session, second[0].session]);
    let mut found = again.written_by(first[0].session).await.unwrap();
    found.sort();
    first.sort();
    assert_eq!(found, first);
    assert_eq!(again.written_by(SessionId::from_bytes([9; 16])).await.unwrap(), []);
}

pub async fn many_written_at_once_are_all_there(open: Open<'_>) {
    let store = open();
    // All in the same two directories, which many make at once.
    let len = |number: u64| 1000 + usize::try_from(number).unwrap() * 3000;
    let writes = (0..40_u64).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let sealed = batches(&painted(len(number)), 10_000);
            store.write(blob(1, number * 256), sealed).await.unwrap();
        })
    });
    for write in join_all(writes).await {
        write.unwrap();
    }
    let again = open();
    for number in 0..40 {
        assert!(contents(&*again, blob(1, number * 256)).await == painted(len(number)), "blob {number}");
    }
}
