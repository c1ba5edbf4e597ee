//! What every catalog promises about uploads in progress and the parts of multipart objects.

use strongroom_server::catalog::{Condemnation, Expect, PartRow, VersionRow};
use strongroom_server::error::CatalogError;

use crate::catalog_suite::{
    Open, blob, check_conflict, completed, expected, id, names, part, upload, version, what, with_bucket,
};

/// One test for each promise about uploads.
#[macro_export]
macro_rules! upload_suite {
    ($open:expr) => {
        $crate::each_promise! { $open;
            $crate::upload_suite::a_part_replaces_and_condemns_the_one_of_its_number as a_part_replaces_and_condemns_the_one_of_its_number,
            $crate::upload_suite::complete_keeps_the_chosen_parts_and_condemns_the_rest as complete_keeps_the_chosen_parts_and_condemns_the_rest,
            $crate::upload_suite::complete_refuses_parts_that_changed_and_leaves_the_upload_open as complete_refuses_parts_that_changed_and_leaves_the_upload_open,
            $crate::upload_suite::a_displaced_multipart_version_condemns_one_key_and_every_part as a_displaced_multipart_version_condemns_one_key_and_every_part,
            $crate::upload_suite::of_complete_and_abort_exactly_one_wins as of_complete_and_abort_exactly_one_wins,
        }
    };
}

pub async fn a_part_replaces_and_condemns_the_one_of_its_number(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    let row = upload(bucket_id, "k", 10);
    catalog.create_upload(session, row.clone()).await.unwrap();
    for (number, blob_number) in [(10_000, 11), (1, 12), (2, 13)] {
        let condemned = catalog.put_part(session, row.write_id, part(number, blob_number)).await.unwrap();
        assert_eq!(condemned, []);
    }
    let condemned = catalog.put_part(session, row.write_id, part(1, 14)).await.unwrap();
    assert_eq!(what(&condemned), [Condemnation::Blob(blob(12))]);
    assert_eq!(catalog.parts(row.write_id, 0, 2).await.unwrap(), [part(1, 14), part(2, 13)]);
    assert_eq!(catalog.parts(row.write_id, 2, 2).await.unwrap(), [part(10_000, 11)]);
    let unknown = catalog.put_part(session, id(404), part(1, 15)).await;
    assert!(matches!(unknown, Err(CatalogError::NoSuchUpload)));
}

pub async fn complete_keeps_the_chosen_parts_and_condemns_the_rest(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    catalog.put_version(session, version(bucket_id, "k", 5), Expect::Anything).await.unwrap();
    let row = upload(bucket_id, "k", 10);
    catalog.create_upload(session, row.clone()).await.unwrap();
    for number in 1..=4 {
        catalog.put_part(session, row.write_id, part(number, 20 + u64::from(number))).await.unwrap();
    }
    let chosen = vec![part(2, 22), part(4, 24)];
    let condemned = catalog.complete_upload(session, completed(&row), chosen.clone(), Expect::Anything).await.unwrap();
    assert_eq!(names(&condemned), expected(&[5, 21, 23], &[5]));
    assert_eq!(catalog.version(bucket_id, "k").await.unwrap(), Some(completed(&row)));
    assert_eq!(catalog.parts(row.write_id, 0, 9).await.unwrap(), chosen);
    assert_eq!(catalog.upload(bucket_id, "k", row.write_id).await.unwrap(), None);
    let again = catalog.complete_upload(session, completed(&row), chosen, Expect::Anything).await;
    assert!(matches!(again, Err(CatalogError::NoSuchUpload)));
    let late = catalog.put_part(session, row.write_id, part(5, 25)).await;
    assert!(matches!(late, Err(CatalogError::NoSuchUpload)));
}

pub async fn complete_refuses_parts_that_changed_and_leaves_the_upload_open(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    let row = upload(bucket_id, "k", 10);
    catalog.create_upload(session, row.clone()).await.unwrap();
    catalog.put_part(session, row.write_id, part(1, 11)).await.unwrap();
    catalog.put_part(session, row.write_id, part(2, 12)).await.unwrap();
    let resealed = PartRow { record: vec![1], ..part(1, 11) };
    for stale in [vec![part(1, 99)], vec![resealed], vec![part(1, 11), part(3, 13)]] {
        check_conflict(catalog.complete_upload(session, completed(&row), stale, Expect::Anything).await);
    }
    let parts = vec![part(1, 11)];
    let expects = Expect::Unchanged(id(404), 0);
    check_conflict(catalog.complete_upload(session, completed(&row), parts.clone(), expects).await);
    let elsewhere = VersionRow { key: "other".to_owned(), ..completed(&row) };
    let elsewhere = catalog.complete_upload(session, elsewhere, parts, Expect::Anything).await;
    assert!(matches!(elsewhere, Err(CatalogError::NoSuchUpload)));
    assert_eq!(catalog.condemned(0, 9).await.unwrap(), []);
    assert_eq!(catalog.parts(row.write_id, 0, 9).await.unwrap(), [part(1, 11), part(2, 12)]);
    assert_eq!(catalog.upload(bucket_id, "k", row.write_id).await.unwrap(), Some(row));
}

pub async fn a_displaced_multipart_version_condemns_one_key_and_every_part(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    let row = upload(bucket_id, "k", 10);
    catalog.create_upload(session, row.clone()).await.unwrap();
    let parts: Vec<PartRow> = (1..=3).map(|number| part(number, 20 + u64::from(number))).collect();
    for part in &parts {
        catalog.put_part(session, row.write_id, part.clone()).await.unwrap();
    }
    catalog.complete_upload(session, completed(&row), parts, Expect::Anything).await.unwrap();
    let condemned = catalog.put_version(session, version(bucket_id, "k", 30), Expect::Anything).await.unwrap();
    assert_eq!(names(&condemned), expected(&[21, 22, 23], &[10]));
    assert_eq!(condemned.len(), 4);
    assert_eq!(catalog.parts(row.write_id, 0, 9).await.unwrap(), []);
}

pub async fn of_complete_and_abort_exactly_one_wins(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    for round in 0..20 {
        let number = 1000 + round * 10;
        let row = upload(bucket_id, &format!("k{round}"), number);
        let one = part(1, number + 1);
        catalog.create_upload(session, row.clone()).await.unwrap();
        catalog.put_part(session, row.write_id, one.clone()).await.unwrap();
        let abort = catalog.abort_upload(session, bucket_id, &row.key, row.write_id);
        let complete = catalog.complete_upload(session, completed(&row), vec![one], Expect::Anything);
        // Whoever is polled first is queued first: each side gets its rounds.
        let (completed, aborted) = if round % 2 == 0 {
            tokio::join!(complete, abort)
        } else {
            let (aborted, completed) = tokio::join!(abort, complete);
            (completed, aborted)
        };
        let visible = catalog.version(bucket_id, &row.key).await.unwrap().is_some();
        match (completed, aborted) {
            (Ok(condemned), Err(CatalogError::NoSuchUpload)) => assert!(visible && condemned.is_empty()),
            (Err(CatalogError::NoSuchUpload), Ok(condemned)) => {
                assert!(!visible);
                assert_eq!(names(&condemned), expected(&[number + 1], &[number]));
            }
            other => panic!("not exactly one: {other:?}"),
        }
    }
}
