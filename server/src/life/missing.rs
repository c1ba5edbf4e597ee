//! Keys that the catalog names and a keyring does not have: what was made after a copy of it, and is lost.

use std::collections::HashSet;

use strongroom_engine::KeyId;

use super::LifeError;
use crate::catalog::{Catalog, Condemnation, ListQuery, Listed, UploadMarker};
use crate::keyring::KeyringAdmin;

/// Catalog rows read at once.
const PAGE: usize = 1_000;

/// Counts them. Neither what was destroyed on purpose is among them, nor what is deleted meanwhile.
pub(super) async fn missing(catalog: &dyn Catalog, keyring: &dyn KeyringAdmin) -> Result<u64, LifeError> {
    let mut absent = HashSet::new();
    for bucket in catalog.buckets().await? {
        absent.extend(keyring.absent(vec![bucket.catalog_key]).await?);
        let mut query = ListQuery { limit: PAGE, ..ListQuery::default() };
        loop {
            let (listed, more) = catalog.list_versions(bucket.id, query.clone()).await?;
            let mut keys = Vec::new();
            for listed in listed {
                let Listed::Row(row) = listed else { continue };
                keys.extend(row.data_keys);
                query.after = row.key;
            }
            absent.extend(keyring.absent(keys).await?);
            if !more {
                break;
            }
        }
        let (query, mut after) = (ListQuery { limit: PAGE, ..ListQuery::default() }, UploadMarker::default());
        loop {
            let (listed, more) = catalog.list_uploads(bucket.id, query.clone(), after.clone()).await?;
            let mut keys = Vec::new();
            for listed in listed {
                let Listed::Row(row) = listed else { continue };
                keys.extend(row.data_keys);
                after = UploadMarker { key: row.key, upload: Some(row.write_id) };
            }
            absent.extend(keyring.absent(keys).await?);
            if !more {
                break;
            }
        }
    }
    still_wanted(catalog, absent).await
}

/// How many of these a row still names and nobody destroyed.
async fn still_wanted(catalog: &dyn Catalog, mut absent: HashSet<KeyId>) -> Result<u64, LifeError> {
    // The condemned list before the rows: what leaves it is named by nothing any more.
    let mut after = 0;
    loop {
        let condemned = catalog.condemned(after, PAGE).await?;
        let Some(last) = condemned.last() else { break };
        after = last.place;
        for one in &condemned {
            if let Condemnation::Key(key) = &one.what {
                absent.remove(key);
            }
        }
    }
    let (mut count, absent) = (0, absent.into_iter().collect::<Vec<_>>());
    for some in absent.chunks(PAGE) {
        let named = catalog.named(some.iter().copied().map(Condemnation::Key).collect()).await?;
        let destroyed = catalog.destroyed(some.to_vec()).await?;
        let is_wanted = |one: &&Condemnation| matches!(one, Condemnation::Key(key) if !destroyed.contains(key));
        count += named.iter().filter(is_wanted).count() as u64;
    }
    Ok(count)
}
