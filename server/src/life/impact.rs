//! What becomes unreadable if a master key is lost: looked up in keyring and catalog, whole, or not answered at all.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use strongroom_engine::{KeyId, Kind};

use super::{LifeError, MasterKeyName, OnProgress, Progress, Walk};
use crate::catalog::{BucketRow, ListQuery, Listed, UploadMarker};
use crate::keyring::{Entry, Wrapped};
use crate::store::Store;

/// Objects that are named; beyond, they are only counted.
const NAMED: usize = 1_000;
/// Catalog rows read at once.
const PAGE: usize = 1_000;

/// What lies under a master key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Impact {
    /// Whether the store's own configuration does: without it nobody is let in.
    pub store: bool,
    /// Buckets whose listings and settings do, and so all their objects.
    pub buckets: Vec<String>,
    /// How many objects do.
    pub object_count: u64,
    /// The first of them.
    pub objects: Vec<LostObject>,
    /// How many uploads in progress do.
    pub upload_count: u64,
    /// Wrapped keys under it that no catalog row names: of requests under way, or waiting to be removed.
    pub unnamed_count: u64,
}

/// An object by its name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LostObject {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
}

impl Impact {
    /// Whether nothing at all lies under it.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Looks at every wrapped key and every catalog row; a master key is never called unused on less.
///
/// # Errors
/// [`LifeError::NoSuchKey`]; the first row that cannot be read.
pub async fn impact(store: &Store, name: &MasterKeyName, on_progress: OnProgress<'_>) -> Result<Impact, LifeError> {
    let mut under = Under::find(store, name, on_progress).await?;
    let mut impact = Impact { store: !under.store.is_empty(), ..Impact::default() };
    for bucket in store.catalog.buckets().await? {
        if under.catalog.remove(&bucket.catalog_key) {
            impact.buckets.push(bucket.name.clone());
        }
        versions(store, &bucket, &mut under, &mut impact).await?;
        uploads(store, &bucket, &mut under, &mut impact).await?;
    }
    impact.unnamed_count = (under.data.len() + under.catalog.len()) as u64;
    Ok(impact)
}

/// The wrapped keys under the versions that are meant, by kind.
struct Under {
    data: HashSet<KeyId>,
    catalog: HashSet<KeyId>,
    store: HashSet<KeyId>,
}

impl Under {
    /// Whether one of an object's keys is among them; they are taken out.
    fn removed(&mut self, keys: &[KeyId]) -> bool {
        keys.iter().filter(|key| self.data.remove(key)).count() > 0
    }

    async fn find(store: &Store, name: &MasterKeyName, on_progress: OnProgress<'_>) -> Result<Self, LifeError> {
        let rows = store.keyring.master_keys().await?;
        let parents: HashSet<_> = rows.iter().filter(|row| name.means(row)).map(|row| row.id).collect();
        if parents.is_empty() {
            return Err(LifeError::NoSuchKey(name.to_string()));
        }
        let mut under = Self { data: HashSet::new(), catalog: HashSet::new(), store: HashSet::new() };
        let (mut bucket_keys, mut below) = (HashSet::new(), Vec::new());
        let (total, mut done) = (store.keyring.count().await?, 0);
        let mut walk = Walk::new(store);
        loop {
            let page = walk.next().await?;
            if page.is_empty() {
                under.data.extend(below.iter().filter(|(_, above)| bucket_keys.contains(above)).map(|(id, _)| *id));
                return Ok(under);
            }
            done += page.len() as u64;
            for Entry { id, row } in page {
                let row = row?;
                match &row.wrapped {
                    Wrapped::ByBucketKey { bucket_key, .. } => below.push((id, *bucket_key)),
                    Wrapped::ByCustomerKey { .. } => {}
                    Wrapped::ByMaster(wrapped) if !parents.contains(&wrapped.master) => {}
                    Wrapped::ByMaster(_) => {
                        let kind = match row.kind {
                            Kind::BucketKey => &mut bucket_keys,
                            Kind::CatalogKey => &mut under.catalog,
                            Kind::StoreKey => &mut under.store,
                            _ => &mut under.data,
                        };
                        kind.insert(id);
                    }
                }
            }
            on_progress(Progress { done, total: total.max(done) });
        }
    }
}

async fn versions(store: &Store, bucket: &BucketRow, under: &mut Under, impact: &mut Impact) -> Result<(), LifeError> {
    let mut query = ListQuery { limit: PAGE, ..ListQuery::default() };
    loop {
        let (rows, more) = store.catalog.list_versions(bucket.id, query.clone()).await?;
        for row in rows {
            let Listed::Row(row) = row else { continue };
            if under.removed(&row.data_keys) {
                impact.object_count += 1;
                if impact.objects.len() < NAMED {
                    impact.objects.push(LostObject { bucket: bucket.name.clone(), key: row.key.clone() });
                }
            }
            query.after = row.key;
        }
        if !more {
            return Ok(());
        }
    }
}

async fn uploads(store: &Store, bucket: &BucketRow, under: &mut Under, impact: &mut Impact) -> Result<(), LifeError> {
    let query = ListQuery { limit: PAGE, ..ListQuery::default() };
    let mut after = UploadMarker::default();
    loop {
        let (rows, more) = store.catalog.list_uploads(bucket.id, query.clone(), after.clone()).await?;
        for row in rows {
            let Listed::Row(row) = row else { continue };
            impact.upload_count += u64::from(under.removed(&row.data_keys));
            after = UploadMarker { key: row.key, upload: Some(row.write_id) };
        }
        if !more {
            return Ok(());
        }
    }
}
