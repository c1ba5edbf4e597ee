//! Listing, against a slow model that sorts, filters and rolls up in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use strongroom_server::catalog::{Catalog, Expect, ListQuery, Listed, UploadMarker, UploadRow, VersionRow};
use strongroom_server::id::{BucketId, WriteId};

use crate::catalog_suite::{Open, bucket, upload, version, with_bucket};

/// One test for each promise about listing.
#[macro_export]
macro_rules! listing_suite {
    ($open:expr) => {
        $crate::each_promise! { $open;
            $crate::listing_suite::random_changes_and_pages_agree_with_a_slow_model as random_changes_and_pages_agree_with_a_slow_model,
            $crate::listing_suite::uploads_are_listed_by_key_then_by_age as uploads_are_listed_by_key_then_by_age,
            $crate::listing_suite::a_limit_of_nothing_lists_nothing as a_limit_of_nothing_lists_nothing,
        }
    };
}

/// What a page shows, without the rest of its rows.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Entry {
    Key(String, WriteId),
    Prefix(String),
}

/// Few letters, so that keys share prefixes and delimiters; some of several bytes, at both ends of UTF-8.
fn text(longest: usize) -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec!["a", "b", "/", "//", "a/", "\u{0}", "é", "/é", "\u{10ffff}", "-"]);
    prop::collection::vec(piece, 0..=longest).prop_map(|pieces| pieces.concat())
}

fn delimiter() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "/", "//", "a/", "é", "/é", "\u{10ffff}"]).prop_map(str::to_owned)
}

#[derive(Clone, Debug)]
enum Change {
    Put(String),
    Delete(String),
    List { prefix: String, delimiter: String, after: String, limit: usize },
}

fn change() -> impl Strategy<Value = Change> {
    let key = || text(6).prop_filter("S3 has no empty key", |key| !key.is_empty());
    prop_oneof![
        4 => key().prop_map(Change::Put),
        1 => key().prop_map(Change::Delete),
        3 => (text(2), delimiter(), text(4), 0..6_usize)
            .prop_map(|(prefix, delimiter, after, limit)| Change::List { prefix, delimiter, after, limit }),
    ]
}

