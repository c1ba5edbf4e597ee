//! One open store: the parts it is put together from, and what lives as long as this process serves it.

use std::sync::{Arc, Mutex};

use strongroom_engine::{DataKey, KeyId, Kind};
use strongroom_hsm::{CacheLimits, KeyError, MasterKeyAdmin};
use tokio::task::JoinHandle;

use crate::audit::{AuditError, AuditLog, AuditedMasters, Subject};
use crate::blob::{BlobName, BlobStore};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::condemned::Remover;
use crate::error::OpError;
use crate::id::{SessionId, StoreId, StreamId};
use crate::key::{Keys, store_key_context};
use crate::keyring::{FOUNDING, KeyRow, KeyringAdmin, KeyringIdentity, MasterKeyRow, Wrapped};
use crate::ops::access::BucketPolicies;
use crate::users::{Caller, Users};
use crate::{jobs, session};

/// Returns once the token's files are durable.
pub type ForceToken = Arc<dyn Fn() -> Result<(), KeyError> + Send + Sync>;

/// What a store is put together from: each may live on a host of its own.
#[derive(Clone)]
pub struct StoreParts {
    /// Buckets, versions, uploads, parts.
    pub catalog: Arc<dyn Catalog>,
    /// Wrapped keys.
    pub keyring: Arc<dyn KeyringAdmin>,
    /// Sealed streams.
    pub blobs: Arc<dyn BlobStore>,
    /// The HSM.
    pub masters: Arc<dyn MasterKeyAdmin>,
    /// Forces to disk what was made or destroyed on the token, where the token does not.
    pub force_token: ForceToken,
    /// Where uses of master keys leave their events.
    pub audit: AuditLog,
    /// Dates.
    pub clock: Arc<dyn Clock>,
    /// Whether a new bucket takes writes with customers' keys, until its configuration says otherwise.
    pub new_buckets_take_sse_c: bool,
    /// Whether the owner may use every master key without a policy that says so.
    pub owner_uses_keys: bool,
}

/// An open store.
pub struct Store {
    /// Its identity, in every context.
    pub id: StoreId,
    /// This process's session.
    pub session: SessionId,
    /// Buckets, versions, uploads, parts.
    pub catalog: Arc<dyn Catalog>,
    /// Wrapped keys.
    pub keyring: Arc<dyn KeyringAdmin>,
    /// Sealed streams.
    pub blobs: Arc<dyn BlobStore>,
    /// The HSM.
    pub masters: Arc<dyn MasterKeyAdmin>,
    /// Forces to disk what was made or destroyed on the token, where the token does not.
    pub force_token: ForceToken,
    /// Where uses of master keys leave their events.
    pub audit: AuditLog,
    /// Dates.
    pub clock: Arc<dyn Clock>,
    /// Whether a new bucket takes writes with customers' keys, until its configuration says otherwise.
    pub new_buckets_take_sse_c: bool,
    /// Makes, wraps and opens keys.
    pub keys: Arc<Keys>,
    /// Users and their access keys.
    pub users: Users,
    /// Removes what no row names.
    pub remover: Arc<Remover>,
    /// Policies of buckets, parsed.
    pub policies: BucketPolicies,
    beside: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Makes a store of parts that hold nothing yet, or goes on where a first start was interrupted: the keyring gets
    /// its identity first, then the catalog. `master` is the first master key, made on the token.
    ///
    /// # Errors
    /// [`OpError::Damaged`] if one of the parts belongs to a store that has lived: that is a loss, not a first start.
    pub async fn found(parts: &StoreParts, master: MasterKeyRow) -> Result<(), OpError> {
        let identity = match parts.keyring.identity().await? {
            Some(identity) if parts.keyring.sessions().await?.iter().all(|session| *session == FOUNDING) => identity,
            Some(_) => {
                return Err(OpError::damaged("the keyring has served a store whose catalog is gone: restore it"));
            }
            None => Self::found_keyring(parts, master).await?,
        };
        match parts.catalog.store().await? {
            None => Ok(parts.catalog.found(identity.store).await?),
            Some(store) if store == identity.store => Ok(()),
            Some(_) => Err(OpError::damaged("catalog and keyring belong to different stores")),
        }
    }