/// Rolls everything up first, then pages: the definition, and far too slow.
fn model(keys: &BTreeMap<String, WriteId>, query: &ListQuery) -> (Vec<Entry>, bool) {
    let mut entries: Vec<Entry> = Vec::new();
    for (key, write) in keys {
        let Some(rest) = key.strip_prefix(query.prefix.as_str()) else { continue };
        if *key <= query.after {
            continue;
        }
        let entry = match rest.split_once(query.delimiter.as_str()).filter(|_| !query.delimiter.is_empty()) {
            Some((head, _)) => Entry::Prefix(format!("{}{head}{}", query.prefix, query.delimiter)),
            None => Entry::Key(key.clone(), *write),
        };
        let passed = matches!(&entry, Entry::Prefix(prefix) if *prefix == query.after);
        if !passed && entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    let truncated = query.limit > 0 && entries.len() > query.limit;
    entries.truncate(query.limit);
    (entries, truncated)
}

fn entry(listed: Listed<VersionRow>) -> Entry {
    match listed {
        Listed::Row(row) => Entry::Key(row.key, row.write_id),
        Listed::Prefix(prefix) => Entry::Prefix(prefix),
    }
}

fn marker(entry: &Entry) -> String {
    match entry {
        Entry::Key(key, _) | Entry::Prefix(key) => key.clone(),
    }
}

async fn check(catalog: &dyn Catalog, bucket: BucketId, keys: &BTreeMap<String, WriteId>, query: ListQuery) {
    let (listed, truncated) = catalog.list_versions(bucket, query.clone()).await.unwrap();
    let listed: Vec<Entry> = listed.into_iter().map(entry).collect();
    assert_eq!((listed, truncated), model(keys, &query), "{query:?} over {:?}", keys.keys());

    // And page after page it is the whole, each entry once.
    let whole = model(keys, &ListQuery { limit: usize::MAX, ..query.clone() }).0;
    let mut paged = Vec::new();
    let mut page_query = query.clone();
    page_query.limit = query.limit.max(1);
    loop {
        let (page, more) = catalog.list_versions(bucket, page_query.clone()).await.unwrap();
        paged.extend(page.into_iter().map(entry));
        match paged.last() {
            Some(last) if more && paged.len() <= whole.len() => page_query.after = marker(last),
            _ => break,
        }
    }
    assert_eq!(paged, whole, "page by page: {query:?} over {:?}", keys.keys());
}

pub async fn random_changes_and_pages_agree_with_a_slow_model(open: Open<'_>) {
    let catalog: Arc<dyn Catalog> = open();
    let (session, first) = with_bucket(&*catalog).await;
    let neighbour = version(first, "a/neighbour", 1);
    catalog.put_version(session, neighbour, Expect::Anything).await.unwrap();
    let mut next = 10_u64;
    let runtime = tokio::runtime::Handle::current();
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let check_case = |changes: Vec<Change>| {
        // Each case in a bucket of its own, between others.
        next += 1;
        let row = bucket(&format!("case-{next}"), next);
        runtime.block_on(catalog.create_bucket(session, row.clone())).unwrap();
        let mut keys = BTreeMap::new();
        for change in changes {
            match change {
                Change::Put(key) => {
                    next += 1;
                    let version = version(row.id, &key, next);
                    keys.insert(key, version.write_id);
                    runtime.block_on(catalog.put_version(session, version, Expect::Anything)).unwrap();
                }
                Change::Delete(key) => {
                    keys.remove(&key);
                    runtime.block_on(catalog.delete_version(session, row.id, &key, Expect::Anything)).unwrap();
                }
                Change::List { prefix, delimiter, after, limit } => {
                    let query = ListQuery { prefix, delimiter, after, limit };
                    runtime.block_on(check(&*catalog, row.id, &keys, query));
                }
            }
        }
    };
    let check_case = std::cell::RefCell::new(check_case);
    tokio::task::block_in_place(|| {
        runner
            .run(&prop::collection::vec(change(), 1..60), |changes| {
                (check_case.borrow_mut())(changes);
                Ok(())
            })
            .unwrap();
    });
}

pub async fn uploads_are_listed_by_key_then_by_age(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    let rows: Vec<UploadRow> = [("a", 12), ("b/1", 9), ("b/1", 15), ("b/2", 3), ("c", 8), ("c", 30)]
        .map(|(key, n)| upload(bucket_id, key, n))
        .to_vec();
    for row in rows.iter().rev() {
        catalog.create_upload(session, row.clone()).await.unwrap();
    }
    let list = |delimiter: &str, key: &str, upload: Option<WriteId>, limit| {
        let query = ListQuery { delimiter: delimiter.to_owned(), limit, ..ListQuery::default() };
        catalog.list_uploads(bucket_id, query, UploadMarker { key: key.to_owned(), upload })
    };
    let row = |index: usize| Listed::Row(rows[index].clone());
    assert_eq!(list("", "", None, 9).await.unwrap(), ((0..6).map(row).collect(), false));
    assert_eq!(list("", "", None, 2).await.unwrap(), (vec![row(0), row(1)], true));
    assert_eq!(list("", "b/1", Some(rows[1].write_id), 2).await.unwrap(), (vec![row(2), row(3)], true));
    assert_eq!(list("", "b/1", None, 9).await.unwrap(), (vec![row(3), row(4), row(5)], false));
    let folder = Listed::Prefix("b/".to_owned());
    assert_eq!(list("/", "", None, 2).await.unwrap(), (vec![row(0), folder.clone()], true));
    assert_eq!(list("/", "b/", None, 9).await.unwrap(), (vec![row(4), row(5)], false));
    assert_eq!(list("/", "b/1", Some(rows[1].write_id), 1).await.unwrap(), (vec![folder], true));
}

pub async fn a_limit_of_nothing_lists_nothing(open: Open<'_>) {
    let catalog = open();
    let (session, bucket_id) = with_bucket(&*catalog).await;
    catalog.put_version(session, version(bucket_id, "k", 10), Expect::Anything).await.unwrap();
    assert_eq!(catalog.list_versions(bucket_id, ListQuery::default()).await.unwrap(), (Vec::new(), false));
}