    async fn found_keyring(parts: &StoreParts, master: MasterKeyRow) -> Result<KeyringIdentity, OpError> {
        let now_ms = parts.clock.now_ms();
        let store = StoreId::fresh(now_ms)?;
        let id = KeyId::fresh(now_ms)?;
        let context = store_key_context(store);
        let key = DataKey::generate()?;
        let masters = AuditedMasters::new(parts.masters.clone(), parts.audit.clone());
        let what = (Kind::StoreKey, id);
        let wrapped = masters.wrap(&master.alias, &key, &context, what, Subject::default()).await?;
        let identity = KeyringIdentity { store, store_key: id };
        let wrapped = Wrapped::ByMaster(wrapped);
        let row = KeyRow { id, kind: Kind::StoreKey, wrapped, context, session: FOUNDING };
        parts.keyring.found(identity, master, row).await?;
        Ok(identity)
    }

    /// Opens a store, its session, and what runs beside the requests. `cache` bounds the data keys that are held; `ended`
    /// are sessions whose processes are known to have ended. The HSM may be away: requests that need it are refused until
    /// it is back.
    ///
    /// # Errors
    /// [`OpError::Damaged`] if catalog and keyring are not one store's; [`OpError::Unavailable`].
    pub async fn open(parts: StoreParts, cache: CacheLimits, ended: Vec<SessionId>) -> Result<Arc<Self>, OpError> {
        let StoreParts { catalog, keyring, blobs, masters, force_token, audit, clock, .. } = parts;
        let (new_buckets_take_sse_c, owner_uses_keys) = (parts.new_buckets_take_sse_c, parts.owner_uses_keys);
        let identity = keyring.identity().await?.ok_or_else(|| OpError::damaged("the keyring belongs to no store"))?;
        match catalog.store().await? {
            Some(store) if store == identity.store => {}
            Some(_) => return Err(OpError::damaged("catalog and keyring belong to different stores")),
            None => return Err(OpError::damaged("the catalog is gone while its keyring is there: restore it")),
        }
        let session = SessionId::fresh(clock.now_ms())?;
        catalog.open_session(session).await?;
        let keys = Arc::new(Keys::new(
            identity,
            session,
            masters.clone(),
            audit.clone(),
            keyring.clone(),
            clock.clone(),
            cache,
        ));
        let users = Users::new(identity.store, session, catalog.clone(), keys.clone(), clock.clone(), owner_uses_keys);
        let remover = Remover::start(catalog.clone(), keyring.clone(), blobs.clone(), session);
        let beside = Mutex::new(vec![session::keep_alive(catalog.clone(), session)]);
        let store = Self {
            id: identity.store,
            session,
            catalog,
            keyring,
            blobs,
            masters,
            force_token,
            audit,
            clock,
            new_buckets_take_sse_c,
            keys,
            users,
            remover,
            policies: BucketPolicies::default(),
            beside,
        };
        let store = Arc::new(store);
        store.run_beside(jobs::sweep::run(Arc::downgrade(&store), ended));
        store.run_beside(jobs::rotate::run(Arc::downgrade(&store)));
        store.run_beside(jobs::forget::run(Arc::downgrade(&store)));
        Ok(store)
    }

    /// Ends what runs beside the requests and closes the session: nothing of it is left to sweep but what failed.
    ///
    /// # Errors
    /// [`AuditError`] if the last events are not in the audit log.
    pub async fn close(&self) -> Result<(), AuditError> {
        for task in self.beside().drain(..) {
            task.abort();
        }
        if let Err(error) = self.catalog.advance_session(self.session, crate::catalog::SessionState::Closed).await {
            tracing::warn!(%error, "the session stays open until the next start");
        }
        self.audit.flush().await
    }

    /// A name for a new blob of this session.
    ///
    /// # Errors
    /// The random source failed.
    pub fn fresh_blob(&self) -> Result<BlobName, OpError> {
        Ok(BlobName { session: self.session, stream: StreamId::fresh(self.clock.now_ms())? })
    }

    /// Who signs with this access key.
    ///
    /// # Errors
    /// [`OpError::NoSuchAccessKey`]; [`OpError::Damaged`] if a row does not open; [`OpError::Unavailable`].
    pub async fn caller(&self, access_key: &str) -> Result<Arc<Caller>, OpError> {
        self.users.caller(access_key).await
    }

    /// Returns once what was made or destroyed on the token is durable.
    ///
    /// # Errors
    /// The token's files cannot be forced to disk.
    pub async fn sync_token(&self) -> Result<(), KeyError> {
        let force = self.force_token.clone();
        let forced = tokio::task::spawn_blocking(move || force()).await;
        forced.map_err(|error| KeyError::Misconfigured(error.to_string()))?
    }

    /// Runs work that goes on beside the requests and ends with the store.
    pub fn run_beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut beside = self.beside();
        beside.retain(|task| !task.is_finished());
        beside.push(tokio::spawn(work));
    }

    fn beside(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.beside.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
